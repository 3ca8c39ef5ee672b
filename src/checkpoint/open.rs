use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::content::{Descriptor, MAX_DOCUMENT, Provider};
use crate::image::media_type::{Class, classify};
use crate::image::{Index, Manifest, children};

use super::archive::{ArchiveMember, Keep, unpack_archive};
use super::index::{decode, is_checkpoint_index};
use super::{
    Base, Blob, Changes, Checkpoint, ConfigDump, Error, Form, Member, Memory, Runtime, Spec,
    parse_deleted,
};

/// What the annotations of an image that wraps a checkpoint begin with: those of checkpointctl,
/// CRI-O and the kubelet, and podman's.
const WRAPPED: [&str; 2] = ["org.criu.checkpoint.", "io.podman.annotations.checkpoint."];

/// The rw layer in an archive.
const ROOTFS_DIFF: &str = "rootfs-diff.tar";
/// What was in shared memory, in an archive of podman.
const SHARED_MEMORY: &str = "devshm-checkpoint.tar";

/// Decodes the checkpoint that `root` leads to in `provider`. What has to be unpacked for that goes
/// to a folder of its own below `work`.
///
/// # Errors
///
/// [`Error::NotACheckpoint`] for images and anything else; those of decoding it, see [`Error`].
pub fn open(
    provider: &Arc<dyn Provider>,
    root: &Descriptor,
    work: &Path,
    keep: Keep,
) -> Result<Checkpoint, Error> {
    match shape(provider, root)? {
        Shape::Index(index) => decode(provider, &index),
        Shape::Wrapped(layer) => {
            let name = layer.digest.to_string();
            let blob = Blob::stored(Arc::clone(provider), *layer);
            let mut checkpoint = blob.read(|stream| open_archive(stream, &name, work, keep))?;
            checkpoint.form = Form::Image;
            Ok(checkpoint)
        }
        Shape::Other(reason) => {
            Err(Error::NotACheckpoint { what: root.digest.to_string(), reason })
        }
    }
}

/// Whether `root` leads to a checkpoint; nothing is unpacked to find out.
///
/// # Errors
///
/// Those of reading and parsing its documents.
pub fn is_checkpoint(provider: &Arc<dyn Provider>, root: &Descriptor) -> Result<bool, Error> {
    Ok(!matches!(shape(provider, root)?, Shape::Other(_)))
}

/// What there is below a root.
enum Shape {
    Index(Box<Index>),
    /// The layer of an image that wraps an archive.
    Wrapped(Box<Descriptor>),
    Other(String),
}

fn shape(provider: &Arc<dyn Provider>, root: &Descriptor) -> Result<Shape, Error> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other class is a checkpoint")]
    match classify(&root.media_type) {
        Class::Index => {
            let index = Index::parse(root, provider.read(root)?)?;
            if is_checkpoint_index(&index) {
                return Ok(Shape::Index(Box::new(index)));
            }
            // An image for one platform, in an index.
            match &children(&**provider, root)?[..] {
                [only] if classify(&only.media_type) == Class::Manifest => {
                    of_manifest(provider, only)
                }
                _ => Ok(Shape::Other("it is an image index without parts of one".to_owned())),
            }
        }
        Class::Manifest => of_manifest(provider, root),
        _ => Ok(Shape::Other(format!("its media type is {}", root.media_type))),
    }
}

fn of_manifest(provider: &Arc<dyn Provider>, at: &Descriptor) -> Result<Shape, Error> {
    let manifest = Manifest::parse(at, provider.read(at)?)?;
    let annotations = manifest.annotations.keys().chain(at.annotations.keys());
    let is_wrapped = annotations.into_iter().any(|k| WRAPPED.iter().any(|w| k.starts_with(w)));
    Ok(match (&manifest.layers[..], is_wrapped) {
        ([layer], true) => Shape::Wrapped(Box::new(layer.clone())),
        (_, true) => Shape::Other("it says so, but it has not one layer".to_owned()),
        _ => Shape::Other("it is an image".to_owned()),
    })
}

/// Decodes the checkpoint archive `stream`, called `name` in errors, of podman, CRI-O or the
/// kubelet. It is unpacked to a folder of its own below `work`.
///
/// # Errors
///
/// [`Error::NotACheckpoint`], [`Error::Pod`]; those of unpacking and decoding it.
pub fn open_archive(
    stream: impl Read,
    name: &str,
    work: &Path,
    keep: Keep,
) -> Result<Checkpoint, Error> {
    let dir = tempfile::Builder::new().prefix("checkpoint-").tempdir_in(work);
    let dir = Arc::new(dir.map_err(Error::io(work))?);
    let members = unpack_archive(stream, name, dir.path(), keep)?;
    let mut checkpoint = of_folder(dir.path(), name, &members)?;
    checkpoint.unpacked = Some(dir);
    Ok(checkpoint)
}

/// Decodes an archive that was unpacked to `dir`.
fn of_folder(dir: &Path, name: &str, members: &[ArchiveMember]) -> Result<Checkpoint, Error> {
    let has = |path: &str| members.iter().any(|m| m.path.as_bytes() == path.as_bytes());
    if !has("config.dump") && !has("spec.dump") {
        if has("pod.dump") || has("pod.options") {
            return Err(Error::Pod);
        }
        let reason = "it has neither config.dump nor spec.dump".to_owned();
        return Err(Error::NotACheckpoint { what: name.to_owned(), reason });
    }
    let config = document(dir, "config.dump")?.map(|json| ConfigDump::parse(&json)).transpose()?;
    let mut checkpoint = Checkpoint::empty(Form::Archive);
    checkpoint.members = members.iter().map(member).collect();
    checkpoint.spec = document(dir, "spec.dump")?.map(|json| Spec::decode(&json)).transpose()?;
    checkpoint.changes = Some(changes(dir, members)?);
    let memory = dir.join("checkpoint");
    checkpoint.memory = memory.is_dir().then_some(Memory::Folder(memory));
    checkpoint.shared_memory = blob(dir, members, SHARED_MEMORY);
    if let Some(config) = config {
        checkpoint.base = Base { name: config.image_name().map(str::to_owned), carried: None };
        let name = Some(config.runtime.clone()).filter(|name| !name.is_empty());
        checkpoint.runtime = Runtime { name, options: None };
        checkpoint.config = Some(config);
    }
    Ok(checkpoint)
}

/// What the container changed. A container that changed nothing has no `rootfs-diff.tar`.
fn changes(dir: &Path, members: &[ArchiveMember]) -> Result<Changes, Error> {
    let layer = blob(dir, members, ROOTFS_DIFF);
    let deleted = document(dir, "deleted.files")?.map(|json| parse_deleted(&json)).transpose()?;
    Ok(Changes { layer, deleted: deleted.unwrap_or_default() })
}

/// The member `name`, where there is one.
fn blob(dir: &Path, members: &[ArchiveMember], name: &str) -> Option<Blob> {
    let member = members.iter().find(|m| m.path.as_bytes() == name.as_bytes())?;
    Some(Blob::file(name, dir.join(name), member.size))
}

/// The whole of a small member; `None` where there is none.
fn document(dir: &Path, name: &'static str) -> Result<Option<Vec<u8>>, Error> {
    let path = dir.join(name);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path)(e)),
    };
    if size > MAX_DOCUMENT {
        return Err(Error::TooMuch { what: name.to_owned(), limit: MAX_DOCUMENT, unit: "bytes" });
    }
    fs::read(&path).map(Some).map_err(Error::io(&path))
}

fn member(member: &ArchiveMember) -> Member {
    Member { name: member.path.to_string(), digest: None, size: member.size }
}
