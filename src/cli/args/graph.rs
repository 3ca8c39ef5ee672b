//! What `image` takes.

use clap::{Args as ClapArgs, Subcommand};

use super::ImageArgs;

/// Verbs of `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Draw what an image leads to: indexes, manifests, layers, and what refers to them
    Tree(ImageArgs),
    /// Compare two images, layer by layer and file by file
    Diff(ImageDiffArgs),
}

/// What `image diff` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ImageDiffArgs {
    /// An image
    #[arg(value_name = "A")]
    pub(crate) old: String,
    /// Another
    #[arg(value_name = "B")]
    pub(crate) new: String,
}
