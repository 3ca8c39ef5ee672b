//! `image`: images as graphs of content.

mod diff;
mod tree;

use super::args::ImageVerb;
use super::failure::Failure;
use super::output::Output;
use super::wire::Wire;

/// Runs a verb of `image`.
pub(super) fn run(wire: &Wire, verb: &ImageVerb, out: Output) -> Result<(), Failure> {
    match verb {
        ImageVerb::Tree(a) => tree::run(wire, a, out),
        ImageVerb::Diff(a) => diff::run(wire, a, out),
    }
}
