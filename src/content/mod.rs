//! The content store: immutable bytes by digest, from a layout folder, an archive, a registry.
//!
//! A [`Provider`] reads, an `Ingester` writes. Absent is an error of kind NotFound. Nothing here
//! knows what the bytes mean, descriptors apart.

pub mod cache;
mod descriptor;
mod provider;

pub use descriptor::{Descriptor, Platform};
pub use provider::{Error, MAX_DOCUMENT, Provider};
