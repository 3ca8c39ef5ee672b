//! The data of whole chains as plain files: what a kernel can read without asking anybody.
//!
//! # Layout
//!
//! `DIR/<algorithm>-<hex of the chain ID>.data` holds the bytes, then a block of 4 KiB that says
//! what they are ([`Trailer`]).
//!
//! # Invariants
//!
//! - A file appears whole and synced, and is never changed: it is evicted by removing its name.
//!   A kernel that reads from it keeps it until it is done, even where the process that mounted it
//!   was killed, so no reader ever sees a hole.
//! - It is made of what has been checked, and can be made again from the layers: it goes before any
//!   span does, the one used longest ago first, and none that is locked as in use, whose removal
//!   would free nothing.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::LayerCache;
use crate::digest::Digest;
use crate::io::AtomicFile;

const EXTENSION: &str = "data";
const MAGIC: &[u8; 8] = b"SFwhole1";
const TRAILER_LEN: usize = 4096;
/// How much is written at once.
const PIECE: usize = 1 << 20;

/// The data of a whole chain in a file, kept from eviction while this lives.
#[derive(Debug)]
pub struct Whole {
    path: PathBuf,
    file: File,
    trailer: Trailer,
}

/// What a file says of itself, at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trailer {
    /// The length of the data in bytes.
    len: u64,
    /// Of the data.
    checksum: u32,
    /// What the data are of.
    identity: [u8; 32],
}

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut block = [0; TRAILER_LEN];
        block[..8].copy_from_slice(MAGIC);
        block[8..16].copy_from_slice(&self.len.to_le_bytes());
        block[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        block[20..52].copy_from_slice(&self.identity);
        let check = crc32c::crc32c(&block[..52]);
        block[52..56].copy_from_slice(&check.to_le_bytes());
        block
    }

    fn decode(block: &[u8]) -> Option<Self> {
        let (checked, rest) = block.split_at_checked(52)?;
        let check = u32::from_le_bytes(*rest.first_chunk()?);
        let (len, fields) = checked.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (checksum, fields) = fields.split_first_chunk()?;
        let found = Self {
            len: u64::from_le_bytes(*len),
            checksum: u32::from_le_bytes(*checksum),
            identity: *fields.first_chunk()?,
        };
        (crc32c::crc32c(checked) == check).then_some(found)
    }
}

impl Whole {
    /// The data that say of themselves that they are `identity`; `None` where there are none.
    fn open(path: &Path, identity: &[u8; 32]) -> io::Result<Option<Self>> {
        Ok(Self::read(path)?.filter(|whole| whole.trailer.identity == *identity))
    }

    /// The data of whatever chain; `None` where there are none, or they do not say so.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        file.lock_shared()?;
        let metadata = file.metadata()?;
        let Some(len) = metadata.len().checked_sub(TRAILER_LEN as u64) else { return Ok(None) };
        file.seek(SeekFrom::Start(len))?;
        let mut block = [0; TRAILER_LEN];
        file.read_exact(&mut block)?;
        let trailer = Trailer::decode(&block);
        let trailer = trailer.filter(|t| t.len == len);
        // Evicted between opening and locking: a mount would go on, but nobody else would find it.
        let is_named = metadata.nlink() > 0;
        Ok(trailer.filter(|_| is_named).map(|trailer| Self {
            path: path.to_owned(),
            file,
            trailer,
        }))
    }

    /// The file. Its last 4 KiB are not of the data.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all of it and says whether it is what was written.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn verify(&self) -> io::Result<bool> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut data = file.take(self.trailer.len);
        let mut buffer = vec![0; PIECE];
        let (mut checksum, mut len) = (0, 0);
        loop {
            match data.read(&mut buffer)? {
                0 => return Ok(len == self.trailer.len && checksum == self.trailer.checksum),
                n => {
                    checksum = crc32c::crc32c_append(checksum, &buffer[..n]);
                    len += n as u64;
                }
            }
        }
    }
}

impl LayerCache {
    /// The data of the chain `chain` that say of themselves that they are `identity`, used from
    /// now on; `None` where there are none.
    ///
    /// # Errors
    ///
    /// Those of opening and locking the file.
    pub fn whole(&self, chain: &Digest, identity: &[u8; 32]) -> io::Result<Option<Whole>> {
        let found = Whole::open(&self.whole_path(chain), identity)?;
        if let Some(whole) = &found
            && let Err(error) = whole.file.set_modified(SystemTime::now())
        {
            tracing::debug!(path = %whole.path.display(), %error, "not marked as used");
        }
        Ok(found)
    }

    /// Writes the `len` bytes of data of the chain `chain`, which `read` gives by buffer and
    /// offset. `None` where there is no room for them without evicting others.
    ///
    /// # Errors
    ///
    /// Those of `read` and of writing; nothing is kept then.
    pub fn keep_whole(
        &self,
        chain: &Digest,
        identity: &[u8; 32],
        len: u64,
        read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<Option<Whole>> {
        let needed = self.stored().saturating_add(self.whole_stored()).saturating_add(len);
        if needed > self.limit() {
            tracing::debug!(%chain, needed, limit = self.limit(), "no room for a chain as a file");
            return Ok(None);
        }
        // Half of what is free is left to others.
        let disk = rustix::fs::statvfs(&self.dir)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) / 2 < len {
            return Ok(None);
        }
        let path = self.whole_path(chain);
        let mut file = AtomicFile::create(&path)?;
        let (mut at, mut checksum) = (0, 0);
        let mut buffer = vec![0; PIECE];
        while at < len {
            let n = usize::try_from(len - at).map_or(PIECE, |left| left.min(PIECE));
            read(&mut buffer[..n], at)?;
            checksum = crc32c::crc32c_append(checksum, &buffer[..n]);
            file.file().write_all(&buffer[..n])?;
            at += n as u64;
        }
        let trailer = Trailer { len, checksum, identity: *identity };
        file.file().write_all(&trailer.encode())?;
        file.commit()?;
        Whole::open(&path, identity)
    }

    /// Reads all data of whole chains and removes what is not what was written, in use or not: a
    /// mount that reads from it goes on, and no other begins. Returns each file with whether it was
    /// good.
    ///
    /// # Errors
    ///
    /// Those of reading and removing.
    pub fn verify_whole(&self) -> io::Result<Vec<(PathBuf, bool)>> {
        let mut found = Vec::new();
        for (path, _, _) in self.whole_files() {
            let whole = match Whole::read(&path) {
                // Evicted meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let is_good = whole.map_or(Ok(false), |whole| whole.verify())?;
            if !is_good {
                tracing::info!(path = %path.display(), "span cache: damaged data are removed");
                remove(&path)?;
            }
            found.push((path, is_good));
        }
        found.sort();
        Ok(found)
    }

    /// Bytes that data of whole chains take on disk.
    pub fn whole_stored(&self) -> u64 {
        self.whole_files().iter().map(|(_, len, _)| len).sum()
    }

    /// Removes data of whole chains, used longest ago first and none in use, until at least
    /// `excess` bytes are free. Returns how many were.
    pub(super) fn evict_whole(&self, excess: u64) -> u64 {
        let mut files = self.whole_files();
        files.sort_by_key(|(_, _, used)| *used);
        let mut freed = 0;
        for (path, len, _) in files {
            if freed >= excess {
                break;
            }
            match remove_unused(&path) {
                Ok(true) => freed += len,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "span cache: file stays");
                }
            }
        }
        freed
    }

    fn whole_path(&self, chain: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.{EXTENSION}", chain.algorithm().name(), chain.hex()))
    }

    /// Each file with its length in bytes and when it was last used.
    fn whole_files(&self) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|path| {
                let metadata = fs::symlink_metadata(&path).ok()?;
                let used = metadata.modified().ok();
                metadata.is_file().then_some((path, metadata.len(), used))
            })
            .collect()
    }
}

/// Removes the file unless somebody uses it; says whether it is gone.
fn remove_unused(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    remove(path)?;
    Ok(true)
}

/// Removes the file; that it is gone already is no error.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const IDENTITY: [u8; 32] = [7; 32];

    fn cache(dir: &Path, limit: u64) -> Arc<LayerCache> {
        LayerCache::open(dir, limit, None).unwrap()
    }

    fn chain(n: u8) -> Digest {
        Digest::sha256(&[n])
    }

    fn keep(cache: &LayerCache, n: u8, len: u64) -> io::Result<Option<Whole>> {
        cache.keep_whole(&chain(n), &IDENTITY, len, &mut |buf, offset| {
            let bytes = buf.iter_mut().zip(offset..);
            bytes.for_each(|(byte, at)| *byte = at.to_le_bytes()[0] ^ n);
            Ok(())
        })
    }

    #[test]
    fn what_is_kept_is_found_by_what_it_is_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 30);
        assert!(cache.whole(&chain(1), &IDENTITY).unwrap().is_none());
        let kept = keep(&cache, 1, 3 << 20).unwrap().unwrap();
        assert!(kept.verify().unwrap());
        let bytes = fs::read(kept.path()).unwrap();
        assert_eq!(bytes.len(), (3 << 20) + TRAILER_LEN);
        assert!(bytes[..3 << 20].iter().zip(0_u64..).all(|(b, at)| *b == at.to_le_bytes()[0] ^ 1));
        assert!(cache.whole(&chain(1), &[8; 32]).unwrap().is_none(), "of another tree");
        assert!(cache.whole(&chain(1), &IDENTITY).unwrap().is_some());
        for (place, is_found) in [(5, true), ((3 << 20) + 9, false), ((3 << 20) + 30, false)] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            fs::write(kept.path(), &damaged).unwrap();
            let found = cache.whole(&chain(1), &IDENTITY).unwrap();
            assert_eq!(found.is_some(), is_found, "{place}");
            assert!(!found.is_some_and(|whole| whole.verify().unwrap()));
        }
        fs::write(kept.path(), &bytes[..bytes.len() / 2]).unwrap();
        assert!(cache.whole(&chain(1), &IDENTITY).unwrap().is_none(), "cut");
    }

    #[test]
    fn what_is_damaged_is_found_and_removed_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 30);
        let kept: Vec<Whole> = (1..=4).map(|n| keep(&cache, n, 50_000).unwrap().unwrap()).collect();
        let damage = |n: usize, f: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(kept[n].path()).unwrap();
            f(&mut bytes);
            fs::write(kept[n].path(), bytes).unwrap();
        };
        damage(0, &|bytes| bytes[30_000] ^= 1);
        damage(1, &|bytes| bytes.truncate(40_000));
        damage(2, &|bytes| *bytes = Vec::new());
        let found = cache.verify_whole().unwrap();
        let good: Vec<&PathBuf> = found.iter().filter(|f| f.1).map(|f| &f.0).collect();
        assert_eq!((found.len(), good), (4, vec![&cache.whole_path(&chain(4))]));
        assert_eq!(
            [1, 2, 3, 4].map(|n| cache.whole_path(&chain(n)).exists()).map(u8::from),
            [0, 0, 0, 1]
        );
        assert_eq!(cache.verify_whole().unwrap().len(), 1);
    }

    #[test]
    fn a_source_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 30);
        let gone = |_: &mut [u8], _| Err(io::ErrorKind::Interrupted.into());
        cache.keep_whole(&chain(1), &IDENTITY, 5000, &mut { gone }).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_there_is_room_for_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 100_000);
        assert!(keep(&cache, 1, 60_000).unwrap().is_some());
        assert!(keep(&cache, 2, 60_000).unwrap().is_none());
        assert_eq!(cache.whole_stored(), 60_000 + TRAILER_LEN as u64);
    }

    #[test]
    fn spans_stay_where_data_of_a_whole_chain_can_go() {
        let dir = tempfile::tempdir().unwrap();
        let far = crate::content::cache::tests::Far::new(50_000);
        let cache = cache(dir.path(), 100_000);
        drop(keep(&cache, 1, 60_000).unwrap().unwrap());
        let layer = cache.layer(&Digest::sha256(b"layer"), far).unwrap();
        layer.fill().unwrap();
        layer.sync();
        assert_eq!(layer.state().stored, 50_000);
        assert_eq!(cache.whole_stored(), 0);
    }

    #[test]
    fn the_unused_go_first_and_the_used_stay() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 30);
        let used = keep(&cache, 1, 5000).unwrap().unwrap();
        for (n, age) in [(2, 10), (3, 30), (4, 20)] {
            let kept = keep(&cache, n, 5000).unwrap().unwrap();
            let at = SystemTime::now() - std::time::Duration::from_secs(age);
            File::options().write(true).open(kept.path()).unwrap().set_modified(at).unwrap();
        }
        let is_here = |n| cache.whole_path(&chain(n)).exists();
        assert_eq!(cache.evict_whole(10_000), 2 * (5000 + TRAILER_LEN as u64));
        assert_eq!([1, 2, 3, 4].map(is_here), [true, true, false, false]);
        cache.evict_whole(u64::MAX);
        assert_eq!([1, 2].map(is_here), [true, false]);
        drop(used);
        cache.evict_whole(u64::MAX);
        assert!(!is_here(1));
    }
}
