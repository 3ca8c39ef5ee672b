//! What `cache`, `pull`, `push` and `status` take.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// Verbs of `cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// List the layers of which something is in the cache
    Ls,
    /// Make the cache smaller: what was read longest ago goes first
    Prune(PruneArgs),
    /// Check everything in the cache against its digests; what is damaged is fetched again
    Verify,
}

/// What `cache prune` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PruneArgs {
    /// How much to keep, as 10GiB or 500MB [default: nothing]
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) keep: bytesize::ByteSize,
}

/// What `pull` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PullArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Copy it to a layout folder instead of the cache: oci:DIR:TAG. What a break left is gone on
    /// with
    #[arg(long, value_name = "oci:DIR:TAG")]
    pub(crate) to: Option<String>,
    /// Copy the image for every platform there is
    #[arg(long, requires = "to")]
    pub(crate) all_platforms: bool,
}

/// What `push` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PushArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where to: docker://REFERENCE, or oci:DIR:TAG
    #[arg(value_name = "DESTINATION")]
    pub(crate) to: String,
    /// Copy the image for every platform there is
    #[arg(long)]
    pub(crate) all_platforms: bool,
}

/// What `status` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Only the mount on this folder
    #[arg(value_name = "MOUNT")]
    pub(crate) target: Option<PathBuf>,
}

/// What is fetched before a read wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrefetchName {
    /// Nothing but what follows reads in order.
    None,
    /// What earlier starts have read.
    Trace,
    /// That, and the rest when nothing else is to be done.
    All,
}
