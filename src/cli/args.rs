//! What the user typed, as values: no files are touched and nothing is looked up here.

mod cache;

use std::ffi::OsString;
use std::path::PathBuf;

mod checkpoint;
mod graph;

pub(crate) use checkpoint::{
    CheckpointCreateArgs, CheckpointInspectArgs, CheckpointRestoreArgs, CheckpointVerb,
    KeepContainerArgs, RmArgs,
};
pub(crate) use graph::{ImageDiffArgs, ImageVerb};

use crate::chain::Trusted;
use crate::content::registry::Reference;
use crate::digest::ChainId;
pub(crate) use cache::{CacheVerb, PrefetchName, PruneArgs, PullArgs, PushArgs, StatusArgs};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Gives any OCI image a root filesystem before its layers are downloaded.
#[derive(Debug, Parser)]
#[command(name = "stratafs", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Options of every verb.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// Folder for indexes, trees, caches and snapshots [default: /var/lib/stratafs, or
    /// $XDG_DATA_HOME/stratafs when not root]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Folder for what lives only as long as a mount [default: /run/stratafs, or DIR/run when
    /// --root is given]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) run_root: Option<PathBuf>,
    /// Folder of registry hosts, in the form of containerd's certs.d; may be given several times
    /// [default: /etc/containerd/certs.d and /etc/docker/certs.d, or $STRATAFS_HOSTS_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) hosts_dir: Vec<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How much to log to standard error [default: warn]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// Take the image for this platform: os/architecture[/variant] [default: this machine's]
    #[arg(long, global = true, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// How many bytes of layers to keep, as 20GiB [default: a tenth of the disk, or
    /// $STRATAFS_CACHE_LIMIT]
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) cache_limit: Option<bytesize::ByteSize>,
    /// What to fetch before a read wants it: nothing, what earlier starts have read, or that and
    /// then the rest when nothing else is to be done [default: all, or $STRATAFS_PREFETCH]
    #[arg(long, global = true, value_name = "WHAT", value_enum)]
    pub(crate) prefetch: Option<PrefetchName>,
    /// Show no progress bars
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Believe an index that the image does not vouch for: the digest of a layer index or SOCI
    /// index, or `any` for whatever lies beside the image
    #[arg(long, global = true, value_name = "DIGEST|any", value_delimiter = ',')]
    pub(crate) trust_index: Vec<Trusted>,
    /// How images are mounted: as EROFS, by FUSE alone, or as EROFS where the kernel can [default:
    /// auto, or $STRATAFS_MODE]
    #[arg(long, global = true, value_name = "MODE", value_enum)]
    pub(crate) mode: Option<ModeName>,
}

/// How images are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// As EROFS where that can be done, else by FUSE.
    Auto,
    /// As EROFS, or not at all.
    Erofs,
    /// By FUSE alone.
    Fuse,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Mount an image without unpacking it
    Mount(MountArgs),
    /// Unmount what `mount` mounted
    Umount(UmountArgs),
    /// List a folder of an image, without mounting it
    Ls(PathArgs),
    /// Print a file of an image, without mounting it
    Cat(PathArgs),
    /// Show everything about a file of an image, and which layer it comes from
    Stat(PathArgs),
    /// Draw the folders and files of an image
    Tree(TreeArgs),
    /// Show an image's layers, and whether each can be read lazily
    Inspect(ImageArgs),
    /// Indexes of layers
    #[command(subcommand)]
    Index(IndexVerb),
    /// Make an OCI runtime bundle: config.json and a mounted rootfs
    Bundle(BundleArgs),
    /// Run a command in an image with runc or crun
    Run(RunArgs),
    /// Show the mounts of this state root
    Mounts,
    /// Show the mounts, how their layers are read, and what the cache holds
    Status(StatusArgs),
    /// Bring all of an image here
    Pull(PullArgs),
    /// Copy an image to a registry or a layout folder
    Push(PushArgs),
    /// The cache of layers
    #[command(subcommand)]
    Cache(CacheVerb),
    /// Make committed snapshots of an image's layers
    Unpack(UnpackArgs),
    /// Apply a layer to an active snapshot or a folder
    Apply(ApplyArgs),
    /// Write what one snapshot or folder changes of another as a layer
    Diff(DiffArgs),
    /// Put what an active snapshot changes on top of its image, as a new image
    Commit(CommitArgs),
    /// Snapshots: writable and read-only views of stacks of layers
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Serve containerd as a proxy plugin
    Serve(ServeArgs),
    /// Register an image in containerd without downloading its layers
    Rpull(RpullArgs),
    /// Keep the mount of `serve` alive while no daemon runs
    Hold(HoldArgs),
    /// Print the configuration of `serve`, every key explained
    Config,
    /// Checkpoints of containers: what they changed, how they run, their memory
    #[command(subcommand)]
    Checkpoint(CheckpointVerb),
    /// List the containers of `run --name` and `checkpoint restore`
    Ps,
    /// Remove containers, with what they changed
    Rm(RmArgs),
    /// Images as graphs of content
    #[command(subcommand)]
    Image(ImageVerb),
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The process that keeps a container in the background
    #[command(hide = true)]
    KeepContainer(KeepContainerArgs),
    /// The hook of a container that goes on from memory
    #[command(hide = true)]
    RaiseLoopback,
    /// The process that serves a background mount
    #[command(hide = true)]
    ServeMount(MountArgs),
}

/// What `serve` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ServeArgs {
    /// The configuration [default: /etc/stratafs/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The socket that containerd connects to [default: /run/stratafs/stratafs.sock]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
}

/// What `rpull` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RpullArgs {
    /// [HOST/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
    /// The socket of containerd [default: $CONTAINERD_ADDRESS, or /run/containerd/containerd.sock]
    #[arg(short, long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
    /// The namespace in containerd [default: $CONTAINERD_NAMESPACE, or default]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// What the plugin is called in containerd's configuration
    #[arg(long, value_name = "NAME", default_value = "stratafs")]
    pub(crate) snapshotter: String,
}

/// What `hold` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct HoldArgs {
    /// End when the mount is unmounted
    #[arg(long)]
    pub(crate) end_with_mount: bool,
}

/// An image.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ImageArgs {
    /// oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// A path in an image.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PathArgs {
    /// An image, or one layer of it: IMAGE:LAYER, where LAYER is its number from 1 at the bottom,
    /// or the start of its diffID
    #[arg(value_name = "IMAGE[:LAYER]")]
    pub(crate) image: String,
    /// The path in the image
    #[arg(default_value = "/")]
    pub(crate) path: OsString,
}

/// What `tree` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TreeArgs {
    /// Where to start.
    #[command(flatten)]
    pub(crate) at: PathArgs,
    /// How many levels to draw
    #[arg(short = 'L', long, value_name = "N")]
    pub(crate) depth: Option<usize>,
}

/// What `mount` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct MountArgs {
    /// oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// An empty folder to mount it on
    #[arg(value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Make the mount writable: changes go to UPPERDIR by kernel overlayfs
    #[arg(long, value_name = "UPPERDIR")]
    pub(crate) rw: Option<PathBuf>,
    /// Stay in the foreground until unmounted or interrupted
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Mount only the layers up to this chain ID
    #[arg(long, value_name = "CHAIN-ID")]
    pub(crate) chain: Option<ChainId>,
    /// Show each layer alone, whiteouts visible, at DIR/layers beside the tree at DIR/chains
    #[arg(long, conflicts_with_all = ["rw", "chain"])]
    pub(crate) layers: bool,
}

/// What `umount` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct UmountArgs {
    /// The folder that was mounted on
    #[arg(value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Detach it now, even while it is in use
    #[arg(short, long)]
    pub(crate) lazy: bool,
}

/// What `bundle` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct BundleArgs {
    /// oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The folder to make the bundle in
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Leave the rootfs read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// How the process runs.
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// What `run` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RunArgs {
    /// oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The OCI runtime
    #[arg(long, value_name = "PROGRAM", value_enum, default_value_t = Runtime::Auto)]
    pub(crate) runtime: Runtime,
    /// Leave the rootfs read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Keep the container under this name, for checkpoints, until `rm`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["read_only", "stats"])]
    pub(crate) name: Option<String>,
    /// Leave it running in the background
    #[arg(short, long, requires = "name")]
    pub(crate) detach: bool,
    /// Say at the end how much of the image was read
    #[arg(long)]
    pub(crate) stats: bool,
    /// How the process runs.
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// How a container's process runs.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ProcessArgs {
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Run as this user
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Start in this folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Share the machine's network
    #[arg(long)]
    pub(crate) net_host: bool,
    /// The command, instead of the image's own
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// An OCI runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// runc if it is there, else crun.
    Auto,
    /// runc.
    Runc,
    /// crun.
    Crun,
}

/// Verbs of `index`.
#[derive(Debug, Subcommand)]
pub(crate) enum IndexVerb {
    /// Index every layer of an image now, so that mounting it costs nothing
    Build(ImageArgs),
    /// List the indexes that are here
    Ls,
    /// Index every layer of an image and put the indexes beside it, for other machines to use with
    /// --trust-index
    Push(ImageArgs),
}

/// Verbs of `snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotVerb {
    /// List snapshots
    Ls {
        /// Only those that one of these fits: kind==active, parent==NAME, labels."KEY"==VALUE...
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Show one snapshot
    Stat {
        /// The key of an active one or a view, the name of a committed one
        key: String,
    },
    /// Make a writable snapshot
    Prepare(NewSnapshotArgs),
    /// Make a read-only snapshot
    View(NewSnapshotArgs),
    /// Show how a snapshot is mounted
    Mounts {
        /// The key
        key: String,
    },
    /// Mount a snapshot
    Mount {
        /// The key
        key: String,
        /// The folder to mount it on; unmount it with umount(8)
        target: PathBuf,
    },
    /// Make an active snapshot immutable, under a name
    Commit {
        /// The name
        name: String,
        /// The key of the active snapshot
        key: String,
        /// Labels of the committed snapshot
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Remove snapshots
    Rm {
        /// Keys and names
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Show what a snapshot takes on disk, without its parents
    Usage {
        /// Keys and names; all of them if none is given
        keys: Vec<String>,
    },
    /// Set labels, or remove those without a value
    Label {
        /// The key or name
        key: String,
        /// The labels
        #[arg(value_name = "KEY=VALUE", required = true)]
        labels: Vec<String>,
    },
    /// Draw snapshots above their parents, with sizes
    Tree,
    /// Delete what no snapshot needs: removed folders, and trees, indexes and cached data of layers
    Gc,
}

/// A new snapshot.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct NewSnapshotArgs {
    /// What to call it
    pub(crate) key: String,
    /// The committed snapshot to stand on; an empty folder without one
    pub(crate) parent: Option<String>,
    /// Labels
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
}

/// What `unpack` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct UnpackArgs {
    /// oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Unpack nothing: the snapshots show the layers lazily
    #[arg(long)]
    pub(crate) lazy: bool,
}

/// What `apply` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ApplyArgs {
    /// The layer: a tar, plain or compressed by gzip or zstd; - for standard input
    #[arg(value_name = "LAYER")]
    pub(crate) layer: PathBuf,
    /// The key of an active snapshot
    #[arg(value_name = "KEY", required_unless_present = "dir")]
    pub(crate) key: Option<String>,
    /// A folder instead of a snapshot
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    pub(crate) dir: Option<PathBuf>,
}

/// What `diff` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DiffArgs {
    /// A snapshot, or a folder as dir:PATH; dir: for an empty one
    #[arg(value_name = "A")]
    pub(crate) lower: String,
    /// A snapshot, or a folder as dir:PATH
    #[arg(value_name = "B")]
    pub(crate) upper: String,
    /// The file to write the layer to; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// How to compress it
    #[arg(long, value_enum, default_value_t = Compression::Gzip)]
    pub(crate) compression: Compression,
}

/// What `commit` takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CommitArgs {
    /// The key of the active snapshot
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The image to write: oci:DIR:TAG
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// How to compress the new layer
    #[arg(long, value_enum, default_value_t = Compression::Gzip)]
    pub(crate) compression: Compression,
    /// What to say in the history about how the layer was made
    #[arg(long, value_name = "TEXT", default_value = "stratafs commit")]
    pub(crate) message: String,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}
