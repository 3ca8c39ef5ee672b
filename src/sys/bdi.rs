//! Read-ahead of filesystems without a disk of their own, whose settings the kernel shows in
//! `/sys/class/bdi` (`Documentation/ABI/testing/sysfs-class-bdi`) under names that it gives as it
//! pleases: `erofs-7` for the seventh.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

const DIR: &str = "/sys/class/bdi";

/// Mounting one at a time, so that what is new is known.
static TURN: Mutex<()> = Mutex::new(());

/// The settings of a filesystem that came into being while something was done.
#[derive(Debug)]
pub struct NewBdi(PathBuf);

impl NewBdi {
    /// Does `f`, which mounts one filesystem whose settings have a name that begins with `prefix`.
    /// `None` where it cannot be told which they are, as another process mounted one meanwhile.
    pub fn of<T>(prefix: &str, f: impl FnOnce() -> T) -> (T, Option<Self>) {
        let turn = TURN.lock();
        let before = names(prefix);
        let made = f();
        let new: Vec<OsString> = names(prefix).difference(&before).cloned().collect();
        drop(turn);
        let found = match new.as_slice() {
            [name] => Some(Self(Path::new(DIR).join(name))),
            _ => None,
        };
        (made, found)
    }

    /// Lets the kernel read ahead by `bytes`.
    ///
    /// # Errors
    ///
    /// Those of writing the setting; only root may.
    pub fn set_read_ahead(&self, bytes: u32) -> io::Result<()> {
        // The filesystem may be gone: nothing is created in its place.
        let mut file = std::fs::File::options().write(true).open(self.0.join("read_ahead_kb"))?;
        io::Write::write_all(&mut file, (bytes / 1024).to_string().as_bytes())
    }

    /// By how many bytes the kernel reads ahead.
    ///
    /// # Errors
    ///
    /// Those of reading the setting; `InvalidData` where it is no number.
    pub fn read_ahead(&self) -> io::Result<u32> {
        let text = std::fs::read_to_string(self.0.join("read_ahead_kb"))?;
        let kib: u32 =
            text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(kib.saturating_mul(1024))
    }
}

fn names(prefix: &str) -> BTreeSet<OsString> {
    let entries = std::fs::read_dir(DIR).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names.filter(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes())).collect()
}
