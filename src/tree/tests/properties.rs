//! Random chains: the merge against the model, and the file against the merge.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::chain::{identities, inode, tree_of, walk};
use super::model::{Entry, Model, Refused};
use crate::archive::{Device, FileType, LayerPath, Metadata, Xattr};
use crate::layer::{Extent, Inode, Name, Target, Toc};
use crate::tree::{DATA_BLOCK, Error, Tree, merge};

#[derive(Debug, Clone)]
enum Op {
    New(LayerPath, FileType, u8),
    /// One more name of an inode of this layer.
    Link(LayerPath, usize),
    /// A name of a file that the layers below show; in one case of 24 of anything that one of
    /// them has named, hidden or not, and in one of a random path.
    Lower(LayerPath, usize, LayerPath),
    Hide(LayerPath),
    Opaque(LayerPath),
}

fn paths() -> impl Strategy<Value = LayerPath> {
    // `-` and `!` sort before `/`, so that folders and their siblings interleave as raw bytes.
    let name = prop::sample::select(vec!["a", "b", "a-", "a!", "ab", ".wh"]);
    prop::collection::vec(name, 1..5)
        .prop_map(|names| LayerPath::parse(names.join("/").as_bytes()).unwrap())
}

fn types() -> impl Strategy<Value = FileType> {
    prop_oneof![
        4 => Just(FileType::Regular),
        4 => Just(FileType::Directory),
        1 => Just(FileType::Symlink),
        1 => Just(FileType::CharDevice),
        1 => Just(FileType::Fifo),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (paths(), types(), any::<u8>()).prop_map(|(p, t, n)| Op::New(p, t, n)),
        1 => any::<u8>().prop_map(|n| Op::New(LayerPath::root(), FileType::Directory, n)),
        2 => (paths(), any::<usize>()).prop_map(|(p, n)| Op::Link(p, n)),
        2 => (paths(), any::<usize>(), paths()).prop_map(|(p, n, t)| Op::Lower(p, n, t)),
        3 => paths().prop_map(Op::Hide),
        1 => paths().prop_map(Op::Opaque),
        1 => Just(Op::Opaque(LayerPath::root())),
    ]
}

/// An inode that no other one equals, of layer `layer`.
fn new_inode(layer: usize, place: usize, file_type: FileType, n: u8) -> Inode {
    let mut new = inode(file_type);
    new.metadata =
        Metadata { mode: u16::from(n), uid: u32::from(n) << 24, gid: place as u32, ..new.metadata };
    new.metadata.mtime.secs = -(layer as i64);
    new.metadata.mtime.nanos = place as u32;
    let xattr = |name: &[u8]| Xattr { name: name.to_vec(), value: vec![n; usize::from(n % 7)] };
    new.metadata.xattrs = match n % 5 {
        0 => vec![xattr(b"security.other")],
        1 => vec![xattr(b"trusted.overlay.opaque"), xattr(b"user.a"), xattr(b"user.bc")],
        _ => Vec::new(),
    };
    if file_type == FileType::CharDevice {
        new.metadata.device = Device { major: u32::from(n), minor: 0xfffff };
    }
    if file_type == FileType::Symlink {
        new.link_target = vec![b'x'; usize::from(n) + 1];
    }
    if file_type == FileType::Regular {
        // In one of eight files with large steps, so that whole blocks are holes.
        let step = if n % 8 == 7 { 10_000 } else { 10 };
        let extent = |k: u64| Extent { file_offset: k * step, len: 10, layer_offset: k << 40 };
        new.extents = (0..u64::from(n % 4)).map(extent).collect();
        new.size = new.extents.len() as u64 * step + u64::from(n % 3) * 5;
    }
    new
}

/// Makes a layer of `ops` over layers that named these paths, leaving out what would break its
/// invariants.
fn build(layer: usize, ops: &[Op], below: &Model, named: &[LayerPath]) -> Toc {
    let mut toc = Toc::default();
    let mut names: HashMap<LayerPath, (Target, bool)> = HashMap::new();
    for op in ops {
        let (path, target, is_folder) = match op {
            Op::New(path, file_type, n) => {
                let place = toc.inodes.len();
                toc.inodes.push(new_inode(layer, place, *file_type, *n));
                (path, Target::Inode(place as u32), *file_type == FileType::Directory)
            }
            Op::Link(path, n) => {
                let is_file = |i: &&(Target, bool)| !i.1;
                let files: Vec<_> = names.values().filter(is_file).map(|i| i.0.clone()).collect();
                let mut places: Vec<u32> = files
                    .iter()
                    .filter_map(|t| if let Target::Inode(place) = t { Some(*place) } else { None })
                    .collect();
                places.sort_unstable();
                let Some(place) = places.get(n % places.len().max(1)) else { continue };
                (path, Target::Inode(*place), false)
            }
            Op::Lower(path, n, random) => {
                let known = if n % 24 == 1 { named.to_vec() } else { below.files() };
                let known = known.get((n / 24) % known.len().max(1)).filter(|_| n % 24 != 0);
                (path, Target::Lower(known.unwrap_or(random).clone()), false)
            }
            Op::Hide(path) => {
                toc.whiteouts.push(path.clone());
                continue;
            }
            Op::Opaque(path) => {
                toc.opaques.push(path.clone());
                continue;
            }
        };
        let under_a_file =
            names.iter().any(|(p, (_, folder))| !folder && path.starts_with(p) && p != path);
        let over_something = names.keys().any(|p| p.starts_with(path) && p != path);
        if !under_a_file && (is_folder || !over_something) {
            names.insert(path.clone(), (target, is_folder));
        }
    }
    toc.names = names.into_iter().map(|(path, (target, _))| Name { path, target }).collect();
    toc.names.sort_by(|a, b| a.path.cmp(&b.path));
    toc.whiteouts.sort();
    toc.whiteouts.dedup();
    toc.opaques.sort();
    toc.opaques.dedup();
    toc
}

/// Chains of layers that merge.
pub(crate) fn chains() -> impl Strategy<Value = Vec<Toc>> {
    let ops = prop::collection::vec(prop::collection::vec(ops(), 0..30), 1..4);
    ops.prop_filter_map("a link to a lower file was refused", |ops| {
        let (layers, model) = chain(&ops);
        model.is_ok().then_some(layers)
    })
}

/// Layers of `ops`, and what the model makes of them.
fn chain(ops: &[Vec<Op>]) -> (Vec<Toc>, Result<Model, Refused>) {
    let mut model = Model::new();
    let (mut layers, mut named) = (Vec::new(), Vec::new());
    for (layer, ops) in ops.iter().enumerate() {
        let toc = build(layer, ops, &model, &named);
        named.extend(toc.names.iter().map(|name| name.path.clone()));
        let applied = model.apply(layer, &toc);
        layers.push(toc);
        if let Err(refused) = applied {
            return (layers, Err(refused));
        }
    }
    (layers, Ok(model))
}

fn assert_same(tree: &Tree, model: &Model, layers: &[Toc]) {
    let found = walk(tree);
    let paths: Vec<&LayerPath> = found.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, model.entries.keys().collect::<Vec<_>>());
    let mut numbers = HashMap::new();
    for (path, ino) in &found {
        let place = tree.resolve(path.as_bytes(), false).unwrap();
        assert_eq!(place.ino, *ino);
        match &model.entries[path] {
            Entry::Folder { listed, implied } => {
                let layer = listed.map_or(*implied, |origin| origin.0);
                let layer = if path.is_root() && listed.is_none() { 0 } else { layer };
                assert_eq!(usize::from(tree.node(*ino).unwrap().layer), layer, "{path}");
                assert_folder(tree, *ino, path, model);
                let implied =
                    Inode { metadata: Metadata::implied_directory(), ..inode(FileType::Fifo) };
                let source = listed.map(|(layer, place)| &layers[layer].inodes[place as usize]);
                assert_inode(tree, *ino, source.unwrap_or(&implied));
            }
            Entry::File { origin, named } => {
                assert_eq!(usize::from(place.layer), *named, "{path}");
                assert_eq!(usize::from(tree.node(*ino).unwrap().layer), origin.0, "{path}");
                let same = |e: &&Entry| matches!(e, Entry::File { origin: o, .. } if o == origin);
                let links = model.entries.values().filter(same).count();
                assert_eq!(tree.node(*ino).unwrap().nlink as usize, links, "{path}");
                assert_eq!(numbers.entry(*origin).or_insert(*ino), ino, "{path}");
                assert_inode(tree, *ino, &layers[origin.0].inodes[origin.1 as usize]);
            }
        }
    }
    let mut all: Vec<u32> = found.iter().map(|(_, ino)| *ino).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=tree.summary().inodes).collect::<Vec<_>>());
    assert_eq!(tree.summary().names as usize, found.len() - 1);
}

fn assert_folder(tree: &Tree, ino: u32, path: &LayerPath, model: &Model) {
    let children = model.entries.iter().filter(|(p, _)| p.parent().as_ref() == Some(path));
    let folders = children.filter(|(_, e)| matches!(e, Entry::Folder { .. })).count();
    assert_eq!(tree.node(ino).unwrap().nlink as usize, 2 + folders, "{path}");
    let parent = path.parent().unwrap_or_default();
    assert_eq!(tree.parent(ino).unwrap(), tree.resolve(parent.as_bytes(), false).unwrap().ino);
    // Reading on from any position gives what reading at once gives.
    let all: Vec<_> = tree.children(ino, 0).unwrap().map(|c| c.unwrap()).collect();
    for (place, child) in all.iter().enumerate() {
        let rest: Vec<_> = tree.children(ino, child.next).unwrap().map(|c| c.unwrap()).collect();
        assert_eq!(rest, all[place + 1..]);
        assert_eq!(tree.lookup(ino, child.name).unwrap(), Some(child.ino));
    }
    assert_eq!(tree.lookup(ino, b"aa").unwrap(), None);
}

fn assert_inode(tree: &Tree, ino: u32, source: &Inode) {
    let (node, metadata) = (tree.node(ino).unwrap(), &source.metadata);
    assert_eq!(node.file_type, metadata.file_type);
    assert_eq!((node.mode, node.uid, node.gid), (metadata.mode, metadata.uid, metadata.gid));
    assert_eq!((node.mtime, node.device), (metadata.mtime, metadata.device));
    assert_eq!(node.size, source.size + source.link_target.len() as u64);
    let xattrs: Vec<Xattr> = tree
        .xattrs(ino)
        .unwrap()
        .map(|x| x.map(|(n, v)| Xattr { name: n.to_vec(), value: v.to_vec() }).unwrap())
        .collect();
    let mut expected = metadata.xattrs.clone();
    expected.retain(|x| !x.name.starts_with(b"trusted.overlay."));
    assert_eq!((node.has_xattrs, xattrs), (!expected.is_empty(), expected));
    assert_data(tree, ino, source);
    let step = if source.size > 100 { 977 } else { 1 };
    for offset in (0..source.size + 2).step_by(step) {
        let rest = source.extents.iter().filter(|e| e.file_offset + e.len > offset);
        let rest: Vec<Extent> = rest.copied().collect();
        let got: Vec<Extent> = tree
            .extents(ino, offset)
            .unwrap()
            .map(|e| e.unwrap())
            .inspect(|e| assert_eq!(e.layer, node.layer))
            .map(|e| Extent {
                file_offset: e.file_offset,
                len: e.len,
                layer_offset: e.layer_offset,
            })
            .collect();
        assert_eq!(got, rest, "from {offset}");
    }
    if node.file_type == FileType::Symlink {
        assert_eq!(tree.link_target(ino).unwrap(), source.link_target);
    }
}

/// The runs of the virtual blob are the blocks, and just those, that hold a byte of an extent.
fn assert_data(tree: &Tree, ino: u32, source: &Inode) {
    let runs = tree.data_runs(ino).unwrap();
    assert!(runs.chunks().bits == 0 || source.extents.len() < 2 || source.size <= DATA_BLOCK);
    let mut length = 0;
    let mut blocks = BTreeSet::new();
    for run in runs {
        let run = run.unwrap();
        length += run.blocks * DATA_BLOCK;
        blocks.extend(run.block..run.block + run.blocks);
    }
    assert_eq!(length, blocks.len() as u64 * DATA_BLOCK);
    let touched =
        |e: &Extent| e.file_offset / DATA_BLOCK..(e.file_offset + e.len).div_ceil(DATA_BLOCK);
    assert_eq!(blocks, source.extents.iter().flat_map(touched).collect());
    let start = tree.node(ino).unwrap().data_start;
    let next = if ino < tree.summary().inodes {
        tree.node(ino + 1).unwrap().data_start
    } else {
        tree.summary().data_len
    };
    assert_eq!(next - start, length);
}

fn refusal(error: Error) -> Refused {
    match error {
        Error::MissingTarget { .. } => Refused::Missing,
        Error::LinkToDirectory { .. } => Refused::Directory,
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_merge_is_the_layers_applied_one_by_one(
        ops in prop::collection::vec(prop::collection::vec(ops(), 0..14), 0..6)
    ) {
        let (layers, model) = chain(&ops);
        let merged = merge(&layers.iter().collect::<Vec<_>>());
        match model {
            Ok(model) => assert_same(&tree_of(&merged.unwrap()), &model, &layers),
            Err(refused) => prop_assert_eq!(refusal(merged.unwrap_err()), refused),
        }
    }

    #[test]
    fn a_layer_alone_can_always_be_shown(ops in prop::collection::vec(ops(), 0..20)) {
        let toc = build(0, &ops, &Model::new(), &[]);
        match crate::tree::raw(&toc) {
            Ok(merged) => {
                let found = walk(&tree_of(&merged));
                for name in &toc.names {
                    prop_assert!(found.binary_search_by(|(p, _)| p.cmp(&name.path)).is_ok());
                }
            }
            Err(e) => prop_assert!(false, "{e}"),
        }
    }

    #[test]
    fn the_same_merge_gives_the_same_file(ops in prop::collection::vec(prop::collection::vec(ops(), 0..10), 1..4)) {
        let (layers, model) = chain(&ops);
        if model.is_err() {
            return Ok(());
        }
        let once = || {
            let merged = merge(&layers.iter().collect::<Vec<_>>()).unwrap();
            crate::tree::write::encode(&merged, &identities(layers.len())).unwrap()
        };
        prop_assert!(once() == once());
    }
}
