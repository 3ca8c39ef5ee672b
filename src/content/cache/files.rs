use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::compress::SpanTable;

use super::claims::{Claim, Claims};
use super::digests::Digests;
use super::map::Map;

/// How often opening begins anew because the folder was removed meanwhile.
const MAX_TRIES: usize = 8;

/// The files of one layer: all that takes space, and which spans of it count.
#[derive(Debug)]
pub(super) struct Files {
    name: String,
    map: Map,
    data: File,
    /// `None` where the span table vouches for uncompressed bytes.
    digests: Option<Digests>,
    claims: Claims,
    /// Where each span lies, and where the last one ends.
    offsets: Vec<u64>,
    /// Locked, shared, as long as somebody reads the layer: `map` itself.
    _in_use: Option<File>,
}

impl Files {
    /// Opens the files in `dir` to read a layer of `table` through them; they are made where there
    /// are none, or those of another table.
    pub(super) fn open(dir: &Path, table: &SpanTable) -> io::Result<Self> {
        let (lock, claims) = lock_folder(dir)?;
        let path = dir.join("map");
        let existing = Map::open(&path, table)?;
        let data = OpenOptions::new().read(true).write(true).open(dir.join("data"));
        let (map, data, new) = match (existing, data) {
            (Some(map), Ok(data)) if data.metadata()?.len() == table.size => (map, data, false),
            _ => {
                let data = tempfile::NamedTempFile::new_in(dir)?;
                data.as_file().set_len(table.size)?;
                let data = data.persist(dir.join("data"))?;
                (Map::create(&path, table, None)?, data, true)
            }
        };
        let open_digests = || Digests::open(&dir.join("digests"), table.spans.len(), new);
        let digests = if table.vouches_for_output() { None } else { Some(open_digests()?) };
        let in_use = File::open(&path)?;
        in_use.try_lock_shared().map_err(io::Error::from)?;
        drop(lock);
        Ok(Self {
            name: name_of(dir),
            offsets: offsets(&map),
            map,
            data,
            digests,
            claims,
            _in_use: Some(in_use),
        })
    }

    /// Opens what is in `dir` to look at it or evict from it. `None`: there is nothing whole.
    pub(super) fn open_any(dir: &Path) -> io::Result<Option<Self>> {
        let Some(map) = Map::open_any(&dir.join("map"))? else { return Ok(None) };
        let data = match OpenOptions::new().read(true).write(true).open(dir.join("data")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let offsets = offsets(&map);
        if offsets.last().copied().unwrap_or(0) != data.metadata()?.len() {
            return Ok(None);
        }
        Ok(Some(Self {
            name: name_of(dir),
            map,
            data,
            digests: None,
            claims: Claims::open(dir)?,
            offsets,
            _in_use: None,
        }))
    }

    /// The folder's name, for logs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    pub(super) fn offset(&self, span: u32) -> u64 {
        self.offsets.get(span as usize).copied().unwrap_or(0)
    }

    /// The size of the layer in bytes.
    pub(super) fn size(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// The spans that the map says are on disk.
    pub(super) fn present(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.map.len()).filter(|&span| self.map.state(span).1)
    }

    /// Bytes of those spans.
    pub(super) fn stored(&self) -> u64 {
        self.present().map(|span| u64::from(self.map.span_len(span))).sum()
    }

    /// Fills `buf` from `skip` bytes into `span`, whatever is there.
    pub(super) fn read(&self, span: u32, buf: &mut [u8], skip: u64) -> io::Result<()> {
        self.data.read_exact_at(buf, self.offset(span) + skip)
    }

    /// The right to write `span`, if it is not on disk and nobody writes or evicts it.
    pub(super) fn claim(&self, span: u32) -> Option<Claim<'_>> {
        let claim = self.claims.take(span)?;
        (!self.map.state(span).1).then_some(claim)
    }

    /// Writes `span`; returns the generation in which it can be read.
    pub(super) fn write(&self, claim: &Claim<'_>, bytes: &[u8]) -> io::Result<u32> {
        let (generation, _) = self.map.state(claim.span());
        if let Some(digests) = &self.digests {
            digests.put(claim.span(), bytes)?;
        }
        self.data.write_all_at(bytes, self.offset(claim.span()))?;
        Ok(generation)
    }

    /// Brings what was written to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.digests.as_ref().map_or(Ok(()), Digests::sync)?;
        self.data.sync_data()
    }

    /// Whether `bytes` are those that were admitted as `span`, where that is noted here.
    pub(super) fn matches(&self, span: u32, bytes: &[u8]) -> bool {
        self.digests.as_ref().is_some_and(|digests| digests.matches(span, bytes))
    }

    /// Drops `span` from disk; returns how many bytes that frees. One that is being written or
    /// evicted elsewhere stays.
    pub(super) fn evict(&self, span: u32) -> u64 {
        let Some(_claim) = self.claims.take(span) else { return 0 };
        // First the generation: who read before this finds out before the bytes are gone.
        self.map.evict(span);
        let len = u64::from(self.map.span_len(span));
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        if let Err(error) = rustix::fs::fallocate(&self.data, flags, self.offset(span), len) {
            tracing::warn!(%error, "span cache: space could not be given back");
        }
        len
    }
}

fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn offsets(map: &Map) -> Vec<u64> {
    let mut end = 0;
    let ends = (0..map.len()).map(|span| {
        end += u64::from(map.span_len(span));
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// Makes `dir` where it is missing and locks it, so that what is in it is looked at, made or
/// removed by one at a time.
pub(super) fn lock_folder(dir: &Path) -> io::Result<(File, Claims)> {
    for _ in 0..MAX_TRIES {
        fs::create_dir_all(dir)?;
        let claims = match Claims::open(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let lock = File::open(dir.join("lock"));
        let lock = match lock {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        lock.lock()?;
        // Removed while this waited: the next one is another file.
        match fs::metadata(dir.join("lock")) {
            Ok(now) if now.ino() == lock.metadata()?.ino() => return Ok((lock, claims)),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "the folder is removed again and again"))
}

/// Removes the folder `dir` of a layer that nobody reads, or says `false`.
pub(super) fn remove_folder(dir: &Path) -> io::Result<bool> {
    if !dir.exists() {
        return Ok(true);
    }
    let (_lock, _) = lock_folder(dir)?;
    match File::open(dir.join("map")) {
        Ok(map) if map.try_lock().is_err() => return Ok(false),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        other => other.map(|()| true),
    }
}
