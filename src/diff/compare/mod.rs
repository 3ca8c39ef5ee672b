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
//! - A renamed folder is whole under its new name, a whiteout under the old one.
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
mod upper;

use std::io::Write;
use std::path::Path;

use crate::archive::TarWriter;

use super::Error;
use super::lowers::LayerFolders;

pub use self::lower::{EmptyTree, Inode, LowerTree};

use self::plan::{Content, Planner};
use self::upper::Upper;

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
    let upper = Upper::folder(upper)?;
    let plan = match lower {
        None => Planner::new(&upper, &EmptyTree, Content::Differs).plan()?,
        Some(lower) => {
            let lowers = LayerFolders::open(&[lower.to_owned()], false)?;
            let content = Content::Compared { lowers: &lowers, trust_times: options.trust_times };
            Planner::new(&upper, &lowers, content).plan()?
        }
    };
    write(&upper, plan, options, out)
}

/// Writes what the upper folder of an overlay changes of `lower` as an uncompressed layer. The
/// overlay may be mounted.
///
/// # Errors
///
/// See [`Error`]; [`Error::Overlay`] where the upper folder has what only the mounted overlay
/// explains, or a renamed folder whose content `lower` cannot give; [`Error::Changed`] where a file
/// changes meanwhile.
pub fn compare_overlay(
    upper: &Path,
    lower: &dyn LowerTree,
    options: &CompareOptions,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let upper = Upper::overlay(upper, lower)?;
    let plan = Planner::new(&upper, lower, Content::Differs).plan()?;
    write(&upper, plan, options, out)
}

fn write(
    upper: &Upper,
    plan: plan::Plan,
    options: &CompareOptions,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let items = links::order(plan);
    let mut emitter = emit::Emitter::new(upper, TarWriter::new(out), options);
    for item in &items {
        emitter.item(item)?;
    }
    emitter.finish()
}
