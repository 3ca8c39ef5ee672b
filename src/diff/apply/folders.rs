//! Where in the target a path is: resolving parents inside of the root, making those that are
//! implied, and keeping handles of the last ones.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use crate::archive::{LayerPath, Metadata, Timestamp};
use crate::diff::Error;
use crate::diff::lowers::Found;
use crate::diff::metadata::read_metadata;
use crate::sys::{Dir, Status, XattrTarget};

use super::inode::DEFAULT_ACL;
use super::walk::Step;
use super::{Applier, Overlay};

/// How many handles are kept.
const MAX_HANDLES: usize = 128;

/// A folder of the target held open.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) dir: Dir,
    /// Its path, without any link.
    pub(super) path: LayerPath,
    pub(super) gid: u32,
    /// Whether it gives an access list to what is made in it.
    pub(super) acl: bool,
    /// Its time when it was opened.
    mtime: Timestamp,
}

impl Folder {
    pub(super) fn new(dir: Dir, path: LayerPath) -> Result<Self, Error> {
        let status = dir.status().map_err(Error::io("stat", &path))?;
        let acl = XattrTarget::Open(dir.as_fd())
            .get(DEFAULT_ACL)
            .map_err(Error::io("read attributes of", &path))?
            .is_some();
        let mtime = Timestamp { secs: status.mtime, nanos: status.mtime_nanos };
        Ok(Self { dir, path, gid: status.gid, acl, mtime })
    }
}

/// Handles of folders by the path that they were asked for.
#[derive(Debug, Default)]
pub(super) struct Handles(HashMap<LayerPath, Rc<Folder>>);

impl Handles {
    fn get(&self, path: &LayerPath) -> Option<Rc<Folder>> {
        self.0.get(path).cloned()
    }

    pub(super) fn keep(&mut self, path: &LayerPath, folder: &Rc<Folder>) {
        if self.0.len() >= MAX_HANDLES {
            self.0.clear();
        }
        self.0.insert(path.clone(), folder.clone());
    }

    /// Forgets all: a folder or a link that paths lead through is gone or another one.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Lookup {
    /// This folder.
    Folder(Rc<Folder>),
    /// Nothing in the target; the layers below may have this path, links of the target followed.
    Missing(LayerPath),
    /// Nothing, and what the layers below have there is hidden.
    Hidden,
}

impl Applier {
    /// The folder at `path`, links followed inside of the root.
    pub(super) fn find_folder(&mut self, path: &LayerPath) -> Result<Lookup, Error> {
        if let Some(folder) = self.open_directly(path)? {
            return Ok(Lookup::Folder(folder));
        }
        self.walk(path, false)
    }

    /// The folder at `path`, links followed inside of the root; what is missing is made.
    pub(super) fn make_folder(&mut self, path: &LayerPath) -> Result<Rc<Folder>, Error> {
        if let Some(folder) = self.open_directly(path)? {
            return Ok(folder);
        }
        match self.walk(path, true)? {
            Lookup::Folder(folder) => Ok(folder),
            Lookup::Missing(_) | Lookup::Hidden => {
                Err(Error::io("make", path)(io::ErrorKind::NotFound.into()))
            }
        }
    }

    /// The folder at `path` if it exists and no link leads there.
    fn open_directly(&mut self, path: &LayerPath) -> Result<Option<Rc<Folder>>, Error> {
        if path.is_root() {
            return Ok(Some(self.root.clone()));
        }
        if let Some(folder) = self.handles.get(path) {
            return Ok(Some(folder));
        }
        match self.root.dir.resolve_without_links(path.as_bytes()) {
            Ok(dir) => {
                let folder = Rc::new(Folder::new(dir, path.clone())?);
                self.handles.keep(path, &folder);
                Ok(Some(folder))
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
                Some(_) | None => Err(Error::io("open", path)(e)),
            },
        }
    }

    /// Goes down `path` step by step from the root.
    fn walk(&mut self, path: &LayerPath, make: bool) -> Result<Lookup, Error> {
        let mut steps = self.walk_down(path)?;
        let Some(end) = steps.last().cloned() else { return Ok(Lookup::Hidden) };
        if let Some(folder) = end.folder {
            self.handles.keep(path, &folder);
            return Ok(Lookup::Folder(folder));
        }
        if !make {
            return Ok(if end.hidden { Lookup::Hidden } else { Lookup::Missing(end.path) });
        }
        let exist = steps.iter().take_while(|step| step.folder.is_some()).count();
        let missing = steps.split_off(exist);
        let Some(Step { folder: Some(mut folder), mut hidden, .. }) = steps.pop() else {
            return Ok(Lookup::Hidden);
        };
        for step in missing {
            let name = step.path.file_name().unwrap_or_default();
            match &step.in_the_way {
                Some(status) => self.clear_way(&folder, name, status, hidden)?,
                None => self.imply_folder(&folder, name, hidden)?,
            }
            hidden = step.hidden;
            let dir = folder.dir.open_dir(name).map_err(Error::io("open", &step.path))?;
            folder = Rc::new(Folder::new(dir, step.path)?);
        }
        self.handles.keep(path, &folder);
        Ok(Lookup::Folder(folder))
    }

    /// Puts an implied folder where there is something of a lower layer that is no folder.
    fn clear_way(
        &mut self,
        above: &Rc<Folder>,
        name: &[u8],
        status: &Status,
        hidden: bool,
    ) -> Result<(), Error> {
        let path = above.path.join(name)?;
        if self.ledger.brought(&above.path, name) {
            let not_a_folder = io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(Error::io("make a folder at", &path)(not_a_folder));
        }
        self.remove(above, name, status)?;
        self.imply_folder(above, name, true)?;
        if !hidden {
            self.make_opaque(above, name)?;
        }
        Ok(())
    }

    /// Makes a folder that the layer implies: as the lower one that it stands on or, where there is
    /// none, as every reader of layers does.
    fn imply_folder(&mut self, above: &Rc<Folder>, name: &[u8], hidden: bool) -> Result<(), Error> {
        let path = above.path.join(name)?;
        self.touch(above);
        above.dir.create_dir(name).map_err(Error::io("make folder", &path))?;
        let metadata = match &self.overlay {
            Some(overlay) if !hidden => overlay.lower_folder(&path)?,
            Some(_) | None => None,
        };
        let metadata = metadata.unwrap_or_else(Metadata::implied_directory);
        let dir = above.dir.open_dir(name).map_err(Error::io("open", &path))?;
        self.inodes.finish_folder(&dir, &metadata, above.acl, &path)?;
        self.ledger.set_time(&path, metadata.mtime);
        Ok(())
    }

    /// Notes that the content of `folder` is about to change, which its time shall not tell.
    pub(super) fn touch(&mut self, folder: &Folder) {
        self.ledger.keep_time(&folder.path, folder.mtime);
    }

    /// What the layers below have under `name` of what `folder` found, if it is not hidden.
    pub(super) fn find_below(&self, folder: &Lookup, name: &[u8]) -> Result<Option<Found>, Error> {
        let Some(overlay) = &self.overlay else { return Ok(None) };
        match folder {
            Lookup::Hidden => Ok(None),
            Lookup::Missing(path) => overlay.lowers.find(&path.join(name)?),
            Lookup::Folder(folder) if self.is_hidden(overlay, folder)? => Ok(None),
            Lookup::Folder(folder) => overlay.lowers.find(&folder.path.join(name)?),
        }
    }

    /// Whether the layer hides all that the layers below have.
    pub(super) fn hides_all(&self) -> bool {
        self.overlay.as_ref().is_some_and(|overlay| overlay.hides_all)
    }

    /// Whether what the layers below have at the path of `folder` is hidden.
    fn is_hidden(&self, overlay: &Overlay, folder: &Folder) -> Result<bool, Error> {
        if self.hides_all() {
            return Ok(true);
        }
        let mut dir = self.root.dir.try_clone().map_err(Error::io("open", &folder.path))?;
        for name in folder.path.components() {
            dir = dir.open_dir(name).map_err(Error::io("open", &folder.path))?;
            if overlay.hides(&dir, &folder.path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Overlay {
    /// Whether a folder of the target hides the lower one. One that was renamed is refused: what the
    /// layers below have for it is elsewhere.
    pub(super) fn hides(&self, dir: &Dir, path: &LayerPath) -> Result<bool, Error> {
        let target = XattrTarget::Open(dir.as_fd());
        self.namespace.refuse(target, "redirect", path)?;
        self.namespace.is_opaque(target, path)
    }

    /// The metadata of the lower folder at `path`, if there is one.
    fn lower_folder(&self, path: &LayerPath) -> Result<Option<Metadata>, Error> {
        match self.lowers.find(path)? {
            Some(found) if found.status.is_dir() => {
                let target = XattrTarget::Child(found.folder.as_fd(), &found.name);
                read_metadata(&found.status, target, path)
            }
            Some(_) | None => Ok(None),
        }
    }
}
