//! The metadata store: what is known of snapshots, chains and leases, in `metadata.db`.
//!
//! Functions here take a transaction and are the single steps of containerd's
//! `core/snapshots/storage`, with its checks in its order. What they answer is true until the
//! transaction ends.

mod chains;
mod changes;
mod pool;
mod records;
mod room;
mod schema;

pub use chains::Chain;
pub(super) use chains::{
    LeaseId, Live, add_to_lease, chain_has_snapshot, collect, create_lease, delete_lease,
    get_chain, put_chain, snapshot_chains,
};
pub(super) use changes::{
    New, commit, create, create_lazy, get_committable, parent_of_new, remove, update_labels,
};
pub(super) use pool::Pool;
pub(super) use records::{Id, Level, Record, Stack, get, ids, levels, stack, walk};

#[cfg(test)]
mod tests;
