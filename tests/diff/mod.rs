//! Applying and comparing layers: containerd's cases by their names, and more.

mod apply;
mod archive;
mod breakouts;
mod diff_tar;
mod fixture;
mod order;
mod round_trip;
mod suite;
mod tree;
mod unpack;
