//! Small layers made by hand, and the trees and filesystems over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use stratafs::archive::{Device, FileType, LayerPath, Metadata, Timestamp, Xattr};
use stratafs::digest::{DiffId, Digest};
use stratafs::fs::MountedTree;
use stratafs::io::ReadAt;
use stratafs::layer::{Extent, Inode, Name, Target, Toc};
use stratafs::tree::{self, Tree};

/// The modification time of everything in a [`Layer`].
pub const MTIME: Timestamp = Timestamp { secs: 1_700_000_000, nanos: 123_456_789 };

/// A layer in the making: a table of contents and the bytes of its files.
#[derive(Default)]
pub struct Layer {
    inodes: Vec<Inode>,
    names: BTreeMap<LayerPath, Target>,
    whiteouts: Vec<LayerPath>,
    data: Vec<u8>,
}

pub fn path(path: &str) -> LayerPath {
    LayerPath::parse(path.as_bytes()).unwrap()
}

impl Layer {
    pub fn new() -> Self {
        Self::default()
    }

    fn add(mut self, at: &str, file_type: FileType, mode: u16, size: u64) -> Self {
        let metadata = Metadata { file_type, mode, mtime: MTIME, ..Metadata::implied_directory() };
        let place = Target::Inode(u32::try_from(self.inodes.len()).unwrap());
        self.inodes.push(Inode { metadata, size, extents: vec![], link_target: vec![] });
        self.names.insert(path(at), place);
        self
    }

    fn last(&mut self) -> &mut Inode {
        self.inodes.last_mut().unwrap()
    }

    pub fn dir(self, at: &str, mode: u16) -> Self {
        self.add(at, FileType::Directory, mode, 0)
    }

    /// A file; its bytes do not start at a round place of the layer.
    pub fn file(self, at: &str, mode: u16, content: &[u8]) -> Self {
        let size = content.len() as u64;
        if content.is_empty() {
            self.sparse(at, 0, &[])
        } else {
            self.sparse(at, size, &[(0, content)])
        }
        .mode(mode)
    }

    /// A file of `size` bytes with data at some places and holes elsewhere.
    pub fn sparse(self, at: &str, size: u64, data: &[(u64, &[u8])]) -> Self {
        let mut layer = self.add(at, FileType::Regular, 0o644, size);
        for (file_offset, bytes) in data {
            layer.data.extend_from_slice(b"gap");
            let extent = Extent {
                file_offset: *file_offset,
                len: bytes.len() as u64,
                layer_offset: layer.data.len() as u64,
            };
            layer.data.extend_from_slice(bytes);
            layer.last().extents.push(extent);
        }
        layer
    }

    pub fn symlink(self, at: &str, target: &str) -> Self {
        let mut layer = self.add(at, FileType::Symlink, 0o777, 0);
        layer.last().link_target = target.into();
        layer
    }

    pub fn node(self, at: &str, file_type: FileType, major: u32, minor: u32) -> Self {
        let mut layer = self.add(at, file_type, 0o666, 0);
        layer.last().metadata.device = Device { major, minor };
        layer
    }

    /// A second name of what is at `old`.
    pub fn link(mut self, at: &str, old: &str) -> Self {
        let target = self.names[&path(old)].clone();
        self.names.insert(path(at), target);
        self
    }

    pub fn whiteout(mut self, at: &str) -> Self {
        self.whiteouts.push(path(at));
        self
    }

    /// Changes the mode of what was added last.
    pub fn mode(mut self, mode: u16) -> Self {
        self.last().metadata.mode = mode;
        self
    }

    /// Changes the owner of what was added last.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.last().metadata.uid = uid;
        self.last().metadata.gid = gid;
        self
    }

    /// Gives what was added last an attribute.
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let xattr = Xattr { name: name.into(), value: value.into() };
        self.last().metadata.xattrs.push(xattr);
        self.last().metadata.xattrs.sort();
        self
    }

    /// The table of contents, and the bytes that its extents are in.
    pub fn build(mut self) -> (Toc, Vec<u8>) {
        self.whiteouts.sort();
        let names = self.names.into_iter().map(|(path, target)| Name { path, target }).collect();
        let toc = Toc { inodes: self.inodes, names, whiteouts: self.whiteouts, opaques: vec![] };
        (toc, self.data)
    }
}

/// The tree of these layers, bottom first.
pub fn merged(tocs: &[&Toc]) -> Arc<Tree> {
    let name = |place: usize| {
        let digest = Digest::sha256(&place.to_le_bytes());
        tree::Layer { diff_id: DiffId::new(digest.clone()), blob: digest }
    };
    let names: Vec<_> = (0..tocs.len()).map(name).collect();
    Arc::new(Tree::in_memory(&tree::merge(tocs).unwrap(), &names).unwrap())
}

/// A tree of layers whose bytes are in memory, always at hand.
pub fn in_memory(layers: Vec<Layer>) -> MountedTree {
    with_readers(layers, |data| Arc::new(InMemory(data)))
}

/// A tree of layers whose bytes are read through what `reader` makes of them.
pub fn with_readers(
    layers: Vec<Layer>,
    reader: impl Fn(Vec<u8>) -> Arc<dyn ReadAt>,
) -> MountedTree {
    let (tocs, data): (Vec<Toc>, Vec<Vec<u8>>) = layers.into_iter().map(Layer::build).unzip();
    let tocs: Vec<&Toc> = tocs.iter().collect();
    MountedTree {
        tree: merged(&tocs),
        layers: data.into_iter().map(reader).collect(),
        starts: None,
    }
}

/// Bytes that can be read without waiting.
pub struct InMemory(pub Vec<u8>);

impl ReadAt for InMemory {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<Option<usize>> {
        self.0.read_at(buf, offset).map(Some)
    }
}

/// Bytes without a pattern of a short period.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut out: Vec<u8> =
        std::iter::repeat_with(&mut next).take(len.div_ceil(8)).flatten().collect();
    out.truncate(len);
    out
}
