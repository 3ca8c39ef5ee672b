use std::os::fd::AsFd;

use crate::archive::{LayerPath, Xattr};
use crate::diff::Error;
use crate::diff::metadata::read_metadata;
use crate::sys::{Dir, Status, XattrTarget};

use super::Inode;

/// Attributes that say how this machine guards a file, not what the file is: they are set anew on
/// every machine.
const HOST_LABELS: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];
/// As [`HOST_LABELS`], all that start so.
const SMACK_LABELS: &[u8] = b"security.SMACK64";

/// Reads what a layer would say of `name` of `folder` (empty: of the folder itself), its content
/// apart; `None` for a socket.
pub(super) fn read(
    folder: &Dir,
    name: &[u8],
    status: &Status,
    path: &LayerPath,
) -> Result<Option<Inode>, Error> {
    let target = XattrTarget::Child(folder.as_fd(), name);
    let Some(mut metadata) = read_metadata(status, target, path)? else { return Ok(None) };
    metadata.xattrs.retain(|xattr| !is_host_label(xattr));
    let link_target = match status.is_symlink() {
        true => folder.read_link(name).map_err(Error::io("read", path))?,
        false => Vec::new(),
    };
    let size = if status.is_file() { status.size } else { 0 };
    let (id, nlink) = (status.id(), status.nlink);
    Ok(Some(Inode { metadata, size, link_target, id, nlink }))
}

fn is_host_label(xattr: &Xattr) -> bool {
    HOST_LABELS.contains(&&*xattr.name) || xattr.name.starts_with(SMACK_LABELS)
}
