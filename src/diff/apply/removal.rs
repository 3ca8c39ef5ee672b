//! Removes what is in the way or hidden, by handles, never through a link.

use std::io;
use std::rc::Rc;

use crate::archive::{LayerPath, Metadata};
use crate::diff::Error;
use crate::sys::{Dir, Status};

use super::Applier;
use super::folders::Folder;

impl Applier {
    /// Removes `name` of `folder`, which is what `status` says, with all that is below.
    pub(super) fn remove(
        &mut self,
        folder: &Folder,
        name: &[u8],
        status: &Status,
    ) -> Result<(), Error> {
        self.touch(folder);
        let path = folder.path.join(name)?;
        if status.is_dir() {
            self.remove_tree(&folder.dir, name, &path)?;
        } else {
            folder.dir.remove_file(name).map_err(Error::io("remove", &path))?;
        }
        if status.is_dir() || status.is_symlink() {
            self.handles.clear();
        }
        self.ledger.forget(&folder.path, name);
        Ok(())
    }

    /// Removes the directory `name` of `dir`, whose path is `path`.
    fn remove_tree(&mut self, dir: &Dir, name: &[u8], path: &LayerPath) -> Result<(), Error> {
        // Paths below `dir`, parents before children. No handle is held while another is opened,
        // so that depth costs no descriptors.
        let mut found = vec![name.to_vec()];
        let mut next = 0;
        while next < found.len() {
            let below = found[next].clone();
            next += 1;
            let here = dir.resolve_without_links(&below).map_err(Error::io("open", path))?;
            for child in here.names().map_err(Error::io("list", path))? {
                match here.remove_file(&child) {
                    Ok(()) => {}
                    Err(e) if e.raw_os_error() == Some(libc::EISDIR) => {
                        found.push([&below, &b"/"[..], &child].concat());
                    }
                    Err(e) => return Err(Error::io("remove content of", path)(e)),
                }
            }
        }
        let above = path.parent().unwrap_or_default();
        for below in found.iter().rev() {
            self.ledger.forget_folder(&above.join(below)?);
            remove_dir(dir, below).map_err(Error::io("remove", path))?;
        }
        Ok(())
    }

    /// Removes from the folder `path` all that this layer did not bring. Folders that stay only
    /// because of what the layer has below them become what a layer implies.
    pub(super) fn prune(&mut self, path: &LayerPath) -> Result<(), Error> {
        let mut left = vec![path.clone()];
        while let Some(path) = left.pop() {
            let dir = self
                .root
                .dir
                .resolve_without_links(path.as_bytes())
                .map_err(Error::io("open", &path))?;
            let folder = Rc::new(Folder::new(dir, path)?);
            for name in folder.dir.names().map_err(Error::io("list", &folder.path))? {
                let below = folder.path.join(&name)?;
                let status = folder.dir.child_status(&name).map_err(Error::io("stat", &below))?;
                let Some(status) = status else { continue };
                let brought = self.ledger.brought(&folder.path, &name);
                let stays = brought || (status.is_dir() && self.ledger.reaches(&below));
                if !stays {
                    self.remove(&folder, &name, &status)?;
                    continue;
                }
                if !brought {
                    self.reset(&folder, &name, &below)?;
                }
                if status.is_dir() {
                    left.push(below);
                }
            }
        }
        Ok(())
    }

    /// Gives a folder the metadata of one that a layer implies.
    pub(super) fn reset(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &LayerPath,
    ) -> Result<(), Error> {
        let dir = folder.dir.open_dir(name).map_err(Error::io("open", path))?;
        let implied = Metadata::implied_directory();
        self.inodes.finish_folder(&dir, &implied, true, path)?;
        self.ledger.set_time(path, implied.mtime);
        self.handles.clear();
        Ok(())
    }
}

/// Removes the empty directory at the path `below` of `dir`.
fn remove_dir(dir: &Dir, below: &[u8]) -> io::Result<()> {
    match below.iter().rposition(|&b| b == b'/') {
        None => dir.remove_dir(below),
        Some(slash) => dir.resolve_without_links(&below[..slash])?.remove_dir(&below[slash + 1..]),
    }
}
