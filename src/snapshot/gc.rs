//! Deletes trees, indexes and cached data of layers that nothing needs.
//!
//! Their files are made only while a [`Lease`](super::Lease) or a snapshot keeps the chain, so
//! under the store's write lock every other file is unneeded. It is moved to the trash there and
//! deleted outside of it; whoever has it open keeps what is open.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Error;
use super::backend::Backend;
use super::store::{self, Live};
use crate::digest::{ChainId, DiffId, Digest};
use crate::sys::Dir;

/// How old a temporary file must be to be given up: those who write them are done or dead.
const MAX_TEMPORARY_AGE: Duration = Duration::from_secs(24 * 3600);

/// How many files, or folders of them, were not needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Merged trees.
    pub trees: usize,
    /// Layer indexes, and windows of those that are without.
    pub indexes: usize,
    /// Layers with cached data.
    pub cached: usize,
}

impl Backend {
    /// Forgets expired leases and chains that nothing needs, and moves the files of such chains
    /// and layers to the trash, which the next cleanup empties. What `keep` says of a chain ID,
    /// diffID or blob is needed by others than snapshots, as mounts of images.
    ///
    /// # Errors
    ///
    /// Those of the store and of the folders.
    pub fn collect(&self, keep: &dyn Fn(&Digest) -> bool) -> Result<Collected, Error> {
        self.check_open()?;
        let collected = self.write_to_free(|tx| {
            let live = store::collect(tx, SystemTime::now())?;
            let live = |digest: &Digest| keep(digest) || is_live(&live, digest);
            Ok(Collected {
                trees: self.collect_in("trees", live)?,
                indexes: self.collect_in("index", live)? + self.collect_in("windows", live)?,
                cached: self.collect_in("cache", live)?,
            })
        })?;
        self.wake_collector();
        Ok(collected)
    }

    fn collect_in(&self, folder: &str, live: impl Fn(&Digest) -> bool) -> Result<usize, Error> {
        let path = self.folders.path_of(folder);
        let collect = || {
            let dir = match Dir::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
                other => other?,
            };
            let mut count = 0;
            for name in dir.names()? {
                let text = String::from_utf8_lossy(&name);
                let needed = match digest_of(&text) {
                    Some(digest) => live(&digest),
                    None => !is_given_up(&path.join(text.as_ref())),
                };
                if !needed {
                    self.folders.throw_away_from(&dir, &name)?;
                    count += 1;
                }
            }
            Ok(count)
        };
        collect().map_err(Error::io("collect", &path))
    }
}

fn is_live(live: &Live, digest: &Digest) -> bool {
    live.blobs.contains(digest)
        || live.chains.contains(&ChainId::new(digest.clone()))
        || live.diff_ids.contains(&DiffId::new(digest.clone()))
}

/// The digest at the start of a file name as `sha256-HEX.tree` or `sha256:HEX`.
fn digest_of(name: &str) -> Option<Digest> {
    let stem = name.split('.').next()?;
    stem.replacen('-', ":", 1).parse().ok()
}

/// Whether `path` is a temporary file whose writer must have died.
fn is_given_up(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let age = |metadata: Metadata| metadata.modified().ok()?.elapsed().ok();
    let age = std::fs::symlink_metadata(path).ok().and_then(age);
    hidden && age.is_some_and(|age| age > MAX_TEMPORARY_AGE)
}
