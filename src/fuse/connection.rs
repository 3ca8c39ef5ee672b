//! A FUSE connection seen from outside: its control files and the tuning of its mount.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::Error;

/// Where the kernel shows its FUSE connections (Documentation/filesystems/fuse.rst).
const CONTROL: &str = "/sys/fs/fuse/connections";

/// Ends the connection with this number (the minor device number of the mount): every request
/// that waits fails, and so does every one from then on. Its server may hang; this does not.
///
/// Mounts the control filesystem if it is not there.
///
/// # Errors
///
/// [`Error::Control`] where there is no such connection, or no right to end it.
pub fn abort(connection: u32) -> Result<(), Error> {
    let path = PathBuf::from(format!("{CONTROL}/{connection}/abort"));
    let written = write_existing(&path, b"1").or_else(|e| {
        if e.kind() != io::ErrorKind::NotFound {
            return Err(e);
        }
        mount_control()?;
        write_existing(&path, b"1")
    });
    written.map_err(|source| Error::Control { connection, path, source })
}

fn write_existing(path: &Path, data: &[u8]) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(data)
}

fn mount_control() -> io::Result<()> {
    match rustix::mount::mount("fusectl", CONTROL, "fusectl", MountFlags::empty(), None) {
        Ok(()) | Err(rustix::io::Errno::BUSY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Lets the kernel read ahead by `bytes` on the mount of this connection. More than FUSE_INIT can
/// ask for takes root.
pub(super) fn set_read_ahead(connection: u32, bytes: u32) -> io::Result<()> {
    let path = format!("/sys/class/bdi/0:{connection}/read_ahead_kb");
    write_existing(Path::new(&path), (bytes / 1024).to_string().as_bytes())
}
