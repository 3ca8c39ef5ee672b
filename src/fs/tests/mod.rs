use std::sync::Arc;

use super::*;
use crate::archive::FileType;
use crate::digest::{ChainId, Digest};

mod blob;
mod differences;
mod properties;
mod virtual_root;

#[path = "../../../tests/fixture.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the integration tests")]
mod fixture;

use fixture::{InMemory, Layer, in_memory, noise, with_readers};

fn one(layer: Layer) -> Filesystem {
    Filesystem::of_tree(in_memory(vec![layer]))
}

/// The node at `path`, by lookups from the root.
fn node(fs: &Filesystem, path: &str) -> NodeId {
    path.split('/').filter(|name| !name.is_empty()).fold(NodeId::ROOT, |dir, name| {
        fs.lookup(dir, name.as_bytes()).unwrap().value.unwrap().node
    })
}

/// All names from `position` on, `page` at a time, each call starting where the last one ended.
fn list(fs: &Filesystem, dir: NodeId, mut position: u64, page: usize) -> Vec<(String, NodeId)> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        fs.readdir(dir, position, &mut |entry| {
            if all.len() - before == page {
                return false;
            }
            position = entry.next;
            all.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.node));
            true
        })
        .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

fn names(listed: &[(String, NodeId)]) -> Vec<&str> {
    listed.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn dot_and_dot_dot_are_found() {
    let fs = one(Layer::new().file("a/b/c", 0o644, b""));
    let (a, b) = (node(&fs, "a"), node(&fs, "a/b"));
    let lookup = |dir, name: &[u8]| fs.lookup(dir, name).unwrap().value.unwrap().node;
    assert_eq!(lookup(b, b"."), b);
    assert_eq!(lookup(b, b".."), a);
    assert_eq!(lookup(NodeId::ROOT, b".."), NodeId::ROOT);
    let c = node(&fs, "a/b/c");
    assert_eq!(lookup(c, b"."), c, "a file is found by its number too");
    assert!(matches!(fs.lookup(c, b"x"), Err(Error::NotADirectory(_))));
}

#[test]
fn absent_names_are_an_answer_that_lasts() {
    let fs = one(Layer::new());
    let absent = fs.lookup(NodeId::ROOT, b"absent").unwrap();
    assert_eq!((absent.value, absent.validity), (None, Validity::Immutable));
    let long = fs.lookup(NodeId::ROOT, &[b'x'; 256]).unwrap_err();
    assert_eq!(long.errno(), libc::ENAMETOOLONG);
}

#[test]
fn what_is_no_file_cannot_be_read() {
    let layer = Layer::new().symlink("l", "x").node("n", FileType::CharDevice, 1, 3);
    let fs = one(layer.node("p", FileType::Fifo, 0, 0).file("f", 0o644, b""));
    let errno = |path| fs.read(node(&fs, path), 0, &mut [0]).unwrap_err().errno();
    assert_eq!(errno(""), libc::EISDIR);
    for path in ["l", "n", "p"] {
        assert_eq!(errno(path), libc::EINVAL);
    }
    assert_eq!(fs.readlink(node(&fs, "f")).unwrap_err().errno(), libc::EINVAL);
    assert_eq!(fs.readlink(node(&fs, "l")).unwrap(), b"x");
}

#[test]
fn opening_to_write_is_refused() {
    let fs = one(Layer::new().file("f", 0o666, b""));
    let f = node(&fs, "f");
    for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY | libc::O_TRUNC] {
        assert_eq!(fs.open(f, flags).unwrap_err().errno(), libc::EROFS);
    }
    fs.open(f, libc::O_RDONLY).unwrap();
    assert_eq!(fs.open(NodeId::ROOT, libc::O_RDONLY).unwrap_err().errno(), libc::EISDIR);
    assert_eq!(fs.open_dir(f).unwrap_err().errno(), libc::ENOTDIR);
    fs.open_dir(NodeId::ROOT).unwrap();
    assert_eq!(fs.access(f, libc::W_OK).unwrap_err().errno(), libc::EROFS);
    fs.access(f, libc::R_OK).unwrap();
}

#[test]
fn xattrs_are_exact_and_their_absence_is_enodata() {
    let fs = one(Layer::new().file("f", 0o644, b"").xattr("user.b", b"2").xattr("user.a", b"\0"));
    let f = node(&fs, "f");
    assert_eq!(fs.getxattr(f, b"user.a").unwrap(), b"\0");
    assert_eq!(fs.getxattr(f, b"user.c").unwrap_err().errno(), libc::ENODATA);
    assert_eq!(fs.listxattr(f).unwrap(), b"user.a\0user.b\0");
    assert_eq!(fs.getxattr(NodeId::ROOT, b"user.a").unwrap_err().errno(), libc::ENODATA);
    assert_eq!(fs.listxattr(NodeId::ROOT).unwrap(), b"");
    let none = Filesystem::new();
    assert_eq!(none.getxattr(NodeId::ROOT, b"user.a").unwrap_err().errno(), libc::ENODATA);
}

#[test]
fn a_read_names_what_it_waits_for_and_holes_need_no_waiting() {
    let layers = || {
        let lower = Layer::new().file("low", 0o644, b"lower").sparse("hole", 10_000, &[]);
        vec![lower, Layer::new().file("high", 0o644, b"upper")]
    };
    // A Vec as reader never has anything at hand.
    let fs = Filesystem::of_tree(with_readers(layers(), |data| Arc::new(data)));
    let mut buf = [1; 20_000];
    let missing = |path: &str| fs.read_cached(node(&fs, path), 0, &mut [0; 9]).unwrap();
    assert!(matches!(missing("low"), Cached::Missing(_)));
    assert_eq!(missing("low"), missing("low"));
    assert_ne!(missing("low"), missing("high"), "each layer is a source of its own");
    let hole = fs.read_cached(node(&fs, "hole"), 0, &mut buf).unwrap();
    assert_eq!(hole, Cached::Ready(10_000));
    assert!(buf[..10_000].iter().all(|b| *b == 0));
    assert_eq!(fs.read(node(&fs, "low"), 0, &mut buf).unwrap(), 5);
    assert_eq!(&buf[..5], b"lower");
}

#[test]
fn a_missing_layer_and_a_short_one_are_eio() {
    let layer = || vec![Layer::new().file("f", 0o644, &noise(1000))];
    let mut without = in_memory(layer());
    without.layers.clear();
    let cut = with_readers(layer(), |data| Arc::new(InMemory(data[..500].to_vec())));
    for tree in [without, cut] {
        let fs = Filesystem::of_tree(tree);
        let f = node(&fs, "f");
        assert_eq!(fs.read(f, 0, &mut [0; 2000]).unwrap_err().errno(), libc::EIO);
        assert_eq!(fs.read_cached(f, 0, &mut [0; 2000]).unwrap_err().errno(), libc::EIO);
        assert!(fs.read(f, 1000, &mut [0; 2000]).is_ok_and(|n| n == 0));
    }
}

fn chain(what: u32) -> SlotName {
    SlotName::Chain(ChainId::new(Digest::sha256(&what.to_le_bytes())))
}

fn tree_with(content: &str) -> MountedTree {
    in_memory(vec![Layer::new().file("f", 0o644, content.as_bytes())])
}

#[test]
fn no_figure_of_statfs_is_zero() {
    for fs in [Filesystem::new(), one(Layer::new())] {
        let stat = fs.statfs(NodeId::ROOT).unwrap();
        assert!(stat.blocks > 0 && stat.files > 0 && stat.block_size > 0);
    }
    let fs = one(Layer::new().file("f", 0o644, &[0; 9000]));
    let stat = fs.statfs(NodeId::ROOT).unwrap();
    assert_eq!((stat.blocks, stat.files), (3, 2));
}
