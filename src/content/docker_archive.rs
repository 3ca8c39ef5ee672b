//! What `docker save` writes, read in place (moby `image/spec/spec.md`).
//!
//! The archive has no manifests with digests. One is made in memory for the image that is asked
//! for: its layers are named by their digest where the archive's member name says it
//! (`blobs/sha256/...`), by their diffID where they are plain tars, and by hashing them where they
//! are compressed. Whoever decodes a layer checks it against digest and diffID, as of any store.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::io::{Cursor, FileReader, ReadAt, Section};

use super::oci_archive::{document, section};
use super::provider::{check_size, not_found};
use super::{Descriptor, Error, Members, Provider, null_is_default};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// A `docker save` archive: a list of images.
#[derive(Clone)]
pub struct DockerArchive {
    name: String,
    archive: Arc<dyn ReadAt>,
    members: Arc<Members>,
    images: Vec<Listed>,
}

/// One image in the list of the archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
}

impl DockerArchive {
    /// Opens the archive at `path`, walks its headers and reads its list of images.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] for what is no such archive; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = format!("docker-archive:{}", path.display());
        let file = FileReader::open(path).map_err(Error::io(&name))?;
        Self::new(name, Arc::new(file))
    }

    /// The archive in `archive`, called `name` in errors.
    ///
    /// # Errors
    ///
    /// As [`DockerArchive::open`].
    pub fn new(name: String, archive: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadStore { store: name.clone(), reason };
        let members = Members::read(&archive).map_err(bad)?;
        let list = match document(&name, &archive, &members, "manifest.json")? {
            Some(list) => list,
            None if members.contains("oci-layout") => {
                return Err(
                    bad("not an archive of docker but an OCI one: use oci-archive:".into()),
                );
            }
            None => {
                let reason = "not a docker archive: it has no member manifest.json (docker before \
                              1.10 wrote none: load and save it with a newer one)";
                return Err(bad(reason.into()));
            }
        };
        let images = serde_json::from_slice(&list)
            .map_err(|e| bad(format!("manifest.json is broken: {e}")))?;
        Ok(Self { name, archive, members: Arc::new(members), images })
    }

    /// The names of each image in the archive, in its order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &[String]> {
        self.images.iter().map(|image| image.repo_tags.as_slice())
    }

    /// The image at `position` in the archive as a store of its own; `None` past the last.
    ///
    /// Compressed layers are read through, to hash them.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] where a member is missing or config and layers do not fit together;
    /// [`Error::Io`].
    pub fn image(&self, position: usize) -> Result<Option<DockerImage>, Error> {
        self.images.get(position).map(|listed| self.assemble(listed)).transpose()
    }

    fn assemble(&self, listed: &Listed) -> Result<DockerImage, Error> {
        let bad = |reason: String| Error::BadStore { store: self.name.clone(), reason };
        let config = document(&self.name, &self.archive, &self.members, &listed.config)?;
        let config = config.ok_or_else(|| bad(format!("it has no member {}", listed.config)))?;
        let diff_ids = diff_ids(&config)
            .map_err(|e| bad(format!("config {} is broken: {e}", listed.config)))?;
        if diff_ids.len() != listed.layers.len() {
            return Err(bad(format!(
                "config {} has {} diffIDs, manifest.json {} layers",
                listed.config,
                diff_ids.len(),
                listed.layers.len()
            )));
        }
        let mut blobs: HashMap<Digest, Arc<dyn ReadAt>> = HashMap::new();
        let mut layers = Vec::with_capacity(listed.layers.len());
        for (member, diff_id) in listed.layers.iter().zip(diff_ids) {
            let blob = section(&self.name, &self.archive, &self.members, member)?;
            let blob = blob.ok_or_else(|| bad(format!("it has no member {member}")))?;
            let layer = describe(member, &blob, diff_id)
                .map_err(Error::io(format_args!("{member} in {}", self.name)))?;
            blobs.insert(layer.digest.clone(), Arc::new(blob));
            layers.push(layer);
        }
        let config_descriptor =
            Descriptor::new(CONFIG, Digest::sha256(&config), config.len() as u64);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config_descriptor,
            "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let root = Descriptor::new(MANIFEST, Digest::sha256(&manifest), manifest.len() as u64);
        blobs.insert(config_descriptor.digest.clone(), Arc::new(config));
        blobs.insert(root.digest.clone(), Arc::new(manifest));
        Ok(DockerImage { name: self.name.clone(), config: config_descriptor, root, blobs })
    }
}

/// One image of a [`DockerArchive`] as a store of its own.
pub struct DockerImage {
    name: String,
    config: Descriptor,
    root: Descriptor,
    blobs: HashMap<Digest, Arc<dyn ReadAt>>,
}

impl DockerImage {
    /// The descriptor of the manifest that was made for the image.
    pub fn root(&self) -> &Descriptor {
        &self.root
    }

    /// The descriptor of the config; its digest is what docker calls the image ID.
    pub fn config(&self) -> &Descriptor {
        &self.config
    }
}

impl Provider for DockerImage {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        let blob = self.blobs.get(&descriptor.digest);
        let blob = blob.ok_or_else(|| not_found(&self.name, descriptor))?;
        check_size(&self.name, descriptor, blob.size())?;
        Ok(blob.clone())
    }
}

fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Rootfs,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        #[serde(default, deserialize_with = "null_is_default")]
        diff_ids: Vec<Digest>,
    }
    Ok(serde_json::from_slice::<Config>(config)?.rootfs.diff_ids)
}

/// The descriptor of the layer in `blob`.
fn describe(
    member: &str,
    blob: &Section<Arc<dyn ReadAt>>,
    diff_id: Digest,
) -> std::io::Result<Descriptor> {
    let mut head = [0; 4];
    let n = blob.read_at(&mut head, 0)?;
    let media_type = match &head[..n] {
        [0x1f, 0x8b, ..] => LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => LAYER_ZSTD,
        // A plain tar is named by its diffID.
        _ => return Ok(Descriptor::new(LAYER, diff_id, blob.size())),
    };
    let named = member.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
    let digest = match named.and_then(|digest| digest.parse().ok()) {
        Some(digest) => digest,
        None => hash(blob)?,
    };
    Ok(Descriptor::new(media_type, digest, blob.size()))
}

fn hash(blob: &Section<Arc<dyn ReadAt>>) -> std::io::Result<Digest> {
    let mut reader = Cursor::new(blob.clone());
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buf = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buf)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buf[..n]),
        }
    }
}

#[cfg(test)]
mod tests;
