//! Layers written down as text, and trees read back as text.

use crate::archive::{FileType, LayerPath, Metadata, Timestamp};
use crate::digest::{DiffId, Digest};
use crate::layer::{Extent, Inode, Name, Target, Toc};
use crate::tree::{Layer, Merged, ROOT, Tree};

pub(crate) fn path(s: &str) -> LayerPath {
    LayerPath::parse(s.as_bytes()).unwrap()
}

pub(crate) fn inode(file_type: FileType) -> Inode {
    let metadata = Metadata { file_type, mode: 0o640, ..Metadata::implied_directory() };
    Inode { metadata, size: 0, extents: Vec::new(), link_target: Vec::new() }
}

/// A layer from lines, in any order:
/// `dir P`, `file P`, `symlink P TARGET`, `link P FILE` (same layer), `lower P FILE` (below),
/// `hide P` (whiteout), `opaque P`.
pub(crate) fn layer(lines: &[&str]) -> Toc {
    let mut toc = Toc::default();
    let words: Vec<Vec<&str>> = lines.iter().map(|l| l.split(' ').collect()).collect();
    for word in &words {
        let (p, argument) = (path(word[1]), word.get(2).copied().unwrap_or_default());
        let mut new = match word[0] {
            "hide" => {
                toc.whiteouts.push(p);
                continue;
            }
            "opaque" => {
                toc.opaques.push(p);
                continue;
            }
            "lower" => {
                toc.names.push(Name { path: p, target: Target::Lower(path(argument)) });
                continue;
            }
            "link" => continue,
            "dir" => inode(FileType::Directory),
            "file" => inode(FileType::Regular),
            "symlink" => inode(FileType::Symlink),
            other => panic!("{other}"),
        };
        new.metadata.mtime.secs = 7 + toc.inodes.len() as i64;
        new.link_target = argument.into();
        if word[0] == "file" {
            new.size = 3;
            new.extents.push(Extent {
                file_offset: 0,
                len: 3,
                layer_offset: 512 * (1 + toc.inodes.len() as u64),
            });
        }
        let target = Target::Inode(toc.inodes.len() as u32);
        toc.inodes.push(new);
        toc.names.push(Name { path: p, target });
    }
    for word in words.iter().filter(|word| word[0] == "link") {
        let first = toc.names.iter().find(|name| name.path == path(word[2])).unwrap();
        let target = first.target.clone();
        toc.names.push(Name { path: path(word[1]), target });
    }
    toc.names.sort_by(|a, b| a.path.cmp(&b.path));
    toc.whiteouts.sort();
    toc.opaques.sort();
    toc
}

/// Names for `count` layers.
pub(crate) fn identities(count: usize) -> Vec<Layer> {
    let digest = |text: String| Digest::sha256(text.as_bytes());
    (0..count)
        .map(|n| Layer {
            diff_id: DiffId::new(digest(format!("{n}"))),
            blob: digest(format!("b{n}")),
        })
        .collect()
}

pub(crate) fn tree_of(merged: &Merged<'_>) -> Tree {
    Tree::in_memory(merged, &identities(merged.layers())).unwrap()
}

pub(crate) fn merged(layers: &[Toc]) -> Tree {
    let layers: Vec<&Toc> = layers.iter().collect();
    tree_of(&crate::tree::merge(&layers).unwrap())
}

/// Every name of the tree and its inode number, in depth-first order; the root first.
pub(crate) fn walk(tree: &Tree) -> Vec<(LayerPath, u32)> {
    let mut found = Vec::new();
    let mut pending = vec![(LayerPath::root(), ROOT)];
    while let Some((path, ino)) = pending.pop() {
        if tree.node(ino).unwrap().file_type == FileType::Directory {
            for child in tree.children(ino, 0).unwrap() {
                let child = child.unwrap();
                assert_eq!(tree.node(child.ino).unwrap().file_type, child.file_type);
                pending.push((path.join(child.name).unwrap(), child.ino));
            }
        }
        found.push((path, ino));
    }
    found.sort();
    found
}

/// The tree in lines `TYPE PATH @LAYER`, with `xN` where the link count is not the usual one and
/// `implied` for directories with the attributes of none.
pub(crate) fn show(tree: &Tree) -> Vec<String> {
    let line = |(path, ino): (LayerPath, u32)| {
        let node = tree.node(ino).unwrap();
        let kind = match node.file_type {
            FileType::Directory => "dir",
            FileType::Regular => "file",
            FileType::Symlink => "symlink",
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => "other",
        };
        let mut line = format!("{kind} {path} @{}", node.layer);
        if node.file_type == FileType::Directory {
            let implied = (node.mode, node.mtime) == (0o755, Timestamp::default());
            line.push_str(if implied { " implied" } else { "" });
        } else if node.nlink > 1 {
            line.push_str(&format!(" x{}", node.nlink));
        }
        line
    };
    walk(tree).into_iter().skip(1).map(line).collect()
}
