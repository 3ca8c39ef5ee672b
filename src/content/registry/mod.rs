//! Registries (OCI distribution specification): content by ranges over HTTP, behind the interface
//! of a content store.
//!
//! A [`Client`] owns the threads and connections, a [`Repository`] is a store. The rest is a
//! tower of parts, each of which knows only those below it:
//!
//! ```text
//! repository   a store: descriptors to readers
//! push         the writing side
//! uploads      blobs in pieces, documents, lists of referrers
//! unfinished   how far uploads are, on disk
//! ahead        a blob read from front to back, the next chunks under way
//! blob         ranges of one blob; where it is redirected to; spool for registries without ranges
//! manifests    manifests, indexes, referrers
//! tries        all servers in turn, with pauses, until a deadline
//! endpoint     one server: tokens, redirects, how it has been doing
//! auth  transport  hosts  headers  call  answer  body
//! credentials  auth_file  helper
//! ```
//!
//! # Invariants
//!
//! - Every wait has a deadline, every body a bound; no error is kept.
//! - A token goes to the server that asked for it and nowhere else.
//! - Errors and logs name hosts, never the path's query, a header or a credential.
//! - Ranges are not checked against a digest here, since no digest vouches for them: who decodes
//!   them does that. Documents are.
//! - Only this module and what is behind [`Driver`](driver) knows of async.

mod ahead;
mod answer;
mod auth;
pub mod auth_file;
mod blob;
mod body;
mod call;
mod client;
mod credentials;
mod driver;
mod endpoint;
mod error;
pub mod headers;
mod helper;
pub mod hosts;
mod manifests;
mod push;
mod reference;
mod repository;
mod spool;
mod timing;
mod traffic;
mod transport;
mod tries;
mod unfinished;
mod uploads;

pub use client::{Client, Config};
pub use credentials::{Anonymous, AuthFiles, Credential, Credentials};
pub use error::Error;
pub use reference::{ParseReferenceError, Reference};
pub use repository::Repository;
pub use timing::Timing;
pub use traffic::Traffic;
