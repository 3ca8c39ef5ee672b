//! Tar archives as layers use them: headers to and from [`Metadata`], validated paths, whiteouts.
//!
//! Nothing here does I/O: the parser takes bytes and gives values, so that it can be fuzzed.

mod metadata;
mod path;
mod whiteout;
mod writer;

pub use metadata::{Device, FileType, Metadata, Timestamp, Xattr};
pub use path::{LayerPath, MAX_NAME, MAX_PATH, PathError};
pub use whiteout::{OPAQUE_MARKER, WHITEOUT_PREFIX, Whiteout, whiteout_of};
pub use writer::{TarWriteError, TarWriter};
