//! Whiteouts hide lower layers only, wherever in the archive they are: random layers in random
//! order, applied to a folder and to an overlay, against a slow and obvious model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::subsequence;
use stratafs::diff::Target;

use super::archive::{Member, dir, file, node, symlink, tar};
use super::fixture::{Stack, apply_bytes};
use crate::oracle::{assert_same, snapshot, without_overlay_xattrs};

/// What there is at a path, and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dir,
    File,
    Fifo,
    Symlink,
}

type Tree = BTreeMap<String, (Kind, u32)>;

/// What a layer says: entries, whiteouts, opaque markers, as paths.
#[derive(Debug, Clone)]
struct Layer {
    entries: Tree,
    whiteouts: BTreeSet<String>,
    opaques: BTreeSet<String>,
}

const MTIME: u64 = 1_600_000_000;

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(parent(path)), |p| Some(parent(p))).take_while(|p| !p.is_empty())
}

fn is_below(path: &str, above: &str) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// All paths of up to three of the names, `s` never a parent: the paths of links.
fn all_paths() -> Vec<String> {
    let mut all = Vec::new();
    let names = ["a", "b", "s"];
    for a in names {
        all.push(a.to_owned());
        for b in names.iter().filter(|_| a != "s") {
            all.push(format!("{a}/{b}"));
            for c in names.iter().filter(|_| *b != "s") {
                all.push(format!("{a}/{b}/{c}"));
            }
        }
    }
    all
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![4 => Just(Kind::Dir), 3 => Just(Kind::File), 1 => Just(Kind::Fifo)]
}

/// Some paths with what is there; nothing lies below what is no folder.
fn tree() -> impl Strategy<Value = Tree> {
    let some = subsequence(all_paths(), 0..12);
    some.prop_flat_map(|paths| {
        let len = paths.len();
        (Just(paths), proptest::collection::vec((kind(), 0_u32..8), len))
    })
    .prop_map(|(paths, kinds)| {
        let mut tree = Tree::new();
        for (path, (kind, bits)) in paths.into_iter().zip(kinds) {
            let is_link = path.ends_with('s') && kind != Kind::Dir;
            let kind = if is_link { Kind::Symlink } else { kind };
            if ancestors(&path).all(|a| tree.get(a).is_none_or(|(kind, _)| *kind == Kind::Dir)) {
                tree.insert(path, (kind, 0o700 | bits));
            }
        }
        tree
    })
}

/// A tree in which every folder is listed.
fn whole_tree() -> impl Strategy<Value = Tree> {
    tree().prop_map(|mut tree| {
        for path in tree.keys().cloned().collect::<Vec<_>>() {
            for above in ancestors(&path) {
                tree.entry(above.to_owned()).or_insert((Kind::Dir, 0o751));
            }
        }
        tree
    })
}

fn layer() -> impl Strategy<Value = Layer> {
    let folders: Vec<String> = all_paths().into_iter().filter(|p| !p.ends_with('s')).collect();
    let folders = [vec![String::new()], folders].concat();
    (tree(), subsequence(all_paths(), 0..5), subsequence(folders, 0..3)).prop_map(
        |(entries, whiteouts, opaques)| Layer {
            entries,
            whiteouts: whiteouts.into_iter().collect(),
            opaques: opaques.into_iter().collect(),
        },
    )
}

fn entry(path: &str, (kind, mode): (Kind, u32)) -> Member {
    match kind {
        Kind::Dir => dir(path, mode),
        Kind::File => file(path, path),
        Kind::Fifo => node(b'6', path, (0, 0)),
        Kind::Symlink => symlink("target", path),
    }
    .mode(mode)
    .mtime(MTIME)
}

fn members(layer: &Layer) -> Vec<Member> {
    let join = |folder: &str, name: &str| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    };
    let whiteout = |path: &String| {
        let name = path.rsplit('/').next().unwrap();
        file(&join(parent(path), &format!(".wh.{name}")), "")
    };
    let opaque = |path: &String| file(&join(path, ".wh..wh..opq"), "");
    let entries = layer.entries.iter().map(|(path, node)| entry(path, *node));
    entries
        .chain(layer.whiteouts.iter().map(whiteout))
        .chain(layer.opaques.iter().map(opaque))
        .collect()
}

/// What applying `layer` to `lower` gives, by the words of the specification.
fn model(lower: &Tree, layer: &Layer) -> Tree {
    let hidden = |path: &str| {
        layer.whiteouts.iter().any(|w| path == w || is_below(path, w))
            || layer.opaques.iter().any(|o| is_below(path, o))
    };
    let replaced = |path: &str| {
        let is_file = |p: &str| layer.entries.get(p).is_some_and(|(kind, _)| *kind != Kind::Dir);
        layer.entries.contains_key(path) || ancestors(path).any(is_file)
    };
    let mut merged: Tree = lower
        .iter()
        .filter(|(path, _)| !hidden(path) && !replaced(path))
        .map(|(path, node)| (path.clone(), *node))
        .collect();
    // A folder of the layer takes the place of a lower file; what the layer implies does so too.
    for (path, node) in &layer.entries {
        merged.insert(path.clone(), *node);
        for above in ancestors(path).filter(|a| !layer.entries.contains_key(*a)) {
            if merged.get(above).is_none_or(|(kind, _)| *kind != Kind::Dir) {
                merged.insert(above.to_owned(), (Kind::Dir, 0o755 | IMPLIED));
            }
        }
    }
    merged
}

/// Marks a folder that is implied, whose time is 0.
const IMPLIED: u32 = 1 << 20;

/// Makes the tree with the simplest of calls.
fn make(tree: &Tree, root: &Path) {
    for (path, (kind, mode)) in tree {
        let at = root.join(path);
        match kind {
            Kind::Dir => fs::create_dir(&at).unwrap(),
            Kind::File => fs::write(&at, path).unwrap(),
            Kind::Fifo => rustix::fs::mknodat(
                rustix::fs::CWD,
                &at,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::empty(),
                0,
            )
            .unwrap(),
            Kind::Symlink => std::os::unix::fs::symlink("target", &at).unwrap(),
        }
        if *kind != Kind::Symlink {
            fs::set_permissions(&at, fs::Permissions::from_mode(mode & 0o7777)).unwrap();
        }
    }
    for (path, (_, mode)) in tree.iter().rev() {
        let secs = if mode & IMPLIED == 0 { i64::try_from(MTIME).unwrap() } else { 0 };
        let time = rustix::fs::Timespec { tv_sec: secs, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, root.join(path), &times, flags).unwrap();
    }
}

fn without_root(mut snapshot: crate::oracle::Snapshot) -> crate::oracle::Snapshot {
    snapshot.remove(Path::new(""));
    without_overlay_xattrs(snapshot)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whiteouts_hide_lower_layers_in_any_order(
        lower in whole_tree(),
        (layer, order) in layer().prop_flat_map(|layer| {
            let shuffled = Just(members(&layer)).prop_shuffle();
            (Just(layer), shuffled)
        }),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let [expected, folder] = ["expected", "folder"].map(|name| temp.path().join(name));
        fs::create_dir(&expected).unwrap();
        fs::create_dir(&folder).unwrap();
        make(&model(&lower, &layer), &expected);
        let expected = without_root(snapshot(&expected));
        let archive = tar(&order);

        make(&lower, &folder);
        apply_bytes(archive.clone(), &Target::Folder(folder.clone())).unwrap();
        assert_same(&expected, &without_root(snapshot(&folder)));

        let mut stack = Stack::new();
        let base = stack.target();
        if let Target::Overlay { upper, .. } = &base {
            make(&lower, upper);
        }
        stack.push(base);
        stack.apply(archive).unwrap();
        assert_same(&expected, &without_root(snapshot(&stack.mount().path().join("."))));
    }
}
