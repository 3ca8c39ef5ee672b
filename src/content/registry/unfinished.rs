//! How far uploads are, so that another process can go on with them.
//!
//! `DIR/<hex>.upload` is one upload, under the SHA-256 of repository and blob. It holds the address at
//! which the registry takes the rest, which is of use only to who can log in there: addresses on
//! other hosts, which may be signed, are not written down. Whoever takes a record up removes it, so
//! that no two processes write to one upload. What processes that were killed left beside it is
//! removed when the blob is known to be there.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;
use crate::io::AtomicFile;

/// The longest address that is kept, in bytes.
const MAX_ADDRESS: u64 = 16 << 10;
/// How long registries keep an upload that nothing is added to (distribution, "upload purging").
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The uploads that are not finished.
#[derive(Debug)]
pub(super) struct Unfinished {
    dir: PathBuf,
}

impl Unfinished {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn key(repository: &str, digest: &Digest) -> String {
        Digest::sha256(format!("{repository}@{digest}").as_bytes()).hex().to_owned()
    }

    fn path(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.upload", Self::key(repository, digest)))
    }

    /// Writes down where the upload of `digest` to `repository` goes on.
    pub(super) fn keep(&self, repository: &str, digest: &Digest, address: &str) {
        if let Err(error) = self.write(&self.path(repository, digest), address) {
            // It is sent again, then.
            tracing::debug!(%digest, %error, "an upload is not written down");
        }
    }

    fn write(&self, path: &Path, address: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut file = AtomicFile::create(path)?;
        file.file().write_all(address.as_bytes())?;
        file.commit()
    }

    /// Where the upload of `digest` to `repository` goes on, for the caller alone; `None` where
    /// nothing is known of one.
    pub(super) fn take(&self, repository: &str, digest: &Digest) -> Option<String> {
        self.remove_old();
        let path = self.path(repository, digest);
        let claimed = path.with_extension(std::process::id().to_string());
        // Whoever renames it has it.
        fs::rename(&path, &claimed).ok()?;
        let len = fs::metadata(&claimed).ok()?.len();
        let address = (len <= MAX_ADDRESS).then(|| fs::read_to_string(&claimed).ok()).flatten();
        let _gone = fs::remove_file(&claimed);
        address
    }

    /// Forgets the upload, which is done or of no use, with what killed processes left beside it.
    pub(super) fn forget(&self, repository: &str, digest: &Digest) {
        let key = Self::key(repository, digest);
        // None where nothing was ever written down.
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.strip_prefix(b".").unwrap_or(name).starts_with(key.as_bytes()) {
                // Another process may have been faster.
                let _gone = fs::remove_file(entry.path());
            }
        }
    }

    fn remove_old(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|meta| meta.modified()).ok();
            if age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > KEPT) {
                // Another process may have been faster.
                let _gone = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_taken_up_by_one_and_forgotten_when_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::new(dir.path().join("uploads"));
        let digest = Digest::sha256(b"blob");
        assert_eq!(unfinished.take("r/app", &digest), None);
        unfinished.keep("r/app", &digest, "https://r/upload/1");
        unfinished.keep("r/app", &digest, "https://r/upload/2");
        assert_eq!(unfinished.take("r/other", &digest), None);
        assert_eq!(unfinished.take("r/app", &digest).as_deref(), Some("https://r/upload/2"));
        assert_eq!(unfinished.take("r/app", &digest), None);
        unfinished.keep("r/app", &digest, "https://r/upload/3");
        unfinished.forget("r/app", &digest);
        assert_eq!(unfinished.take("r/app", &digest), None);
        assert_eq!(fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
    }

    #[test]
    fn what_killed_processes_left_of_an_upload_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::new(dir.path().to_owned());
        let (digest, other) = (Digest::sha256(b"blob"), Digest::sha256(b"other"));
        for digest in [&digest, &other] {
            unfinished.keep("r/app", digest, "https://r/upload/1");
        }
        let path = unfinished.path("r/app", &digest);
        // One was writing its record down, one taking it up.
        let record = path.file_name().unwrap().to_str().unwrap();
        fs::write(path.with_file_name(format!(".{record}.x7Zq1b")), "htt").unwrap();
        fs::write(path.with_extension("4711"), "https://r/upload/1").unwrap();
        unfinished.forget("r/app", &digest);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(unfinished.take("r/app", &other).is_some());
    }

    #[test]
    fn old_uploads_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::new(dir.path().to_owned());
        let digest = Digest::sha256(b"blob");
        unfinished.keep("r/app", &digest, "https://r/upload/1");
        let file = fs::File::options().write(true).open(unfinished.path("r/app", &digest)).unwrap();
        file.set_modified(std::time::SystemTime::now() - KEPT * 2).unwrap();
        assert_eq!(unfinished.take("r/app", &digest), None);
    }
}
