//! The content store: immutable bytes by digest, from a layout folder, an archive, a registry.
//!
//! A [`Provider`] reads, an [`Ingester`] writes. Absent is an error of kind NotFound. Nothing here
//! knows what the bytes mean, descriptors apart.
//!
//! | store | reads | writes |
//! |---|---|---|
//! | [`Layout`] | a folder in the OCI image layout | yes |
//! | [`OciArchive`] | the same layout in a tar, in place | |
//! | [`DockerImage`] | one image of a [`DockerArchive`] (`docker save`), in place | |
//! | [`ContainerdStore`] | the folder in which containerd keeps content | |
//! | [`registry::Repository`] | a repository of a registry, by ranges | yes |
//!
//! Every provider passes the [`conformance`] suite.

mod blob_folder;
pub mod cache;
pub mod conformance;
mod containerd_store;
mod descriptor;
mod docker_archive;
mod error;
mod ingester;
mod layout;
mod members;
mod oci_archive;
mod provider;
pub mod registry;
mod remembered;

pub use containerd_store::ContainerdStore;
pub(crate) use descriptor::null_is_default;
pub use descriptor::{Descriptor, Platform};
pub use docker_archive::{DockerArchive, DockerImage};
pub use error::Error;
pub use ingester::{Ingester, Writer, ingest};
pub use layout::{Layout, REF_NAME};
pub use members::{MAX_MEMBERS, Members};
pub use oci_archive::OciArchive;
pub use provider::{MAX_DOCUMENT, Provider};
pub use remembered::{Documents, Recalled, Remembered};
