//! Puts one member of the archive where it belongs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use crate::archive::{Entry, EntryKind, LayerPath, Metadata, PathError, Whiteout, whiteout_of};
use crate::diff::Error;
use crate::sys;

use super::Applier;
use super::folders::Folder;
use super::inode::Inherited;

/// A regular file whose data are coming.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    path: LayerPath,
    metadata: Metadata,
    inherited: Inherited,
    /// The size in bytes, holes included.
    size: u64,
    /// The end of the data so far.
    end: u64,
}

impl Applier {
    /// Puts `entry` into the target; the data of a regular file follow.
    pub(super) fn put(&mut self, entry: Entry) -> Result<(), Error> {
        let Some(path) = entry_path(&entry)? else { return Ok(()) };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.put_root(&entry);
        };
        match whiteout_of(name) {
            None => {}
            Some(Whiteout::Name(hidden)) => return self.hide(&parent, hidden),
            Some(Whiteout::Opaque) => return self.hide_content(&parent),
            Some(Whiteout::Aufs) => return Ok(()),
            Some(Whiteout::Invalid) => {
                let entry = String::from_utf8_lossy(&entry.path).into_owned();
                return Err(Error::Whiteout { entry });
            }
        }
        let folder = self.make_folder(&parent)?;
        self.touch(&folder);
        self.put_in(&folder, name, &path, entry)?;
        self.ledger.bring(&folder.path, name);
        Ok(())
    }

    fn put_in(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        path: &LayerPath,
        entry: Entry,
    ) -> Result<(), Error> {
        let Entry { metadata, size, kind, .. } = entry;
        match kind {
            EntryKind::Directory => return self.put_folder(folder, name, path, &metadata),
            EntryKind::HardLink(target) => return self.link(folder, name, path, &target),
            EntryKind::Regular => {
                let file = self.replace(folder, name, path, |f| f.dir.create_file(name))?;
                let inherited = self.inherited(folder);
                let path = path.clone();
                self.file = Some(OpenFile { file, path, metadata, inherited, size, end: 0 });
                return Ok(());
            }
            EntryKind::Symlink(target) => {
                self.replace(folder, name, path, |f| f.dir.create_symlink(name, &target))?;
            }
            EntryKind::Fifo => {
                self.replace(folder, name, path, |f| {
                    f.dir.create_node(name, metadata.st_mode(), 0)
                })?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                if !self.put_device(folder, name, path, &metadata)? {
                    return Ok(());
                }
            }
        }
        let inherited = self.inherited(folder);
        self.inodes.finish_node(&folder.dir, name, &metadata, inherited, path)
    }

    /// Makes a device node; `false` where a user namespace may not.
    fn put_device(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        path: &LayerPath,
        metadata: &Metadata,
    ) -> Result<bool, Error> {
        let (mode, device) = (metadata.st_mode(), metadata.device.dev_t());
        match self.replace(folder, name, path, |f| f.dir.create_node(name, mode, device)) {
            Ok(()) => Ok(true),
            Err(Error::Io { source, .. })
                if source.raw_os_error() == Some(libc::EPERM) && sys::in_user_namespace() =>
            {
                self.skipped_devices += 1;
                tracing::warn!(%path, "device node is left out: not possible in a user namespace");
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// A directory takes the place of anything but a directory, whose content it keeps.
    fn put_folder(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        path: &LayerPath,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        let resolved = folder.path.join(name)?;
        let status = match folder.dir.create_dir(name) {
            Ok(()) => None,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                folder.dir.child_status(name).map_err(Error::io("stat", path))?
            }
            Err(e) => return Err(Error::io("make folder", path)(e)),
        };
        let merges = status.is_some_and(|status| status.is_dir());
        if let Some(status) = status.filter(|_| !merges) {
            self.remove(folder, name, &status)?;
            folder.dir.create_dir(name).map_err(Error::io("make folder", path))?;
            self.make_opaque(folder, name)?;
        }
        let dir = folder.dir.open_dir(name).map_err(Error::io("open", path))?;
        // A second entry of one layer adds its attributes; a layer's replaces those of another.
        let strip = folder.acl || (merges && !self.ledger.brought(&folder.path, name));
        self.inodes.finish_folder(&dir, metadata, strip, path)?;
        self.ledger.set_time(&resolved, metadata.mtime);
        if merges {
            // Handles of it say what it gave to its children before.
            self.handles.clear();
        } else {
            let made = Rc::new(Folder::new(dir, resolved)?);
            self.handles.keep(path, &made);
        }
        Ok(())
    }

    /// An entry of the root itself counts if it is a directory.
    fn put_root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != EntryKind::Directory {
            return Ok(());
        }
        let root = LayerPath::root();
        let strip = !self.ledger.brought(&root, b"");
        self.inodes.finish_folder(&self.root.dir, &entry.metadata, strip, &root)?;
        self.ledger.set_time(&root, entry.metadata.mtime);
        self.ledger.bring(&root, b"");
        let dir = self.root.dir.try_clone().map_err(Error::io("open", &root))?;
        self.root = Rc::new(Folder::new(dir, root)?);
        self.handles.clear();
        Ok(())
    }

    /// Makes something new under `name`; what is there already is removed.
    pub(super) fn replace<T>(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        path: &LayerPath,
        make: impl Fn(&Folder) -> io::Result<T>,
    ) -> Result<T, Error> {
        match make(folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map_err(Error::io("make", path)),
        }
        if let Some(status) = folder.dir.child_status(name).map_err(Error::io("stat", path))? {
            self.remove(folder, name, &status)?;
        }
        make(folder).map_err(Error::io("make", path))
    }

    pub(super) fn inherited(&self, folder: &Folder) -> Inherited {
        let (uid, gid) = self.process;
        // A folder with the setgid bit or on a filesystem with `grpid` gives its own group.
        Inherited { uid, gid: (folder.gid == gid).then_some(gid), acl: folder.acl }
    }

    /// Writes data of the file whose entry was the last.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let Some(open) = &mut self.file else { return Ok(()) };
        open.file.write_all_at(bytes, offset).map_err(Error::io("write", &open.path))?;
        open.end = offset + bytes.len() as u64;
        Ok(())
    }

    /// Completes the file whose entry was the last.
    pub(super) fn finish_file(&mut self) -> Result<(), Error> {
        let Some(open) = self.file.take() else { return Ok(()) };
        if open.end < open.size {
            open.file.set_len(open.size).map_err(Error::io("set size of", &open.path))?;
        }
        self.inodes.finish_file(&open.file, &open.metadata, open.inherited, &open.path)
    }
}

/// Where `entry` belongs; `None` for what is to be ignored. A name that climbs out of the root is
/// refused, but one that comes back to just the root is the root, as `..` is in a chroot.
fn entry_path(entry: &Entry) -> Result<Option<LayerPath>, Error> {
    match LayerPath::parse(&entry.path) {
        Ok(path) => Ok(Some(path)),
        Err(e @ PathError::Climbs(_)) => match LayerPath::parse_clamped(&entry.path)? {
            path if path.is_root() => Ok(None),
            _ => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}
