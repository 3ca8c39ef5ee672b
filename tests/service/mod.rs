//! The daemon as a plugin of a real containerd, with a real registry, real containers, and kills.
//!
//! These need root, /dev/fuse and the packages of `scripts/packages`.

mod conformance;
mod containerd;
mod containers;
mod cri;
mod fixture;
mod kills;
mod manager;
mod metrics;
mod pods;
mod releases;
mod restarts;
