//! Going down a path by hand, where the kernel cannot: a part of it is missing, or what it leads
//! through decides what of the layers below can be seen.

use std::rc::Rc;

use crate::archive::LayerPath;
use crate::diff::Error;
use crate::diff::lowers::is_opaque;
use crate::sys::Status;

use super::Applier;
use super::folders::Folder;

/// How many symbolic links one path may lead through (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The folders that a path leads through, from the root, each with whether the lower one of the
/// same path is hidden.
pub(super) struct Walk {
    stack: Vec<(Rc<Folder>, bool)>,
    links: u32,
}

impl Walk {
    pub(super) fn new(root: Rc<Folder>, hidden: bool) -> Self {
        Self { stack: vec![(root, hidden)], links: 0 }
    }

    pub(super) fn top(&self) -> (Rc<Folder>, bool) {
        let last = self.stack.len() - 1;
        let (folder, hidden) = &self.stack[last];
        (folder.clone(), *hidden)
    }

    /// Goes to the parent; that of the root is the root.
    fn up(&mut self) {
        if self.stack.len() > 1 {
            self.stack.pop();
        }
    }

    /// Puts the components of a link in front of what is left.
    fn follow(
        &mut self,
        target: &[u8],
        left: &mut Vec<Vec<u8>>,
        path: &LayerPath,
    ) -> Result<(), Error> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Error::TooManyLinks { path: path.to_string() });
        }
        if target.starts_with(b"/") {
            self.stack.truncate(1);
        }
        left.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
        Ok(())
    }
}

impl Applier {
    /// Goes down `path` as far as there are folders. Returns the names that are left, and what there
    /// is under the first of them if it is something else than a folder.
    ///
    /// Below what does not exist, `..` takes the last name away, as in Go's `filepath.Clean`.
    pub(super) fn walk_down(
        &self,
        walk: &mut Walk,
        path: &LayerPath,
    ) -> Result<(Vec<Vec<u8>>, Option<Status>), Error> {
        let mut left: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut absent: Vec<Vec<u8>> = Vec::new();
        let mut in_the_way = None;
        while let Some(name) = left.pop() {
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    if absent.pop().is_none() {
                        walk.up();
                    }
                    continue;
                }
                _ if !absent.is_empty() => {
                    absent.push(name);
                    continue;
                }
                _ => {}
            }
            let (above, hidden) = walk.top();
            match above.dir.child_status(&name).map_err(Error::io("stat", path))? {
                Some(status) if status.is_symlink() => {
                    let target = above.dir.read_link(&name).map_err(Error::io("read", path))?;
                    walk.follow(&target, &mut left, path)?;
                }
                Some(status) if status.is_dir() => {
                    let below = above.path.join(&name)?;
                    let dir = above.dir.open_dir(&name).map_err(Error::io("open", &below))?;
                    let opaque = self.overlay.is_some() && is_opaque(&dir, &below)?;
                    walk.stack.push((Rc::new(Folder::new(dir, below)?), hidden || opaque));
                }
                other => {
                    in_the_way = other;
                    absent.push(name);
                }
            }
        }
        Ok((absent, in_the_way))
    }
}
