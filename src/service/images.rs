//! What is remembered of images, so that their layers can be shown after a restart without asking a
//! registry anything.
//!
//! ```text
//! ROOT/images/<manifest>.json       reference, manifest and configuration of an image
//! ROOT/images/chains/<chain>.json   which image has the layers of a chain
//! ```
//!
//! File names are made of digests, which hold no separators.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::chain::SOCI_INDEX_DIGEST;
use crate::content::registry::{Client, Reference, Repository, Traffic};
use crate::content::{self, Descriptor, Provider};
use crate::digest::{ChainId, Digest};
use crate::image::{self, Image};
use crate::io::{AtomicFile, ReadAt};

/// An image in a registry.
#[derive(Clone)]
pub(super) struct Found {
    /// What it was found by.
    pub(super) reference: Reference,
    /// Where its blobs are.
    pub(super) provider: Arc<dyn Provider>,
    /// The image.
    pub(super) image: Image,
    /// The SOCI index that a client named for it: it is believed as one that the manifest names.
    pub(super) soci_index: Option<Digest>,
}

/// The images whose layers are shown here.
pub(super) struct Images {
    dir: PathBuf,
    registries: Client,
    /// Taken for writing to forget: nobody may be about to use a record then.
    using: RwLock<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageRecord {
    reference: String,
    descriptor: Descriptor,
    manifest: String,
    config: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soci_index: Option<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChainRecord {
    manifest: Digest,
}

impl Images {
    /// The records below `root`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where their folder cannot be made.
    pub(super) fn open(root: &Path, registries: Client) -> Result<Self, Error> {
        let dir = root.join("images");
        let chains = dir.join("chains");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&chains);
        made.map_err(Error::io("create", chains))?;
        Ok(Self { dir, registries, using: RwLock::new(()) })
    }

    /// What was asked of registries.
    pub(super) fn traffic(&self) -> &Traffic {
        self.registries.traffic()
    }

    /// Asks the registry for the image that `reference` names, to be read by `soci_index` if there is
    /// one.
    ///
    /// # Errors
    ///
    /// [`Error::Registry`], [`Error::Image`].
    pub(super) fn find(
        &self,
        reference: &Reference,
        soci_index: Option<Digest>,
    ) -> Result<Found, Error> {
        let repository = self.registries.repository(reference)?;
        let root = repository.resolve()?;
        let mut image = image::resolve(&repository, &root, None)?;
        name_index(&mut image, soci_index.as_ref());
        let (reference, provider) = (reference.clone(), Arc::new(repository));
        Ok(Found { reference, provider, image, soci_index })
    }

    /// Remembers that `found` has the chain `chain` while `f` makes the snapshot that needs it.
    pub(super) fn remember_while<T>(
        &self,
        found: &Found,
        chain: &ChainId,
        f: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _using = self.using.read();
        let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
        let record = ImageRecord {
            reference: found.reference.to_string(),
            descriptor: found.image.descriptor.clone(),
            manifest: text(&found.image.manifest.raw),
            config: text(&found.image.config.raw),
            soci_index: found.soci_index.clone(),
        };
        let manifest = found.image.descriptor.digest.clone();
        write(&self.image_path(&manifest), &record)?;
        write(&self.chain_path(chain), &ChainRecord { manifest })?;
        f()
    }

    /// The image that has `chain`, without the layers above it. Nothing is asked of its registry.
    ///
    /// # Errors
    ///
    /// [`Error::NoImage`] where none is remembered; [`Error::Record`] and [`Error::Image`] for
    /// damaged records.
    pub(super) fn of_chain(&self, chain: &ChainId) -> Result<Found, Error> {
        let no_image = || Error::NoImage { chain: chain.clone() };
        let of_chain: ChainRecord = read(&self.chain_path(chain))?.ok_or_else(no_image)?;
        let path = self.image_path(&of_chain.manifest);
        let record: ImageRecord = read(&path)?.ok_or_else(no_image)?;
        let reference: Reference = record.reference.parse()?;
        let documents = Documents([record.manifest.into_bytes(), record.config.into_bytes()]);
        let image = image::resolve(&documents, &record.descriptor, None)?;
        let mut image = image.prefix(chain).ok_or_else(no_image)?;
        name_index(&mut image, record.soci_index.as_ref());
        let provider = Arc::new(self.repository(&reference)?);
        Ok(Found { reference, provider, image, soci_index: record.soci_index })
    }

    fn repository(&self, reference: &Reference) -> Result<Repository, Error> {
        Ok(self.registries.repository(reference)?)
    }

    /// Forgets all chains but those that `needed` says, and images without a chain.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; what is left is forgotten the next time.
    pub(super) fn forget(
        &self,
        needed: impl FnOnce() -> Result<BTreeSet<ChainId>, Error>,
    ) -> Result<(), Error> {
        let _alone = self.using.write();
        let keep: BTreeSet<PathBuf> =
            needed()?.iter().map(|chain| self.chain_path(chain)).collect();
        let mut manifests = BTreeSet::new();
        for path in files(&self.dir.join("chains"))? {
            let record: Option<ChainRecord> = read(&path).unwrap_or(None);
            match record {
                Some(record) if keep.contains(&path) => {
                    manifests.insert(self.image_path(&record.manifest));
                }
                _ => remove(&path)?,
            }
        }
        for path in files(&self.dir)? {
            if !manifests.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn image_path(&self, manifest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.json", file_name(manifest)))
    }

    fn chain_path(&self, chain: &ChainId) -> PathBuf {
        self.dir.join("chains").join(format!("{}.json", file_name(chain.digest())))
    }
}

/// Makes `image` one whose manifest names that index.
fn name_index(image: &mut Image, soci_index: Option<&Digest>) {
    if let Some(index) = soci_index {
        image.manifest.annotations.insert(SOCI_INDEX_DIGEST.to_owned(), index.to_string());
    }
}

/// Manifest and configuration of one image, as a content store.
struct Documents([Vec<u8>; 2]);

impl Provider for Documents {
    fn name(&self) -> &'static str {
        "what is remembered of images"
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, content::Error> {
        let is_it = |document: &&Vec<u8>| Digest::sha256(document) == descriptor.digest;
        match self.0.iter().find(is_it) {
            Some(document) => Ok(Arc::new(document.clone())),
            None => Err(content::Error::NotFound {
                digest: descriptor.digest.clone(),
                store: self.name().to_owned(),
            }),
        }
    }
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

fn write(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(record)
        .map_err(|source| Error::Record { path: path.to_owned(), source })?;
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let write = || {
        let mut file = AtomicFile::create(path)?;
        file.file().write_all(&bytes)?;
        file.commit()
    };
    write().map_err(Error::io("write", path))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Record { path: path.to_owned(), source }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// The records in a folder; what a killed process left half-written is not among them, but for
/// being removed.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    };
    list().map_err(Error::io("list", dir))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
