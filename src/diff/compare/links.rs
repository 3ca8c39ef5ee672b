//! Decides how the names of hard-linked files are told.
//!
//! A layer must not only bring the content of each name: two names must be one file exactly where
//! they are in the upper tree.

use std::collections::{HashMap, HashSet};

use crate::archive::LayerPath;

use super::Inode;
use super::plan::{Plan, Step};

/// Something to write.
#[derive(Debug)]
pub(super) enum Item {
    /// A whiteout for this path.
    Whiteout(LayerPath),
    /// The file itself.
    Node(LayerPath, Inode),
    /// One more name of the file that was written as `target`.
    Link { path: LayerPath, inode: Inode, target: LayerPath },
}

type Id = (u64, u64);

/// What to write, in order.
///
/// As containerd writes it: the first changed name of a file is the file, right after it come the
/// links of names before it that did not change, and the other names in their places.
pub(super) fn order(plan: Plan) -> Vec<Item> {
    let broken = broken_groups(&plan);
    let mut items = Vec::with_capacity(plan.len());
    let mut written: HashMap<Id, LayerPath> = HashMap::new();
    let mut before: HashMap<Id, Vec<(LayerPath, Inode)>> = HashMap::new();
    for step in plan {
        let (path, inode, changed) = match step {
            Step::Gone(path) => {
                items.push(Item::Whiteout(path));
                continue;
            }
            Step::Changed(path, inode) => (path, inode, true),
            Step::Kept { path, inode, .. } => {
                let changed = broken.contains(&inode.id);
                (path, inode, changed)
            }
        };
        let is_linked = inode.nlink > 1 && !is_dir(&inode);
        if is_linked && let Some(target) = written.get(&inode.id) {
            items.push(Item::Link { path, inode, target: target.clone() });
        } else if !changed {
            before.entry(inode.id).or_default().push((path, inode));
        } else {
            let links = before.remove(&inode.id).unwrap_or_default();
            if is_linked {
                written.insert(inode.id, path.clone());
            }
            items.push(Item::Node(path.clone(), inode));
            for (link, inode) in links {
                items.push(Item::Link { path: link, inode, target: path.clone() });
            }
        }
    }
    items
}

fn is_dir(inode: &Inode) -> bool {
    inode.metadata.file_type == crate::archive::FileType::Directory
}

/// The upper files of which no name changed, but whose names are not the same set of hard links in
/// the lower tree: they are written as if they had changed.
fn broken_groups(plan: &Plan) -> HashSet<Id> {
    let changed: HashSet<Id> = plan
        .iter()
        .filter_map(|step| match step {
            Step::Changed(_, inode) => Some(inode.id),
            Step::Gone(_) | Step::Kept { .. } => None,
        })
        .collect();
    let mut broken = HashSet::new();
    // Which upper file keeps a lower one, and which lower one an upper file keeps.
    let mut keeper: HashMap<Id, Id> = HashMap::new();
    let mut kept: HashMap<Id, Id> = HashMap::new();
    for step in plan {
        let Step::Kept { inode, lower_id, .. } = step else { continue };
        if changed.contains(&inode.id) {
            continue;
        }
        // Joined from two lower files, or split off one: it has to be made anew.
        let joined = *kept.entry(inode.id).or_insert(*lower_id) != *lower_id;
        let split = *keeper.entry(*lower_id).or_insert(inode.id) != inode.id;
        if joined || split {
            broken.insert(inode.id);
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{FileType, Metadata};

    fn inode(id: u64, nlink: u64) -> Inode {
        let metadata = Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
        Inode { metadata, size: 1, link_target: Vec::new(), id: (1, id), nlink }
    }

    fn path(p: &str) -> LayerPath {
        LayerPath::parse(p.as_bytes()).unwrap()
    }

    fn kept(p: &str, upper: u64, nlink: u64, lower: u64) -> Step {
        Step::Kept { path: path(p), inode: inode(upper, nlink), lower_id: (2, lower) }
    }

    fn told(plan: Plan) -> Vec<String> {
        order(plan)
            .into_iter()
            .map(|item| match item {
                Item::Whiteout(path) => format!("gone {path}"),
                Item::Node(path, _) => format!("file {path}"),
                Item::Link { path, target, .. } => format!("link {path} to {target}"),
            })
            .collect()
    }

    #[test]
    fn links_of_one_lower_file_that_stay_are_not_told() {
        assert!(told(vec![kept("a", 1, 2, 1), kept("b", 1, 2, 1)]).is_empty());
    }

    #[test]
    fn a_new_link_brings_the_old_names_along() {
        let plan =
            vec![kept("a", 1, 3, 1), Step::Changed(path("b"), inode(1, 3)), kept("c", 1, 3, 1)];
        assert_eq!(told(plan), ["file /b", "link /a to /b", "link /c to /b"]);
    }

    #[test]
    fn files_that_were_joined_are_told() {
        let plan = vec![kept("a", 1, 2, 1), kept("b", 1, 2, 2)];
        assert_eq!(told(plan), ["file /a", "link /b to /a"]);
    }

    #[test]
    fn files_that_were_split_are_told_but_for_one() {
        let plan = vec![kept("a", 1, 1, 1), kept("b", 2, 2, 1), kept("c", 2, 2, 1)];
        assert_eq!(told(plan), ["file /b", "link /c to /b"]);
    }
}
