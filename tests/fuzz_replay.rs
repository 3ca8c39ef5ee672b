//! The fuzz targets over their seeds, and over many small changes of them.

#[path = "fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// How many changed copies of a seed are tried.
const CHANGES: u64 = 300;
/// Larger seeds are changed in this many bytes from their start only.
const CHANGED: usize = 4096;

fn replay(name: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&seeds).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{name} has seeds");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for path in paths {
        let seed = fs::read(&path).unwrap();
        run(&seed);
        for _ in 0..CHANGES {
            run(&changed(&seed, &mut random));
        }
    }
}

fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().min(CHANGED) + 1);
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = random.byte(),
            _ => {}
        }
    }
    bytes
}

/// Marsaglia's xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Often one that formats give a meaning.
    fn byte(&mut self) -> u8 {
        let [byte, choice, ..] = self.next().to_le_bytes();
        match choice {
            0..16 => 0,
            16..32 => 0xff,
            32..64 => b'0' + byte % 10,
            64..80 => b'/',
            _ => byte,
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), targets::$name::run);
        })*
    };
}

replays! {
    tar toc tree erofs layer_index span_table start_trace
    estargz zstd_chunked soci bundle elf
    registry_header hosts auth_file
    filter image_documents
    checkpoint_message checkpoint_json checkpoint_archive
}
