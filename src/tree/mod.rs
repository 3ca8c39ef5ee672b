//! The merged tree of a chain of layers: what a container sees, immutable, keyed by chain ID.
//!
//! [`merge`] is pure; what it gives is written once to a file that [`Tree::open`] maps into memory.
