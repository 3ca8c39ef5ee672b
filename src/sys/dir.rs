//! A directory held open, and what can be done to its children by name.
//!
//! No call here follows a symbolic link in the last component. Those that take a path of several
//! components resolve it inside of the directory as `chroot` would, in the kernel, by openat2(2);
//! those that take a name take one component.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, RawDir, ResolveFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use super::Status;

/// How often a resolution that raced with a rename is tried again (openat2(2), `EAGAIN`).
const RESOLVE_TRIES: u32 = 16;
/// The buffer that directory entries are read through, in bytes.
const READDIR_BUFFER: usize = 32 << 10;

/// A directory held open.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Dir {
    /// Opens the directory at `path`, links followed.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Another handle of the same directory.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Opens the directory at `path` inside of this one: absolute links and `..` stay inside.
    ///
    /// # Errors
    ///
    /// Those of openat2(2).
    pub fn resolve(&self, path: &[u8]) -> io::Result<Self> {
        self.openat2(path, OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::empty()).map(Self)
    }

    /// Opens the directory at `path` inside of this one, where no component is a symbolic link.
    ///
    /// # Errors
    ///
    /// `ELOOP` where one is; else those of openat2(2).
    pub fn resolve_without_links(&self, path: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.openat2(path, flags, ResolveFlags::NO_SYMLINKS).map(Self)
    }

    /// Opens the file at `path` inside of this directory for reading, where no component, the last
    /// included, is a symbolic link. Never waits for the other end of a pipe.
    ///
    /// # Errors
    ///
    /// `ELOOP` where a component is a link; else those of openat2(2).
    pub fn open_file(&self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.openat2(path, flags, ResolveFlags::NO_SYMLINKS).map(File::from)
    }

    fn openat2(&self, path: &[u8], flags: OFlags, how: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let how = how | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 1..RESOLVE_TRIES {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Ok(rustix::fs::openat2(&self.0, path, flags, Mode::empty(), how)?)
    }

    /// Opens the child directory `name`.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` or `ELOOP` for what is not a directory; else those of open(2).
    pub fn open_dir(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Opens the child directory `name`, unless something is mounted there.
    ///
    /// # Errors
    ///
    /// `EXDEV` for a mount point, `ENOTDIR` or `ELOOP` for what is not a directory; else those of
    /// openat2(2).
    pub fn open_dir_of_same_mount(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        Ok(Self(rustix::fs::openat2(&self.0, name, flags, Mode::empty(), how)?))
    }

    /// Renames the child `name` to `new_name` in `new_dir`, where there must be nothing.
    ///
    /// # Errors
    ///
    /// `EEXIST` where there is anything; else those of renameat2(2).
    pub fn rename_to_new(&self, name: &[u8], new_dir: &Self, new_name: &[u8]) -> io::Result<()> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&self.0, name, &new_dir.0, new_name, flags)?)
    }

    /// Waits until the names in this directory are on disk.
    ///
    /// # Errors
    ///
    /// Those of fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// What there is of the directory itself.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    pub fn status(&self) -> io::Result<Status> {
        Ok(rustix::fs::fstat(&self.0)?.into())
    }

    /// What there is under `name`; `None` where there is nothing.
    ///
    /// # Errors
    ///
    /// Those of fstatat(2), `ENOENT` apart.
    pub fn child_status(&self, name: &[u8]) -> io::Result<Option<Status>> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The names in the directory, `.` and `..` apart, in no order.
    ///
    /// # Errors
    ///
    /// Those of getdents(2).
    pub fn names(&self) -> io::Result<Vec<Box<[u8]>>> {
        // A handle of its own, so that no other reader's position is moved.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.0, c".", flags, Mode::empty())?;
        let mut buffer = Vec::with_capacity(READDIR_BUFFER);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(name.into()),
            }
        }
        Ok(names)
    }

    /// Creates the regular file `name`, open for writing, with permissions for its owner only.
    ///
    /// # Errors
    ///
    /// `EEXIST` where there is anything under that name; else those of open(2).
    pub fn create_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(fd))
    }

    /// Creates the directory `name` with permissions for its owner only.
    ///
    /// # Errors
    ///
    /// Those of mkdirat(2).
    pub fn create_dir(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name, Mode::RWXU)?)
    }

    /// Creates the symbolic link `name` to `target`.
    ///
    /// # Errors
    ///
    /// Those of symlinkat(2).
    pub fn create_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Creates the device, fifo or socket `name`: `mode` holds its type, `dev` its number.
    ///
    /// # Errors
    ///
    /// Those of mknodat(2).
    pub fn create_node(&self, name: &[u8], mode: u32, dev: u64) -> io::Result<()> {
        let file_type = rustix::fs::FileType::from_raw_mode(mode);
        Ok(rustix::fs::mknodat(&self.0, name, file_type, Mode::RUSR | Mode::WUSR, dev)?)
    }

    /// Makes `name` another name of the inode `old_name` of `old_dir`, a symbolic link itself and
    /// not what it points to.
    ///
    /// # Errors
    ///
    /// Those of linkat(2).
    pub fn create_link(&self, name: &[u8], old_dir: &Self, old_name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(&old_dir.0, old_name, &self.0, name, AtFlags::empty())?)
    }

    /// Removes the name `name`, which is no directory.
    ///
    /// # Errors
    ///
    /// `EISDIR` for a directory; else those of unlinkat(2).
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    ///
    /// Those of unlinkat(2).
    pub fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// The target of the symbolic link `name`.
    ///
    /// # Errors
    ///
    /// `EINVAL` where `name` is no symbolic link; else those of readlinkat(2).
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Sets owner and group of `name`.
    ///
    /// # Errors
    ///
    /// Those of fchownat(2).
    pub fn set_child_owner(&self, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(&self.0, name, Some(uid), Some(gid), flags)?)
    }

    /// Sets the permissions of `name`, which must not be a symbolic link.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a symbolic link; else those of open(2) and fchmodat(2).
    pub fn set_child_mode(&self, name: &[u8], mode: u32) -> io::Result<()> {
        // fchmodat(2) follows links, and fchmodat2(2) is of Linux 6.6: pin the inode, then name it.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        if Status::from(rustix::fs::fstat(&node)?).is_symlink() {
            return Err(Errno::INVAL.into());
        }
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmodat(CWD, super::xattr::proc_path(node.as_fd()), mode, AtFlags::empty())?)
    }

    /// Sets access and modification time of `name`, the access time to the same.
    ///
    /// # Errors
    ///
    /// Those of utimensat(2).
    pub fn set_child_mtime(&self, name: &[u8], secs: i64, nanos: u32) -> io::Result<()> {
        let times = timestamps(secs, nanos);
        Ok(rustix::fs::utimensat(&self.0, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Writes all that the filesystem of this directory has not yet written, and waits for it.
    ///
    /// # Errors
    ///
    /// Those of syncfs(2), failed writes of before among them.
    pub fn sync_filesystem(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

/// The owner and group that new files of this process get, unless their folder decides.
pub fn process_owner() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Sets owner and group of an open file or directory.
///
/// # Errors
///
/// Those of fchown(2).
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Sets the permissions of an open file or directory.
///
/// # Errors
///
/// Those of fchmod(2).
pub fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?)
}

/// Sets access and modification time of an open file or directory, both to the same.
///
/// # Errors
///
/// Those of futimens(2).
pub fn set_mtime(fd: impl AsFd, secs: i64, nanos: u32) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &timestamps(secs, nanos))?)
}

/// What there is of an open file.
///
/// # Errors
///
/// Those of fstat(2).
pub fn status_of(fd: impl AsFd) -> io::Result<Status> {
    Ok(rustix::fs::fstat(fd)?.into())
}

fn timestamps(secs: i64, nanos: u32) -> Timestamps {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution_stays_inside_of_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("outside")).unwrap();
        std::fs::create_dir_all(temp.path().join("root/etc/sub")).unwrap();
        let root = Dir::open(&temp.path().join("root")).unwrap();
        let etc = root.child_status(b"etc").unwrap().unwrap().id();
        for (name, target) in
            [(&b"abs"[..], &b"/etc"[..]), (b"up", b"../../../etc"), (b"out", b"../outside")]
        {
            root.create_symlink(name, target).unwrap();
        }
        for path in [&b"abs"[..], b"up", b"/../etc", b"abs/sub/../../up"] {
            let found = root.resolve(path).unwrap().status().unwrap().id();
            assert_eq!(found, etc, "{}", String::from_utf8_lossy(path));
        }
        assert_eq!(root.resolve(b"out").unwrap_err().raw_os_error(), Some(libc::ENOENT));
        let refused = root.resolve_without_links(b"abs").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
        assert_eq!(root.resolve(b"").unwrap().status().unwrap(), root.status().unwrap());
    }

    #[test]
    fn no_call_follows_the_last_component() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        drop(dir.create_file(b"f").unwrap());
        dir.create_symlink(b"l", b"f").unwrap();
        let before = dir.child_status(b"f").unwrap().unwrap();

        assert!(dir.open_dir(b"l").is_err() && dir.open_file(b"l").is_err());
        assert!(dir.create_file(b"l").is_err());
        assert!(dir.set_child_mode(b"l", 0o777).is_err());
        dir.set_child_owner(b"l", 7, 8).unwrap();
        dir.set_child_mtime(b"l", -5, 6).unwrap();
        dir.create_link(b"l2", &dir, b"l").unwrap();

        assert_eq!(dir.child_status(b"f").unwrap().unwrap(), before);
        let link = dir.child_status(b"l2").unwrap().unwrap();
        assert!(link.is_symlink() && link.nlink == 2);
        assert_eq!((link.uid, link.gid, link.mtime, link.mtime_nanos), (7, 8, -5, 6));
        let mut names = dir.names().unwrap();
        names.sort();
        assert_eq!(names, [b"f".as_slice().into(), b"l".as_slice().into(), (*b"l2").into()]);
    }
}
