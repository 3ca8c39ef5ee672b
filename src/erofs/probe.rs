use std::path::Path;

use crate::archive::{FileType, LayerPath, Metadata};
use crate::digest::{DiffId, Digest};
use crate::layer::{Extent, Inode, Name, Target, Toc};
use crate::tree::{Layer, Tree, merge};

use super::error::Error;
use super::image::{DataPath, Image};
use super::write::write;

const NAME: &str = "probe";
const CONTENT: &[u8] = b"read through a chunk index of a device";

/// Finds out whether this process may mount images on this kernel, by doing it: a tiny image in
/// `dir`, which should be where the real ones are, is mounted unseen and one file of it is read.
///
/// # Errors
///
/// Why not: [`Error::Mount`] with the kernel's words, [`Error::Io`] for the files in `dir`, or
/// [`Error::WrongData`].
pub fn probe(dir: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: dir.to_owned(), source };
    let folder = tempfile::Builder::new().prefix(".probe.").tempdir_in(dir).map_err(failed)?;
    let (image, blob) = (folder.path().join("image"), folder.path().join("blob"));
    // Not by `Image::create`: nobody will need it after a crash.
    let tree = tiny_tree()?;
    let mut file = std::fs::File::create(&image).map_err(failed)?;
    write(&tree, &mut file)?;
    let image = Image::open(&tree, &image)?;
    let mut block = CONTENT.to_vec();
    block.resize(4096, 0);
    std::fs::write(&blob, block).map_err(failed)?;
    let mount = image.mount(&blob, DataPath::Direct)?;
    let found = std::fs::read(mount.path().join(NAME)).map_err(failed)?;
    if found == CONTENT { Ok(()) } else { Err(Error::WrongData) }
}

/// A tree of one file.
fn tiny_tree() -> Result<Tree, crate::tree::Error> {
    let size = CONTENT.len() as u64;
    let metadata = Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
    let extents = vec![Extent { file_offset: 0, len: size, layer_offset: 0 }];
    let inode = Inode { metadata, size, extents, link_target: Vec::new() };
    let path = LayerPath::parse(NAME.as_bytes()).unwrap_or_default();
    let name = Name { path, target: Target::Inode(0) };
    let toc = Toc { inodes: vec![inode], names: vec![name], ..Toc::default() };
    let nobody = Digest::sha256(b"");
    let layer = Layer { diff_id: DiffId::new(nobody.clone()), blob: nobody };
    Tree::in_memory(&merge(&[&toc])?, &[layer])
}
