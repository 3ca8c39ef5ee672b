//! Applying the comparison of `a` and `b` to `a` gives `b`: random trees, and random changes made
//! through a mounted overlay.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use stratafs::diff::{CompareOptions, LayerFolders, Target, compare_folders, compare_overlay};
use stratafs::sys::mount::{Attributes, Context, DetachedMount};

use super::fixture::{Stack, apply_bytes};
use super::tree::{copy, set_times, walk};
use crate::oracle::{
    Snapshot, assert_same, snapshot, snapshot_of_overlay, without_link_counts,
    without_overlay_xattrs,
};

/// One change to a tree. Paths are numbers: of a name, or of what there is.
#[derive(Debug, Clone)]
enum Change {
    MakeDir(Name),
    MakeFile(Name, u8),
    MakeSymlink(Name, u8),
    MakeFifo(Name),
    MakeDevice(Name, bool),
    /// One more name for something that there is.
    Link(usize, Name),
    Remove(usize),
    Write(usize, u8),
    Rename(usize, Name),
    Chmod(usize, u16),
    Chown(usize, u32, u32),
    Xattr(usize, u8, Option<u8>),
    Time(usize, i64, u32),
    /// The same file again as one of its own.
    Split(usize),
    /// A file becomes one more name of another.
    Join(usize, usize),
}

/// A folder that there is, and a name in it.
type Name = (usize, &'static [u8]);

const NAMES: [&[u8]; 6] = [b"a", b"a-b", b"b", b"sub", b"\xff\xfe not utf-8", b" spa ce\n"];

fn name() -> impl Strategy<Value = Name> {
    (any::<usize>(), select(&NAMES[..]))
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    let id = || select(vec![0_u32, 1, 1000, 3_000_000, 4_000_000_000]);
    prop_oneof![
        4 => name().prop_map(Change::MakeDir),
        4 => (name(), 0_u8..3).prop_map(|(n, c)| Change::MakeFile(n, c)),
        1 => (name(), 0_u8..3).prop_map(|(n, c)| Change::MakeSymlink(n, c)),
        1 => name().prop_map(Change::MakeFifo),
        1 => (name(), any::<bool>()).prop_map(|(n, b)| Change::MakeDevice(n, b)),
        2 => (at(), name()).prop_map(|(p, n)| Change::Link(p, n)),
        3 => at().prop_map(Change::Remove),
        2 => (at(), 0_u8..3).prop_map(|(p, c)| Change::Write(p, c)),
        2 => (at(), name()).prop_map(|(p, n)| Change::Rename(p, n)),
        1 => (at(), select(vec![0o4755_u16, 0o600, 0o2711, 0o1777])).prop_map(|(p, m)| Change::Chmod(p, m)),
        1 => (at(), id(), id()).prop_map(|(p, u, g)| Change::Chown(p, u, g)),
        1 => (at(), 0_u8..3, any::<Option<u8>>()).prop_map(|(p, n, v)| Change::Xattr(p, n, v)),
        1 => (at(), -100_i64..100, select(vec![0_u32, 1, 999_999_999]))
            .prop_map(|(p, s, n)| Change::Time(p, s, n)),
        1 => at().prop_map(Change::Split),
        1 => (at(), at()).prop_map(|(p, q)| Change::Join(p, q)),
    ]
}

fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 0..most)
}

/// What there is below `root`, or only the folders of it, the root among them.
fn existing(root: &Path, folders: bool) -> Vec<PathBuf> {
    let mut all = walk(root);
    if folders {
        all.retain(|path| fs::symlink_metadata(path).unwrap().is_dir());
    } else {
        all.retain(|path| path != root);
    }
    all.sort();
    all
}

/// Does the change if it makes sense. Whatever the filesystem refuses does not.
fn make(root: &Path, change: &Change) -> Option<()> {
    let place = |name: &Name| {
        let folders = existing(root, true);
        folders[name.0 % folders.len()].join(OsStr::from_bytes(name.1))
    };
    let pick = |number: usize| {
        let all = existing(root, false);
        (!all.is_empty()).then(|| all[number % all.len()].clone())
    };
    let node =
        |name: &Name, kind, dev| rustix::fs::mknodat(CWD, place(name), kind, Mode::RUSR, dev).ok();
    let content = |c: &u8| [&[*c], &b"content"[..]].concat();
    match change {
        Change::MakeDir(name) => fs::create_dir(place(name)).ok(),
        Change::MakeFile(name, c) => {
            fs::File::create_new(place(name)).ok()?;
            fs::write(place(name), content(c)).ok()
        }
        Change::MakeSymlink(name, c) => {
            std::os::unix::fs::symlink(format!("target{c}"), place(name)).ok()
        }
        Change::MakeFifo(name) => node(name, FileType::Fifo, 0),
        Change::MakeDevice(name, true) => {
            node(name, FileType::BlockDevice, rustix::fs::makedev(7, 300))
        }
        Change::MakeDevice(name, false) => {
            node(name, FileType::CharacterDevice, rustix::fs::makedev(1, 3))
        }
        Change::Link(path, name) => fs::hard_link(pick(*path)?, place(name)).ok(),
        Change::Remove(path) => {
            let path = pick(*path)?;
            match fs::symlink_metadata(&path).unwrap().is_dir() {
                true => fs::remove_dir_all(path).ok(),
                false => fs::remove_file(path).ok(),
            }
        }
        Change::Write(path, c) => {
            let path = pick(*path)?;
            is_file(&path).then(|| fs::write(path, content(c)).unwrap())
        }
        Change::Rename(path, name) => fs::rename(pick(*path)?, place(name)).ok(),
        Change::Chmod(path, mode) => {
            let path = pick(*path)?;
            let is_link = fs::symlink_metadata(&path).unwrap().is_symlink();
            let mode = fs::Permissions::from_mode((*mode).into());
            (!is_link).then(|| fs::set_permissions(path, mode).unwrap())
        }
        Change::Chown(path, uid, gid) => {
            std::os::unix::fs::lchown(pick(*path)?, Some(*uid), Some(*gid)).ok()
        }
        Change::Xattr(path, name, value) => {
            let name = ["user.one", "trusted.two", "security.three"][usize::from(*name)];
            match value {
                Some(v) => rustix::fs::lsetxattr(
                    pick(*path)?,
                    name,
                    &[*v, 0, b'\n', b'='],
                    XattrFlags::empty(),
                )
                .ok(),
                None => rustix::fs::lremovexattr(pick(*path)?, name).ok(),
            }
        }
        Change::Time(path, secs, nanos) => {
            let time = Timespec { tv_sec: *secs, tv_nsec: (*nanos).into() };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, pick(*path)?, &times, AtFlags::SYMLINK_NOFOLLOW).ok()
        }
        Change::Split(path) => {
            let path = pick(*path).filter(|p| is_file(p))?;
            let (content, mode) = (fs::read(&path).ok()?, fs::metadata(&path).ok()?.permissions());
            fs::remove_file(&path).ok()?;
            fs::write(&path, content).ok()?;
            fs::set_permissions(path, mode).ok()
        }
        Change::Join(path, other) => {
            let path = pick(*path).filter(|p| is_file(p))?;
            let other = pick(*other).filter(|p| is_file(p) && *p != path)?;
            fs::remove_file(&other).ok()?;
            fs::hard_link(path, other).ok()
        }
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().is_file()
}

fn make_all(root: &Path, changes: &[Change]) {
    for change in changes {
        let _ = make(root, change);
    }
}

/// All but the time of the root, which every change in it moves.
fn content(root: &Path) -> Snapshot {
    without_root(snapshot(root))
}

fn without_root(mut all: Snapshot) -> Snapshot {
    all.remove(Path::new(""));
    without_overlay_xattrs(all)
}

/// The content of a mounted overlay.
fn mounted(mount: &DetachedMount) -> Snapshot {
    without_link_counts(without_root(snapshot_of_overlay(&mount.path().join("."))))
}

/// An overlay that is mounted nowhere; `renames`: it lets folders of lower layers be renamed.
fn mount_writable(lowers: &[&Path], upper: &Path, work: &Path, renames: bool) -> DetachedMount {
    let context = Context::open("overlay").unwrap();
    let lowers: Vec<&str> = lowers.iter().map(|path| path.to_str().unwrap()).collect();
    context.string("lowerdir", lowers.join(":")).unwrap();
    context.string("upperdir", upper).unwrap();
    context.string("workdir", work).unwrap();
    let redirect_dir = if renames { "on" } else { "off" };
    for (key, value) in [("index", "off"), ("redirect_dir", redirect_dir), ("metacopy", "off")] {
        context.string(key, value).unwrap();
    }
    context.create(Attributes::empty()).unwrap()
}

/// Makes changes through an overlay, and says what its upper folder is as a layer and what there is
/// to be seen.
fn change_through(
    lowers: &[&Path],
    upper: &Path,
    work: &Path,
    renames: bool,
    changes: &[Change],
) -> (Vec<u8>, Snapshot) {
    let mount = mount_writable(lowers, upper, work, renames);
    make_all(&mount.path().join("."), changes);
    let expected = mounted(&mount);
    let lowers: Vec<PathBuf> = lowers.iter().map(|path| path.to_path_buf()).collect();
    let tree = LayerFolders::open(&lowers, false).unwrap();
    let mut layer = Vec::new();
    compare_overlay(upper, &tree, &CompareOptions::default(), &mut layer).unwrap();
    (layer, expected)
}

fn folders<const N: usize>(root: &Path, names: [&str; N]) -> [PathBuf; N] {
    let paths = names.map(|name| root.join(name));
    paths.iter().for_each(|path| fs::create_dir(path).unwrap());
    paths
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_comparison_of_folders_makes_one_the_other(
        both in changes(30), left in changes(10), right in changes(15), one_time in any::<bool>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let [a, b] = folders(temp.path(), ["a", "b"]);
        make_all(&a, &both);
        copy(&a, &b);
        make_all(&a, &left);
        make_all(&b, &right);
        if one_time {
            // Only then can two files that were made one after the other be the same.
            set_times(&a, 5);
            set_times(&b, 5);
        }
        let mut layer = Vec::new();
        compare_folders(Some(&a), &b, &CompareOptions::default(), &mut layer).unwrap();
        apply_bytes(layer.clone(), &Target::Folder(a.clone())).unwrap();
        assert_same(&content(&b), &content(&a));
        // Nothing is left to tell.
        let mut rest = Vec::new();
        compare_folders(Some(&a), &b, &CompareOptions::default(), &mut rest).unwrap();
        assert_eq!(rest, [0; 1024]);
    }

    #[test]
    fn what_was_changed_through_an_overlay_is_a_layer(
        lower in changes(30), through in changes(25), again in changes(15), renames in any::<bool>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let [a, upper, work] = folders(temp.path(), ["a", "upper", "work"]);
        let [upper2, work2, plain] = folders(temp.path(), ["upper2", "work2", "plain"]);
        make_all(&a, &lower);
        copy(&a, &plain);
        let mut stack = Stack::new();
        let base = stack.target();
        if let Target::Overlay { upper, .. } = &base {
            copy(&a, upper);
        }
        stack.push(base);

        // The second time the lower layers may hold folders that were renamed.
        for (lowers, upper, work, changes) in
            [(vec![&*a], &upper, &work, &through), (vec![&*upper, &*a], &upper2, &work2, &again)]
        {
            let (layer, expected) = change_through(&lowers, upper, work, renames, changes);
            apply_bytes(layer.clone(), &Target::Folder(plain.clone())).unwrap();
            assert_same(&expected, &without_link_counts(content(&plain)));
            stack.apply(layer).unwrap();
            assert_same(&expected, &mounted(&stack.mount()));
        }
    }

    /// A layer may stand on layers that were written through an overlay, renamed folders included.
    #[test]
    fn layers_stand_on_renamed_folders(
        lower in changes(30), through in changes(25), more in changes(15),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let [a, upper, work] = folders(temp.path(), ["a", "upper", "work"]);
        let [top, plain, changed] = folders(temp.path(), ["top", "plain", "changed"]);
        make_all(&a, &lower);
        let mount = mount_writable(&[&a], &upper, &work, true);
        make_all(&mount.path().join("."), &through);
        copy(&mount.path().join("."), &plain);
        drop(mount);
        copy(&plain, &changed);
        make_all(&changed, &more);
        let mut layer = Vec::new();
        compare_folders(Some(&plain), &changed, &CompareOptions::default(), &mut layer).unwrap();
        let lowers = vec![upper.clone(), a.clone()];
        let target = Target::Overlay { upper: top.clone(), lowers, user_xattrs: false };
        apply_bytes(layer, &target).unwrap();
        let work = temp.path().join("work2");
        fs::create_dir(&work).unwrap();
        let mount = mount_writable(&[&upper, &a], &top, &work, true);
        assert_same(&without_link_counts(content(&changed)), &mounted(&mount));
    }
}
