//! Finds out what is other than it was, without writing anything yet: how hard links are told
//! depends on all names of a file.

use std::collections::HashSet;
use std::io::Read;

use crate::archive::{FileType, LayerPath, WHITEOUT_PREFIX};
use crate::diff::Error;
use crate::diff::lowers::LayerFolders;

use super::upper::{Child, Children, Upper};
use super::{Inode, LowerTree};

/// How much of two files is compared at once, in bytes.
const BUFFER: usize = 128 << 10;

/// A name of the upper tree, or one that is gone.
#[derive(Debug)]
pub(super) enum Step {
    /// The lower tree has it, the upper one has not.
    Gone(LayerPath),
    /// It is new or other than it was.
    Changed(LayerPath, Inode),
    /// It is as it was, and one of several names of a file of the upper or lower tree.
    Kept {
        path: LayerPath,
        inode: Inode,
        /// The ID of the lower inode.
        lower_id: (u64, u64),
    },
}

impl Step {
    fn path(&self) -> &LayerPath {
        match self {
            Step::Gone(path) | Step::Changed(path, _) | Step::Kept { path, .. } => path,
        }
    }
}

/// What is to be told of the upper tree, sorted by path.
pub(super) type Plan = Vec<Step>;

/// What tells whether two files with the same metadata have the same content.
pub(super) enum Content<'a> {
    /// They have not: the upper folder of an overlay holds only what was written.
    Differs,
    /// Reading them.
    Compared { lowers: &'a LayerFolders, trust_times: bool },
}

/// Where the content of a folder of the lower tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    /// There is no such folder, or it is hidden: all is new.
    Nothing,
    /// What the upper folder does not have is gone.
    Replaced,
    /// What the upper folder does not have is as it was.
    Merged,
}

/// Walks the upper tree.
pub(super) struct Planner<'a> {
    upper: &'a Upper,
    lower: &'a dyn LowerTree,
    content: Content<'a>,
    plan: Plan,
    /// The files with several names in renamed folders.
    moved_links: HashSet<(u64, u64)>,
}

/// A folder that is being walked: its children that are still to be looked at.
struct Open {
    path: LayerPath,
    below: Below,
    children: <Children as IntoIterator>::IntoIter,
}

impl<'a> Planner<'a> {
    pub(super) fn new(upper: &'a Upper, lower: &'a dyn LowerTree, content: Content<'a>) -> Self {
        Self { upper, lower, content, plan: Vec::new(), moved_links: HashSet::new() }
    }

    pub(super) fn plan(mut self) -> Result<Plan, Error> {
        self.root()?;
        let below = if self.upper.is_overlay() { Below::Merged } else { Below::Replaced };
        let mut open = vec![self.open(LayerPath::root(), below, false)?];
        while let Some(folder) = open.last_mut() {
            let Some((name, child)) = folder.children.next() else {
                open.pop();
                continue;
            };
            let path = folder.path.join(&name)?;
            let below = folder.below;
            let renamed = child.as_ref().is_some_and(|child| child.renamed);
            if let Some(below) = self.child(&path, child, below)? {
                open.push(self.open(path, below, renamed)?);
            }
        }
        self.find_links()?;
        Ok(self.plan)
    }

    /// A file in a renamed folder may have other names, in folders that did not change: they are
    /// to be links to it still.
    fn find_links(&mut self) -> Result<(), Error> {
        if self.moved_links.is_empty() {
            return Ok(());
        }
        let known: HashSet<LayerPath> = self.plan.iter().map(|step| step.path().clone()).collect();
        for (path, inode) in self.upper.names_of(&self.moved_links)? {
            if !known.contains(&path) {
                let lower_id = inode.id;
                self.plan.push(Step::Kept { path, inode, lower_id });
            }
        }
        self.plan.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(())
    }

    /// The root is told where more than its time changed, which every change in it moves.
    fn root(&mut self) -> Result<(), Error> {
        let path = LayerPath::root();
        let Some(inode) = self.upper.root()? else { return Ok(()) };
        let mut as_before = inode.metadata.clone();
        if let Some(lower) = self.lower.find(&path)? {
            as_before.mtime = lower.metadata.mtime;
            if as_before == lower.metadata {
                return Ok(());
            }
        }
        self.plan.push(Step::Changed(path, inode));
        Ok(())
    }

    /// Lists the upper folder `path`, with the names that only the lower one has.
    fn open(&self, path: LayerPath, below: Below, renamed: bool) -> Result<Open, Error> {
        let mut children = self.upper.children(&path, renamed)?;
        if below == Below::Replaced {
            for name in self.lower.names(&path)? {
                children.entry(name).or_insert(None);
            }
        }
        Ok(Open { path, below, children: children.into_iter() })
    }

    /// Notes what is to be told of one name. Returns how to go on below it, for a directory.
    fn child(
        &mut self,
        path: &LayerPath,
        child: Option<Child>,
        below: Below,
    ) -> Result<Option<Below>, Error> {
        let lower = match below {
            Below::Nothing => None,
            Below::Replaced | Below::Merged => self.lower.find(path)?,
        };
        let child = child.filter(|child| !child.whiteout);
        let (child, lower) = match (child, lower) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                refuse_reserved(path)?;
                self.plan.push(Step::Gone(path.clone()));
                return Ok(None);
            }
            (Some(child), lower) => (child, lower),
        };
        let is_dir = child.inode.metadata.file_type == FileType::Directory;
        let lower_is_dir =
            lower.as_ref().is_some_and(|l| l.metadata.file_type == FileType::Directory);
        let goes_on = is_dir.then_some(match below {
            _ if !lower_is_dir => Below::Nothing,
            Below::Merged if child.opaque => Below::Replaced,
            Below::Nothing | Below::Replaced | Below::Merged => below,
        });
        match lower {
            Some(lower) if self.is_same(path, &child.inode, &lower)? => {
                if !is_dir && (child.inode.nlink > 1 || lower.nlink > 1) {
                    let (path, lower_id) = (path.clone(), lower.id);
                    self.plan.push(Step::Kept { path, inode: child.inode, lower_id });
                }
            }
            Some(_) | None => {
                refuse_reserved(path)?;
                if child.renamed && !is_dir && child.inode.nlink > 1 {
                    self.moved_links.insert(child.inode.id);
                }
                self.plan.push(Step::Changed(path.clone(), child.inode));
            }
        }
        Ok(goes_on)
    }

    fn is_same(&self, path: &LayerPath, upper: &Inode, lower: &Inode) -> Result<bool, Error> {
        let same = upper.metadata == lower.metadata
            && upper.size == lower.size
            && upper.link_target == lower.link_target;
        if !same || upper.metadata.file_type == FileType::Directory {
            return Ok(same);
        }
        match &self.content {
            Content::Differs => Ok(false),
            _ if upper.id == lower.id || upper.metadata.file_type != FileType::Regular => Ok(true),
            Content::Compared { trust_times: true, .. } if upper.metadata.mtime.nanos != 0 => {
                Ok(true)
            }
            Content::Compared { lowers, .. } => self.same_content(path, lowers),
        }
    }

    fn same_content(&self, path: &LayerPath, lowers: &LayerFolders) -> Result<bool, Error> {
        let Some(found) = lowers.find(path)? else { return Ok(false) };
        let mut lower = found.open().map_err(Error::io("open", path))?;
        let mut upper = self.upper.open_file(path)?;
        let mut buffers = [vec![0; BUFFER], vec![0; BUFFER]];
        let [a, b] = &mut buffers;
        loop {
            let n = read_full(&mut upper, a).map_err(Error::io("read", path))?;
            let m = read_full(&mut lower, b).map_err(Error::io("read", path))?;
            if n != m || a[..n] != b[..m] {
                return Ok(false);
            }
            if n == 0 {
                return Ok(true);
            }
        }
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_full(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

/// Refuses a name that would be read as a whiteout.
fn refuse_reserved(path: &LayerPath) -> Result<(), Error> {
    match path.file_name() {
        Some(name) if name.starts_with(WHITEOUT_PREFIX) => {
            Err(Error::ReservedName { path: path.to_string() })
        }
        Some(_) | None => Ok(()),
    }
}
