//! Compares two trees and writes what changed as a layer.
//!
//! [`compare_folders`] walks both trees; [`compare_overlay`] reads the upper folder of an overlay
//! and asks the lower tree for metadata only, so that a lower tree whose content is far away is not
//! fetched.
//!
//! # What a layer holds
//!
//! - Everything that is not as it was, in the order of the paths, a whiteout in the place of what
//!   is gone; folders above an entry come before it, once, changed or not.
//! - No opaque markers: each name that is gone has a whiteout of its own, a folder one for all.
//! - Whiteouts are empty files of mode 0, of root, of 1970. Sockets are left out.
//! - Of hard links the first changed name is the file, the others are links to it. Names that did
//!   not change are repeated where they are linked to what did.
//! - The root only where its mode, owner or attributes changed.
//! - All extended attributes, but overlayfs's own and the labels that security modules give to
//!   every file of a machine. Times to the nanosecond.
//!
//! So applying the layer of a comparison of `a` and `b` to `a` gives `b`.

mod emit;
mod links;
mod lower;
mod node;
mod plan;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::archive::TarWriter;
use crate::sys::Dir;

use super::Error;
use super::lowers::Lowers;

pub use self::lower::{EmptyTree, Inode, LowerTree};

use self::plan::{Content, Planner};

/// How trees are compared.
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// The latest time that an entry may have, in seconds since 1970; later ones become this
    /// (`SOURCE_DATE_EPOCH`, reproducible-builds.org).
    pub source_date_epoch: Option<i64>,
    /// Whether regular files of one size, time, mode, owner and attributes are the same without a
    /// look at their content, where the time has parts of a second (as in containerd).
    pub trust_times: bool,
}

/// Writes what `upper` has other than `lower` as an uncompressed layer. Without a `lower`
/// everything is new.
///
/// # Errors
///
/// See [`Error`]; [`Error::Changed`] where a file changes meanwhile.
pub fn compare_folders(
    lower: Option<&Path>,
    upper: &Path,
    options: &CompareOptions,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let dir = Dir::open(upper).map_err(Error::io("open", upper.display()))?;
    let plan = match lower {
        None => Planner::new(&dir, &EmptyTree, Content::Differs).plan()?,
        Some(lower) => {
            let lowers = Lowers::open(&[lower.to_owned()])?;
            let content = Content::Compared { lowers: &lowers, trust_times: options.trust_times };
            Planner::new(&dir, &lowers, content).plan()?
        }
    };
    write(&dir, plan, options, out)
}

/// Writes what the upper folder of an overlay changes of `lower` as an uncompressed layer. The
/// overlay may be mounted.
///
/// # Errors
///
/// See [`Error`]; [`Error::Overlay`] where the upper folder has what only the mounted overlay
/// explains; [`Error::Changed`] where a file changes meanwhile.
pub fn compare_overlay(
    upper: &Path,
    lower: &dyn LowerTree,
    options: &CompareOptions,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let dir = Dir::open(upper).map_err(Error::io("open", upper.display()))?;
    let plan = Planner::new(&dir, lower, Content::Differs).overlay().plan()?;
    write(&dir, plan, options, out)
}

/// The lower folders of an overlay, the top one first, as a tree to compare with.
///
/// # Errors
///
/// Those of opening them.
pub fn lower_folders(paths: &[PathBuf]) -> Result<impl LowerTree + use<>, Error> {
    Lowers::open(paths)
}

fn write(
    dir: &Dir,
    plan: plan::Plan,
    options: &CompareOptions,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let items = links::order(plan);
    let mut emitter = emit::Emitter::new(dir, TarWriter::new(out), options);
    for item in &items {
        emitter.item(item)?;
    }
    emitter.finish()
}
