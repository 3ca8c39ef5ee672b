//! Applying and comparing layers: containerd's cases by their names, and more.

mod apply;
mod archive;
mod breakouts;
mod fixture;
mod order;
mod tree;
