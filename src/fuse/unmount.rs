//! Unmounting what this program mounted, and nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::UnmountFlags;

use crate::sys::{MountEntry, mount_at};

use super::Error;
use super::session::NAME;

/// How often, and how long apart, unmounting is tried while the mount is in use.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// Unmounts the filesystem of this program that is mounted on `mountpoint`, whoever serves it,
/// lazily if it stays in use.
///
/// # Errors
///
/// [`Error::NotMounted`] where nothing or something else is mounted there; [`Error::Unmount`].
pub fn unmount(mountpoint: &Path) -> Result<(), Error> {
    match unmount_connection(&resolved(mountpoint), None)? {
        How::Absent => Err(Error::NotMounted { path: mountpoint.to_owned() }),
        How::Clean | How::Detached => Ok(()),
    }
}

/// The path as the mount table has it. The mount itself is not touched: its server may be dead.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        (_, _) => path,
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It was not there any more.
    Absent,
    /// Nobody uses it any more.
    Clean,
    /// It is out of sight and still in use.
    Detached,
}

/// Unmounts `path` where our connection is the uppermost mount: never another's.
pub(super) fn unmount_connection(path: &Path, connection: Option<u32>) -> Result<How, Error> {
    let failed = |source| Error::Unmount { path: path.to_owned(), source };
    let ours = |entry: &MountEntry| {
        entry.fs_type == format!("fuse.{NAME}")
            && connection.is_none_or(|number| entry.device == (0, number))
    };
    if !mount_at(path).map_err(failed)?.as_ref().is_some_and(ours) {
        return Ok(How::Absent);
    }
    for _ in 0..TRIES {
        match detach(path, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(How::Clean),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(BETWEEN),
            Err(e) => return Err(failed(e)),
        }
    }
    tracing::warn!(path = %path.display(), "still in use: unmounting lazily");
    detach(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).map_err(failed)?;
    Ok(How::Detached)
}

fn detach(path: &Path, flags: UnmountFlags) -> io::Result<()> {
    match rustix::mount::unmount(path, flags) {
        Err(rustix::io::Errno::PERM) => fusermount(path, flags.contains(UnmountFlags::DETACH)),
        other => Ok(other?),
    }
}

/// Unmounts as a user without rights, by the setuid helper that mounted.
fn fusermount(path: &Path, lazily: bool) -> io::Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(path);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    // It tells the reason in words only.
    let kind = if text.contains("busy") {
        io::ErrorKind::ResourceBusy
    } else {
        io::ErrorKind::PermissionDenied
    };
    Err(io::Error::new(kind, text))
}
