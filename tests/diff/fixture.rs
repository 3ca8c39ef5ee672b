//! Targets to apply layers to, with a look outside of them afterwards.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use stratafs::diff::{Applied, ApplyOptions, Error, Target, apply};
use stratafs::sys::mount::{Attributes, Context, DetachedMount};
use tempfile::TempDir;

use super::archive::{Member, tar};

/// Applies an archive with the default options.
pub fn apply_bytes(bytes: Vec<u8>, target: &Target) -> Result<Applied, Error> {
    apply(Cursor::new(bytes), target, &ApplyOptions::default())
}

/// A folder to apply to, inside of another one that must stay as it is.
pub struct Jail {
    outer: TempDir,
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Jail {
    pub fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        for name in ["passwd", "breakout", "upandout"] {
            fs::write(outer.path().join(name), "outside").unwrap();
        }
        let mut jail = Self { outer, before: Vec::new() };
        jail.before = jail.around();
        jail
    }

    pub fn root(&self) -> PathBuf {
        self.outer.path().join("root")
    }

    fn around(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut around = Vec::new();
        for entry in fs::read_dir(self.outer.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                around.push((path.clone(), fs::read(path).unwrap()));
            }
        }
        around.sort();
        around
    }

    /// Applies the archive of `members` and checks that nothing outside has changed.
    pub fn apply(&self, members: &[Member]) -> Result<Applied, Error> {
        let applied = apply_bytes(tar(members), &Target::Folder(self.root()));
        assert_eq!(self.around(), self.before, "something outside of the root has changed");
        applied
    }
}

/// A stack of layers for overlayfs.
pub struct Stack {
    temp: TempDir,
    lowers: Vec<PathBuf>,
}

impl Stack {
    pub fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap(), lowers: Vec::new() }
    }

    /// A new empty layer on top, as a target.
    pub fn target(&self) -> Target {
        let upper = self.temp.path().join(self.lowers.len().to_string());
        fs::create_dir(&upper).unwrap();
        Target::Overlay { upper, lowers: self.lowers.clone(), user_xattrs: false }
    }

    /// Puts the folder of `target` on top.
    pub fn push(&mut self, target: Target) {
        match target {
            Target::Overlay { upper, .. } => self.lowers.insert(0, upper),
            Target::Folder(_) => panic!("not a layer of this stack"),
        }
    }

    /// Applies an archive as the next layer.
    pub fn apply(&mut self, bytes: Vec<u8>) -> Result<Applied, Error> {
        let target = self.target();
        let applied = apply_bytes(bytes, &target)?;
        self.push(target);
        Ok(applied)
    }

    /// The folders, the top one first.
    pub fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }

    /// The whole stack as the kernel shows it.
    pub fn mount(&self) -> DetachedMount {
        mount_overlay(&self.lowers, self.temp.path())
    }
}

/// An overlay of `lowers`, the top one first, that is mounted nowhere.
pub fn mount_overlay(lowers: &[PathBuf], scratch: &Path) -> DetachedMount {
    let context = Context::open("overlay").unwrap();
    // One folder alone is no overlay.
    let empty = ["empty", "empty2"].map(|name| scratch.join(name));
    empty.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    // One call a folder: the kernel takes 255 bytes at a time.
    for lower in lowers.iter().chain(&empty) {
        context.string("lowerdir+", lower.to_str().unwrap()).unwrap();
    }
    context.create(Attributes::empty()).unwrap()
}
