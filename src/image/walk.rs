use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::content::Descriptor;
use crate::digest::Digest;

use super::{Cancel, Error, Handler, Step};

/// The longest way from a root down.
pub const MAX_DEPTH: usize = 32;
/// The most descriptors in one graph.
pub const MAX_NODES: usize = 200_000;

/// Visits all below `roots`, depth first, siblings one after another. A descriptor that is reached
/// twice is handled once, so the walk of any graph ends.
///
/// # Errors
///
/// The first error of the handler; [`Error::TooMany`] beyond [`MAX_DEPTH`] or [`MAX_NODES`];
/// [`Error::Cancelled`].
pub fn walk(handler: &dyn Handler, roots: &[Descriptor], cancel: &Cancel) -> Result<(), Error> {
    let mut seen = Seen::default();
    // What is to be visited, next one last: a stack of our own, so that depth is no danger.
    let mut stack: Vec<(Descriptor, usize)> = Vec::new();
    stack.extend(roots.iter().rev().map(|root| (root.clone(), 0)));
    while let Some((at, depth)) = stack.pop() {
        cancel.check()?;
        if !seen.admit(&at, depth)? {
            continue;
        }
        if let Step::Children(children) = handler.handle(&at, cancel)? {
            stack.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
        }
    }
    Ok(())
}

/// As [`walk`], but a walk in which nothing has a child is an error: all was filtered out.
///
/// # Errors
///
/// As [`walk`]; [`Error::EmptyWalk`].
pub fn walk_not_empty(
    handler: &dyn Handler,
    roots: &[Descriptor],
    cancel: &Cancel,
) -> Result<(), Error> {
    let empty = AtomicBool::new(true);
    let watch = |descriptor: &Descriptor, cancel: &Cancel| {
        let step = handler.handle(descriptor, cancel)?;
        if matches!(&step, Step::Children(children) if !children.is_empty()) {
            empty.store(false, Ordering::Relaxed);
        }
        Ok(step)
    };
    walk(&watch, roots, cancel)?;
    if empty.into_inner() { Err(Error::EmptyWalk) } else { Ok(()) }
}

/// The descriptors that a walk has met.
#[derive(Debug, Default)]
pub(super) struct Seen(HashSet<(Digest, String)>);

impl Seen {
    /// Whether `at` is to be handled: it is new and within the bounds.
    pub(super) fn admit(&mut self, at: &Descriptor, depth: usize) -> Result<bool, Error> {
        let too_many = |what, limit| Error::TooMany { digest: at.digest.clone(), what, limit };
        if depth > MAX_DEPTH {
            return Err(too_many("levels above it", MAX_DEPTH));
        }
        if !self.0.insert((at.digest.clone(), at.media_type.clone())) {
            return Ok(false);
        }
        if self.0.len() > MAX_NODES {
            return Err(too_many("descriptors before it", MAX_NODES));
        }
        Ok(true)
    }
}
