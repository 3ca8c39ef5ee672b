//! The layer index: what one pass over a layer finds out, and the file that keeps it.
//!
//! A file is written once, whole, and never changed. It says which blob it is of, carries a checksum
//! for every part, and is made again rather than trusted where anything about it is not as it
//! should be. Its layout is in `layout`; encoding and decoding are pure functions of bytes.

mod bundle;
mod decode;
mod encode;
mod error;
mod layer_index;
mod layout;
mod origin;
mod store;
mod toc;
mod wire;

#[cfg(test)]
mod tests;

pub use bundle::{Bundle, MAX_BUNDLE};
pub use error::FormatError;
pub use layer_index::{Identity, LayerIndex, WindowsApart};
pub use origin::Origin;
pub use store::{IndexStore, StoreError, StoredTable};
