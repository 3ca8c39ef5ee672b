//! What `checkpoint`, `ps` and `rm` take.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Runtime;

/// Verbs of `checkpoint`.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointVerb {
    /// Write a checkpoint of a container
    Create(CheckpointCreateArgs),
    /// Show what a checkpoint holds
    Inspect(CheckpointInspectArgs),
    /// Make a container of a checkpoint
    Restore(CheckpointRestoreArgs),
}

/// What `checkpoint create` takes. Without --rw, --image and --task: --rw --image.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CheckpointCreateArgs {
    /// A container of `run --name` or `checkpoint restore`, or the key of an active snapshot
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where to write it: oci:DIR:TAG or docker://REFERENCE
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// With what the container changed
    #[arg(long)]
    pub(crate) rw: bool,
    /// With the whole image, so that nothing else is needed to restore it
    #[arg(long)]
    pub(crate) image: bool,
    /// With the memory of its processes, by CRIU; they go on
    #[arg(long)]
    pub(crate) task: bool,
    /// End the container once its memory is written
    #[arg(long, requires = "task")]
    pub(crate) stop: bool,
    /// What containerd knows the image as where it is restored [default: the name it came from]
    #[arg(long, value_name = "NAME")]
    pub(crate) image_name: Option<String>,
    /// The snapshotter that containerd restores it with
    #[arg(long, value_name = "NAME", default_value = "overlayfs")]
    pub(crate) snapshotter: String,
}

/// A checkpoint.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CheckpointInspectArgs {
    /// An image, as for `mount`, or archive:FILE for an archive of podman, CRI-O or the kubelet
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// How many changed files to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) files: usize,
}

/// What `checkpoint restore` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CheckpointRestoreArgs {
    /// An image, as for `mount`, or archive:FILE for an archive of podman, CRI-O or the kubelet
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// What to call the container and its snapshot
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The image that the container was made of, where the checkpoint does not hold it
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Use a snapshot of this name again, if it stands on the same image
    #[arg(long)]
    pub(crate) reuse: bool,
    /// Leave out what the container changed
    #[arg(long)]
    pub(crate) without_rw: bool,
    /// Start the container
    #[arg(long)]
    pub(crate) run: bool,
    /// Go on with the processes that the checkpoint holds, by CRIU
    #[arg(long)]
    pub(crate) live: bool,
    /// Leave it running in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The OCI runtime
    #[arg(long, value_name = "PROGRAM", value_enum, default_value_t = Runtime::Auto)]
    pub(crate) runtime: Runtime,
}

/// What `rm` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RmArgs {
    /// Containers of `run --name` and `checkpoint restore`
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// End those that run
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// The process that keeps a container in the background.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct KeepContainerArgs {
    /// The container.
    pub(crate) name: String,
    /// The OCI runtime.
    pub(crate) runtime: PathBuf,
    /// Go on from the memory image in the container's folder.
    #[arg(long)]
    pub(crate) live: bool,
}
