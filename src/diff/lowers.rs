//! The folders of an overlay, looked at without mounting it.
//!
//! Kernel, `Documentation/filesystems/overlayfs.rst`: folders of one path merge from the top down;
//! a whiteout (character device 0:0) or anything that is no folder hides what is below; a folder
//! with the attribute `opaque` = `y` is the last of its path that counts; one with the attribute
//! `redirect` was renamed, and what is below it has another name or path.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

use crate::archive::LayerPath;
use crate::sys::{Dir, Status, XattrTarget};

use super::Error;
use super::overlay_attributes::{Namespace, Redirect};

/// Something that one of the folders has.
#[derive(Debug)]
pub(super) struct Found {
    /// The folder that holds it.
    pub(super) folder: Rc<Dir>,
    /// Its name there; empty for the root, which is `folder` itself.
    pub(super) name: Box<[u8]>,
    /// What it is.
    pub(super) status: Status,
}

impl Found {
    /// Opens the file for reading.
    pub(super) fn open(&self) -> std::io::Result<std::fs::File> {
        self.folder.open_file(&self.name)
    }
}

/// The folders of one path, from the top down, each with the place of its layer.
type Stack = Rc<[(usize, Rc<Dir>)]>;

/// The folders of an overlay's layers, as one tree. They must not change while it is used.
#[derive(Debug)]
pub struct LayerFolders {
    roots: Stack,
    namespace: Namespace,
    /// The stack that was asked for last: what is next is most often its neighbour.
    last: RefCell<Option<(LayerPath, Stack)>>,
}

impl LayerFolders {
    /// The tree of the folders `paths`, the top one first. `user_xattrs`: the overlay's attributes
    /// are in the `user.` namespace (mount option `userxattr`).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where one cannot be opened.
    pub fn open(paths: &[PathBuf], user_xattrs: bool) -> Result<Self, Error> {
        let open = |path: &PathBuf| Dir::open(path).map_err(Error::io("open", path.display()));
        let dirs = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(dirs.into_iter().map(Rc::new), Namespace::of(user_xattrs)))
    }

    pub(super) fn namespace(&self) -> Namespace {
        self.namespace
    }

    fn new(dirs: impl Iterator<Item = Rc<Dir>>, namespace: Namespace) -> Self {
        Self { roots: dirs.enumerate().collect(), namespace, last: RefCell::new(None) }
    }

    /// The same with one more folder on top.
    pub(super) fn below(&self, top: Rc<Dir>) -> Self {
        let own = self.roots.iter().map(|(_, dir)| dir.clone());
        Self::new(std::iter::once(top).chain(own), self.namespace)
    }

    /// What there is at `path`, no link followed.
    pub(super) fn find(&self, path: &LayerPath) -> Result<Option<Found>, Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let Some((_, root)) = self.roots.first() else { return Ok(None) };
            let status = root.status().map_err(Error::io("stat", path))?;
            return Ok(Some(Found { folder: root.clone(), name: Box::default(), status }));
        };
        for (_, folder) in self.stack(&parent)?.iter() {
            match folder.child_status(name).map_err(Error::io("stat", path))? {
                None => {}
                Some(status) if status.is_overlay_whiteout() => return Ok(None),
                Some(status) => {
                    let folder = folder.clone();
                    return Ok(Some(Found { folder, name: name.into(), status }));
                }
            }
        }
        Ok(None)
    }

    /// What the folder at `path` holds, by name; nothing where there is no folder.
    pub(super) fn children(&self, path: &LayerPath) -> Result<BTreeMap<Box<[u8]>, Found>, Error> {
        let mut children: BTreeMap<Box<[u8]>, Option<Found>> = BTreeMap::new();
        for (_, folder) in self.stack(path)?.iter() {
            for name in folder.names().map_err(Error::io("list", path))? {
                if children.contains_key(&name) {
                    continue;
                }
                let status = folder.child_status(&name).map_err(Error::io("stat", path))?;
                let found = status.filter(|s| !s.is_overlay_whiteout()).map(|status| Found {
                    folder: folder.clone(),
                    name: name.clone(),
                    status,
                });
                children.insert(name, found);
            }
        }
        Ok(children.into_iter().filter_map(|(name, found)| Some((name, found?))).collect())
    }

    /// The folders that merge at `path`, the top one first; none where `path` is no folder.
    fn stack(&self, path: &LayerPath) -> Result<Stack, Error> {
        if let Some((known, stack)) = &*self.last.borrow()
            && known == path
        {
            return Ok(stack.clone());
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(self.roots.clone());
        };
        let above = self.stack(&parent)?;
        let stack = self.merge(&above, name, path)?;
        *self.last.borrow_mut() = Some((path.clone(), stack.clone()));
        Ok(stack)
    }

    /// One step down: the folders `name` of the folders `above`, or what they are redirected to
    /// (`ovl_lookup` in the kernel's `fs/overlayfs/namei.c`).
    fn merge(
        &self,
        above: &[(usize, Rc<Dir>)],
        name: &[u8],
        path: &LayerPath,
    ) -> Result<Stack, Error> {
        let mut stack = Vec::new();
        let mut seek = Seek { from_root: false, parts: vec![name.into()] };
        let mut layer = 0;
        loop {
            let folders = if seek.from_root { &self.roots } else { above };
            let Some((at, base)) = folders.iter().find(|(place, _)| *place >= layer) else { break };
            layer = at + 1;
            let is_last = layer == self.roots.len();
            let (found, goes_on) = self.descend(base.clone(), &mut seek, is_last, path)?;
            stack.extend(found.map(|dir| (*at, dir)));
            if !goes_on {
                break;
            }
        }
        Ok(stack.into())
    }

    /// Looks `seek` up in one layer, from `base` on. Returns the folder, if there is one, and
    /// whether layers below count; `seek` becomes what is to be looked up there.
    fn descend(
        &self,
        base: Rc<Dir>,
        seek: &mut Seek,
        is_last: bool,
        path: &LayerPath,
    ) -> Result<(Option<Rc<Dir>>, bool), Error> {
        let mut dir = base;
        let mut goes_on = true;
        let parts = seek.parts.clone();
        for (place, part) in parts.iter().enumerate() {
            match dir.child_status(part).map_err(Error::io("stat", path))? {
                None => return Ok((None, goes_on)),
                Some(status) if !status.is_dir() => return Ok((None, false)),
                Some(_) => {}
            }
            dir = Rc::new(dir.open_dir(part).map_err(Error::io("open", path))?);
            // Below the last layer there is nothing to hide or to find elsewhere.
            if is_last {
                continue;
            }
            let target = XattrTarget::Open(dir.as_fd());
            if self.namespace.is_opaque(target, path)? {
                goes_on = false;
            } else if let Some(redirect) = self.namespace.redirect(target, path)? {
                seek.redirect(&parts[..place], redirect, &parts[place + 1..]);
            }
        }
        Ok((Some(dir), goes_on))
    }
}

/// What to look up in the next layer: a path from the root or from the folder above.
struct Seek {
    from_root: bool,
    parts: Vec<Box<[u8]>>,
}

impl Seek {
    /// The part after `before` is elsewhere.
    fn redirect(&mut self, before: &[Box<[u8]>], redirect: Redirect, after: &[Box<[u8]>]) {
        let parts = match redirect {
            Redirect::Name(name) => [before, &[name], after].concat(),
            Redirect::Path(path) => {
                self.from_root = true;
                [&path, after].concat()
            }
        };
        self.parts = parts;
    }
}
