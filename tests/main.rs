//! The integration tests of stratafs: one program, one module a subject.
#![allow(missing_docs, unreachable_pub, reason = "nothing here is seen from outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod archive;
mod checkpoint;
mod diff;
mod disk;
mod erofs;
mod fixture;
mod formats;
mod fuse;
mod fuzz_replay;
mod images;
mod oracle;
mod readers;
mod registry;
mod service;
mod snapshot;
mod watchdog;
