use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The length of a digest in bytes.
const LEN: usize = blake3::OUT_LEN;

/// The `digests` file: of each span, the BLAKE3 of what was admitted. Only layers have one whose
/// span table says nothing of uncompressed bytes.
#[derive(Debug)]
pub(super) struct Digests(File);

impl Digests {
    /// Opens the file at `path` for `spans` spans; a new or another one where the `data` are `new`.
    pub(super) fn open(path: &Path, spans: usize, new: bool) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(new).open(path)?;
        file.set_len((spans * LEN) as u64)?;
        Ok(Self(file))
    }

    /// Notes that `bytes` are what `span` is.
    pub(super) fn put(&self, span: u32, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(blake3::hash(bytes).as_bytes(), u64::from(span) * LEN as u64)
    }

    /// Whether `bytes` are what `span` was when it was admitted.
    pub(super) fn matches(&self, span: u32, bytes: &[u8]) -> bool {
        let mut digest = [0; LEN];
        let read = self.0.read_exact_at(&mut digest, u64::from(span) * LEN as u64);
        read.is_ok() && blake3::hash(bytes) == digest
    }

    /// Brings what was noted to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
