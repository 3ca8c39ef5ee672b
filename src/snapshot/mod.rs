//! Snapshots: writable and read-only views of stacks of layers, with containerd's semantics.
//!
//! A snapshot is *active* (to write) or a *view* (to read), known by its *key*, until a commit
//! makes it *committed*, immutable and known by its *name*. Only committed snapshots can be
//! parents. The contract of [`Snapshotter`] is that of containerd's `core/snapshots/snapshotter.go`
//! as its own store and metadata layer keep it: which errors there are, in which order they are
//! looked for, what a label may hold and what an update may change.
//!
//! # Parents
//!
//! The content of a committed snapshot is a folder on disk that was written through an active
//! snapshot, or *lazy*: the merged tree of a whole chain of layers, which a [`LayerMounter`] shows.
//! Nothing below a lazy snapshot is looked at, so below an active snapshot there is at most one
//! lazy lower folder, under the committed folders that stand above it.
//!
//! # On disk
//!
//! ```text
//! metadata.db          the store: what is not in it does not exist
//! snapshots/<id>/fs    the upper folder; of a lazy snapshot a link to its merged tree
//! snapshots/<id>/work  the work folder of overlayfs, of active snapshots
//! trash/<id>           removed, to be deleted
//! reserve              room that removals may take when the disk is full
//! ```

mod backend;
mod disk_usage;
mod error;
pub mod filter;
mod folders;
mod gc;
mod info;
mod layer;
mod lazy;
mod mount;
pub mod mounter;
mod overlay;
mod overlay_snapshotter;
mod reserve;
mod store;
mod trash;

pub use backend::{Backend, Options};
pub use error::Error;
pub use filter::Filter;
pub use gc::Collected;
pub use info::{Info, Kind, LABEL_REF, Labels, MAX_KEY, MAX_LABEL, Owner, UnknownOwner, Usage};
pub use layer::{LayerError, LayerMounter, NoLayers};
pub use lazy::{LazyLayer, Lease};
pub use mount::Mount;
pub use overlay_snapshotter::OverlaySnapshotter;
pub use store::Chain;

use std::ops::ControlFlow;

/// Prepares, mounts, commits and removes snapshots; each call is all or nothing, also when the
/// process is killed.
///
/// A parent is `None` or the name of a committed snapshot. Calls may come from many threads.
pub trait Snapshotter: Send + Sync {
    /// What is known of a snapshot of any kind.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn stat(&self, key: &str) -> Result<Info, Error>;

    /// Changes labels, and nothing else: all of them where `paths` is empty or holds `labels`, one
    /// for each `labels.KEY`, whose KEY is taken as it is. A label without a value is deleted.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::FixedField`] for any other path; [`Error::LongLabel`].
    fn update(&self, key: &str, labels: &Labels, paths: &[String]) -> Result<Info, Error>;

    /// What a snapshot takes on disk without its parents: counted for an active one, stored at the
    /// commit for a committed one, nothing for a view. Remote data is never touched.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn usage(&self, key: &str) -> Result<Usage, Error>;

    /// How to mount an active snapshot or a view; the same answer however often it is asked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotMountable`] for a committed one.
    fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error>;

    /// Makes an active snapshot, which starts equal to its parent, and says how to mount it.
    ///
    /// # Errors
    ///
    /// [`Error::ParentNotFound`], [`Error::ParentNotCommitted`], then [`Error::Exists`].
    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error>;

    /// Makes a view, which is read-only, and says how to mount it.
    ///
    /// # Errors
    ///
    /// As [`Snapshotter::prepare`].
    fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error>;

    /// Makes the active snapshot `key` the committed snapshot `name`, with these labels alone. One
    /// without a parent may be given the committed snapshot `parent` now.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] for `name`, then [`Error::NotFound`] or [`Error::NotActive`] for `key`,
    /// then [`Error::ParentFixed`], [`Error::ParentNotFound`] or
    /// [`Error::RebaseParentNotCommitted`].
    fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<(), Error>;

    /// Removes a snapshot of any kind; its key is free at once, its files are deleted later.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::HasChild`].
    fn remove(&self, key: &str) -> Result<(), Error>;

    /// Shows `visit` each snapshot that `filter` matches, as they were at one moment and in no
    /// order, until it breaks. `visit` may call this snapshotter.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn walk(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Info) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// Deletes the files of removed snapshots and what killed processes left behind.
    ///
    /// # Errors
    ///
    /// Those of the store; a file that cannot be deleted now stays for the next time.
    fn cleanup(&self) -> Result<(), Error>;

    /// Ends work in the background; closing twice is closing once.
    ///
    /// # Errors
    ///
    /// None of this crate's snapshotters.
    fn close(&self) -> Result<(), Error>;
}

#[cfg(test)]
mod tests;
