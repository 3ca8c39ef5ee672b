//! All `unsafe` and raw system calls: openat2, the mount API, xattrs, device nodes. No policy.

mod bdi;
pub mod descriptor;
mod dir;
mod extents;
pub mod inflate;
mod map;
pub mod mount;
mod mount_table;
mod network;
mod shared;
mod status;
mod xattr;

pub use bdi::NewBdi;
pub use dir::{Dir, process_owner, set_mode, set_mtime, set_owner, status_of};
pub use extents::data_extents;
pub use map::Map;
pub use mount_table::{MountEntry, holder_elsewhere, mount_at, mounts};
pub use network::raise_loopback;
pub use shared::SharedWords;
pub use status::Status;
pub use xattr::{XattrTarget, in_user_namespace};
