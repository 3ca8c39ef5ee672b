//! The lower folders of an overlay, looked at without mounting it.
//!
//! Kernel, `Documentation/filesystems/overlayfs.rst`: folders of one path merge from the top down;
//! a whiteout (character device 0:0) or anything that is no folder hides what is below; a folder
//! with the attribute `trusted.overlay.opaque` = `y` is the last of its path that counts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;

use crate::archive::LayerPath;
use crate::sys::{Dir, Status, XattrTarget};

use super::Error;

/// The namespaces of overlayfs's own attributes: as mounted by root, and with `userxattr`.
const NAMESPACES: [&str; 2] = ["trusted.overlay.", "user.overlay."];

/// Whether `name` is an attribute of overlayfs itself, which no layer may carry.
pub(super) fn is_overlay_attribute(name: &[u8]) -> bool {
    NAMESPACES.iter().any(|namespace| name.starts_with(namespace.as_bytes()))
}

/// Whether the folder says that it hides the one below.
pub(super) fn is_opaque(dir: &Dir, path: &LayerPath) -> Result<bool, Error> {
    Ok(overlay_attribute(XattrTarget::Open(dir.as_fd()), "opaque", path)?.as_deref() == Some(b"y"))
}

/// Overlayfs's attribute `name`, in either namespace.
fn overlay_attribute(
    target: XattrTarget<'_>,
    name: &str,
    path: &LayerPath,
) -> Result<Option<Vec<u8>>, Error> {
    for namespace in NAMESPACES {
        let value = target
            .get(format!("{namespace}{name}").as_bytes())
            .map_err(Error::io("read attributes of", path))?;
        if value.is_some() {
            return Ok(value);
        }
    }
    Ok(None)
}

/// Refuses what overlayfs resolves through an attribute that this module does not follow.
pub(super) fn refuse_attribute(
    target: XattrTarget<'_>,
    attribute: &'static str,
    path: &LayerPath,
) -> Result<(), Error> {
    match overlay_attribute(target, attribute, path)? {
        None => Ok(()),
        Some(_) => Err(Error::Overlay { path: path.to_string(), attribute: attribute.to_owned() }),
    }
}

/// Something that a lower folder has.
#[derive(Debug)]
pub(super) struct Found {
    /// The folder that holds it.
    pub(super) folder: Rc<Dir>,
    /// Its name there; empty for the root, which is `folder` itself.
    pub(super) name: Box<[u8]>,
    /// What it is.
    pub(super) status: Status,
}

/// The folders of one path, from the top down.
type Stack = Rc<[Rc<Dir>]>;

/// The lower folders of an overlay, as one tree.
#[derive(Debug)]
pub(super) struct Lowers {
    roots: Stack,
    /// The stack that was asked for last: what is next is most often its neighbour.
    last: RefCell<Option<(LayerPath, Stack)>>,
}

impl Lowers {
    /// The tree of the folders `paths`, the top one first.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, Error> {
        let roots = paths
            .iter()
            .map(|path| {
                Dir::open(path).map(Rc::new).map_err(Error::io("open lower folder", path.display()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { roots, last: RefCell::new(None) })
    }

    /// What there is at `path`, no link followed.
    pub(super) fn find(&self, path: &LayerPath) -> Result<Option<Found>, Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let Some(root) = self.roots.first() else { return Ok(None) };
            let status = root.status().map_err(Error::io("stat", path))?;
            return Ok(Some(Found { folder: root.clone(), name: Box::default(), status }));
        };
        for folder in self.stack(&parent)?.iter() {
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
    pub(super) fn children(&self, path: &LayerPath) -> Result<BTreeMap<Box<[u8]>, Status>, Error> {
        let mut children: BTreeMap<Box<[u8]>, Option<Status>> = BTreeMap::new();
        for folder in self.stack(path)?.iter() {
            for name in folder.names().map_err(Error::io("list", path))? {
                if children.contains_key(&name) {
                    continue;
                }
                let status = folder.child_status(&name).map_err(Error::io("stat", path))?;
                children.insert(name, status.filter(|s| !s.is_overlay_whiteout()));
            }
        }
        Ok(children.into_iter().filter_map(|(name, status)| Some((name, status?))).collect())
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
        let stack = merge_step(&above, name, path)?;
        *self.last.borrow_mut() = Some((path.clone(), stack.clone()));
        Ok(stack)
    }
}

/// One step down: the folders `name` of the folders `above`.
fn merge_step(above: &[Rc<Dir>], name: &[u8], path: &LayerPath) -> Result<Stack, Error> {
    let mut stack = Vec::new();
    for (place, folder) in above.iter().enumerate() {
        match folder.child_status(name).map_err(Error::io("stat", path))? {
            None => continue,
            Some(status) if !status.is_dir() => break,
            Some(_) => {}
        }
        let dir = folder.open_dir(name).map_err(Error::io("open", path))?;
        // Below the last one there is nothing to hide or to find elsewhere.
        let is_last = place + 1 == above.len();
        if !is_last {
            refuse_attribute(XattrTarget::Open(dir.as_fd()), "redirect", path)?;
        }
        let opaque = !is_last && is_opaque(&dir, path)?;
        stack.push(Rc::new(dir));
        if opaque {
            break;
        }
    }
    Ok(stack.into())
}
