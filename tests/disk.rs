//! Small filesystems of their own, in files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::watchdog::Watchdog;

/// An ext4 filesystem, which goes with the value and all that is mounted beside it.
pub struct Disk {
    // Unmounts what is below it.
    dir: Watchdog,
    at: PathBuf,
}

impl Disk {
    /// `options` are of `mkfs.ext4`. It lives for at most `limit`.
    pub fn new(mebibytes: u64, options: &[&str], limit: Duration) -> Self {
        let dir = Watchdog::new(limit);
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let at = dir.folder("disk");
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m0"]).args(options).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        Self { dir, at }
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// A folder of it for a state root, which is not made.
    pub fn root(&self) -> PathBuf {
        self.at.join("root")
    }

    /// A new folder beside it, to mount on.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.folder(name)
    }

    /// Takes all the room that there is.
    pub fn fill(&self) {
        // What was deleted is room only once the journal is written.
        rustix::fs::syncfs(File::open(&self.at).unwrap()).unwrap();
        let mut ballast = File::create(self.at.join("ballast")).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while ballast.write(&vec![0; size]).is_ok_and(|n| n > 0) {}
        }
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn give_back(&self) {
        fs::remove_file(self.at.join("ballast")).unwrap();
    }
}
