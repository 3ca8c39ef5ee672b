//! Snapshots on real folders, with parents on disk; those with mounts are in the tests of the
//! package.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::digest::{ChainId, DiffId, Digest};
use crate::error::{Classify, Kind as ErrorKind};

struct Fixture {
    root: TempDir,
    backend: Arc<Backend>,
    snapshotter: OverlaySnapshotter,
}

/// Shows chains as folders with a file that is named after the chain.
#[derive(Debug)]
struct FolderLayers(PathBuf);

impl LayerMounter for FolderLayers {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let path = self.0.join(chain.to_string());
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1750)).unwrap();
        Ok(path)
    }

    fn unmount(&self, chain: &ChainId) -> Result<(), LayerError> {
        let _ = fs::remove_dir(self.0.join(chain.to_string()));
        Ok(())
    }
}

fn open(root: &Path) -> Arc<Backend> {
    let layers = Arc::new(FolderLayers(root.join("shown")));
    let options = Options { delete_in_background: false, ..Options::default() };
    Backend::open(root, layers, options).unwrap()
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    let backend = open(root.path());
    let snapshotter = backend.snapshotter(Owner::Containerd);
    Fixture { root, backend, snapshotter }
}

impl Fixture {
    fn prepare(&self, key: &str, parent: Option<&str>) -> Vec<Mount> {
        self.snapshotter.prepare(key, parent, &Labels::new()).unwrap()
    }

    fn commit(&self, name: &str, key: &str) {
        self.snapshotter.commit(name, key, None, &Labels::new()).unwrap();
    }

    /// The folders of snapshots, by their numbers.
    fn folders(&self) -> Vec<String> {
        names(&self.root.path().join("snapshots"))
    }

    fn trash(&self) -> Vec<String> {
        names(&self.root.path().join("trash"))
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
        result.unwrap_err().kind()
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn options(mount: &Mount, key: &str) -> Vec<String> {
    let value = mount.options.iter().find_map(|o| o.strip_prefix(key)?.strip_prefix('='));
    value.into_iter().flat_map(|v| v.split(':')).map(str::to_owned).collect()
}

#[test]
fn mounts_are_the_least_that_shows_the_stack() {
    let f = fixture();
    let fs_of = |id: u32| format!("{}/snapshots/{id}/fs", f.root.path().display());
    let [active] = &f.prepare("a", None)[..] else { panic!() };
    assert_eq!((active.fs_type.as_str(), &active.source), ("bind", &fs_of(1)));
    assert_eq!(active.options, ["rw", "rbind"]);
    let [view] = &f.snapshotter.view("v", None, &Labels::new()).unwrap()[..] else { panic!() };
    assert_eq!((&view.source, &view.options[0]), (&fs_of(2), &"ro".to_owned()));
    f.commit("c1", "a");
    let [view] = &f.snapshotter.view("v1", Some("c1"), &Labels::new()).unwrap()[..] else {
        panic!()
    };
    assert_eq!((view.fs_type.as_str(), &view.source), ("bind", &fs_of(1)));
    assert!(view.read_only());
    let [active] = &f.prepare("a2", Some("c1"))[..] else { panic!() };
    assert_eq!(active.fs_type, "overlay");
    assert_eq!(options(active, "upperdir"), [fs_of(4)]);
    assert_eq!(options(active, "lowerdir"), [fs_of(1)]);
    assert!(!active.read_only());
    f.commit("c2", "a2");
    let [view] = &f.snapshotter.view("v2", Some("c2"), &Labels::new()).unwrap()[..] else {
        panic!()
    };
    assert_eq!(options(view, "lowerdir"), [fs_of(4), fs_of(1)]);
    assert!(view.read_only());
    assert_eq!(f.snapshotter.mounts("v2").unwrap(), std::slice::from_ref(view));
    assert_eq!(Fixture::refused(f.snapshotter.mounts("c2")), ErrorKind::FailedPrecondition);
}

#[test]
fn the_root_of_a_snapshot_is_that_of_its_parent() {
    let f = fixture();
    let source = PathBuf::from(&f.prepare("a", None)[0].source);
    assert_eq!(fs::metadata(&source).unwrap().mode() & 0o7777, 0o755);
    std::os::unix::fs::chown(&source, Some(7), Some(8)).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o2711)).unwrap();
    let attributes = crate::sys::Dir::open(&source).unwrap();
    let target = crate::sys::XattrTarget::Open(std::os::fd::AsFd::as_fd(&attributes));
    target.set(b"user.kept", b"1").unwrap();
    target.set(b"trusted.overlay.opaque", b"y").unwrap();
    crate::sys::set_mtime(&attributes, 12345, 678).unwrap();
    f.commit("c", "a");
    let upper = options(&f.prepare("b", Some("c"))[0], "upperdir").remove(0);
    let found = fs::metadata(&upper).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (7, 8, 0o2711));
    assert_eq!((found.mtime(), found.mtime_nsec()), (12345, 678));
    let attributes = crate::sys::Dir::open(Path::new(&upper)).unwrap();
    let target = crate::sys::XattrTarget::Open(std::os::fd::AsFd::as_fd(&attributes));
    assert_eq!(target.get(b"user.kept").unwrap(), Some(b"1".to_vec()));
    assert_eq!(target.get(b"trusted.overlay.opaque").unwrap(), None);
}

#[test]
fn usage_is_counted_stored_or_nothing() {
    let f = fixture();
    let source = PathBuf::from(&f.prepare("a", None)[0].source);
    let empty = f.snapshotter.usage("a").unwrap();
    assert_eq!(empty.inodes, 1);
    fs::write(source.join("f"), vec![1; 100_000]).unwrap();
    let usage = f.snapshotter.usage("a").unwrap();
    assert_eq!(usage.inodes, 2);
    assert!(usage.size >= 100_000, "{usage:?}");
    f.commit("c", "a");
    fs::write(source.join("behind its back"), vec![1; 100_000]).unwrap();
    assert_eq!(f.snapshotter.usage("c").unwrap(), usage);
    f.snapshotter.view("v", Some("c"), &Labels::new()).unwrap();
    assert_eq!(f.snapshotter.usage("v").unwrap(), Usage::default());
    assert_eq!(Fixture::refused(f.snapshotter.usage("none")), ErrorKind::NotFound);
}

#[test]
fn what_is_removed_goes_to_the_trash_and_then_for_good() {
    let f = fixture();
    let source = PathBuf::from(&f.prepare("a", None)[0].source);
    fs::create_dir_all(source.join("x/y")).unwrap();
    fs::write(source.join("x/y/z"), "").unwrap();
    f.snapshotter.remove("a").unwrap();
    assert_eq!((f.folders(), f.trash().len()), (vec![], 1));
    f.prepare("a", None);
    f.snapshotter.cleanup().unwrap();
    assert_eq!((f.folders().len(), f.trash().len()), (1, 0));
}

#[test]
fn the_trash_is_emptied_in_the_background() {
    let root = tempfile::tempdir().unwrap();
    let backend = Backend::open(root.path(), Arc::new(NoLayers), Options::default()).unwrap();
    let snapshotter = backend.snapshotter(Owner::CommandLine);
    for _ in 0..3 {
        snapshotter.prepare("a", None, &Labels::new()).unwrap();
        snapshotter.remove("a").unwrap();
    }
    let start = Instant::now();
    while !names(&root.path().join("trash")).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "the trash is still full");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn trees_of_any_depth_are_deleted() {
    let f = fixture();
    f.prepare("a", None);
    let mut at = crate::sys::Dir::open(&f.root.path().join("snapshots/1/fs")).unwrap();
    let long_name = [b'x'; 64];
    for _ in 0..300 {
        at.create_dir(&long_name).unwrap();
        drop(at.create_file(b"f").unwrap());
        at = at.open_dir(&long_name).unwrap();
    }
    f.snapshotter.remove("a").unwrap();
    f.snapshotter.cleanup().unwrap();
    assert!(f.trash().is_empty());
}

#[test]
fn what_is_mounted_inside_of_a_removed_snapshot_is_not_touched() {
    let f = fixture();
    let source = PathBuf::from(&f.prepare("a", None)[0].source);
    fs::create_dir(source.join("data")).unwrap();
    fs::write(source.join("file"), "").unwrap();
    let precious = tempfile::tempdir().unwrap();
    fs::write(precious.path().join("keep"), "").unwrap();
    let bind = Mount {
        fs_type: "bind".to_owned(),
        source: precious.path().to_str().unwrap().to_owned(),
        target: String::new(),
        options: vec!["rw".to_owned()],
    };
    mounter::mount(&[bind], &source.join("data")).unwrap();
    f.snapshotter.remove("a").unwrap();
    f.snapshotter.cleanup().unwrap();
    let left = f.trash();
    let moved = f.root.path().join("trash").join(&left[0]);
    let kept = precious.path().join("keep").exists();
    mounter::unmount(&moved.join("fs/data")).unwrap();
    assert!(kept);
    assert_eq!(names(&moved.join("fs")), ["data"]);
    f.snapshotter.cleanup().unwrap();
    assert!(f.trash().is_empty());
}

#[test]
fn what_killed_processes_left_is_swept_when_opened() {
    let f = fixture();
    f.prepare("a", None);
    for leftover in ["snapshots/77/fs", "snapshots/77/work", "snapshots/junk", "snapshots/1x"] {
        fs::create_dir_all(f.root.path().join(leftover)).unwrap();
    }
    let reopened = open(f.root.path());
    assert_eq!(f.folders(), ["1"]);
    assert_eq!(f.trash(), ["1x", "77", "junk"]);
    reopened.snapshotter(Owner::Containerd).cleanup().unwrap();
    assert!(f.trash().is_empty());
    f.snapshotter.stat("a").unwrap();
}

#[test]
fn a_folder_left_by_an_undone_transaction_is_in_nobodys_way() {
    let f = fixture();
    fs::create_dir_all(f.root.path().join("snapshots/1/fs/old")).unwrap();
    let source = PathBuf::from(&f.prepare("a", None)[0].source);
    assert!(names(&source).is_empty());
    assert_eq!(f.trash(), ["1"]);
}

#[test]
fn a_failed_prepare_leaves_nothing() {
    let f = fixture();
    f.prepare("a", None);
    assert_eq!(
        Fixture::refused(f.snapshotter.prepare("a", None, &Labels::new())),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        Fixture::refused(f.snapshotter.prepare("b", Some("none"), &Labels::new())),
        ErrorKind::NotFound
    );
    assert_eq!(f.folders(), ["1"]);
}

#[test]
fn one_of_many_prepares_of_a_key_wins() {
    let f = fixture();
    let other = open(f.root.path()).snapshotter(Owner::Containerd);
    for round in 0..5 {
        let key = format!("k{round}");
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = [&f.snapshotter, &other]
                .iter()
                .cycle()
                .take(8)
                .map(|snapshotter| {
                    scope.spawn(|| match snapshotter.prepare(&key, None, &Labels::new()) {
                        Ok(_) => 1,
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}");
                            0
                        }
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    assert_eq!(f.folders().len(), 5);
}

#[test]
fn a_closed_snapshotter_refuses_and_closes_again() {
    let f = fixture();
    f.prepare("a", None);
    f.snapshotter.close().unwrap();
    f.snapshotter.close().unwrap();
    assert!(matches!(f.snapshotter.stat("a"), Err(Error::Closed)));
    assert!(matches!(f.snapshotter.prepare("b", None, &Labels::new()), Err(Error::Closed)));
    open(f.root.path()).snapshotter(Owner::Containerd).stat("a").unwrap();
}

fn layers(n: u8) -> Vec<(DiffId, Digest)> {
    (0..n).map(|i| (DiffId::new(Digest::sha256(&[i])), Digest::sha256(&[i, i]))).collect()
}

/// The layer `n` of [`layers`], from 1, as a lazy layer.
fn lazy(n: u8) -> LazyLayer {
    let diff_ids: Vec<DiffId> = layers(n).into_iter().map(|(diff_id, _)| diff_id).collect();
    let chain = crate::digest::chain_ids(&diff_ids).pop().unwrap();
    LazyLayer { chain, diff_id: diff_ids.last().unwrap().clone(), usage: Usage::default() }
}

#[test]
fn a_lazy_chain_is_one_lower_however_many_layers() {
    let f = fixture();
    let lease = f.backend.lease(Duration::from_secs(60)).unwrap();
    lease.record(&layers(3)).unwrap();
    let s = &f.snapshotter;
    s.commit_lazy("l1", None, &Labels::new(), &lazy(1)).unwrap();
    s.commit_lazy("l2", Some("l1"), &Labels::new(), &lazy(2)).unwrap();
    s.commit_lazy("l3", Some("l2"), &Labels::new(), &lazy(3)).unwrap();
    drop(lease);
    let mounts = f.prepare("a", Some("l3"));
    let lower = options(&mounts[0], "lowerdir");
    assert_eq!(lower.len(), 1);
    assert!(!lower[0].contains("sha256"), "no colon in the option: {lower:?}");
    let shown = f.root.path().join("shown").join(lazy(3).chain.to_string());
    assert_eq!(fs::canonicalize(&lower[0]).unwrap(), shown);
    let upper = fs::metadata(&options(&mounts[0], "upperdir")[0]).unwrap();
    assert_eq!(upper.mode() & 0o7777, 0o1750, "the root is that of the tree");
    f.commit("c", "a");
    assert_eq!(options(&f.prepare("b", Some("c"))[0], "lowerdir").len(), 2);
    let view = s.view("v", Some("l2"), &Labels::new()).unwrap();
    assert_eq!((view[0].fs_type.as_str(), view[0].read_only()), ("bind", true));
    assert_eq!(s.usage("l3").unwrap(), Usage::default());
    assert_eq!(s.chain("l3").unwrap(), Some(lazy(3).chain));
    assert_eq!(s.chain("c").unwrap(), None);
}

#[test]
fn a_lazy_layer_must_stand_on_the_rest_of_its_chain() {
    let f = fixture();
    let lease = f.backend.lease(Duration::from_secs(60)).unwrap();
    lease.record(&layers(3)).unwrap();
    let s = &f.snapshotter;
    let wrong = s.commit_lazy("l2", None, &Labels::new(), &lazy(2));
    assert!(matches!(wrong, Err(Error::WrongChain { .. })), "{wrong:?}");
    f.prepare("a", None);
    f.commit("unpacked", "a");
    let unknown = s.commit_lazy("l2", Some("unpacked"), &Labels::new(), &lazy(2));
    assert!(matches!(unknown, Err(Error::WrongChain { .. })), "{unknown:?}");
    assert!(!f.root.path().join("shown").join(lazy(2).chain.to_string()).exists());
    let labels = Labels::from([(LABEL_REF.to_owned(), lazy(1).chain.to_string())]);
    s.update("unpacked", &labels, &[]).unwrap();
    s.commit_lazy("l2", Some("unpacked"), &Labels::new(), &lazy(2)).unwrap();
    let unrecorded = s.commit_lazy("l4", Some("l2"), &Labels::new(), &{
        let diff_id = DiffId::new(Digest::sha256(b"other"));
        LazyLayer { chain: lazy(2).chain.push(&diff_id), diff_id, usage: Usage::default() }
    });
    assert_eq!(Fixture::refused(unrecorded), ErrorKind::NotFound);
    let again = s.commit_lazy("l2", Some("unpacked"), &Labels::new(), &lazy(2));
    assert_eq!(Fixture::refused(again), ErrorKind::AlreadyExists);
    assert!(f.root.path().join("shown").join(lazy(2).chain.to_string()).exists());
}

#[test]
fn a_chain_is_taken_away_with_its_last_snapshot_of_any_owner() {
    let f = fixture();
    let lease = f.backend.lease(Duration::from_secs(60)).unwrap();
    lease.record(&layers(1)).unwrap();
    let other = f.backend.snapshotter(Owner::Checkpoint);
    let shown = f.root.path().join("shown").join(lazy(1).chain.to_string());
    f.snapshotter.commit_lazy("l", None, &Labels::new(), &lazy(1)).unwrap();
    other.commit_lazy("m", None, &Labels::new(), &lazy(1)).unwrap();
    f.snapshotter.remove("l").unwrap();
    assert!(shown.exists());
    other.remove("m").unwrap();
    assert!(!shown.exists());
}

#[test]
fn a_chain_that_moved_is_found_again() {
    let f = fixture();
    let lease = f.backend.lease(Duration::from_secs(60)).unwrap();
    lease.record(&layers(1)).unwrap();
    f.snapshotter.commit_lazy("l", None, &Labels::new(), &lazy(1)).unwrap();
    f.prepare("a", Some("l"));
    let moved = Arc::new(FolderLayers(f.root.path().join("elsewhere")));
    let backend = Backend::open(f.root.path(), moved, Options::default()).unwrap();
    let mounts = backend.snapshotter(Owner::Containerd).mounts("a").unwrap();
    let lower = fs::canonicalize(&options(&mounts[0], "lowerdir")[0]).unwrap();
    assert!(lower.starts_with(f.root.path().join("elsewhere")), "{lower:?}");
}

#[test]
fn what_no_chain_needs_is_collected() {
    let f = fixture();
    let root = f.root.path();
    let lease = f.backend.lease(Duration::from_secs(60)).unwrap();
    lease.record(&layers(2)).unwrap();
    f.snapshotter.commit_lazy("l", None, &Labels::new(), &lazy(1)).unwrap();
    let file = |digest: &Digest| digest.to_string().replace(':', "-");
    let make = || {
        for n in 1..=3 {
            let (_, blob) = layers(n).pop().unwrap();
            fs::create_dir_all(root.join("cache").join(file(&blob))).unwrap();
            for (folder, digest, end) in
                [("trees", lazy(n).chain.digest(), "tree"), ("index", &blob, "toc")]
            {
                fs::create_dir_all(root.join(folder)).unwrap();
                let name = format!("{}.{end}", file(digest));
                fs::write(root.join(folder).join(name), "").unwrap();
            }
        }
    };
    make();
    fs::write(root.join("trees/.being-written"), "").unwrap();
    let third = Collected { trees: 1, indexes: 1, cached: 1 };
    assert_eq!(f.backend.collect(&|_| true).unwrap(), Collected::default());
    assert_eq!(f.backend.collect(&|_| false).unwrap(), third);
    assert_eq!(f.backend.collect(&|_| false).unwrap(), Collected::default());
    drop(lease);
    assert_eq!(f.backend.collect(&|_| false).unwrap(), third);
    assert_eq!(names(&root.join("trees")).len(), 2);
    f.snapshotter.remove("l").unwrap();
    assert_eq!(f.backend.collect(&|_| false).unwrap(), third);
    assert_eq!(names(&root.join("trees")), [".being-written"]);
    f.snapshotter.cleanup().unwrap();
    assert!(f.trash().is_empty());
}
