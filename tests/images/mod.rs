//! Whole images through the command line: what a user types, and the tree that is then there.

mod bad_input;
mod containers;
pub mod corpus;
mod damage;
mod full_disk;
mod graph;
mod layers;
pub mod layout;
mod local_data;
mod modes;
mod posix;
pub mod program;
mod snapshots;
mod state;
mod trees;
mod unmounting;
