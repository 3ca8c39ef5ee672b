//! Performs the mounts of a snapshot, as containerd's `core/mount` does.
//!
//! Lower folders are given to the kernel one at a time (`lowerdir+`, Linux 6.5), so their number is
//! bounded by overlayfs alone and nothing is escaped; older kernels get an option string of short
//! names through `/proc/self/fd`. A mount is made detached and only then put in its place, private,
//! so what is mounted inside of it later never shows up inside of the snapshot's own folder.

mod options;
mod overlay;

use std::path::{Path, PathBuf};

use options::Parsed;
use overlay::overlay;

use super::{Error, Mount};
use crate::sys::mount::{self, Attributes, Context, DetachedMount, Unmount};

/// Mounts `mounts`, in their order, at the existing folder `target` and at folders below it.
///
/// # Errors
///
/// [`Error::BadMount`] for what is not offered here, [`Error::Mount`] and [`Error::Io`] for what
/// the kernel refuses; nothing of `mounts` is left mounted then.
pub fn mount(mounts: &[Mount], target: &Path) -> Result<(), Error> {
    let mut done: Vec<PathBuf> = Vec::new();
    for mount in mounts {
        let place = match mount.target.as_str() {
            "" => target.to_owned(),
            below => target.join(below.trim_start_matches('/')),
        };
        let attach = |made: DetachedMount| made.attach(&place).map_err(Error::io("mount", &place));
        if let Err(e) = detached(mount).and_then(attach) {
            for place in done.iter().rev() {
                unmount(place)?;
            }
            return Err(e);
        }
        done.push(place);
    }
    Ok(())
}

/// Takes away what was last mounted at `target`: from sight at once, for good with its last user.
///
/// # Errors
///
/// [`Error::Io`] where nothing is mounted there.
pub fn unmount(target: &Path) -> Result<(), Error> {
    mount::unmount(target, Unmount::Lazy).map_err(Error::io("unmount", target))
}

/// Mounts of a snapshot that only this process sees, through [`TemporaryMount::path`]; they end
/// with the value, and with the process however it ends.
#[derive(Debug)]
pub struct TemporaryMount {
    mount: DetachedMount,
}

impl TemporaryMount {
    /// Mounts `mounts`, of which there must be one, in no place.
    ///
    /// # Errors
    ///
    /// As [`mount`].
    pub fn new(mounts: &[Mount]) -> Result<Self, Error> {
        match mounts {
            [only] if only.target.is_empty() => Ok(Self { mount: detached(only)? }),
            [] => Err(bad("none", "there is nothing to mount")),
            [first, ..] => Err(bad(&first.fs_type, "several mounts need a place to be mounted at")),
        }
    }

    /// The root of the mount, good in this process while the value lives.
    pub fn path(&self) -> PathBuf {
        self.mount.path()
    }
}

fn bad(fs_type: &str, problem: &'static str) -> Error {
    Error::BadMount { fs_type: fs_type.to_owned(), problem }
}

/// Makes `mount`, in no place yet.
fn detached(mount: &Mount) -> Result<DetachedMount, Error> {
    let parsed = Parsed::of(mount)?;
    let made = match mount.fs_type.as_str() {
        "bind" => bind(mount, &parsed)?,
        "overlay" => overlay(mount, &parsed)?,
        _ => plain(mount, &parsed)?,
    };
    made.make_private(true).map_err(Error::io("make private", Path::new(&mount.source)))?;
    Ok(made)
}

fn bind(mount: &Mount, parsed: &Parsed<'_>) -> Result<DetachedMount, Error> {
    if !parsed.rest.is_empty() {
        return Err(bad("bind", "a bind mount has no options of a filesystem"));
    }
    let source = Path::new(&mount.source);
    let made =
        DetachedMount::of_path(source, parsed.recursive).map_err(Error::io("bind", source))?;
    if !parsed.attributes.is_empty() {
        made.set_attributes(parsed.attributes, parsed.recursive)
            .map_err(Error::io("set the attributes of", source))?;
    }
    Ok(made)
}

/// Any other filesystem of the kernel.
fn plain(mount: &Mount, parsed: &Parsed<'_>) -> Result<DetachedMount, Error> {
    let make = || {
        let context = Context::open(&mount.fs_type)?;
        context.string("source", &mount.source)?;
        set_options(&context, parsed, parsed.rest.iter())?;
        context.create(parsed.attributes)
    };
    make().map_err(|source| Error::Mount { target: (&mount.source).into(), source })
}

fn set_options<'a>(
    context: &Context,
    parsed: &Parsed<'_>,
    options: impl Iterator<Item = &'a (&'a str, Option<&'a str>)>,
) -> Result<(), mount::Error> {
    if parsed.attributes.contains(Attributes::MOUNT_ATTR_RDONLY) {
        context.flag("ro")?;
    }
    for (key, value) in options {
        match value {
            Some(value) => context.string(key, *value)?,
            None => context.flag(key)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
