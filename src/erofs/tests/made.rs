//! An image and its blob in files, looked at by others: erofs-utils and the kernel.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::{FileType, LayerPath};
use crate::erofs::{DataPath, Image};
use crate::sys::XattrTarget;
use crate::tree::tests::chain::walk;
use crate::tree::{Extent, Tree};

/// A folder on a filesystem that the kernel takes EROFS images from, which tmpfs is not.
pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

/// The byte at an offset of a layer, made up so that neighbours and layers differ.
fn layer_byte(layer: u16, offset: u64) -> u8 {
    let mixed = (offset ^ u64::from(layer) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u8
}

fn extent_bytes(extent: &Extent) -> Vec<u8> {
    (0..extent.len).map(|n| layer_byte(extent.layer, extent.layer_offset + n)).collect()
}

/// The bytes of a file from `offset` on, by its extents.
fn file_bytes(tree: &Tree, ino: u32, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    for extent in tree.extents(ino, offset).unwrap() {
        let extent = extent.unwrap();
        let start = extent.file_offset.max(offset);
        let end = extent.end().min(offset + len as u64);
        for at in start..end {
            let place = extent.layer_offset + (at - extent.file_offset);
            out[(at - offset) as usize] = layer_byte(extent.layer, place);
        }
        if extent.end() >= offset + len as u64 {
            break;
        }
    }
    out
}

/// Fails where `fsck.erofs` or `dump.erofs` finds anything wrong.
pub(super) fn check(image: &Path, blob: &Path) {
    let device = format!("--device={}", blob.display());
    for tool in [&["fsck.erofs"][..], &["dump.erofs", "-s", "-S"]] {
        let found = Command::new(tool[0]).args(&tool[1..]).arg(&device).arg(image).output();
        let found = found.unwrap();
        let text = String::from_utf8_lossy(&found.stderr);
        assert!(found.status.success() && !text.contains("<E>"), "{tool:?}: {text}");
    }
}

/// An image, its blob and its tree.
pub(super) struct Made<'t> {
    pub(super) tree: &'t Tree,
    pub(super) image: Image,
    pub(super) blob: PathBuf,
}

impl<'t> Made<'t> {
    /// Writes both into `dir`; the blob as the layout says, sparse where files have no data.
    pub(super) fn new(tree: &'t Tree, dir: &Path) -> Self {
        let image = Image::create(tree, &dir.join("image")).unwrap();
        let blob = dir.join("blob");
        let file = File::create(&blob).unwrap();
        file.set_len(tree.summary().data_len).unwrap();
        let mut offset = 0;
        while let Some(segment) = tree.segment(offset).unwrap() {
            let size = tree.node(segment.ino).unwrap().size;
            for extent in tree.extents(segment.ino, segment.file_offset).unwrap() {
                let extent = extent.unwrap();
                let start = extent.file_offset.max(segment.file_offset);
                let end = extent.end().min(segment.file_offset + segment.len);
                if start < end {
                    let bytes = file_bytes(tree, segment.ino, start, (end - start) as usize);
                    let place = segment.offset + (start - segment.file_offset);
                    file.write_all_at(&bytes, place).unwrap();
                }
            }
            assert!(segment.file_offset < size);
            offset += segment.len;
        }
        assert_eq!(offset, tree.summary().data_len);
        Self { tree, image, blob }
    }

    /// Fails where anybody finds anything wrong.
    pub(super) fn check(&self) {
        check(self.image.path(), &self.blob);
        self.image.verify().unwrap();
    }

    /// Mounts the image and fails where anything of it is not as in the tree.
    pub(super) fn compare_mounted(&self, data: DataPath) {
        let mount = self.image.mount(&self.blob, data).unwrap();
        let root = mount.path();
        let mut expected: HashMap<LayerPath, u32> = walk(self.tree).into_iter().collect();
        let mut numbers = HashMap::new();
        let mut pending = vec![(LayerPath::root(), root.clone())];
        let mut seen = |path: &LayerPath, place: &Path, parent: &File, name: &[u8]| {
            let ino = expected.remove(path).unwrap_or_else(|| panic!("{path} is not in the tree"));
            let number = std::fs::symlink_metadata(place).unwrap().ino();
            assert_eq!(*numbers.entry(number).or_insert(ino), ino, "{path}");
            self.compare_inode(path, place, ino);
            self.compare_xattrs(path, XattrTarget::Child(parent.as_fd(), name), ino);
            ino
        };
        seen(&LayerPath::root(), &root.join("."), &File::open(&root).unwrap(), b".");
        while let Some((path, place)) = pending.pop() {
            let folder = File::open(&place).unwrap();
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&place).unwrap() {
                let name = entry.unwrap().file_name();
                let (path, place) = (path.join(name.as_bytes()).unwrap(), place.join(&name));
                let ino = seen(&path, &place, &folder, name.as_bytes());
                if self.tree.node(ino).unwrap().file_type == FileType::Directory {
                    pending.push((path, place));
                }
                names.push(name);
            }
            names.sort();
            names.dedup();
            let ino = self.tree.resolve(path.as_bytes(), false).unwrap().ino;
            assert_eq!(names.len(), self.tree.children(ino, 0).unwrap().count(), "{path}");
        }
        assert!(expected.is_empty(), "not in the image: {expected:?}");
        assert_eq!(numbers.len() as u32, self.tree.summary().inodes);
    }

    fn compare_inode(&self, path: &LayerPath, place: &Path, ino: u32) {
        let (node, found) =
            (self.tree.node(ino).unwrap(), std::fs::symlink_metadata(place).unwrap());
        assert_eq!(found.mode(), node.file_type.mode_bits() | u32::from(node.mode), "{path}");
        assert_eq!((found.uid(), found.gid()), (node.uid, node.gid), "{path}");
        assert_eq!(found.nlink(), u64::from(node.nlink), "{path}");
        let mtime = (found.mtime(), found.mtime_nsec());
        assert_eq!(mtime, (node.mtime.secs, i64::from(node.mtime.nanos)), "{path}");
        assert_eq!(found.rdev(), node.device.dev_t(), "{path}");
        match node.file_type {
            FileType::Regular => {
                assert_eq!(found.size(), node.size, "{path}");
                self.compare_data(path, &File::open(place).unwrap(), ino);
            }
            FileType::Symlink => {
                assert_eq!(found.size(), node.size, "{path}");
                let target = std::fs::read_link(place).unwrap();
                let expected = self.tree.link_target(ino).unwrap();
                assert_eq!(target.as_os_str().as_bytes(), expected, "{path}");
            }
            FileType::Directory | FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {
            }
        }
    }

    fn compare_xattrs(&self, path: &LayerPath, target: XattrTarget<'_>, ino: u32) {
        let names = target.names().unwrap();
        let found: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            names.iter().map(|n| (n.clone(), target.get(n).unwrap())).collect();
        // Linux shows no value of `user.` on what is neither a file nor a directory (xattr(7)).
        let node = self.tree.node(ino).unwrap();
        let has_user = matches!(node.file_type, FileType::Regular | FileType::Directory);
        let shown = |name: &[u8]| has_user || !name.starts_with(b"user.");
        let expected: Vec<(Vec<u8>, Option<Vec<u8>>)> = self
            .tree
            .xattrs(ino)
            .unwrap()
            .map(Result::unwrap)
            .map(|(name, value)| (name.to_vec(), shown(name).then(|| value.to_vec())))
            .collect();
        assert!(found == expected, "{path}: {names:?}");
        assert_eq!(target.get(b"user.none").unwrap(), None);
    }

    /// Compares all of a small file; of a large one its extents, and some of its holes.
    fn compare_data(&self, path: &LayerPath, file: &File, ino: u32) {
        let size = self.tree.node(ino).unwrap().size;
        if size <= 1 << 20 {
            let mut found = Vec::new();
            (&*file).read_to_end(&mut found).unwrap();
            assert!(found == file_bytes(self.tree, ino, 0, size as usize), "{path}");
            return;
        }
        let mut places = vec![0, size / 3, size - 4096];
        for extent in self.tree.extents(ino, 0).unwrap() {
            let extent = extent.unwrap();
            places.extend([extent.file_offset, extent.end().min(size - 4096)]);
            places.push(extent.file_offset.saturating_sub(100));
            if extent.len < 1 << 20 {
                let mut found = vec![0; extent.len as usize];
                file.read_exact_at(&mut found, extent.file_offset).unwrap();
                assert!(found == extent_bytes(&extent), "{path} at {extent:?}");
            }
        }
        for place in places {
            let mut found = vec![0; 4096];
            file.read_exact_at(&mut found, place).unwrap();
            assert!(found == file_bytes(self.tree, ino, place, 4096), "{path} at {place}");
        }
    }
}
