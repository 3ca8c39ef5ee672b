use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Digest;

use super::files::Files;

/// How old a file that nobody writes must be to be given up.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// A layer as it lies in the cache, seen without its index.
#[derive(Debug)]
pub struct StoredLayer {
    digest: Digest,
    dir: PathBuf,
    files: Files,
}

impl StoredLayer {
    /// What is kept in the folder `dir`; `None` where that is nothing whole.
    pub(super) fn open(dir: &Path) -> io::Result<Option<Self>> {
        let digest = dir.file_name().and_then(|name| digest_of(name.to_str()?));
        let Some(digest) = digest else { return Ok(None) };
        let files = Files::open_any(dir)?;
        Ok(files.map(|files| Self { digest, dir: dir.to_owned(), files }))
    }

    /// The layer's blob.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The fingerprint of the span table that it is kept by.
    pub fn fingerprint(&self) -> [u8; 16] {
        self.files.map().fingerprint()
    }

    /// Uncompressed bytes on disk.
    pub fn stored(&self) -> u64 {
        self.files.stored()
    }

    /// Uncompressed bytes in all.
    pub fn size(&self) -> u64 {
        self.files.size()
    }

    /// Spans on disk.
    pub fn spans(&self) -> usize {
        self.files.present().count()
    }

    /// When the layer was last read, in seconds since 1970; `None` where nothing of it is here.
    pub fn last_used(&self) -> Option<u32> {
        self.spans_used().map(|(used, _)| used).max()
    }

    /// Whether a process has the layer open.
    pub fn is_in_use(&self) -> bool {
        let map = File::open(self.dir.join("map"));
        map.is_ok_and(|map| map.try_lock().is_err())
    }

    /// The spans on disk, each with when it was last read.
    pub(super) fn spans_used(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.files.present().map(|span| (self.files.map().used(span), span))
    }

    pub(super) fn evict(&self, span: u32) -> u64 {
        self.files.evict(span)
    }
}

/// All layers in the cache folder `dir`, in the order of their digests. What cannot be read is
/// left out, and a line in the log.
pub(super) fn list(dir: &Path) -> Vec<StoredLayer> {
    let mut layers = Vec::new();
    for path in folders(dir) {
        match StoredLayer::open(&path) {
            Ok(layer) => layers.extend(layer),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "span cache: not counted");
            }
        }
    }
    layers.sort_by(|a, b| a.digest.cmp(&b.digest));
    layers
}

/// Removes what writers that died have left.
pub(super) fn clean(dir: &Path) {
    for folder in folders(dir) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let is_temporary = entry.file_name().as_encoded_bytes().starts_with(b".");
            if is_temporary && is_given_up(&entry.path()) {
                // Somebody else may have been faster.
                let _gone = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether nobody writes the file at `path` any more.
fn is_given_up(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > GIVEN_UP)
        && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let known =
        |path: &PathBuf| path.file_name().and_then(|name| digest_of(name.to_str()?)).is_some();
    entries.map(|entry| entry.path()).filter(known).collect()
}

/// The blob whose layer a folder of this name is of.
fn digest_of(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}
