//! Hides what lower layers have.

use std::os::fd::AsFd;
use std::rc::Rc;

use crate::archive::LayerPath;
use crate::diff::Error;
use crate::sys::XattrTarget;

use super::Applier;
use super::folders::{Folder, Lookup};

impl Applier {
    /// Hides what lower layers have under `name` of the folder `parent`.
    pub(super) fn hide(&mut self, parent: &LayerPath, name: &[u8]) -> Result<(), Error> {
        let found = self.find_folder(parent)?;
        let has_lower = self.find_below(&found, name)?.is_some();
        let folder = match found {
            Lookup::Folder(folder) => folder,
            Lookup::Missing(path) if has_lower => self.make_folder(&path)?,
            Lookup::Missing(_) | Lookup::Hidden => return Ok(()),
        };
        let path = folder.path.join(name)?;
        let stays = self.hide_here(&folder, name, &path)?;
        if has_lower && !stays {
            self.make_whiteout(&folder, name, &path)?;
        }
        Ok(())
    }

    /// Removes from the target what this layer did not bring at `path` or below. Returns whether
    /// something stays there.
    fn hide_here(
        &mut self,
        folder: &Rc<Folder>,
        name: &[u8],
        path: &LayerPath,
    ) -> Result<bool, Error> {
        let Some(status) = folder.dir.child_status(name).map_err(Error::io("stat", path))? else {
            return Ok(false);
        };
        let brought = self.ledger.brought(&folder.path, name);
        let stays = brought || (status.is_dir() && self.ledger.reaches(path));
        if !stays {
            self.remove(folder, name, &status)?;
            return Ok(false);
        }
        if status.is_dir() {
            self.prune(path)?;
            if !brought {
                self.reset(folder, name, path)?;
            }
            self.make_opaque(folder, name)?;
        }
        Ok(true)
    }

    /// Hides all that lower layers have in the folder at `path`.
    pub(super) fn hide_content(&mut self, path: &LayerPath) -> Result<(), Error> {
        let folder = match self.find_folder(path)? {
            Lookup::Folder(folder) => folder,
            Lookup::Missing(path) if self.is_lower_folder(&path)? => self.make_folder(&path)?,
            Lookup::Missing(_) | Lookup::Hidden => return Ok(()),
        };
        self.prune(&folder.path)?;
        match (&mut self.overlay, folder.path.file_name()) {
            (None, _) => Ok(()),
            // The kernel looks for the attribute below the root only: see `hide_all_below`.
            (Some(overlay), None) => {
                overlay.hides_all = true;
                Ok(())
            }
            (Some(overlay), Some(_)) => {
                let target = XattrTarget::Open(folder.dir.as_fd());
                overlay.namespace.make_opaque(target, &folder.path)
            }
        }
    }

    fn is_lower_folder(&self, path: &LayerPath) -> Result<bool, Error> {
        let Some(overlay) = &self.overlay else { return Ok(false) };
        Ok(overlay.lowers.find(path)?.is_some_and(|found| found.status.is_dir()))
    }

    /// Makes the folder `name` hide the lower one; in a plain folder there is none.
    pub(super) fn make_opaque(&mut self, folder: &Folder, name: &[u8]) -> Result<(), Error> {
        let Some(overlay) = &self.overlay else { return Ok(()) };
        let target = XattrTarget::Child(folder.dir.as_fd(), name);
        overlay.namespace.make_opaque(target, &folder.path.join(name)?)
    }

    fn make_whiteout(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &LayerPath,
    ) -> Result<(), Error> {
        self.touch(folder);
        folder.dir.create_node(name, libc::S_IFCHR, 0).map_err(Error::io("hide", path))
    }

    /// Hides what the lower root has, name by name, where the root has an opaque marker.
    pub(super) fn hide_all_below(&mut self) -> Result<(), Error> {
        let root = LayerPath::root();
        let names = match &self.overlay {
            Some(overlay) if overlay.hides_all => overlay.lowers.children(&root)?,
            Some(_) | None => return Ok(()),
        };
        let folder = self.root.clone();
        for name in names.keys() {
            let path = root.join(name)?;
            match folder.dir.child_status(name).map_err(Error::io("stat", &path))? {
                None => self.make_whiteout(&folder, name, &path)?,
                Some(status) if status.is_dir() => self.make_opaque(&folder, name)?,
                Some(_) => {}
            }
        }
        Ok(())
    }
}
