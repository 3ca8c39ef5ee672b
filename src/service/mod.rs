//! The daemon behind containerd's proxy plugin: snapshots, and what keeps them alive for months.
//!
//! Nothing is decided here that a [`Snapshotter`](crate::snapshot::Snapshotter) decides: calls are
//! translated, and run on threads that may wait.
//!
//! ```text
//! daemon      puts the parts together, serves until it is asked to end
//! snapshots   containerd's snapshots service
//! diff        containerd's diff service
//! remote      layers that are here before they are downloaded
//! jobs        an image is made ready once, however many ask
//! labels      what containerd's labels say of an image
//! images      what is remembered of images
//! layers      the one FUSE mount
//! slots       what is where in it
//! shown       which way each chain is shown, for `status`
//! hold        the process that keeps it alive
//! keeper      sees to it that there is one
//! rpull       registers an image in containerd without its layers
//! kubelet     image calls of the kubelet, and the secrets that come with them
//! containerd  the client for that
//! reclaim     deletes in the background what nothing needs
//! ```
//!
//! # Invariants
//!
//! - No call waits for a registry, but the Prepare of a remote layer, which has a deadline.
//! - Starting asks no registry anything.
//! - Keys, names and labels never become paths: files are named by digests and numbers.
//! - The mount, and what is in which slot of it, outlives the process.

mod api;
mod cache_metrics;
mod containerd;
mod convert;
mod counts;
mod daemon;
mod diff;
mod error;
mod health;
mod hold;
mod images;
mod jobs;
mod keeper;
mod kubelet;
mod labels;
mod layers;
mod listener;
mod metrics;
mod reclaim;
mod remote;
mod rpull;
mod shown;
mod slots;
mod snapshots;
mod status;

pub use daemon::{Daemon, Options, holder_socket};
pub use error::Error;
pub use hold::Holder;
pub use keeper::StartHolder;
pub use kubelet::PullSecrets;
pub use listener::listen;
pub use reclaim::Needed;
pub use rpull::{PullOptions, Pulled, PulledLayer, rpull};
pub use shown::{Shown, ShownChain};
