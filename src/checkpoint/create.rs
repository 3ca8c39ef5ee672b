use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::compress::Codec;
use crate::content::{Descriptor, Ingester, Platform, ingest};
use crate::diff::{self, write_blob};
use crate::image::media_type as mt;

use super::index::{IMAGE_NAME, RUNTIME, SNAPSHOTTER};
use super::protobuf::put_varint;
use super::{Any, CHECKPOINT_OPTIONS_TYPE, Error, Runtime, SPEC_TYPE, Spec, memory};

/// Writes the uncompressed rw layer.
pub type WriteChanges<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), diff::Error>;

/// What a new checkpoint is to hold.
pub struct Creator<'a> {
    /// The name that the image is known by where it is restored.
    pub image_name: &'a str,
    /// The snapshotter that it is restored with.
    pub snapshotter: &'a str,
    /// What runs it.
    pub runtime: &'a Runtime,
    /// The machine that it was made on.
    pub platform: Platform,
    /// The image's manifest or index, whose content is in the store already.
    pub image: Option<Descriptor>,
    /// What the container changed.
    pub changes: Option<WriteChanges<'a>>,
    /// How it runs.
    pub spec: Option<&'a Spec>,
    /// The folder of CRIU's files, and whether the processes were ended.
    pub memory: Option<(&'a Path, bool)>,
}

impl Creator<'_> {
    /// Writes the parts and the index of the checkpoint to `store`, in the order and with the media
    /// types of containerd's own, so that its client restores it; returns the index.
    ///
    /// Unlike containerd's, it has the specification also where there is no memory.
    ///
    /// # Errors
    ///
    /// [`Error::Changes`], [`Error::Content`], [`Error::Write`], [`Error::Io`]. Without its index
    /// what was written of a checkpoint is nothing.
    pub fn write(mut self, store: &dyn Ingester) -> Result<Descriptor, Error> {
        let mut members = Vec::new();
        if let Some(options) = &self.runtime.options {
            members.push(ingest(store, mt::CHECKPOINT_RUNTIME_OPTIONS, &options.encode())?);
        }
        members.extend(self.image.take());
        if let Some(changes) = self.changes.take() {
            members.push(write_changes(store, changes)?);
        }
        if let Some((folder, _)) = self.memory {
            members.push(write_memory(store, folder)?);
        }
        if let Some(spec) = self.spec {
            let value = spec.to_json().to_string().into_bytes();
            let any = Any { type_url: SPEC_TYPE.to_owned(), value };
            members.push(ingest(store, mt::CHECKPOINT_CONFIG, &any.encode())?);
        }
        if let Some((_, exit)) = self.memory {
            let mut value = Vec::new();
            // CheckpointOptions.exit
            put_varint(&mut value, 1, u64::from(exit));
            let any = Any { type_url: CHECKPOINT_OPTIONS_TYPE.to_owned(), value };
            members.push(ingest(store, mt::CHECKPOINT_OPTIONS, &any.encode())?);
        }
        for member in &mut members {
            member.platform.get_or_insert_with(|| self.platform.clone());
        }
        Ok(ingest(store, mt::OCI_INDEX, &self.index(&members))?)
    }

    fn index(&self, members: &[Descriptor]) -> Vec<u8> {
        let runtime = self.runtime.name.as_deref().filter(|name| name.starts_with("io."));
        let index = json!({
            "schemaVersion": 2,
            "mediaType": mt::OCI_INDEX,
            "manifests": members,
            "annotations": {
                IMAGE_NAME: self.image_name,
                RUNTIME: runtime.unwrap_or("io.containerd.runc.v2"),
                SNAPSHOTTER: self.snapshotter,
            },
        });
        index.to_string().into_bytes()
    }
}

fn write_changes(store: &dyn Ingester, write: WriteChanges<'_>) -> Result<Descriptor, Error> {
    let failed = |source| Error::Changes { name: "of the container".to_owned(), source };
    let written = write_blob(store, Codec::Gzip, |out| {
        write(out).map_err(|source| failed(Box::new(source)))
    })?;
    Ok(Descriptor::new(mt::OCI_LAYER_GZIP, written.digest, written.size))
}

fn write_memory(store: &dyn Ingester, folder: &Path) -> Result<Descriptor, Error> {
    let written = write_blob(store, Codec::Plain, |out| memory::pack(folder, out))?;
    Ok(Descriptor::new(mt::CRIU, written.digest, written.size))
}
