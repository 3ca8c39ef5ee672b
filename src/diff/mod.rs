//! Layers to files and back: [`apply`] a layer to a folder or an overlay's upper folder.

mod apply;
mod error;
mod lowers;
mod metadata;
mod stream;
mod target;

pub use apply::{Applied, ApplyOptions, apply};
pub use error::Error;
pub use target::Target;
