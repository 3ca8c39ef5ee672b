use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;

use crate::compress::SpanTable;

use super::LayerCache;
use super::map::Map;
use crate::digest::Digest;

/// A whole layer on its way into the cache, written in order while its index is being made, so
/// that nothing is fetched or decoded twice. Dropped before the end, it leaves nothing.
#[derive(Debug)]
pub struct Ingest {
    dir: PathBuf,
    data: NamedTempFile,
    written: u64,
    /// Why writing was given up: a full disk is no reason to fail what is being read.
    failed: Option<io::Error>,
}

impl LayerCache {
    /// Begins to take in the layer whose blob is `digest`.
    ///
    /// # Errors
    ///
    /// Those of making the files.
    pub fn ingest(&self, digest: &Digest) -> io::Result<Ingest> {
        let dir = self.layer_dir(digest);
        fs::create_dir_all(&dir)?;
        let data = NamedTempFile::new_in(&dir)?;
        Ok(Ingest { dir, data, written: 0, failed: None })
    }
}

impl Ingest {
    /// Takes the next uncompressed bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        match self.data.write_all(bytes) {
            Ok(()) => self.written += bytes.len() as u64,
            Err(e) => {
                tracing::warn!(error = %e, "span cache: cannot be written; the layer is not kept");
                self.failed = Some(e);
            }
        }
    }

    /// Admits the layer, whose bytes are those that `table` was made from: the caller has checked
    /// blob digest and diffID. Says whether it was kept.
    ///
    /// # Errors
    ///
    /// Those of syncing and renaming.
    pub fn finish(self, table: &SpanTable) -> io::Result<bool> {
        if self.failed.is_some() || self.written != table.size {
            return Ok(false);
        }
        let lock = File::create(self.dir.join("lock"))?;
        lock.lock()?;
        self.data.as_file().sync_data()?;
        // Between the two renames the old map, if any, is of another table or promises what the new
        // data have as well; every span is checked at its first read all the same.
        self.data.persist(self.dir.join("data"))?;
        Map::create(&self.dir.join("map"), table, true)?;
        Ok(true)
    }
}
