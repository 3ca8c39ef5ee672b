use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use super::Error;

/// The most bytes that a label's key and value may have together (containerd's `pkg/labels`).
pub const MAX_LABEL: usize = 4096;

/// The most bytes of a key or name (the bound of containerd's own store).
pub const MAX_KEY: usize = 32 << 10;

/// The label with the chain ID of the layer stack that a snapshot holds.
pub const LABEL_REF: &str = "containerd.io/snapshot.ref";

/// Names and their values; a label without a value does not exist.
pub type Labels = BTreeMap<String, String>;

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To read only; it can never be committed.
    View,
    /// To read and write, to be committed or removed.
    Active,
    /// Immutable; the only kind that can be a parent.
    Committed,
}

impl Kind {
    /// The word of filters and tables: `view`, `active` or `committed`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::View => "view",
            Kind::Active => "active",
            Kind::Committed => "committed",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// On whose behalf a snapshot exists.
///
/// Each owner has a space of keys of its own and sees nothing else, so the garbage collector of
/// one can never remove the snapshots of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// containerd, through the snapshots service.
    Containerd,
    /// A person or script at the command line.
    CommandLine,
    /// A container that is being restored from a checkpoint.
    Checkpoint,
}

impl Owner {
    /// All owners.
    pub const ALL: [Owner; 3] = [Owner::Containerd, Owner::CommandLine, Owner::Checkpoint];

    /// The word in the metadata store and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Owner::Containerd => "containerd",
            Owner::CommandLine => "cli",
            Owner::Checkpoint => "checkpoint",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no [`Owner`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no owner of snapshots: expected containerd, cli or checkpoint")]
pub struct UnknownOwner(pub String);

impl FromStr for Owner {
    type Err = UnknownOwner;

    fn from_str(s: &str) -> Result<Self, UnknownOwner> {
        Owner::ALL.into_iter().find(|o| o.name() == s).ok_or_else(|| UnknownOwner(s.to_owned()))
    }
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// What it is for.
    pub kind: Kind,
    /// The key of an active snapshot or view, the name of a committed one.
    pub name: String,
    /// The name of the committed snapshot below.
    pub parent: Option<String>,
    /// The labels, none with an empty value.
    pub labels: Labels,
    /// When it was prepared or, for a committed one, committed.
    pub created: SystemTime,
    /// When its labels were last changed.
    pub updated: SystemTime,
}

/// What a snapshot takes on disk, its parents not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files of every type, each hard-linked file once.
    pub inodes: u64,
    /// Bytes of allocated blocks.
    pub size: u64,
}

/// Refuses a key or name that is empty or longer than [`MAX_KEY`].
///
/// # Errors
///
/// [`Error::EmptyKey`], [`Error::LongKey`].
pub(super) fn check_key(key: &str) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::EmptyKey),
        1..=MAX_KEY => Ok(()),
        len => Err(Error::LongKey { len }),
    }
}

/// Refuses a label longer than [`MAX_LABEL`].
///
/// # Errors
///
/// [`Error::LongLabel`].
pub(super) fn check_labels(labels: &Labels) -> Result<(), Error> {
    match labels.iter().find(|(key, value)| key.len() + value.len() > MAX_LABEL) {
        None => Ok(()),
        Some((key, value)) => {
            Err(Error::LongLabel { key: key.clone(), len: key.len() + value.len() })
        }
    }
}
