use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::erofs::Way;

/// What is known of a live mount, as a file in the run folder: enough to unmount it from another
/// process, and to find what a dead process left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name of the mount in the run folder.
    pub id: String,
    /// The process that serves it.
    pub pid: u32,
    /// When that process started, in clock ticks since boot, so that a reused pid is told apart.
    pub started: u64,
    /// The image, as the user named it.
    pub image: String,
    /// The chain ID of its layers.
    pub chain_id: String,
    /// The folder it is mounted on.
    pub target: PathBuf,
    /// The folder of the FUSE filesystem below, with `chains/`, `layers/` and `blobs/`.
    pub fuse: PathBuf,
    /// Where the image is mounted as EROFS, if it is.
    #[serde(default)]
    pub erofs: Option<PathBuf>,
    /// Which way it is shown.
    #[serde(default)]
    pub mode: Way,
    /// Why it is shown that way.
    #[serde(default)]
    pub why: String,
    /// Whether the data come from a local file and not through FUSE.
    #[serde(default)]
    pub local: bool,
    /// The folder that takes changes, where it is writable.
    pub upper: Option<PathBuf>,
    /// The filesystem that was mounted on the target: major and minor number.
    #[serde(default)]
    pub device: Option<(u32, u32)>,
    /// Whether somebody has unmounted the target already: what is there now is another's.
    #[serde(default)]
    pub unmounted: bool,
}

/// The live mounts of one run folder.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// The records in `run_root`; the folder is made, for its owner only, if it is not there.
    ///
    /// # Errors
    ///
    /// Those of making the folder.
    pub fn open(run_root: &Path) -> Result<Self, Error> {
        let dir = run_root.join("mounts");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| Error::io(&dir, e))?;
        Ok(Self { dir })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Writes `record`, atomically.
    ///
    /// # Errors
    ///
    /// Those of writing the file.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(&record.id);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|e| Error::io(&path, e))
    }

    /// Removes the record `id`; that there is none is no error.
    ///
    /// # Errors
    ///
    /// Those of removing the file.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&path, e)),
            _ => Ok(()),
        }
    }

    /// The record `id`; `None` where there is none.
    pub fn load(&self, id: &str) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.path(id)).ok()?).ok()
    }

    /// All records, sorted by target. What is no record is passed over.
    ///
    /// # Errors
    ///
    /// Those of reading the folder.
    pub fn list(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| Error::io(&self.dir, e))? {
            let path = entry.map_err(|e| Error::io(&self.dir, e))?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            match fs::read(&path).map(|bytes| serde_json::from_slice::<Record>(&bytes)) {
                Ok(Ok(record)) => records.push(record),
                Ok(Err(error)) => {
                    tracing::warn!(path = %path.display(), %error, "not a mount record");
                }
                // Unmounted meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(&path, e)),
            }
        }
        records.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(records)
    }

    /// The records of what is mounted on `target`, the newest first: a mount whose process is
    /// slow to end may have a successor already.
    ///
    /// # Errors
    ///
    /// Those of [`Records::list`].
    pub fn find(&self, target: &Path) -> Result<Vec<Record>, Error> {
        let mut found = self.list()?;
        found.retain(|record| record.target == target);
        found.sort_by_key(|record| std::cmp::Reverse(record.started));
        Ok(found)
    }
}

impl Record {
    /// Whether the process that serves this mount is alive.
    pub fn is_served(&self) -> bool {
        process_start(self.pid) == Some(self.started)
    }
}

/// When the process `pid` started, in clock ticks since boot (proc_pid_stat(5), field 22); `None`
/// where there is none, or only what is left of it because its parent does not wait for it.
pub(super) fn process_start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        let pid = std::process::id();
        Record {
            id: id.to_owned(),
            pid,
            started: process_start(pid).unwrap(),
            image: "oci:x".into(),
            chain_id: "sha256:00".into(),
            target: PathBuf::from("/mnt").join(id),
            fuse: PathBuf::from("/run").join(id),
            erofs: None,
            mode: Way::Fuse,
            why: String::new(),
            local: false,
            upper: None,
            device: None,
            unmounted: false,
        }
    }

    #[test]
    fn records_are_saved_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.save(&record("b")).unwrap();
        records.save(&record("a")).unwrap();
        std::fs::write(dir.path().join("mounts/broken.json"), "{").unwrap();
        let ids: Vec<_> = records.list().unwrap().into_iter().map(|r| r.id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(records.find(Path::new("/mnt/b")).unwrap(), [record("b")]);
        records.remove("b").unwrap();
        records.remove("b").unwrap();
        assert_eq!(records.find(Path::new("/mnt/b")).unwrap(), []);
    }

    #[test]
    fn the_newest_of_two_mounts_on_one_folder_is_found_first() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let target = PathBuf::from("/mnt/x");
        let old = Record { started: 1, target: target.clone(), ..record("z") };
        let new = Record { started: 2, target: target.clone(), ..record("a") };
        records.save(&new).unwrap();
        records.save(&old).unwrap();
        assert_eq!(records.find(&target).unwrap(), [new, old]);
    }

    #[test]
    fn a_reused_pid_is_not_taken_for_the_server() {
        assert!(record("a").is_served());
        assert!(!Record { started: 1, ..record("a") }.is_served());
    }
}
