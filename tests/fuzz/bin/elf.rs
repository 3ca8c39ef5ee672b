#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stratafs_fuzz::elf::run(data));
