//! Going down a path by hand, where the kernel cannot: a part of it is missing in the target, or
//! what it leads through decides what of the layers below can be seen.

use std::rc::Rc;

use crate::archive::LayerPath;
use crate::diff::Error;
use crate::sys::Status;

use super::Applier;
use super::folders::Folder;

/// How many symbolic links one path may lead through (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// A folder on the way, from the root.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Its path, without any link.
    pub(super) path: LayerPath,
    /// The folder; `None` where the target has none.
    pub(super) folder: Option<Rc<Folder>>,
    /// What else the target has there.
    pub(super) in_the_way: Option<Status>,
    /// Whether what the layers below have at this path is hidden.
    pub(super) hidden: bool,
}

/// A walk: the folders passed through, and the components still to go.
struct Walk<'a> {
    goal: &'a LayerPath,
    steps: Vec<Step>,
    left: Vec<Vec<u8>>,
    links: u32,
}

impl Walk<'_> {
    /// Puts the components of a link in front of what is left.
    fn follow(&mut self, target: &[u8]) -> Result<(), Error> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Error::TooManyLinks { path: self.goal.to_string() });
        }
        if target.starts_with(b"/") {
            self.steps.truncate(1);
        }
        self.left.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
        Ok(())
    }

    /// Goes to the parent; that of the root is the root.
    fn up(&mut self) {
        if self.steps.len() > 1 {
            self.steps.pop();
        }
    }
}

impl Applier {
    /// The folders that `path` leads through, from the root, each looked up from the handle of the
    /// one before. Links of the target are followed, and in an overlay those of the layers below.
    ///
    /// What does not exist is passed through too, so that `..` takes it away again, as in Go's
    /// `filepath.Clean`.
    pub(super) fn walk_down(&self, path: &LayerPath) -> Result<Vec<Step>, Error> {
        let root = Step {
            path: LayerPath::root(),
            folder: Some(self.root.clone()),
            in_the_way: None,
            hidden: self.hides_all(),
        };
        let left = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut walk = Walk { goal: path, steps: vec![root], left, links: 0 };
        while let Some(name) = walk.left.pop() {
            match &*name {
                b"" | b"." => {}
                b".." => walk.up(),
                _ => self.step(&mut walk, &name)?,
            }
        }
        Ok(walk.steps)
    }

    /// Goes to `name`, or to where it leads.
    fn step(&self, walk: &mut Walk<'_>, name: &[u8]) -> Result<(), Error> {
        let above = walk.steps[walk.steps.len() - 1].clone();
        let path = above.path.join(name)?;
        let status = match &above.folder {
            None => None,
            Some(folder) => folder.dir.child_status(name).map_err(Error::io("stat", &path))?,
        };
        let mut next = Step { path, folder: None, in_the_way: None, hidden: above.hidden };
        match (status, &above.folder) {
            (Some(status), Some(folder)) if status.is_symlink() => {
                let target = folder.dir.read_link(name).map_err(Error::io("read", &next.path))?;
                return walk.follow(&target);
            }
            (Some(status), Some(folder)) if status.is_dir() => {
                let dir = folder.dir.open_dir(name).map_err(Error::io("open", &next.path))?;
                if let Some(overlay) = &self.overlay {
                    next.hidden |= overlay.hides(&dir, &next.path)?;
                }
                next.folder = Some(Rc::new(Folder::new(dir, next.path.clone())?));
            }
            (Some(status), _) => {
                next.in_the_way = Some(status);
                next.hidden = true;
            }
            (None, _) => {
                if let Some(target) = self.lower_link(&next)? {
                    return walk.follow(&target);
                }
            }
        }
        walk.steps.push(next);
        Ok(())
    }

    /// The target of the symbolic link that the layers below have at the path of `step`.
    fn lower_link(&self, step: &Step) -> Result<Option<Vec<u8>>, Error> {
        let Some(overlay) = self.overlay.as_ref().filter(|_| !step.hidden) else {
            return Ok(None);
        };
        match overlay.lowers.find(&step.path)? {
            Some(found) if found.status.is_symlink() => {
                let target = found.folder.read_link(&found.name);
                target.map(Some).map_err(Error::io("read", &step.path))
            }
            Some(_) | None => Ok(None),
        }
    }
}
