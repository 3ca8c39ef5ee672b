use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use stratafs::digest::DiffId;
use stratafs::fs::{Filesystem, MountedTree};
use stratafs::fuse::{Limits, Options};
use stratafs::io::ReadAt;
use stratafs::tree::{self, Layer as Name, Tree};

use super::Mount;
use crate::fixture::{self, InMemory, Layer, noise};
use crate::readers::{Failing, Gate, Gated, Panicking, Slow};
use crate::watchdog::wait_until;

fn errno(path: &Path) -> Option<i32> {
    std::fs::read(path).err()?.raw_os_error()
}

/// A lower layer in memory with `good` and a second file, an upper one behind `reader` with `bad`
/// and others.
fn two_layers(reader: impl Fn(Vec<u8>) -> Arc<dyn ReadAt>) -> MountedTree {
    let (lower, lower_data) =
        Layer::new().file("good", 0o644, &noise(50_000)).file("good2", 0o644, b"x").build();
    let (upper, upper_data) =
        Layer::new().file("bad", 0o644, &noise(50_000)).file("dir/bad", 0o644, b"y").build();
    MountedTree {
        tree: fixture::merged(&[&lower, &upper]),
        layers: vec![Arc::new(InMemory(lower_data)), reader(upper_data)],
        starts: None,
    }
}

#[test]
fn a_failed_read_is_eio_and_the_mount_recovers() {
    for at_once in [true, false] {
        let fails = Arc::new(AtomicBool::new(true));
        let reader =
            |data| -> Arc<dyn ReadAt> { Arc::new(Failing { data, fails: fails.clone(), at_once }) };
        let mount = Mount::of_tree(two_layers(reader));
        assert_eq!(errno(&mount.path("bad")), Some(libc::EIO));
        assert!(mount.mounted().stats().faults.get() > 0);
        assert_eq!(std::fs::read(mount.path("good")).unwrap(), noise(50_000));
        assert_eq!(mount.path("bad").metadata().unwrap().len(), 50_000);
        fails.store(false, Ordering::SeqCst);
        assert_eq!(std::fs::read(mount.path("bad")).unwrap(), noise(50_000));
    }
}

#[test]
fn a_layer_that_ends_early_is_eio_and_never_zeros() {
    let cut = |mut data: Vec<u8>| -> Arc<dyn ReadAt> {
        data.truncate(10_000);
        Arc::new(InMemory(data))
    };
    let mount = Mount::of_tree(two_layers(cut));
    assert_eq!(errno(&mount.path("bad")), Some(libc::EIO));
    assert_eq!(std::fs::read(mount.path("good")).unwrap(), noise(50_000));
    let cut = |mut data: Vec<u8>| -> Arc<dyn ReadAt> {
        data.truncate(10_000);
        Arc::new(Slow { data, delay: Duration::ZERO })
    };
    let mount = Mount::of_tree(two_layers(cut));
    assert_eq!(errno(&mount.path("bad")), Some(libc::EIO));
}

#[test]
fn a_layer_that_is_not_there_is_eio() {
    let mut tree = two_layers(|data| Arc::new(InMemory(data)));
    tree.layers.pop();
    let mount = Mount::of_tree(tree);
    assert_eq!(errno(&mount.path("bad")), Some(libc::EIO));
    assert_eq!(std::fs::read(mount.path("good")).unwrap(), noise(50_000));
}

#[test]
fn a_panic_is_eio_and_the_connection_lives() {
    for at_once in [true, false] {
        let reader = |data: Vec<u8>| -> Arc<dyn ReadAt> {
            Arc::new(Panicking { size: data.len() as u64, at_once })
        };
        let mount = Mount::of_tree(two_layers(reader));
        for _ in 0..5 {
            assert_eq!(errno(&mount.path("bad")), Some(libc::EIO));
        }
        // The answer leaves while the panic unwinds, the count comes after.
        wait_until("panics are counted", || mount.mounted().stats().panics.get() >= 5);
        assert_eq!(std::fs::read(mount.path("good")).unwrap(), noise(50_000));
    }
}

fn impatient(deadline: Duration) -> Options {
    let misses = Limits { threads: 8, per_source: 2, queue: 64, deadline };
    Options { misses, ..Options::rootfs() }
}

#[test]
fn a_read_that_hangs_fails_at_its_deadline() {
    let gate = Gate::default();
    let tree = two_layers(|data| Arc::new(Gated { data, gate: gate.clone() }));
    let mount = Mount::with(Filesystem::of_tree(tree), &impatient(Duration::from_millis(400)));
    let begun = Instant::now();
    assert_eq!(errno(&mount.path("bad")), Some(libc::EIO));
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
    assert!(mount.mounted().stats().overdue.get() > 0);
    gate.open();
    assert_eq!(std::fs::read(mount.path("bad")).unwrap(), noise(50_000));
}

#[test]
fn a_source_that_hangs_stops_nobody_else() {
    let gate = Gate::default();
    let hung = Layer::new().file("hung", 0o644, &noise(4_000_000)).file("hung2", 0o644, b"zz");
    let slow = Layer::new().file("slow", 0o644, &noise(100_000));
    let fast = Layer::new().file("fast", 0o644, &noise(100_000)).dir("d/e", 0o755);
    let ((hung, a), (slow, b), (fast, c)) = (hung.build(), slow.build(), fast.build());
    let tree = MountedTree {
        tree: fixture::merged(&[&hung, &slow, &fast]),
        layers: vec![
            Arc::new(Gated { data: a, gate: gate.clone() }),
            Arc::new(Slow { data: b, delay: Duration::from_millis(1) }),
            Arc::new(InMemory(c)),
        ],
        starts: None,
    };
    let mount = Mount::with(Filesystem::of_tree(tree), &impatient(Duration::from_secs(50)));
    let root = &mount.path("");
    thread::scope(|scope| {
        let readers: Vec<_> = (0..20_u64)
            .map(|n| {
                scope.spawn(move || {
                    let mut buf = [0; 512];
                    let file = File::open(root.join("hung")).unwrap();
                    file.read_exact_at(&mut buf, n * 190_000).map(|()| buf.to_vec())
                })
            })
            .collect();
        wait_until("reads hang", || gate.waiting() == 2);
        let begun = Instant::now();
        assert_eq!(root.join("d/e").read_dir().unwrap().count(), 0);
        assert_eq!(root.join("hung2").metadata().unwrap().len(), 2);
        assert_eq!(std::fs::read(root.join("fast")).unwrap(), noise(100_000));
        assert_eq!(std::fs::read(root.join("slow")).unwrap(), noise(100_000));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(gate.waiting(), 2, "a source has its share of the threads and no more");
        gate.open();
        let content = noise(4_000_000);
        for (n, reader) in readers.into_iter().enumerate() {
            assert_eq!(reader.join().unwrap().unwrap(), content[n * 190_000..][..512]);
        }
    });
}

#[test]
fn more_reads_than_the_queue_holds_fail_at_once() {
    let gate = Gate::default();
    let layer = Layer::new().file("f", 0o644, &noise(8 << 20));
    let tree =
        fixture::with_readers(vec![layer], |data| Arc::new(Gated { data, gate: gate.clone() }));
    let misses = Limits { threads: 1, per_source: 1, queue: 1, deadline: Duration::from_secs(50) };
    let fs = Filesystem::of_tree(tree);
    let mount = Mount::with(fs, &Options { misses, ..Options::rootfs() });
    let stats = mount.mounted().stats().clone();
    let root = &mount.path("");
    thread::scope(|scope| {
        for n in 0..8_u64 {
            scope.spawn(move || {
                let file = File::open(root.join("f")).unwrap();
                let _ = file.read_at(&mut [0; 512], n << 20);
            });
        }
        wait_until("reads are refused", || stats.rejected.get() > 0);
        gate.open();
    });
    let mut buf = [0; 4096];
    File::open(root.join("f")).unwrap().read_exact_at(&mut buf, 5 << 20).unwrap();
    assert_eq!(buf[..], noise(8 << 20)[5 << 20..][..4096]);
}

#[test]
fn a_damaged_tree_is_eio_and_what_is_whole_of_it_works() {
    let folder = |layer: Layer, dir: &str| {
        (0..3000).fold(layer, |layer, n| layer.file(&format!("{dir}/{n:04}"), 0o644, b"x"))
    };
    let (toc, data) = folder(folder(Layer::new(), "a"), "b").build();
    let digest = stratafs::digest::Digest::sha256(b"");
    let name = Name { diff_id: DiffId::new(digest.clone()), blob: digest };
    let merged = tree::merge(&[&toc]).unwrap();
    let watchdog = crate::watchdog::Watchdog::new(Duration::from_secs(60));
    let file = watchdog.path().join("file.tree");
    Tree::write(&merged, &[name], &file).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    // The inodes start after the header and one layer, 64 bytes each, 1024 to a checksum.
    bytes[4096 + 192 + 64 * 4500] ^= 1;
    let tree = Arc::new(Tree::from_bytes(bytes).unwrap());
    let mount =
        Mount::of_tree(MountedTree { tree, layers: vec![Arc::new(InMemory(data))], starts: None });
    assert_eq!(std::fs::read(mount.path("a/0000")).unwrap(), b"x");
    let errno = mount.path("b/1500").metadata().unwrap_err().raw_os_error();
    assert_eq!(errno, Some(libc::EIO));
    assert!(mount.mounted().stats().faults.get() > 0);
    assert_eq!(std::fs::read(mount.path("a/1000")).unwrap(), b"x");
}
