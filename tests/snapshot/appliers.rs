//! Changes to a tree of files, with the names of continuity's `fstest`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// One change below a root.
#[derive(Debug, Clone)]
pub enum Applier {
    CreateFile(String, Vec<u8>, u32),
    CreateDir(String, u32),
    RemoveAll(String),
    Rename(String, String),
    Chown(String, u32, u32),
    Link(String, String),
}

pub fn create_file(path: &str, content: &str, mode: u32) -> Applier {
    Applier::CreateFile(path.to_owned(), content.into(), mode)
}

pub fn create_dir(path: &str, mode: u32) -> Applier {
    Applier::CreateDir(path.to_owned(), mode)
}

pub fn remove_all(path: &str) -> Applier {
    Applier::RemoveAll(path.to_owned())
}

pub fn rename(old: &str, new: &str) -> Applier {
    Applier::Rename(old.to_owned(), new.to_owned())
}

pub fn chown_to(path: &str, uid: u32, gid: u32) -> Applier {
    Applier::Chown(path.to_owned(), uid, gid)
}

pub fn link(old: &str, new: &str) -> Applier {
    Applier::Link(old.to_owned(), new.to_owned())
}

/// Makes all changes below `root`, in their order.
pub fn apply(appliers: &[Applier], root: &Path) {
    for applier in appliers {
        applier.apply(root).unwrap_or_else(|e| panic!("{applier:?}: {e}"));
    }
}

impl Applier {
    fn apply(&self, root: &Path) -> io::Result<()> {
        let at = |path: &str| -> PathBuf { root.join(path.trim_start_matches('/')) };
        let set_mode =
            |path: &str, mode: u32| fs::set_permissions(at(path), Permissions::from_mode(mode));
        match self {
            Applier::CreateFile(path, content, mode) => {
                fs::write(at(path), content)?;
                set_mode(path, *mode)
            }
            Applier::CreateDir(path, mode) => {
                fs::create_dir_all(at(path))?;
                set_mode(path, *mode)
            }
            Applier::RemoveAll(path) if at(path).is_dir() => fs::remove_dir_all(at(path)),
            Applier::RemoveAll(path) => fs::remove_file(at(path)),
            Applier::Rename(old, new) => fs::rename(at(old), at(new)),
            Applier::Chown(path, uid, gid) => chown(at(path), Some(*uid), Some(*gid)),
            Applier::Link(old, new) => fs::hard_link(at(old), at(new)),
        }
    }
}
