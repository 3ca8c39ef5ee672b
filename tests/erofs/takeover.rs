//! EROFS over FUSE servers that die and are replaced.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use stratafs::erofs::{DataPath, Image};
use stratafs::fuse;
use stratafs::sys::mount::DetachedMount;

use super::folder;
use crate::fixture::noise;
use crate::fuse::takeover::{BIG, Holder, name, small, tree};
use crate::watchdog::Watchdog;

/// The EROFS mount of what the servers at `root` show.
fn mount(root: &Path, dir: &Path) -> DetachedMount {
    let image = Image::create(&tree().tree, &dir.join("image")).unwrap();
    image.mount(&root.join(name().blob_path().unwrap()), DataPath::Direct).unwrap()
}

#[test]
fn cached_data_go_on_and_other_reads_wait_for_the_next_server() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let (root, dir) = (watchdog.folder("mount"), folder());
    let mut holder = Holder::new(watchdog.path());
    holder.start_server();
    let erofs = mount(&root, dir.path());
    let path = |n: usize| erofs.path().join(format!("d{}/{n}", n % 10));
    for n in 0..20 {
        assert_eq!(std::fs::read(path(n)).unwrap(), small(n));
    }
    holder.kill_server();
    for n in 0..20 {
        assert_eq!(std::fs::read(path(n)).unwrap(), small(n), "cached");
    }
    assert_eq!(path(300).metadata().unwrap().len(), small(300).len() as u64);
    let big = std::fs::File::open(erofs.path().join("big")).unwrap();
    thread::scope(|scope| {
        let readers = [
            scope.spawn(|| std::fs::read(path(300)).unwrap() == small(300)),
            scope.spawn(|| {
                let mut bytes = vec![0; BIG];
                big.read_exact_at(&mut bytes, 0).unwrap();
                bytes == noise(BIG)
            }),
        ];
        thread::sleep(Duration::from_millis(200));
        assert!(readers.iter().all(|reader| !reader.is_finished()), "they wait");
        holder.start_server();
        for reader in readers {
            assert!(reader.join().unwrap());
        }
    });
    for n in 300..330 {
        assert_eq!(std::fs::read(path(n)).unwrap(), small(n));
    }
    drop((big, erofs));
    fuse::unmount(&root).unwrap();
    holder.wait_for_server();
}

#[test]
fn a_read_without_any_server_left_is_an_error_and_never_zeros() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let (root, dir) = (watchdog.folder("mount"), folder());
    let mut holder = Holder::new(watchdog.path());
    holder.start_server();
    let erofs = mount(&root, dir.path());
    let path = |n: usize| erofs.path().join(format!("d{}/{n}", n % 10));
    assert_eq!(std::fs::read(path(7)).unwrap(), small(7));
    holder.kill_server();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| std::fs::read(path(399)));
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        holder.let_go();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
    });
    assert_eq!(std::fs::read(path(7)).unwrap(), small(7), "cached");
    let error = std::fs::read(path(398)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
}
