//! Metadata-only EROFS images of trees, for the kernel to show a tree at its own speed.
//!
//! [`Image::create`] writes directories, inodes, attributes and links; the files' data stay where
//! they are. The image names one device, the *virtual blob* of the tree, in which every file's data
//! is at a multiple of 4 KiB: a file that is assembled when it is read ([`crate::tree::Tree::segment`]) and served
//! through FUSE, or written out once everything is there. [`Image::mount`] puts the two together
//! (Linux 6.12 and later), [`probe`] says whether this kernel can, and [`Choice`] which way trees are
//! therefore shown.
//!
//! An image is a function of its tree: the same tree gives the same bytes. It says of what tree it
//! is and by which version it was written, and is written anew where that is another.

mod choice;
mod error;
mod folder;
mod format;
mod image;
mod origin;
mod output;
mod plan;
mod probe;
mod write;
mod xattrs;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests;

pub use choice::{Choice, Mode, Way};
pub use error::Error;
pub use image::{DataPath, Image};
pub use origin::VERSION;
pub use probe::probe;
pub use write::write;
