//! The holder: a process that keeps the descriptor of the daemon's mount, and does nothing else.
//!
//! A FUSE mount lives as long as somebody has its device open. So that it outlives a daemon that is
//! killed or replaced, the daemon gives the descriptor to the holder, and the next daemon gets it
//! from there.
//!
//! # Protocol
//!
//! On a stream socket, one call a connection. The caller sends [`MAGIC`], the version and an
//! operation, one byte each; the holder answers one byte, [`Answer`].
//!
//! ```text
//! put    caller sends the record with the descriptor; the holder answers again and leaves the
//!        connection open for as long as it lives
//! get    after `Done` the holder sends the record with the descriptor
//! ```

mod client;
mod holder;

pub(super) use client::{Kept, get, put};
pub use holder::Holder;

/// How a caller begins.
const MAGIC: [u8; 4] = *b"hold";
/// The version of the protocol.
const VERSION: u8 = 1;
/// Keep a descriptor.
const PUT: u8 = b'p';
/// Give it.
const GET: u8 = b'g';

/// The operation is done, or will be.
const DONE: u8 = b'y';
/// Nothing is held.
const NOTHING: u8 = b'n';
/// The version or the operation is not known here.
const UNKNOWN: u8 = b'?';

/// How long either side waits for the other.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The longest record in bytes.
const MAX_RECORD: usize = 64 * 1024;
