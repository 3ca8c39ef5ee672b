//! stratafs gives any OCI image a root filesystem before its layers are downloaded.
//!
//! # The house
//!
//! Each module uses only modules on a lower floor.
//!
//! ```text
//! L7  main > cli                                  only cli/wire.rs builds concrete types
//! L6  service > rootfs                            tonic/prost types live in service/ only
//! L5  fuse  erofs  chain  checkpoint              fuser types live in fuse/ only
//! L4  fs  bundle  snapshot  diff                  snapshot sees a LayerMounter trait, never fuse
//! L3  tree        image
//! L2  layer       content                         layer takes a dyn ReadAt, never a store
//! L1  compress    archive
//! L0  io  digest  error  sys  telemetry
//! ```
//!
//! A layer blob is bytes behind an [`io::ReadAt`]. Its [`layer::Toc`] lists the files of that one
//! layer and which bytes of the uncompressed stream hold their content; its
//! [`compress::SpanTable`] says how to decode any part of that stream alone. The TOCs of a chain
//! merge, by a pure function, into one [`tree::Tree`], keyed by chain ID. [`fs`] answers what a
//! kernel asks of a tree, [`fuse`] translates.

// Unit tests share fixtures with the integration tests, which see a crate of this name.
#[cfg(test)]
extern crate self as stratafs;

// L0
pub mod digest;
pub mod error;
pub mod io;
pub mod sys;
pub mod telemetry;

// L1
pub mod archive;
pub mod compress;

// L2
pub mod content;
pub mod layer;

// L3
pub mod image;
pub mod tree;

// L4
pub mod bundle;
pub mod diff;
pub mod fs;
pub mod snapshot;

// L5
pub mod chain;
pub mod checkpoint;
pub mod erofs;
pub mod fuse;

// L6
pub mod rootfs;
pub mod service;

// L7
pub mod cli;
