use std::collections::VecDeque;

use super::error::Error;
use super::tree_file::{ROOT, Tree};
use crate::archive::FileType;

/// The most symbolic links that one path lookup follows, as in Linux (path_resolution(7)).
pub const MAX_LINKS: usize = 40;

/// Where a path lookup ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The inode.
    pub ino: u32,
    /// The directory that its name is in; the root's is itself.
    pub parent: u32,
    /// The place in [`Tree::layers`] of the layer that the name comes from, as in
    /// [`Child::layer`](super::Child::layer).
    pub layer: u16,
}

impl Tree {
    /// Looks up `path` from the root, with or without a leading slash.
    ///
    /// Symbolic links on the way are followed inside of the tree: absolute targets start at its
    /// root, and `..` does not leave it. One at the end is followed where `follow` says so or the
    /// path ends in a slash.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::ThroughFile`], [`Error::LinkLoop`] past [`MAX_LINKS`] links,
    /// [`Error::Damaged`].
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<Place, Error> {
        let text = || String::from_utf8_lossy(path).into_owned();
        let follow = follow || path.ends_with(b"/");
        let mut place = self.root_place()?;
        let mut left: VecDeque<&[u8]> = components(path).collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if self.record(place.ino)?.file_type != FileType::Directory {
                return Err(Error::ThroughFile(text()));
            }
            let next = self.step(place, name)?.ok_or_else(|| Error::NotFound(text()))?;
            let is_link = self.record(next.ino)?.file_type == FileType::Symlink;
            if !is_link || (left.is_empty() && !follow) {
                place = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::LinkLoop(text()));
            }
            let target = self.link_target(next.ino)?;
            if target.starts_with(b"/") {
                place = self.root_place()?;
            }
            components(target).rev().for_each(|name| left.push_front(name));
        }
        if path.ends_with(b"/") && self.record(place.ino)?.file_type != FileType::Directory {
            return Err(Error::ThroughFile(text()));
        }
        Ok(place)
    }

    fn step(&self, place: Place, name: &[u8]) -> Result<Option<Place>, Error> {
        match name {
            b"." => Ok(Some(place)),
            b".." => {
                let ino = self.parent(place.ino)?;
                let layer = self.record(ino)?.layer;
                Ok(Some(Place { ino, parent: self.parent(ino)?, layer }))
            }
            name => Ok(self.find(place.ino, name)?.map(|child| Place {
                ino: child.ino,
                parent: place.ino,
                layer: child.layer,
            })),
        }
    }

    fn root_place(&self) -> Result<Place, Error> {
        Ok(Place { ino: ROOT, parent: ROOT, layer: self.record(ROOT)?.layer })
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|name| !name.is_empty())
}
