//! Outages of a registry under a mounted image, as a container sees them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::lazy::World;
use crate::images::program::Stratafs;

/// What the deadline of a read may grow to on a busy machine: it is half a minute.
const DEADLINE: Duration = Duration::from_secs(70);

/// Reads a piece of the big file through the mount; its bytes are right.
fn read(target: &Path, world: &World, offset: usize) -> std::io::Result<()> {
    let mut buf = vec![0; 5000];
    File::open(target.join("big"))?.read_exact_at(&mut buf, offset as u64)?;
    assert!(buf == world.big()[offset..offset + buf.len()], "wrong bytes at {offset}");
    Ok(())
}

/// The image of a world, indexed, mounted, and nothing of its content in the cache.
fn mounted(world: &World, mode: &str) -> (Stratafs, std::path::PathBuf) {
    let stratafs = Stratafs::with_root(world.root.path());
    let indexed = stratafs.mount(&world.reference(), &["--prefetch", "none"]);
    stratafs.run(&["umount", indexed.to_str().unwrap()]);
    stratafs.run(&["cache", "prune", "--keep", "0B"]);
    let target = stratafs.mount(&world.reference(), &["--prefetch", "none", "--mode", mode]);
    (stratafs, target)
}

/// All at once: they do nothing but wait.
#[test]
fn an_outage_that_ends_is_only_a_slow_read() {
    thread::scope(|scope| {
        for (seconds, mode) in [(1, "fuse"), (5, "fuse"), (15, "fuse"), (5, "auto"), (15, "auto")] {
            scope.spawn(move || outage(seconds, mode));
        }
    });
}

fn outage(seconds: u64, mode: &str) {
    let world = World::new();
    let (stratafs, target) = mounted(&world, mode);
    read(&target, &world, 100_000).unwrap();
    world.registry.set_down(true);
    let begun = Instant::now();
    thread::scope(|scope| {
        let readers: Vec<_> = [2, 3, 4]
            .map(|mib| {
                let (target, world) = (&target, &world);
                scope.spawn(move || read(target, world, mib << 20))
            })
            .into();
        thread::sleep(Duration::from_secs(seconds));
        // What is here is served all the while.
        read(&target, &world, 100_000).unwrap();
        world.registry.set_down(false);
        for reader in readers {
            reader.join().unwrap().unwrap();
        }
    });
    assert!(begun.elapsed() >= Duration::from_secs(seconds), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    stratafs.run(&["umount", target.to_str().unwrap()]);
}

#[test]
fn an_outage_for_good_is_an_error_in_time_and_none_once_it_is_over() {
    thread::scope(|scope| {
        for mode in ["fuse", "auto"] {
            scope.spawn(move || outage_for_good(mode));
        }
    });
}

fn outage_for_good(mode: &str) {
    let world = World::new();
    let (stratafs, target) = mounted(&world, mode);
    world.registry.set_down(true);
    let begun = Instant::now();
    let error = read(&target, &world, 3 << 20).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    let took = begun.elapsed();
    assert!((Duration::from_secs(16)..DEADLINE).contains(&took), "{took:?}");
    world.registry.set_down(false);
    // The same place: no error is kept, by us or by the kernel.
    read(&target, &world, 3 << 20).unwrap();
    stratafs.run(&["umount", target.to_str().unwrap()]);
}
