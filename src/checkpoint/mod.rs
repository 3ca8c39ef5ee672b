//! Container checkpoints: what a container changed of its image, how it ran, and its memory.
//!
//! # Forms
//!
//! | form | holds |
//! |---|---|
//! | an image index of containerd (`ctr containers checkpoint`, `ctr tasks checkpoint`, the form of 2017) | as members: the image, the rw layer, spec, runtime options, a tar of CRIU's files |
//! | an archive of podman, CRI-O or the kubelet | `rootfs-diff.tar`, `deleted.files`, `spec.dump`, `config.dump`, `checkpoint/` |
//! | an image whose only layer is such an archive (`podman container checkpoint --create-image`, `checkpointctl build`) | the same |
//!
//! All become one [`Checkpoint`], by [`open`] and [`open_archive`]; [`Restorer`] makes a snapshot
//! and a runtime specification of it, [`Creator`] writes the first form, [`inspect`] looks into it.
//!
//! # Trust
//!
//! Everything in a checkpoint may be hostile: documents are parsed by pure functions with bounds,
//! blobs are checked against their digests while they are used, and a rw layer is applied like any
//! other layer. But a checkpoint says what to run and with which rights, as an image does not: a
//! specification is used as it is, less what belongs to the machine it comes from
//! ([`Spec::adapt`]).
//!
//! # Invariants
//!
//! All that can be found wrong without making anything is found before anything is made; what then
//! fails takes away what was made ([`Made`]).

mod any;
mod archive;
mod base;
mod blob;
mod config_dump;
mod create;
mod criu;
mod deleted;
mod error;
mod index;
mod inspect;
mod memory;
mod open;
mod parts;
mod protobuf;
mod restore;
mod spec;
mod stand_in;

pub use any::{Any, CHECKPOINT_OPTIONS_TYPE, SPEC_TYPE};
pub use archive::{ArchiveMember, Keep, MAX_ARCHIVE, MAX_ARCHIVE_MEMBERS, unpack_archive};
pub use base::{BaseLayers, Layers, LayersError, Wanted};
pub use blob::Blob;
pub use config_dump::ConfigDump;
pub use create::{Creator, WriteChanges};
pub use criu::{CriuError, Process, process_name, process_tree};
pub use deleted::{DeletedError, parse_deleted};
pub use error::Error;
pub use index::Members;
pub use inspect::{Changed, Inspection, inspect};
pub use open::{is_checkpoint, open, open_archive};
pub use parts::{Base, Changes, Checkpoint, Form, Member, Memory, Runtime};
pub use protobuf::MessageError;
pub use restore::{Made, Restored, Restorer};
pub use spec::{LeftOut, Spec, SpecError};
