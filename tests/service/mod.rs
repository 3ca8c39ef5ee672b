//! The daemon as a plugin of a real containerd, with a real registry, real containers, and kills.
//!
//! These need root, /dev/fuse and the packages of `scripts/packages`.

mod conformance;
mod containers;
mod fixture;
mod kills;
mod restarts;
