//! Images: from a name that a user types to the layers and configuration behind it.
//!
//! A [`Source`] says where an image is; [`open`] gives the store and the root descriptor;
//! [`resolve`] follows the descriptors down to one [`Image`] for one platform. A [`Handler`] maps
//! a descriptor to its children, and [`walk`] and [`dispatch`] apply one to a whole graph, with
//! containerd's semantics (its package `core/images`).
//!
//! Documents are kept as the bytes that they are: nothing here serialises one again. Parsing is
//! pure, tolerates the `null`s that Go writes, and refuses documents that could be taken for
//! another type than their descriptor says.

mod append;
mod children;
mod config;
mod copy;
mod dispatch;
mod document;
mod error;
#[cfg(test)]
mod fixture;
mod handler;
mod index;
mod labels;
mod manifest;
mod map;
pub mod media_type;
mod open;
mod platform;
mod referrers;
mod resolve;
mod source;
mod walk;
mod way;

pub use append::{Added, append_config, append_manifest};
pub use children::{children, children_handler, filter_platforms, limit_manifests};
pub use config::{Config, History, Process, RootFs};
pub use copy::{Observer, Progress, copy, fetch_handler};
pub use dispatch::dispatch;
pub use error::Error;
pub use handler::{Cancel, Handler, Step, handlers};
pub use index::{Index, MAX_ENTRIES};
pub use labels::child_labels;
pub use manifest::Manifest;
pub use map::Graph;
pub use open::{Opened, open, open_remembering};
pub use platform::{Matcher, ParsePlatformError, host_platform, normalize, parse_platform};
pub use referrers::referrers;
pub use resolve::{Image, Layer, MAX_LAYERS, resolve, resolve_telling};
pub use source::{ParseSourceError, Selector, Source};
pub use walk::{MAX_DEPTH, MAX_NODES, walk, walk_not_empty};
pub use way::way_to;

#[cfg(test)]
mod graph_tests;
