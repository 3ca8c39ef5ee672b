use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::NamedTempFile;

use crate::compress::SpanTable;

use super::LayerCache;
use super::files::lock_folder;
use super::map::Map;
use crate::digest::Digest;

/// A whole layer on its way into the cache, written in order while its index is being made, so
/// that nothing is fetched or decoded twice. Dropped before the end, it leaves nothing.
#[derive(Debug)]
pub struct Ingest {
    cache: Arc<LayerCache>,
    dir: PathBuf,
    /// `None` once it is given up or kept.
    data: Option<NamedTempFile>,
    written: u64,
}

impl LayerCache {
    /// Begins to take in the layer whose blob is `digest`.
    ///
    /// # Errors
    ///
    /// Those of making the files.
    pub fn ingest(self: &Arc<Self>, digest: &Digest) -> io::Result<Ingest> {
        let dir = self.layer_dir(digest);
        fs::create_dir_all(&dir)?;
        let data = NamedTempFile::new_in(&dir)?;
        // So that nobody takes it for what a dead writer left.
        data.as_file().try_lock().map_err(io::Error::from)?;
        Ok(Ingest { cache: self.clone(), dir, data: Some(data), written: 0 })
    }
}

impl Ingest {
    /// Takes the next uncompressed bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        let Some(data) = &mut self.data else { return };
        let len = bytes.len() as u64;
        let room = if self.cache.has_room(len) { Ok(()) } else { Err(no_room()) };
        match room.and_then(|()| data.write_all(bytes)) {
            Ok(()) => {
                self.written += len;
                self.cache.ingesting.fetch_add(len, Ordering::Relaxed);
            }
            Err(error) => {
                // No reason to fail what is being read. Its space is given back at once.
                tracing::warn!(%error, "span cache: cannot be written; the layer is not kept");
                self.data = None;
            }
        }
    }

    /// Admits the layer, whose bytes are those that `table` was made from: the caller has checked
    /// blob digest and diffID. Says whether it was kept.
    ///
    /// # Errors
    ///
    /// Those of syncing and renaming.
    pub fn finish(mut self, table: &SpanTable) -> io::Result<bool> {
        if self.written != table.size || !table.vouches_for_output() {
            return Ok(false);
        }
        let Some(data) = self.data.take() else { return Ok(false) };
        data.as_file().sync_data()?;
        let _locked = lock_folder(&self.dir)?;
        // Between the two renames the old map, if any, is of another table or promises what the new
        // data have as well; every span is checked at its first read all the same.
        data.persist(self.dir.join("data"))?;
        Map::create(&self.dir.join("map"), table, Some(self.cache.now()))?;
        self.cache.counters().admitted_bytes.add(table.size);
        Ok(true)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.cache.ingesting.fetch_sub(self.written, Ordering::Relaxed);
    }
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "there is no room for it")
}
