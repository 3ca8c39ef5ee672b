//! Checkpoints of real containers: made and restored by the program, containerd and podman.

mod archives;
mod bad_input;
mod containerd;
mod created;
mod library;
mod live;
pub mod program;
mod restored;
