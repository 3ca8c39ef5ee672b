//! The FUSE face of a [`Filesystem`](crate::fs::Filesystem): translation, sessions, and the threads
//! where reads wait. Nothing is decided here.
//!
//! # Statelessness
//!
//! Nothing is kept about what the kernel knows: node ids are a pure function of the trees, there
//! are no handles, and what is answered once by ENOSYS (OPEN, OPENDIR, FLUSH) depends on the
//! kernel's offer alone. So a connection can be served by another process than the one that made
//! it.
//!
//! # Threads
//!
//! A few threads answer the kernel and never wait for content. A read whose bytes are not at hand
//! moves into the miss pool, whose threads wait, with a deadline.

mod adapter;
mod connection;
mod convert;
mod error;
mod miss;
mod negotiate;
mod options;
mod session;
mod settle;
mod stats;
mod takeover;
mod throttle;
mod unmount;

pub use connection::abort;
pub use error::Error;
pub use miss::Limits;
pub use negotiate::Offer;
pub use options::Options;
pub use session::{Mounted, mount};
pub use stats::{Counter, Stats};
pub use takeover::{Handover, take_over};
pub use unmount::unmount;
