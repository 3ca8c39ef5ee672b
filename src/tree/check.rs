//! What a TOC must hold before it is merged, whoever made it: the invariants of
//! [`crate::layer`] and the bounds of the tree file.

use crate::archive::{FileType, LayerPath, Metadata};
use crate::layer::{Inode, Name, Target, Toc};

use super::error::{Error, Fault};

/// The most layers a tree has.
pub const MAX_LAYERS: usize = 4096;
/// The most inodes, and the most names, a layer or a tree has: one below 2^31.
pub const MAX_INODES: usize = (1 << 31) - 1;
/// The largest file, in bytes, and the largest offset of a layer (`i64::MAX`).
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;
/// The most nanoseconds of a time.
pub(super) const MAX_NANOS: u32 = 999_999_999;
/// The longest target of a symbolic link in bytes (`PATH_MAX` without its NUL).
pub const MAX_LINK_TARGET: usize = 4095;
/// The longest name of an extended attribute in bytes (`XATTR_NAME_MAX`).
pub const MAX_XATTR_NAME: usize = 255;
/// The longest value of an extended attribute in bytes (`XATTR_SIZE_MAX`).
pub const MAX_XATTR_VALUE: usize = 65_536;
/// The most extended attributes of one inode.
pub const MAX_XATTRS: usize = 65_535;

/// Checks everything about `toc` that needs no other layer.
pub(super) fn check(layer: usize, toc: &Toc) -> Result<(), Error> {
    bounded("inodes of a layer", toc.inodes.len())?;
    bounded("names of a layer", toc.names.len())?;
    bounded("whiteouts of a layer", toc.whiteouts.len())?;
    bounded("opaque folders of a layer", toc.opaques.len())?;
    let broken = |path: &LayerPath, fault| Error::BrokenToc { layer, path: path.clone(), fault };
    for paths in [&toc.whiteouts, &toc.opaques] {
        if let Some(pair) = paths.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(broken(&pair[1], Fault::Order));
        }
    }
    let mut named = vec![false; toc.inodes.len()];
    let mut before: Option<&Name> = None;
    for name in &toc.names {
        check_name(toc, before, name, &mut named).map_err(|fault| broken(&name.path, fault))?;
        before = Some(name);
    }
    Ok(())
}

/// Checks `name`, which comes right after `before`, and the inode that it is the first to name.
fn check_name(
    toc: &Toc,
    before: Option<&Name>,
    name: &Name,
    named: &mut [bool],
) -> Result<(), Fault> {
    if let Some(before) = before {
        if before.path >= name.path {
            return Err(Fault::Order);
        }
        // Nothing sorts between a file and a path below it.
        if name.path.starts_with(&before.path) && !is_directory(toc, before) {
            return Err(Fault::NotADirectory);
        }
    }
    if name.path.is_root() && !is_directory(toc, name) {
        return Err(Fault::Root);
    }
    let Target::Inode(place) = name.target else { return Ok(()) };
    let inode = toc.inodes.get(place as usize).ok_or(Fault::Inode)?;
    if std::mem::replace(&mut named[place as usize], true) {
        return if is_directory(toc, name) { Err(Fault::DirectoryLink) } else { Ok(()) };
    }
    check_inode(inode)
}

fn is_directory(toc: &Toc, name: &Name) -> bool {
    let Target::Inode(place) = name.target else { return false };
    let inode = toc.inodes.get(place as usize);
    inode.is_some_and(|inode| inode.metadata.file_type == FileType::Directory)
}

fn bounded(what: &'static str, count: usize) -> Result<(), Error> {
    if count > MAX_INODES {
        return Err(Error::TooMany { what, bound: MAX_INODES as u64 });
    }
    Ok(())
}

fn check_inode(inode: &Inode) -> Result<(), Fault> {
    check_metadata(&inode.metadata)?;
    match inode.metadata.file_type {
        FileType::Regular => check_extents(inode),
        FileType::Symlink if !(1..=MAX_LINK_TARGET).contains(&inode.link_target.len()) => {
            Err(Fault::LinkTarget)
        }
        FileType::Symlink
        | FileType::Directory
        | FileType::CharDevice
        | FileType::BlockDevice
        | FileType::Fifo => Ok(()),
    }
}

fn check_metadata(metadata: &Metadata) -> Result<(), Fault> {
    if metadata.mode > 0o7777 || metadata.mtime.nanos > MAX_NANOS {
        return Err(Fault::Attributes);
    }
    let xattrs = &metadata.xattrs;
    let sized = xattrs
        .iter()
        .all(|x| (1..=MAX_XATTR_NAME).contains(&x.name.len()) && x.value.len() <= MAX_XATTR_VALUE);
    let sorted = xattrs.windows(2).all(|pair| pair[0].name < pair[1].name);
    if !sized || !sorted || xattrs.len() > MAX_XATTRS {
        return Err(Fault::Xattrs);
    }
    Ok(())
}

fn check_extents(inode: &Inode) -> Result<(), Fault> {
    if inode.size > MAX_FILE_SIZE {
        return Err(Fault::Size);
    }
    let mut end = 0;
    for extent in &inode.extents {
        let in_order = extent.file_offset >= end && extent.len > 0;
        end = extent.file_offset.checked_add(extent.len).ok_or(Fault::Extents)?;
        if !in_order || end > inode.size {
            return Err(Fault::Extents);
        }
        let layer_end = extent.layer_offset.checked_add(extent.len);
        if layer_end.is_none_or(|end| end > MAX_FILE_SIZE) {
            return Err(Fault::Size);
        }
    }
    Ok(())
}
