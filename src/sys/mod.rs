//! All `unsafe` and raw system calls: openat2, the mount API, xattrs, device nodes. No policy.

pub mod mount;
mod shared;

pub use shared::SharedWords;
