use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use crate::archive::LayerPath;
use crate::diff::Error;
use crate::diff::lowers::LayerFolders;
use crate::diff::overlay_attributes::Namespace;
use crate::sys::{Dir, Status, XattrTarget};

use super::node::read;
use super::{Inode, LowerTree};

/// The tree that is compared: a folder, or the upper folder of an overlay.
pub(super) struct Upper {
    dir: Rc<Dir>,
    overlay: Option<Overlay>,
}

/// What is known of the overlay around an upper folder.
struct Overlay {
    namespace: Namespace,
    /// Upper and lower folders as one tree, where the lower ones can be read.
    merged: Option<LayerFolders>,
}

/// A child of a folder of the upper tree.
pub(super) struct Child {
    pub(super) inode: Inode,
    /// It hides the lower one and is nothing itself.
    pub(super) whiteout: bool,
    /// The content of the lower folder at its path is not below it.
    pub(super) opaque: bool,
    /// It was renamed, or is below one that was: part of its content is in the lower folders.
    pub(super) renamed: bool,
}

/// A name of a file that has several.
pub(super) type LinkedName = (LayerPath, Inode);

/// The children of a folder by name; `None` for what no layer can hold.
pub(super) type Children = BTreeMap<Box<[u8]>, Option<Child>>;

impl Upper {
    /// The tree of a folder.
    pub(super) fn folder(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open(path).map_err(Error::io("open", path.display()))?;
        Ok(Self { dir: Rc::new(dir), overlay: None })
    }

    /// The upper folder of an overlay over `lower`.
    pub(super) fn overlay(path: &Path, lower: &dyn LowerTree) -> Result<Self, Error> {
        let mut upper = Self::folder(path)?;
        let folders = lower.folders();
        upper.overlay = Some(Overlay {
            namespace: folders.map_or(Namespace::Trusted, LayerFolders::namespace),
            merged: folders.map(|folders| folders.below(upper.dir.clone())),
        });
        Ok(upper)
    }

    pub(super) fn is_overlay(&self) -> bool {
        self.overlay.is_some()
    }

    fn merged(&self) -> Option<&LayerFolders> {
        self.overlay.as_ref()?.merged.as_ref()
    }

    /// The root itself.
    pub(super) fn root(&self) -> Result<Option<Inode>, Error> {
        let root = LayerPath::root();
        let status = self.dir.status().map_err(Error::io("stat", &root))?;
        read(&self.dir, b"", &status, &root)
    }

    /// The children of the folder `path`, which may be `renamed`.
    pub(super) fn children(&self, path: &LayerPath, renamed: bool) -> Result<Children, Error> {
        match self.merged() {
            Some(merged) if renamed => self.merged_children(merged, path),
            Some(_) | None => self.own_children(path),
        }
    }

    fn own_children(&self, path: &LayerPath) -> Result<Children, Error> {
        let dir = self.dir.resolve_without_links(path.as_bytes());
        let dir = dir.map_err(Error::io("open", path))?;
        let mut children = Children::new();
        for name in dir.names().map_err(Error::io("list", path))? {
            let below = path.join(&name)?;
            // What has just gone is as if it had never been.
            let status = dir.child_status(&name).map_err(Error::io("stat", &below))?;
            let child =
                status.map(|status| self.child(&dir, &name, &status, &below)).transpose()?;
            children.insert(name, child.flatten());
        }
        Ok(children)
    }

    fn child(
        &self,
        dir: &Dir,
        name: &[u8],
        status: &Status,
        path: &LayerPath,
    ) -> Result<Option<Child>, Error> {
        let Some(inode) = read(dir, name, status, path)? else { return Ok(None) };
        let mut child = Child { inode, whiteout: false, opaque: false, renamed: false };
        let Some(overlay) = &self.overlay else { return Ok(Some(child)) };
        let target = XattrTarget::Child(dir.as_fd(), name);
        child.whiteout = status.is_overlay_whiteout();
        if status.is_dir() {
            child.opaque = overlay.namespace.is_opaque(target, path)?;
            if !child.opaque && overlay.namespace.redirect(target, path)?.is_some() {
                if overlay.merged.is_none() {
                    overlay.namespace.refuse(target, "redirect", path)?;
                }
                (child.opaque, child.renamed) = (true, true);
            }
        } else if status.is_file() {
            overlay.namespace.refuse(target, "metacopy", path)?;
        }
        Ok(Some(child))
    }

    fn merged_children(&self, merged: &LayerFolders, path: &LayerPath) -> Result<Children, Error> {
        let mut children = Children::new();
        for (name, found) in merged.children(path)? {
            let below = path.join(&name)?;
            let inode = read(&found.folder, &name, &found.status, &below)?;
            if found.status.is_file() {
                let target = XattrTarget::Child(found.folder.as_fd(), &name);
                merged.namespace().refuse(target, "metacopy", &below)?;
            }
            let child =
                inode.map(|inode| Child { inode, whiteout: false, opaque: true, renamed: true });
            children.insert(name, child);
        }
        Ok(children)
    }

    /// All names that the files `ids` have in the whole overlay.
    pub(super) fn names_of(&self, ids: &HashSet<(u64, u64)>) -> Result<Vec<LinkedName>, Error> {
        let Some(merged) = self.merged() else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        let mut left = vec![LayerPath::root()];
        while let Some(path) = left.pop() {
            for (name, found) in merged.children(&path)? {
                let below = path.join(&name)?;
                if found.status.is_dir() {
                    left.push(below);
                } else if ids.contains(&found.status.id())
                    && let Some(inode) = read(&found.folder, &name, &found.status, &below)?
                {
                    names.push((below, inode));
                }
            }
        }
        Ok(names)
    }

    /// A folder that has entries below it.
    pub(super) fn parent(&self, path: &LayerPath) -> Result<Option<Inode>, Error> {
        match self.dir.resolve_without_links(path.as_bytes()) {
            Ok(dir) => {
                let status = dir.status().map_err(Error::io("stat", path))?;
                read(&dir, b"", &status, path)
            }
            Err(e) => match self.merged().filter(|_| is_absent(&e)) {
                Some(merged) => LowerTree::find(merged, path),
                None => Err(Error::io("open", path)(e)),
            },
        }
    }

    /// Opens a file for reading.
    pub(super) fn open_file(&self, path: &LayerPath) -> Result<File, Error> {
        let opened = self.dir.open_file(path.as_bytes()).or_else(|e| {
            match self.merged().filter(|_| is_absent(&e)) {
                Some(merged) => {
                    Ok(merged.find(path).map_err(io::Error::other)?.ok_or(e)?.open()?)
                }
                None => Err(e),
            }
        });
        opened.map_err(Error::io("open", path))
    }
}

fn is_absent(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound
}
