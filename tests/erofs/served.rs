//! EROFS images whose data come through FUSE: the same tree as by FUSE alone, and no wrong byte
//! whatever happens to the source.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use stratafs::digest::{ChainId, Digest};
use stratafs::erofs::{DataPath, Image};
use stratafs::fs::{Filesystem, MountedTree, SlotName};
use stratafs::fuse::{self, Mounted, Options};
use stratafs::sys::mount::DetachedMount;

use super::{folder, fsck_with};
use crate::fixture::{self, Layer, noise};
use crate::oracle;
use crate::readers::{Failing, Gate, Gated};
use crate::watchdog::{Watchdog, wait_until};

/// A chain by FUSE, and as EROFS over that.
struct Served {
    // In the order in which they must end.
    erofs: DetachedMount,
    fuse: Mounted,
    chain: SlotName,
    folder: tempfile::TempDir,
    _watchdog: Watchdog,
}

impl Served {
    fn of(layers: Vec<Layer>) -> Self {
        Self::of_tree(fixture::in_memory(layers))
    }

    fn of_tree(tree: MountedTree) -> Self {
        let watchdog = Watchdog::new(Duration::from_secs(60));
        let chain = SlotName::Chain(ChainId::new(Digest::sha256(b"chain")));
        let folder = folder();
        let image = Image::create(&tree.tree, &folder.path().join("image")).unwrap();
        let fs = Filesystem::new();
        fs.attach(&chain, tree).unwrap();
        let mountpoint = watchdog.folder("fuse");
        let fuse = fuse::mount(Arc::new(fs), &mountpoint, &Options::rootfs()).unwrap();
        let blob = mountpoint.join(chain.blob_path().unwrap());
        let erofs = image.mount(&blob, DataPath::Direct).unwrap();
        Self { erofs, fuse, chain, folder, _watchdog: watchdog }
    }

    fn root(&self) -> PathBuf {
        self.erofs.path()
    }

    fn fuse_root(&self) -> PathBuf {
        self.fuse.mountpoint().join(self.chain.path())
    }

    /// By `fsck.erofs`.
    fn is_accepted(&self) {
        let blob = self.fuse.mountpoint().join(self.chain.blob_path().unwrap());
        fsck_with(&self.folder.path().join("image"), &blob);
    }

    fn is_the_same(&self) {
        oracle::assert_same(
            &oracle::snapshot(&self.fuse_root()),
            &oracle::snapshot(&self.root().join(".")),
        );
    }
}

#[test]
fn both_ways_show_the_same_tree() {
    let lower = Layer::new()
        .file("kept", 0o4755, &noise(300_000))
        .file("d/replaced", 0o600, b"old")
        .file("d/hidden", 0o644, &noise(4096))
        .symlink("link", "d/replaced")
        .node("null", stratafs::archive::FileType::CharDevice, 1, 3)
        .sparse("sparse", 3 << 20, &[(0, &noise(10)), (2 << 20, &noise(70_000))])
        .dir("sticky", 0o1777);
    let upper = Layer::new()
        .file("d/replaced", 0o640, &noise(12_345))
        .xattr("user.tag", b"value")
        .link("d/second", "d/replaced")
        .file(&"n".repeat(255), 0o644, b"x")
        .whiteout("d/hidden");
    let served = Served::of(vec![lower, upper]);
    served.is_the_same();
    assert_eq!(std::fs::read(served.root().join("d/second")).unwrap(), noise(12_345));
}

#[test]
fn what_the_source_cannot_give_is_an_error_and_never_zeros() {
    let fails = Arc::new(AtomicBool::new(true));
    let layer = Layer::new().file("f", 0o644, &noise(200_000));
    let served = Served::of_tree(fixture::with_readers(vec![layer], |data| {
        Arc::new(Failing { data, fails: fails.clone(), at_once: false })
    }));
    let file = File::open(served.root().join("f")).unwrap();
    let mut buf = vec![0; 4096];
    let error = file.read_at(&mut buf, 150_000).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
    fails.store(false, Ordering::SeqCst);
    file.read_exact_at(&mut buf, 150_000).unwrap();
    assert!(buf == noise(200_000)[150_000..154_096], "an error is not kept");
}

#[test]
fn a_read_waits_for_a_slow_source_and_is_whole() {
    let gate = Gate::default();
    let layer = Layer::new().file("late", 0o644, &noise(900_000));
    let gates = gate.clone();
    let served = Served::of_tree(fixture::with_readers(vec![layer], |data| {
        Arc::new(Gated { data, gate: gates.clone() })
    }));
    let path = served.root().join("late");
    assert_eq!(path.metadata().unwrap().len(), 900_000, "metadata needs no source");
    let reader = std::thread::spawn(move || std::fs::read(path).unwrap());
    wait_until("a read waits", || gate.waiting() > 0);
    gate.open();
    assert!(reader.join().unwrap() == noise(900_000));
}

#[test]
fn what_is_read_in_order_is_asked_for_in_large_pieces() {
    const LEN: usize = 16 << 20;
    // Which settings are those of a mount is not known where another one was mounted meanwhile.
    for _ in 0..20 {
        let served = Served::of(vec![Layer::new().file("large", 0o644, &noise(LEN))]);
        let mut file = File::open(served.root().join("large")).unwrap();
        std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        if served.fuse.stats().reads.get() < (LEN / (512 << 10)) as u64 {
            return;
        }
    }
    panic!("the kernel reads ahead by less than it could");
}

#[test]
fn after_the_end_of_the_connection_cached_data_stay_and_the_rest_is_an_error() {
    let layer = Layer::new().file("cached", 0o644, &noise(50_000)).file("far", 0o644, &noise(9000));
    let served = Served::of(vec![layer]);
    let (cached, far) = (served.root().join("cached"), served.root().join("far"));
    assert!(std::fs::read(&cached).unwrap() == noise(50_000));
    fuse::abort(served.fuse.connection()).unwrap();
    assert!(std::fs::read(&cached).unwrap() == noise(50_000));
    assert_eq!(far.metadata().unwrap().len(), 9000);
    assert_eq!(std::fs::read(&far).unwrap_err().raw_os_error(), Some(nix::libc::EIO));
}

#[test]
fn it_is_unmounted_from_the_top_down() {
    let served = Served::of(vec![Layer::new().file("a", 0o644, &noise(50_000))]);
    std::fs::read(served.root().join("a")).unwrap();
    let mountpoint = served.fuse.mountpoint().to_owned();
    let Served { erofs, fuse, .. } = served;
    drop(erofs);
    fuse.unmount().unwrap();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(mountpoint.to_str().unwrap()));
}

/// What a random layer does at a path.
#[derive(Debug, Clone)]
enum Change {
    File { size: usize, mode: u16 },
    Sparse { block: usize, holes: usize },
    Folder { mode: u16 },
    Link { target: String },
    Symlink { len: usize },
    Device { minor: u32 },
    Xattr { len: usize },
    Whiteout,
}

fn place() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..20_000_usize, 0..0o10000_u16)
            .prop_map(|(size, mode)| Change::File { size, mode: mode | 0o400 }),
        1 => (1..9000_usize, 1..40_usize)
            .prop_map(|(block, holes)| Change::Sparse { block, holes }),
        2 => (0..0o10000_u16).prop_map(|mode| Change::Folder { mode }),
        2 => place().prop_map(|target| Change::Link { target }),
        1 => (1..4095_usize).prop_map(|len| Change::Symlink { len }),
        1 => (0..1_000_000_u32).prop_map(|minor| Change::Device { minor }),
        2 => (0..3000_usize).prop_map(|len| Change::Xattr { len }),
        2 => Just(Change::Whiteout),
    ]
}

/// A layer that is right: no path below a file, no link to nothing, no name twice.
fn layer_of(changes: &[(String, Change)]) -> Layer {
    use std::collections::BTreeMap;
    let mut kinds: BTreeMap<String, bool> = BTreeMap::new();
    let mut layer = Layer::new();
    for (path, change) in changes {
        let clashes = kinds.iter().any(|(other, is_folder)| {
            other == path
                || path.starts_with(&format!("{other}/")) && !is_folder
                || other.starts_with(&format!("{path}/"))
        });
        if clashes {
            continue;
        }
        let is_folder = matches!(change, Change::Folder { .. });
        layer = match change {
            Change::File { size, mode } => layer.file(path, *mode, &noise(*size)),
            Change::Sparse { block, holes } => {
                let bytes = noise(*block);
                let data: Vec<(u64, &[u8])> =
                    (0..3).map(|n| ((n * (block + holes * 4096)) as u64, &bytes[..])).collect();
                layer.sparse(path, (4 * (block + holes * 4096)) as u64, &data)
            }
            Change::Folder { mode } => layer.dir(path, *mode),
            Change::Link { target } if kinds.get(target) == Some(&false) => {
                layer.link(path, target)
            }
            Change::Link { .. } => continue,
            Change::Symlink { len } => layer.symlink(path, &"t".repeat(*len)),
            Change::Device { minor } => {
                layer.node(path, stratafs::archive::FileType::BlockDevice, 7, *minor)
            }
            Change::Xattr { len } => {
                layer.file(path, 0o644, b"x").xattr("user.long", &vec![7; *len])
            }
            Change::Whiteout => layer.whiteout(path),
        };
        // What a whiteout hides can be no target of a link.
        kinds.insert(path.clone(), is_folder || matches!(change, Change::Whiteout));
    }
    layer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn random_trees_are_the_same_both_ways(
        layers in prop::collection::vec(prop::collection::vec((place(), change()), 0..25), 1..5)
    ) {
        let layers: Vec<Layer> = layers.iter().map(|changes| layer_of(changes)).collect();
        let served = Served::of(layers);
        served.is_accepted();
        served.is_the_same();
    }
}
