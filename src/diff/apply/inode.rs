//! Gives an inode its metadata, in the order that the kernel's side effects ask for: owner (drops
//! setuid bits and capabilities), attributes, mode, times.

use std::io;
use std::os::fd::AsFd;

use crate::archive::{FileType, LayerPath, Metadata, Timestamp, Xattr};
use crate::diff::Error;
use crate::diff::overlay_attributes::is_overlay_attribute;
use crate::sys::{self, Dir, XattrTarget};

/// The access list that a folder gives to what is made in it (acl(5)).
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
/// The label that a security module gives to every file, which cannot be taken away.
const SELINUX_LABEL: &[u8] = b"security.selinux";

/// What a new inode gets from the process and from its folder without being asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    /// The owner of what this process makes.
    pub(super) uid: u32,
    /// Its group; `None` where the folder decides.
    pub(super) gid: Option<u32>,
    /// Whether the folder gives it an access list.
    pub(super) acl: bool,
}

/// How metadata are set, and what was left out.
#[derive(Debug)]
pub(super) struct InodeWriter {
    /// Whether owners of the layer are kept; else everything belongs to this process.
    pub(super) keep_owner: bool,
    /// How many attributes the filesystem or the kernel refused.
    pub(super) refused_xattrs: u64,
}

impl InodeWriter {
    /// Gives a new regular file its metadata.
    pub(super) fn finish_file(
        &mut self,
        file: &std::fs::File,
        metadata: &Metadata,
        inherited: Inherited,
        path: &LayerPath,
    ) -> Result<(), Error> {
        if self.must_chown(metadata, inherited) {
            sys::set_owner(file, metadata.uid, metadata.gid).map_err(Error::io("chown", path))?;
        }
        let target = XattrTarget::Open(file.as_fd());
        self.set_xattrs(target, metadata, path)?;
        if inherited.acl {
            drop_acls(target, metadata, path)?;
        }
        sys::set_mode(file, metadata.mode.into()).map_err(Error::io("chmod", path))?;
        let Timestamp { secs, nanos } = metadata.mtime;
        sys::set_mtime(file, secs, nanos).map_err(Error::io("set times of", path))
    }

    /// Gives a directory its metadata, its time apart. `strip`: attributes that it has and the
    /// metadata do not name are taken away.
    pub(super) fn finish_folder(
        &mut self,
        dir: &Dir,
        metadata: &Metadata,
        strip: bool,
        path: &LayerPath,
    ) -> Result<(), Error> {
        if self.keep_owner {
            sys::set_owner(dir, metadata.uid, metadata.gid).map_err(Error::io("chown", path))?;
        }
        let target = XattrTarget::Open(dir.as_fd());
        if strip {
            strip_xattrs(target, metadata, path)?;
        }
        self.set_xattrs(target, metadata, path)?;
        sys::set_mode(dir, metadata.mode.into()).map_err(Error::io("chmod", path))
    }

    /// Gives a new symbolic link, device node or fifo its metadata.
    pub(super) fn finish_node(
        &mut self,
        dir: &Dir,
        name: &[u8],
        metadata: &Metadata,
        inherited: Inherited,
        path: &LayerPath,
    ) -> Result<(), Error> {
        if self.must_chown(metadata, inherited) {
            dir.set_child_owner(name, metadata.uid, metadata.gid)
                .map_err(Error::io("chown", path))?;
        }
        let target = XattrTarget::Child(dir.as_fd(), name);
        self.set_xattrs(target, metadata, path)?;
        if metadata.file_type != FileType::Symlink {
            if inherited.acl {
                drop_acls(target, metadata, path)?;
            }
            dir.set_child_mode(name, metadata.mode.into()).map_err(Error::io("chmod", path))?;
        }
        let Timestamp { secs, nanos } = metadata.mtime;
        dir.set_child_mtime(name, secs, nanos).map_err(Error::io("set times of", path))
    }

    fn must_chown(&self, metadata: &Metadata, inherited: Inherited) -> bool {
        let as_is = (metadata.uid, Some(metadata.gid)) == (inherited.uid, inherited.gid);
        self.keep_owner && !as_is
    }

    fn set_xattrs(
        &mut self,
        target: XattrTarget<'_>,
        metadata: &Metadata,
        path: &LayerPath,
    ) -> Result<(), Error> {
        for xattr in &metadata.xattrs {
            if is_overlay_attribute(&xattr.name) {
                self.refuse(path, xattr, "it belongs to overlayfs");
                continue;
            }
            match target.set(&xattr.name, &xattr.value) {
                Ok(()) => {}
                Err(e) if may_ignore(&e, xattr, metadata.file_type) => {
                    self.refuse(path, xattr, &e.to_string());
                }
                Err(e) => return Err(Error::io("set attributes of", path)(e)),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, path: &LayerPath, xattr: &Xattr, reason: &str) {
        self.refused_xattrs += 1;
        let name = String::from_utf8_lossy(&xattr.name);
        tracing::warn!(%path, %name, reason, "extended attribute of the layer is left out");
    }
}

/// Whether an attribute may be left out: the filesystem has no such attributes, or they are of the
/// user namespace, which only regular files and directories have (xattr(7)).
fn may_ignore(e: &io::Error, xattr: &Xattr, file_type: FileType) -> bool {
    match e.raw_os_error() {
        Some(libc::ENOTSUP) => true,
        Some(libc::EPERM) => {
            xattr.name.starts_with(b"user.")
                && !matches!(file_type, FileType::Regular | FileType::Directory)
        }
        Some(_) | None => false,
    }
}

/// Takes away the access lists that came from the folder.
fn drop_acls(target: XattrTarget<'_>, metadata: &Metadata, path: &LayerPath) -> Result<(), Error> {
    let listed = |name: &[u8]| metadata.xattrs.iter().any(|x| x.name == name);
    if !listed(ACCESS_ACL) {
        target.remove(ACCESS_ACL).map_err(Error::io("remove access list of", path))?;
    }
    Ok(())
}

/// Takes away all attributes that `metadata` do not name, those of the system's own apart.
fn strip_xattrs(
    target: XattrTarget<'_>,
    metadata: &Metadata,
    path: &LayerPath,
) -> Result<(), Error> {
    for name in target.names().map_err(Error::io("list attributes of", path))? {
        let listed = metadata.xattrs.iter().any(|x| x.name == name);
        if !listed && !is_overlay_attribute(&name) && name != SELINUX_LABEL {
            target.remove(&name).map_err(Error::io("remove attributes of", path))?;
        }
    }
    Ok(())
}
