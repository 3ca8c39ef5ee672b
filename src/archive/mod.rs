//! Tar archives as layers use them: headers to and from [`Metadata`], validated paths, whiteouts.
//!
//! Nothing here does I/O: [`TarParser`] takes bytes and gives events, so that it can be fuzzed, and
//! serves both who wants only where the data are ([`Entry::runs`]) and who wants the data
//! ([`Event::Data`]).

mod draft;
mod entry;
mod fault;
mod header;
mod metadata;
mod parser;
mod path;
mod pax;
mod sparse;
#[cfg(test)]
pub(crate) mod testing;
mod whiteout;
mod writer;

pub use entry::{DataRun, Entry, EntryKind, Event};
pub use fault::{SparseFault, TarError, TarFault};
pub use metadata::{Device, FileType, Metadata, Timestamp, Xattr};
pub use parser::{MAX_EXTENSION, MAX_RUNS, TarParser};
pub use path::{LayerPath, MAX_NAME, MAX_PATH, PathError};
pub(crate) use pax::{check_xattr, xattrs_of};
pub use whiteout::{OPAQUE_MARKER, WHITEOUT_PREFIX, Whiteout, whiteout_of};
pub use writer::{TarWriteError, TarWriter};
