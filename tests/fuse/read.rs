use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use nix::unistd::Whence;

use super::Mount;
use crate::fixture::{self, Layer, noise};
use crate::readers::Slow;

/// Sizes around the limits of pages, requests and read-ahead.
const SIZES: [usize; 9] = [0, 1, 4095, 4096, 4097, 131_072, 131_073, 1 << 20, (5 << 20) + 17];

fn sizes() -> Layer {
    SIZES.into_iter().fold(Layer::new(), |layer, n| layer.file(&n.to_string(), 0o644, &noise(n)))
}

#[test]
fn whole_files_of_all_sizes_are_read() {
    let mount = Mount::of(sizes());
    for n in SIZES {
        assert_eq!(std::fs::read(mount.path(n.to_string())).unwrap(), noise(n), "{n}");
    }
}

#[test]
fn whole_files_are_read_from_a_source_that_has_nothing_at_hand() {
    let slow = |data| -> Arc<dyn stratafs::io::ReadAt> {
        Arc::new(Slow { data, delay: Duration::from_millis(1) })
    };
    let mount = Mount::of_tree(fixture::with_readers(vec![sizes()], slow));
    for n in SIZES {
        assert_eq!(std::fs::read(mount.path(n.to_string())).unwrap(), noise(n), "{n}");
    }
    assert!(mount.mounted().stats().misses.get() > 0);
    assert_eq!(mount.mounted().stats().faults.get(), 0);
}

#[test]
fn unaligned_reads_give_what_is_there_and_end_at_the_end() {
    let content = noise(300_000);
    let mount = Mount::of(Layer::new().file("f", 0o644, &content));
    let file = File::open(mount.path("f")).unwrap();
    let mut state = 12_345_usize;
    for _ in 0..300 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (offset, len) = ((state >> 33) % 310_000, (state >> 20) % 9_000);
        let mut buf = vec![0xaa; len];
        let n = file.read_at(&mut buf, offset as u64).unwrap();
        let expected = &content[offset.min(content.len())..(offset + len).min(content.len())];
        assert_eq!(&buf[..n], expected, "{len} at {offset}");
    }
}

#[test]
fn direct_reads_are_whole_too() {
    use std::os::unix::fs::OpenOptionsExt;
    let content = noise((2 << 20) + 5);
    let mount = Mount::of(Layer::new().file("f", 0o644, &content));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).custom_flags(libc::O_DIRECT).open(mount.path("f")).unwrap();
    let mut found = Vec::new();
    file.read_to_end(&mut found).unwrap();
    assert!(found == content);
}

#[test]
fn holes_read_as_zeros_and_are_found_by_seek() {
    let data = noise(10_000);
    let layer = Layer::new()
        .sparse("s", 1_000_000, &[(5_000, &data[..3_000]), (500_001, &data[3_000..])])
        .sparse("hole", 100_000, &[])
        .sparse("huge", 1 << 42, &[((1 << 42) - 10_000, &data)]);
    let mount = Mount::of(layer);
    let mut expected = vec![0; 1_000_000];
    expected[5_000..8_000].copy_from_slice(&data[..3_000]);
    expected[500_001..507_001].copy_from_slice(&data[3_000..]);
    assert!(std::fs::read(mount.path("s")).unwrap() == expected);
    assert_eq!(std::fs::read(mount.path("hole")).unwrap(), vec![0; 100_000]);

    let mut huge = File::open(mount.path("huge")).unwrap();
    huge.seek(SeekFrom::End(-10_000)).unwrap();
    let mut tail = Vec::new();
    huge.read_to_end(&mut tail).unwrap();
    assert_eq!(tail, data);

    let file = File::open(mount.path("s")).unwrap();
    let seek = |at, whence| nix::unistd::lseek(&file, at, whence).map_err(|e| e as i32);
    assert_eq!(seek(0, Whence::SeekData), Ok(5_000));
    assert_eq!(seek(5_000, Whence::SeekHole), Ok(8_000));
    assert_eq!(seek(0, Whence::SeekHole), Ok(0));
    assert_eq!(seek(6_000, Whence::SeekData), Ok(6_000));
    assert_eq!(seek(8_000, Whence::SeekData), Ok(500_001));
    assert_eq!(seek(507_001, Whence::SeekData), Err(libc::ENXIO));
    assert_eq!(seek(507_001, Whence::SeekHole), Ok(507_001));
    assert_eq!(seek(1_000_000, Whence::SeekHole), Err(libc::ENXIO));
}

#[test]
fn mapped_files_show_their_content() {
    let content = noise(3_000_001);
    let mount = Mount::of(Layer::new().file("f", 0o644, &content));
    // cmp maps or reads; python's mmap certainly maps.
    let script = "import mmap,sys,hashlib\n\
        f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)\n\
        print(hashlib.sha256(m).hexdigest())";
    let output =
        Command::new("python3").args(["-c", script]).arg(mount.path("f")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let expected = stratafs::digest::Digest::sha256(&content).hex();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), expected);
}

#[test]
fn a_second_read_asks_nothing() {
    let mount = Mount::of(Layer::new().file("f", 0o644, &noise(100_000)));
    std::fs::read(mount.path("f")).unwrap();
    let stats = mount.mounted().stats();
    let before = (stats.reads.get() + stats.misses.get(), stats.opens.get());
    for _ in 0..5 {
        std::fs::read(mount.path("f")).unwrap();
    }
    assert_eq!((stats.reads.get() + stats.misses.get(), stats.opens.get()), before);
}

#[test]
fn content_of_every_layer_is_found() {
    let lower = Layer::new().file("low", 0o644, b"lower").file("both", 0o644, b"old");
    let upper =
        Layer::new().file("high", 0o644, b"upper").file("both", 0o644, b"new").whiteout("x");
    let mount = Mount::of_tree(fixture::in_memory(vec![lower.file("x", 0o644, b""), upper]));
    for (path, content) in [("low", "lower"), ("high", "upper"), ("both", "new")] {
        assert_eq!(std::fs::read_to_string(mount.path(path)).unwrap(), content);
    }
    assert!(!mount.path("x").exists());
}
