use std::sync::Arc;

use crate::content::{Descriptor, Provider};
use crate::image::Index;
use crate::image::media_type::{self as mt, Class, classify};

use super::{Any, Base, Blob, Changes, Checkpoint, Error, Form, Member, Memory, Runtime, Spec};

/// The name of the image, in containerd's checkpoints.
pub(super) const IMAGE_NAME: &str = "org.opencontainers.image.ref.name";
/// The name of the image, in the form of 2017 and in checkpoints of tasks.
pub(super) const OLD_IMAGE_NAME: &str = "image.name";
/// The name of the runtime.
pub(super) const RUNTIME: &str = "io.containerd.checkpoint.runtime";
/// The name of the snapshotter.
pub(super) const SNAPSHOTTER: &str = "io.containerd.checkpoint.snapshotter";

/// The members of a checkpoint's index by what they are: by media type alone, as containerd tells
/// them apart, in whatever order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The manifest or index of the image.
    pub image: Option<Descriptor>,
    /// The rw layer.
    pub changes: Option<Descriptor>,
    /// The specification.
    pub spec: Option<Descriptor>,
    /// The tar of CRIU's files.
    pub memory: Option<Descriptor>,
    /// The options of the runtime.
    pub runtime_options: Option<Descriptor>,
    /// The name of the runtime, where it is a member.
    pub runtime_name: Option<Descriptor>,
}

impl Members {
    /// Sorts the members of `index`.
    ///
    /// # Errors
    ///
    /// [`Error::Several`] where there are two of a kind.
    pub fn of(index: &Index) -> Result<Self, Error> {
        let all = &index.manifests;
        let of_type = |wanted: &[&str]| -> Vec<&Descriptor> {
            all.iter().filter(|d| wanted.contains(&d.media_type.as_str())).collect()
        };
        let of_class = |wanted: &[Class]| -> Vec<&Descriptor> {
            all.iter().filter(|d| wanted.contains(&classify(&d.media_type))).collect()
        };
        let mut layers = of_class(&[Class::Layer]);
        layers.extend(of_type(&[mt::CHECKPOINT_RW]));
        Ok(Self {
            image: one("images", &of_class(&[Class::Manifest, Class::Index]))?,
            changes: one("rw layers", &layers)?,
            spec: one("specs", &of_type(&[mt::CHECKPOINT_CONFIG]))?,
            memory: one("memory images", &of_type(&[mt::CRIU]))?,
            runtime_options: one("runtime options", &of_type(&[mt::CHECKPOINT_RUNTIME_OPTIONS]))?,
            runtime_name: one("runtime names", &of_type(&[mt::CHECKPOINT_RUNTIME_NAME]))?,
        })
    }
}

fn one(what: &'static str, found: &[&Descriptor]) -> Result<Option<Descriptor>, Error> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        [first, rest @ ..] if rest.iter().all(|d| d.digest == first.digest) => {
            Ok(Some((*first).clone()))
        }
        several => Err(Error::Several { what, count: several.len() }),
    }
}

/// Whether `index` is a checkpoint rather than an image for several platforms.
pub(super) fn is_checkpoint_index(index: &Index) -> bool {
    let is_part =
        |d: &Descriptor| matches!(classify(&d.media_type), Class::Checkpoint | Class::Layer);
    [RUNTIME, SNAPSHOTTER, OLD_IMAGE_NAME].iter().any(|key| index.annotations.contains_key(*key))
        || index.manifests.iter().any(is_part)
}

/// Decodes the checkpoint whose index is `index`.
pub(super) fn decode(provider: &Arc<dyn Provider>, index: &Index) -> Result<Checkpoint, Error> {
    let members = Members::of(index)?;
    let annotation = |key: &str| index.annotations.get(key).filter(|v| !v.is_empty()).cloned();
    let read = |d: &Option<Descriptor>| d.as_ref().map(|d| provider.read(d)).transpose();
    let stored = |d: Descriptor| Blob::stored(Arc::clone(provider), d);
    let options = read(&members.runtime_options)?.map(|bytes| Any::parse(&bytes)).transpose();
    let options =
        options.map_err(|source| Error::Message { part: "the runtime options", source })?;
    let name = read(&members.runtime_name)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let mut checkpoint = Checkpoint::empty(Form::Index);
    checkpoint.members = index.manifests.iter().map(member).collect();
    checkpoint.base = Base {
        name: annotation(IMAGE_NAME).or_else(|| annotation(OLD_IMAGE_NAME)),
        carried: members.image.map(|image| (Arc::clone(provider), image)),
    };
    checkpoint.snapshotter = annotation(SNAPSHOTTER);
    checkpoint.runtime = Runtime { name: annotation(RUNTIME).or(name), options };
    checkpoint.spec = read(&members.spec)?.map(|bytes| Spec::decode(&bytes)).transpose()?;
    checkpoint.changes =
        members.changes.map(|d| Changes { layer: Some(stored(d)), deleted: Vec::new() });
    checkpoint.memory = members.memory.map(|d| Memory::Tar(stored(d)));
    Ok(checkpoint)
}

fn member(descriptor: &Descriptor) -> Member {
    Member {
        name: descriptor.media_type.clone(),
        digest: Some(descriptor.digest.clone()),
        size: descriptor.size,
    }
}
