//! Layers to files and back: [`apply`] a layer to a folder or to the upper folder of an overlay,
//! compare two trees ([`compare_folders`], [`compare_overlay`]) to a layer.

mod apply;
mod compare;
mod error;
mod layer_writer;
mod lowers;
mod metadata;
mod stream;
mod target;

pub use apply::{Applied, ApplyOptions, apply};
pub use compare::{
    CompareOptions, EmptyTree, Inode, LowerTree, compare_folders, compare_overlay, lower_folders,
};
pub use error::Error;
pub use layer_writer::{LayerWriter, WrittenLayer};
pub use target::Target;
