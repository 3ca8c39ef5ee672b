//! OCI runtime bundles: the `config.json` of a container, made from an image's configuration.
//!
//! The conversion follows `conversion.md` of the OCI image specification and, where that is
//! silent, the defaults of containerd's `oci.Spec`: the same capabilities, mounts, masked and
//! read-only paths. Everything here is a pure function; users are looked up in the text of the
//! image's own `passwd` and `group`.

mod defaults;
mod process;
mod spec;
mod user;

pub use process::{Overrides, Process};
pub use spec::{SpecError, runtime_spec};
pub use user::{User, UserError, resolve_user};
