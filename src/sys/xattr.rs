//! Extended attributes of anything, symbolic links and device nodes included.
//!
//! The calls that take a descriptor do not take one of a symbolic link, a device or a fifo, so a
//! child is named by `/proc/self/fd/DIR/NAME` with the calls that do not follow the last
//! component. `/proc` must be mounted.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The largest list of names and the largest value that Linux has (`XATTR_LIST_MAX`,
/// `XATTR_SIZE_MAX`), in bytes.
const MAX: usize = 64 << 10;

/// The path of an open descriptor in `/proc`.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    let mut path = String::with_capacity(24);
    // Writing to a string cannot fail.
    let _ = write!(path, "/proc/self/fd/{}", fd.as_raw_fd());
    path
}

/// The inode whose attributes are meant.
#[derive(Debug, Clone, Copy)]
pub enum XattrTarget<'a> {
    /// An open file or directory, not one opened by `O_PATH`.
    Open(BorrowedFd<'a>),
    /// A child of an open directory; a symbolic link itself, not what it points to.
    Child(BorrowedFd<'a>, &'a [u8]),
}

impl XattrTarget<'_> {
    fn child_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        let mut path = proc_path(dir).into_bytes();
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }

    /// The names of all attributes, sorted; none where the filesystem has no attributes.
    ///
    /// # Errors
    ///
    /// Those of listxattr(2), `ENOTSUP` apart.
    pub fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let read = |buffer: &mut Vec<u8>| match *self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, rustix::buffer::spare_capacity(buffer)),
            Self::Child(dir, name) => rustix::fs::llistxattr(
                Self::child_path(dir, name),
                rustix::buffer::spare_capacity(buffer),
            ),
        };
        let Some(list) = read_growing(read)? else { return Ok(Vec::new()) };
        let mut names: Vec<_> =
            list.split(|&b| b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The value of the attribute `name`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Those of getxattr(2), `ENODATA` and `ENOTSUP` apart.
    pub fn get(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        read_growing(|buffer: &mut Vec<u8>| match *self {
            Self::Open(fd) => {
                rustix::fs::fgetxattr(fd, name, rustix::buffer::spare_capacity(buffer))
            }
            Self::Child(dir, child) => rustix::fs::lgetxattr(
                Self::child_path(dir, child),
                name,
                rustix::buffer::spare_capacity(buffer),
            ),
        })
    }

    /// Sets the attribute `name`.
    ///
    /// # Errors
    ///
    /// Those of setxattr(2).
    pub fn set(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        match *self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags)?,
            Self::Child(dir, child) => {
                rustix::fs::lsetxattr(Self::child_path(dir, child), name, value, flags)?;
            }
        }
        Ok(())
    }

    /// Removes the attribute `name`, if there is one.
    ///
    /// # Errors
    ///
    /// Those of removexattr(2), `ENODATA` apart.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        let removed = match *self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Child(dir, child) => rustix::fs::lremovexattr(Self::child_path(dir, child), name),
        };
        match removed {
            Ok(()) | Err(Errno::NODATA) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Calls `read` with room for the usual, then for the most that there can be.
fn read_growing(
    mut read: impl FnMut(&mut Vec<u8>) -> Result<usize, Errno>,
) -> io::Result<Option<Vec<u8>>> {
    for capacity in [256, MAX] {
        let mut buffer = Vec::with_capacity(capacity);
        match read(&mut buffer) {
            Ok(_) => return Ok(Some(buffer)),
            Err(Errno::RANGE) if capacity < MAX => {}
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::RANGE.into())
}

/// Whether this process is in a user namespace that maps less than all IDs (user_namespaces(7)).
pub fn in_user_namespace() -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    let fields: Vec<&str> = map.split_ascii_whitespace().collect();
    fields != ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::Dir;

    #[test]
    fn attributes_of_files_links_and_nodes_are_their_own() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let file = dir.create_file(b"f").unwrap();
        dir.create_symlink(b"l", b"f").unwrap();
        dir.create_node(b"p", libc::S_IFIFO, 0).unwrap();

        let open = XattrTarget::Open(file.as_fd());
        let big = vec![7; 3000];
        open.set(b"user.a", b"1").unwrap();
        open.set(b"user.b", &big).unwrap();
        assert_eq!(XattrTarget::Child(dir.as_fd(), b"f").get(b"user.b").unwrap().unwrap(), big);
        assert_eq!(open.names().unwrap(), [b"user.a".to_vec(), b"user.b".to_vec()]);
        open.remove(b"user.b").unwrap();
        open.remove(b"user.b").unwrap();
        assert_eq!(open.get(b"user.b").unwrap(), None);

        for name in [&b"l"[..], b"p"] {
            let target = XattrTarget::Child(dir.as_fd(), name);
            target.set(b"trusted.t", name).unwrap();
            assert_eq!(target.get(b"trusted.t").unwrap().unwrap(), name);
        }
        assert_eq!(open.get(b"trusted.t").unwrap(), None);
    }
}
