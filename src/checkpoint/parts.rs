use std::path::PathBuf;
use std::sync::Arc;

use crate::archive::LayerPath;
use crate::content::{Descriptor, Provider};
use crate::digest::Digest;

use super::{Any, Blob, ConfigDump, Error, Spec};

/// How a checkpoint is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An image index of containerd.
    Index,
    /// An archive of podman, CRI-O or the kubelet.
    Archive,
    /// An image whose layer is such an archive.
    Image,
}

impl Form {
    /// The form in a few words.
    pub fn name(self) -> &'static str {
        match self {
            Form::Index => "containerd image index",
            Form::Archive => "checkpoint archive",
            Form::Image => "image of a checkpoint archive",
        }
    }
}

/// A decoded checkpoint. Files that were unpacked for it are deleted with it.
#[derive(Debug)]
pub struct Checkpoint {
    /// How it is laid out.
    pub form: Form,
    /// What there is in it, in its order.
    pub members: Vec<Member>,
    /// The image that the container was made of.
    pub base: Base,
    /// The snapshotter that the container's root filesystem was in.
    pub snapshotter: Option<String>,
    /// What ran the container.
    pub runtime: Runtime,
    /// How it ran.
    pub spec: Option<Spec>,
    /// What it changed of its image.
    pub changes: Option<Changes>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// The tar of its shared memory, of an archive.
    pub shared_memory: Option<Blob>,
    /// What the engine of an archive says about it.
    pub config: Option<ConfigDump>,
    /// The files of an archive.
    pub(super) unpacked: Option<Arc<tempfile::TempDir>>,
}

/// One part of a checkpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its media type, or its path in an archive.
    pub name: String,
    /// Its digest, where it is a blob of its own.
    pub digest: Option<Digest>,
    /// Its size in bytes.
    pub size: u64,
}

/// The image below a container's changes.
#[derive(Clone, Default)]
pub struct Base {
    /// The name that the engine knew it by.
    pub name: Option<String>,
    /// Its manifest or index, where the checkpoint names it by digest, and where that is.
    pub carried: Option<(Arc<dyn Provider>, Descriptor)>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let carried = self.carried.as_ref().map(|(_, descriptor)| descriptor);
        f.debug_struct("Base").field("name", &self.name).field("carried", &carried).finish()
    }
}

/// What ran a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Its name, such as `io.containerd.runc.v2` or `runc`.
    pub name: Option<String>,
    /// Its options.
    pub options: Option<Any>,
}

/// What a container changed of its image.
#[derive(Debug, Clone)]
pub struct Changes {
    /// A layer; whiteouts in it delete.
    pub layer: Option<Blob>,
    /// What to delete after the layer was applied.
    pub deleted: Vec<LayerPath>,
}

/// What CRIU wrote of a container's processes.
#[derive(Debug, Clone)]
pub enum Memory {
    /// A tar of its files.
    Tar(Blob),
    /// A folder with its files, which lives as long as the checkpoint.
    Folder(PathBuf),
}

impl Checkpoint {
    /// A checkpoint without parts.
    pub(super) fn empty(form: Form) -> Self {
        Self {
            form,
            members: Vec::new(),
            base: Base::default(),
            snapshotter: None,
            runtime: Runtime::default(),
            spec: None,
            changes: None,
            memory: None,
            shared_memory: None,
            config: None,
            unpacked: None,
        }
    }

    /// The changes of the container.
    ///
    /// # Errors
    ///
    /// [`Error::NoChanges`].
    pub fn changes(&self) -> Result<&Changes, Error> {
        self.changes.as_ref().ok_or(Error::NoChanges)
    }

    /// The memory of the container.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn memory(&self) -> Result<&Memory, Error> {
        self.memory.as_ref().ok_or(Error::NoMemory)
    }
}
