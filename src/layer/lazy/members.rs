//! The files of a table of contents whose order says little: a hard link may come before what it
//! links to.

use std::collections::{HashMap, HashSet};

use crate::archive::{Entry, EntryKind, LayerPath};
use crate::layer::{Toc, TocBuilder, TocError};

/// Adds entries to a layer, hard links once what they link to is there. Each step takes a time that
/// does not depend on how many there are.
#[derive(Default)]
pub(super) struct Members {
    builder: TocBuilder,
    /// Names of entries that were added.
    added: HashSet<LayerPath>,
    /// Hard links that wait; `None` once they were added or are not needed any more.
    waiting: Vec<Option<Entry>>,
    /// Of those, the last of each name.
    by_name: HashMap<LayerPath, usize>,
    /// And which of them wait for what.
    by_target: HashMap<LayerPath, Vec<usize>>,
}

fn clean(path: &[u8]) -> Option<LayerPath> {
    LayerPath::parse_clamped(path).ok()
}

impl Members {
    /// Adds the next entry.
    ///
    /// # Errors
    ///
    /// Those of [`TocBuilder::add`].
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), TocError> {
        let path = clean(&entry.path);
        if let Some(replaced) = path.as_ref().and_then(|path| self.by_name.remove(path)) {
            self.waiting[replaced] = None;
        }
        if let EntryKind::HardLink(target) = &entry.kind
            && let (Some(path), Some(target)) = (&path, clean(target))
            && !self.added.contains(&target)
        {
            self.by_name.insert(path.clone(), self.waiting.len());
            self.by_target.entry(target).or_default().push(self.waiting.len());
            self.waiting.push(Some(entry));
            return Ok(());
        }
        self.place(entry, path)
    }

    /// Adds an entry, and then whatever has waited for it.
    fn place(&mut self, entry: Entry, path: Option<LayerPath>) -> Result<(), TocError> {
        let mut next = vec![(entry, path)];
        while let Some((entry, path)) = next.pop() {
            self.builder.add(entry)?;
            let Some(path) = path else { continue };
            for waiting in self.by_target.remove(&path).unwrap_or_default().into_iter().rev() {
                if let Some(link) = self.waiting[waiting].take() {
                    let name = clean(&link.path);
                    if let Some(name) = &name {
                        self.by_name.remove(name);
                    }
                    next.push((link, name));
                }
            }
            self.added.insert(path);
        }
        Ok(())
    }

    /// The layer. What links still wait for is not in it, or links to them in a circle: they come last,
    /// and link to what the layers below have.
    ///
    /// # Errors
    ///
    /// Those of [`TocBuilder::add`].
    pub(super) fn finish(mut self) -> Result<Toc, TocError> {
        self.waiting.into_iter().flatten().try_for_each(|link| self.builder.add(link))?;
        Ok(self.builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{FileType, Metadata};
    use crate::layer::Target;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        let metadata = Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
        let path = path.as_bytes().to_vec();
        Entry { offset: 0, path, kind, metadata, size: 0, runs: Vec::new() }
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, EntryKind::HardLink(target.as_bytes().to_vec()))
    }

    fn file(path: &str) -> Entry {
        entry(path, EntryKind::Regular)
    }

    /// Names with the inode they have, or the path below that they link to.
    fn layer(entries: impl IntoIterator<Item = Entry>) -> Vec<(String, String)> {
        let mut members = Members::default();
        entries.into_iter().for_each(|entry| members.add(entry).unwrap());
        let target = |target: &Target| match target {
            Target::Inode(inode) => inode.to_string(),
            Target::Lower(path) => path.to_string()[1..].to_owned(),
        };
        let toc = members.finish().unwrap();
        let path = |path: &LayerPath| path.to_string()[1..].to_owned();
        toc.names.iter().map(|name| (path(&name.path), target(&name.target))).collect()
    }

    fn names(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, target)| ((*name).into(), (*target).into())).collect()
    }

    #[test]
    fn links_find_what_comes_after_them() {
        let before = [link("a", "b"), link("b", "./c"), file("c"), link("d", "/c")];
        assert_eq!(layer(before), names(&[("a", "0"), ("b", "0"), ("c", "0"), ("d", "0")]));
        let lower = [link("a", "x"), link("b", "c"), link("c", "b")];
        assert_eq!(layer(lower), names(&[("a", "x"), ("b", "c"), ("c", "c")]));
    }

    #[test]
    fn a_later_entry_of_the_name_takes_the_place_of_a_link_that_waits() {
        let replaced = [link("a", "c"), file("a"), file("c")];
        assert_eq!(layer(replaced), names(&[("a", "0"), ("c", "1")]));
        let twice = [link("a", "c"), link("a", "d"), file("c"), file("d")];
        assert_eq!(layer(twice), names(&[("a", "1"), ("c", "0"), ("d", "1")]));
    }

    /// Quadratic work would take minutes.
    #[test]
    fn a_long_chain_of_links_in_the_wrong_order_is_no_matter() {
        let count = 100_000;
        let chain = (0..count).map(|n| link(&format!("{n:06}"), &format!("{:06}", n + 1)));
        let end = file(&format!("{count:06}"));
        assert!(layer(chain.chain([end])).iter().all(|(_, inode)| inode == "0"));
    }
}
