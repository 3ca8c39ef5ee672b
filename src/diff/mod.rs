//! Layers to files and back: [`apply`] a layer to a folder or to the upper folder of an overlay,
//! compare two trees ([`compare_folders`], [`compare_overlay`]) to a layer.

mod apply;
mod blob;
mod compare;
mod error;
mod layer_writer;
mod lowers;
mod metadata;
mod overlay_attributes;
mod stream;
mod target;

pub use apply::{Applied, ApplyOptions, apply, apply_stream};
pub use blob::write_blob;
pub use compare::{CompareOptions, EmptyTree, Inode, LowerTree, compare_folders, compare_overlay};
pub use error::Error;
pub use layer_writer::{LayerWriter, WrittenLayer};
pub use lowers::LayerFolders;
pub use stream::LayerStream;
pub use target::Target;
