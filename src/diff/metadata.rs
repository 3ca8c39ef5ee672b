use crate::archive::{Device, FileType, LayerPath, Metadata, Timestamp, Xattr};
use crate::sys::{Status, XattrTarget};

use super::Error;
use super::overlay_attributes::is_overlay_attribute;

/// What a layer would say of an existing inode, overlayfs's own attributes left out; `None` for a
/// socket, which no layer can hold.
pub(super) fn read_metadata(
    status: &Status,
    target: XattrTarget<'_>,
    path: &LayerPath,
) -> Result<Option<Metadata>, Error> {
    let file_type = match status.file_type() {
        libc::S_IFREG => FileType::Regular,
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        libc::S_IFIFO => FileType::Fifo,
        _ => return Ok(None),
    };
    let device = match file_type {
        FileType::CharDevice | FileType::BlockDevice => Device::from_dev_t(status.rdev),
        FileType::Regular | FileType::Directory | FileType::Symlink | FileType::Fifo => {
            Device::default()
        }
    };
    Ok(Some(Metadata {
        file_type,
        mode: u16::try_from(status.mode & 0o7777).unwrap_or(0),
        uid: status.uid,
        gid: status.gid,
        mtime: Timestamp { secs: status.mtime, nanos: status.mtime_nanos },
        device,
        xattrs: read_xattrs(target, path)?,
    }))
}

fn read_xattrs(target: XattrTarget<'_>, path: &LayerPath) -> Result<Vec<Xattr>, Error> {
    let mut xattrs = Vec::new();
    for name in target.names().map_err(Error::io("list attributes of", path))? {
        if is_overlay_attribute(&name) {
            continue;
        }
        // It may be gone since it was listed.
        if let Some(value) = target.get(&name).map_err(Error::io("read attributes of", path))? {
            xattrs.push(Xattr { name, value });
        }
    }
    Ok(xattrs)
}
