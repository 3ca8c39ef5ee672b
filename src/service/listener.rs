//! The socket that containerd connects to.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::Error;

/// Listens at `path`, for the own user only; what a dead process left there is replaced. The folder
/// is made, for the own user only, where it is missing.
///
/// # Errors
///
/// [`Error::Io`].
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    if let Some(dir) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(Error::io("create", dir))?;
    }
    bind(path).map_err(Error::io("listen at", path))
}

/// The socket is closed to others before it gets its name.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let hidden = hidden(path)?;
    match fs::remove_file(&hidden) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
    fs::rename(&hidden, path)?;
    Ok(listener)
}

fn hidden(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_the_own_user_and_replaces_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/sock");
        drop(listen(&path).unwrap());
        let _listener = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }
}
