//! Hard links, also to what only a lower layer of an overlay has.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::rc::Rc;

use crate::archive::{FileType, LayerPath, Metadata};
use crate::diff::Error;
use crate::diff::lowers::Found;
use crate::diff::metadata::read_metadata;
use crate::sys::{self, XattrTarget};

use super::Applier;
use super::folders::{Folder, Lookup};

impl Applier {
    /// Makes `name` of `folder` one more name of what is at `target`: parents followed inside of the
    /// root, the last component not.
    pub(super) fn link(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        path: &LayerPath,
        target: &[u8],
    ) -> Result<(), Error> {
        let target = LayerPath::parse_clamped(target)?;
        let (Some(parent), Some(target_name)) = (target.parent(), target.file_name()) else {
            let (path, target) = (path.to_string(), target.to_string());
            return Err(Error::LinkToDirectory { path, target });
        };
        let (from, status) = match self.link_source(&parent, target_name, &target)? {
            Some(source) => source,
            None => {
                let (path, target) = (path.to_string(), target.to_string());
                return Err(Error::LinkTarget { path, target });
            }
        };
        if status.is_dir() {
            let (path, target) = (path.to_string(), target.to_string());
            return Err(Error::LinkToDirectory { path, target });
        }
        if from.path == folder.path && target_name == name {
            return Ok(());
        }
        self.replace(folder, name, path, |f| f.dir.create_link(name, &from.dir, target_name))
    }

    /// The folder of the target that holds what a link names. What only a lower layer has is copied
    /// up first, as the kernel does when a lower file is linked.
    fn link_source(
        &mut self,
        parent: &LayerPath,
        name: &[u8],
        target: &LayerPath,
    ) -> Result<Option<(Rc<Folder>, sys::Status)>, Error> {
        let found = self.find_folder(parent)?;
        if let Lookup::Folder(folder) = &found {
            let status = folder.dir.child_status(name).map_err(Error::io("stat", target))?;
            match status {
                None => {}
                Some(status) if self.overlay.is_some() && status.is_overlay_whiteout() => {
                    return Ok(None);
                }
                Some(status) => return Ok(Some((folder.clone(), status))),
            }
        }
        let Some(lower) = self.find_below(&found, name)? else { return Ok(None) };
        let folder = match found {
            Lookup::Folder(folder) => folder,
            Lookup::Missing(path) => self.make_folder(&path)?,
            Lookup::Hidden => return Ok(None),
        };
        if !lower.status.is_dir() {
            self.copy_up(&folder, name, &lower, target)?;
        }
        Ok(Some((folder, lower.status)))
    }

    /// Copies a file of a lower layer to the same path of the target.
    fn copy_up(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        lower: &Found,
        path: &LayerPath,
    ) -> Result<(), Error> {
        let source = XattrTarget::Child(lower.folder.as_fd(), &lower.name);
        let Some(metadata) = read_metadata(&lower.status, source, path)? else {
            let (path, target) = (path.to_string(), path.to_string());
            return Err(Error::LinkTarget { path, target });
        };
        self.touch(folder);
        match metadata.file_type {
            FileType::Regular => return self.copy_up_file(folder, name, lower, path, &metadata),
            FileType::Symlink => {
                let link = lower.folder.read_link(&lower.name).map_err(Error::io("read", path))?;
                folder.dir.create_symlink(name, &link).map_err(Error::io("make", path))?;
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => folder
                .dir
                .create_node(name, metadata.st_mode(), metadata.device.dev_t())
                .map_err(Error::io("make", path))?,
            // Refused by the caller.
            FileType::Directory => return Ok(()),
        }
        let inherited = self.inherited(folder);
        self.inodes.finish_node(&folder.dir, name, &metadata, inherited, path)
    }

    fn copy_up_file(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        lower: &Found,
        path: &LayerPath,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        let source = lower.folder.open_file(&lower.name).map_err(Error::io("open", path))?;
        if let Some(overlay) = &self.overlay {
            overlay.namespace.refuse(XattrTarget::Open(source.as_fd()), "metacopy", path)?;
        }
        let copy = folder.dir.create_file(name).map_err(Error::io("make", path))?;
        copy_data(&source, &copy, lower.status.size).map_err(Error::io("copy", path))?;
        let inherited = self.inherited(folder);
        self.inodes.finish_file(&copy, metadata, inherited, path)
    }
}

/// Copies `size` bytes by sharing blocks where the filesystem can (`FICLONE`), else inside of the
/// kernel, holes kept.
fn copy_data(from: &File, to: &File, size: u64) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(size)?;
    for data in sys::data_extents(from, size)? {
        let mut from = from;
        let mut to = to;
        io::Seek::seek(&mut from, io::SeekFrom::Start(data.start))?;
        io::Seek::seek(&mut to, io::SeekFrom::Start(data.start))?;
        // copy_file_range(2), where the two files allow it.
        let copied = io::copy(&mut from.take(data.end - data.start), &mut to)?;
        if copied != data.end - data.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.flush()?;
    }
    Ok(())
}
