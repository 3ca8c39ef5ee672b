//! What a kernel asks of a filesystem, answered with plain values: the trees that are mounted, by
//! slot, and the bytes of their layers. No FUSE, no threads of its own.
//!
//! # Layout
//!
//! Slot 0 is the root. A [`Filesystem`] is either one tree, which then is in slot 0, or many:
//!
//! ```text
//! chains/<chain-id>/...      a chain of layers, merged
//! layers/<diff-id>/...       one layer alone, whiteouts visible as files
//! blobs/<chain-id>           the virtual blob of a chain: the content of all its files, each at a
//!                            multiple of 4 KiB, for an EROFS image of the chain to point into
//! ```
//!
//! # Invariants
//!
//! - a [`NodeId`] is a pure function of slot and inode. Nothing is counted or remembered for those
//!   who hold one; a number that names nothing is [`Error::Stale`].
//! - a slot is never given to a second tree while the process lives, so all answers about a tree
//!   are [`Validity::Immutable`]. Only answers about the virtual root are not.
//! - a read gives all the bytes asked for, up to the end of the file, or an error; what no layer
//!   has is a hole and reads as zeros.
//!
//! # Locking
//!
//! Calls take the table of the moment without a lock. Nothing is locked over I/O.

mod attr;
mod blob;
mod differences;
mod error;
mod filesystem;
mod node;
mod read;
mod slots;
#[cfg(test)]
mod tests;
mod tree_calls;
mod virtual_root;

pub use attr::{Answer, Attr, DirEntry, Statfs, Validity};
pub use differences::{Change, Difference, differences};
pub use error::Error;
pub use filesystem::Filesystem;
pub use node::NodeId;
pub use read::{Cached, Source};
pub use slots::{FileStarts, MountedTree, SlotName};
