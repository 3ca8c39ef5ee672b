//! Counts what a folder takes on disk, while containers may be writing to it.
//!
//! No lock is held, no mount point is entered and the number of open folders is bounded, however
//! deep the tree is. What vanishes or moves while it is being counted may be missed.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::Usage;
use crate::sys::Dir;

/// How many folders are held open; those above are opened again by `..` on the way back.
const MAX_OPEN: usize = 64;

/// A folder on the way from the top to where the count is.
struct Level {
    id: (u64, u64),
    /// `None` while more than [`MAX_OPEN`] folders below are open.
    dir: Option<Dir>,
    /// Folders in it that were not entered yet.
    pending: Vec<Box<[u8]>>,
}

/// Counts the folder at `path` itself and everything below it, hard links once.
///
/// # Errors
///
/// Those of opening and listing, for things that exist and may be entered.
pub(super) fn disk_usage(path: &Path) -> io::Result<Usage> {
    let mut count = Count::default();
    let top = Dir::open(path)?;
    let status = top.status()?;
    count.add(status.allocated);
    let mut levels = vec![count.enter(top, status.id())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.pending.pop() else {
            leave(&mut levels);
            continue;
        };
        let Some(dir) = &level.dir else {
            // It was moved while it was closed.
            levels.pop();
            continue;
        };
        let Some(child) = vanished(dir.open_dir_of_same_mount(&name))? else { continue };
        let id = child.status()?.id();
        levels.push(count.enter(child, id)?);
        if let Some(far) = levels.len().checked_sub(MAX_OPEN) {
            levels[far].dir = None;
        }
    }
    Ok(count.usage)
}

/// Goes back to the folder above, opening it again where it was closed.
fn leave(levels: &mut Vec<Level>) {
    let Some(left) = levels.pop() else { return };
    let (Some(above), Some(dir)) = (levels.last_mut(), left.dir) else { return };
    if above.dir.is_none() {
        let reopened = dir.open_dir(b"..").ok();
        above.dir = reopened.filter(|dir| dir.status().is_ok_and(|status| status.id() == above.id));
    }
}

#[derive(Default)]
struct Count {
    usage: Usage,
    /// Files with several names that were counted.
    linked: HashSet<(u64, u64)>,
}

impl Count {
    fn add(&mut self, allocated: u64) {
        self.usage.inodes += 1;
        self.usage.size += allocated;
    }

    /// Counts what is in `dir`, the folders in it but not what is in those.
    fn enter(&mut self, dir: Dir, id: (u64, u64)) -> io::Result<Level> {
        let mut pending = Vec::new();
        for name in vanished(dir.names())?.unwrap_or_default() {
            let Some(status) = dir.child_status(&name)? else { continue };
            if status.is_dir() {
                pending.push(name);
            } else if status.nlink > 1 && !self.linked.insert(status.id()) {
                continue;
            }
            self.add(status.allocated);
        }
        Ok(Level { id, dir: Some(dir), pending })
    }
}

/// `None` for what was removed or replaced meanwhile, and for mount points.
fn vanished<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) => match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV) => Ok(None),
            _ => Err(e),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    /// What `du` says.
    fn du(path: &Path) -> Usage {
        let run = |flag| {
            let out =
                Command::new("du").args(["-s", "-x", "-B1", flag]).arg(path).output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            text.split_whitespace().next().unwrap().parse().unwrap()
        };
        Usage { inodes: run("--inodes"), size: run("--block-size=1") }
    }

    #[test]
    fn an_empty_folder_is_one_inode() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = std::fs::metadata(dir.path()).unwrap().blocks();
        let usage = disk_usage(dir.path()).unwrap();
        assert_eq!(usage, Usage { inodes: 1, size: blocks * 512 });
    }

    #[test]
    fn files_links_and_folders_are_counted_as_du_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::fs::create_dir_all(path.join("a/b/c")).unwrap();
        std::fs::write(path.join("a/big"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(path.join("a/big"), path.join("a/b/same")).unwrap();
        std::fs::hard_link(path.join("a/big"), path.join("third")).unwrap();
        std::os::unix::fs::symlink("/", path.join("a/link")).unwrap();
        let sparse = std::fs::File::create(path.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let usage = disk_usage(path).unwrap();
        assert_eq!(usage, du(path));
        assert!(usage.size < 1 << 20);
        assert_eq!(usage.inodes, 7);
    }

    #[test]
    fn deeper_than_any_path_is_counted_with_few_open_folders() {
        let dir = tempfile::tempdir().unwrap();
        let (depth, long_name) = (5 * MAX_OPEN, [b'x'; 64]);
        let mut at = Dir::open(dir.path()).unwrap();
        for _ in 0..depth {
            at.create_dir(&long_name).unwrap();
            at.create_dir(b"y").unwrap();
            at = at.open_dir(&long_name).unwrap();
        }
        assert_eq!(disk_usage(dir.path()).unwrap().inodes, 1 + 2 * depth as u64);
    }

    #[test]
    fn what_is_mounted_inside_is_not_entered() {
        use crate::sys::mount::{DetachedMount, Unmount, unmount};
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("f"), vec![1; 1 << 20]).unwrap();
        let point = dir.path().join("point");
        std::fs::create_dir(&point).unwrap();
        let before = disk_usage(dir.path()).unwrap();
        DetachedMount::of_path(other.path(), false).unwrap().attach(&point).unwrap();
        let mounted = disk_usage(dir.path());
        unmount(&point, Unmount::Lazy).unwrap();
        assert_eq!(mounted.unwrap().inodes, before.inodes);
    }
}
