//! The mount API of Linux 5.2 and later: contexts, detached mounts, attributes.
//!
//! A mount is made in three steps (`fsopen(2)`, `fsconfig(2)`, `fsmount(2)`): a [`Context`] takes
//! parameters one at a time, so no option string has to fit in a page and nothing has to be
//! escaped, and says in words why the kernel refuses; what it gives is a [`DetachedMount`], which
//! nobody else sees and which the kernel drops with its last descriptor, also when the process is
//! killed. Only [`DetachedMount::attach`] puts it into the tree of files.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

pub use rustix::mount::MountAttrFlags as Attributes;

/// The longest value of [`Context::string`] in bytes (`strndup_user(_value, 256)` in the kernel's
/// `fs/fsopen.c`, with its final zero).
pub const MAX_STRING: usize = 255;

/// Why the kernel refused a step of a mount, with what it logged on the context.
#[derive(Debug, thiserror::Error)]
#[error("{step} of {fs_type}: {source}{}", Self::log_text(.log))]
pub struct Error {
    /// The step: `fsopen`, the parameter, `create` or `fsmount`.
    pub step: String,
    /// The type of the filesystem.
    pub fs_type: String,
    /// The answer of the system call.
    pub source: io::Error,
    /// The messages of the kernel, oldest first, without their severity letter.
    pub log: Vec<String>,
}

impl Error {
    fn log_text(log: &[String]) -> String {
        log.iter().map(|line| format!("; {line}")).collect()
    }
}

impl crate::error::Classify for Error {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::of_io(&self.source)
    }
}

/// A filesystem that is being configured (`fsopen(2)`).
#[derive(Debug)]
pub struct Context {
    fd: File,
    fs_type: String,
}

impl Context {
    /// A new context for the filesystem type `fs_type`, as `overlay` or `erofs`.
    ///
    /// # Errors
    ///
    /// `ENODEV` where the kernel has no such filesystem, `EPERM` without CAP_SYS_ADMIN.
    pub fn open(fs_type: &str) -> Result<Self, Error> {
        let fd = fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| Error {
            step: "fsopen".to_owned(),
            fs_type: fs_type.to_owned(),
            source: e.into(),
            log: Vec::new(),
        })?;
        Ok(Self { fd: File::from(fd), fs_type: fs_type.to_owned() })
    }

    /// Sets a parameter without a value.
    ///
    /// # Errors
    ///
    /// The kernel's, with its words.
    pub fn flag(&self, key: &str) -> Result<(), Error> {
        fsconfig_set_flag(&self.fd, key).map_err(|e| self.error(key, e))
    }

    /// Sets a parameter to a text of at most [`MAX_STRING`] bytes.
    ///
    /// # Errors
    ///
    /// The kernel's, with its words; `EINVAL` for a longer text.
    pub fn string(&self, key: &str, value: impl rustix::path::Arg) -> Result<(), Error> {
        fsconfig_set_string(&self.fd, key, value).map_err(|e| self.error(key, e))
    }

    /// Sets a parameter to an open file.
    ///
    /// # Errors
    ///
    /// The kernel's, with its words; `EINVAL` where it takes no descriptor for this parameter.
    pub fn fd(&self, key: &str, value: impl AsFd) -> Result<(), Error> {
        fsconfig_set_fd(&self.fd, key, value).map_err(|e| self.error(key, e))
    }

    /// Makes the filesystem and a detached mount of it.
    ///
    /// # Errors
    ///
    /// The kernel's, with its words.
    pub fn create(self, attributes: Attributes) -> Result<DetachedMount, Error> {
        fsconfig_create(&self.fd).map_err(|e| self.error("create", e))?;
        let fd = fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|e| self.error("fsmount", e))?;
        Ok(DetachedMount { fd })
    }

    fn error(&self, step: &str, errno: rustix::io::Errno) -> Error {
        Error {
            step: step.to_owned(),
            fs_type: self.fs_type.clone(),
            source: errno.into(),
            log: self.log(),
        }
    }

    /// The kernel's messages so far; each read takes one, `ENODATA` ends them.
    fn log(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = [0; 1024];
        while let Ok(n @ 1..) = (&self.fd).read(&mut line) {
            let text = String::from_utf8_lossy(&line[..n]);
            lines.push(text.get(2..).unwrap_or(&text).trim_end().to_owned());
        }
        lines
    }
}

/// A mount that is in no tree of files yet, dropped by the kernel with its descriptor.
#[derive(Debug)]
pub struct DetachedMount {
    fd: OwnedFd,
}

impl DetachedMount {
    /// A detached copy of what is mounted at `path`, and below it where `recursive`: a bind mount
    /// to be (`open_tree(2)`). Symbolic links are followed.
    ///
    /// # Errors
    ///
    /// Those of `open_tree(2)`.
    pub fn of_path(path: &Path, recursive: bool) -> io::Result<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        Ok(Self { fd: open_tree(CWD, path, flags)? })
    }

    /// Sets `attributes` on the mount, and on those below it where `recursive`, before anybody can
    /// see it (`mount_setattr(2)`, Linux 5.12).
    ///
    /// # Errors
    ///
    /// Those of `mount_setattr(2)`.
    pub fn set_attributes(&self, attributes: Attributes, recursive: bool) -> io::Result<()> {
        self.setattr(u64::from(attributes.bits()), 0, recursive)
    }

    /// Makes the mount private, and those below it where `recursive`: what is mounted inside it
    /// later appears nowhere else (`mount_namespaces(7)`).
    ///
    /// # Errors
    ///
    /// Those of `mount_setattr(2)`.
    pub fn make_private(&self, recursive: bool) -> io::Result<()> {
        self.setattr(0, libc::MS_PRIVATE, recursive)
    }

    fn setattr(&self, attr_set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
        let attr = libc::mount_attr { attr_set, attr_clr: 0, propagation, userns_fd: 0 };
        let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
        // SAFETY: the path is an empty C string, `attr` lives over the call and its true size is
        // given; the kernel only reads both.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.fd.as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const attr,
                size_of::<libc::mount_attr>(),
            )
        };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Puts the mount at the existing file or folder `target`; there it outlives the process.
    ///
    /// # Errors
    ///
    /// Those of `move_mount(2)`.
    pub fn attach(self, target: &Path) -> io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        Ok(move_mount(&self.fd, "", CWD, target, flags)?)
    }

    /// A path to the root of the mount that is good in this process while the value lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Mounts by the call of old, `mount(2)`: for kernels without a parameter of the new interface.
///
/// # Errors
///
/// Those of `mount(2)`; `InvalidInput` where `data` holds a zero byte.
pub fn mount_classic(
    source: &str,
    target: &Path,
    fs_type: &str,
    flags: MountFlags,
    data: &Path,
) -> io::Result<()> {
    let data = CString::new(data.as_os_str().as_bytes())?;
    Ok(rustix::mount::mount(source, target, fs_type, flags, &*data)?)
}

/// When [`unmount`] takes a mount away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmount {
    /// At once, or not at all where it is busy.
    Now,
    /// From sight at once, for good when the last user is gone (`MNT_DETACH`).
    Lazy,
}

/// Unmounts what was last mounted at `target`, without following a final symbolic link.
///
/// # Errors
///
/// `EBUSY` where it is in use, `EINVAL` where nothing is mounted there.
pub fn unmount(target: &Path, when: Unmount) -> io::Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, when == Unmount::Lazy);
    Ok(rustix::mount::unmount(target, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tmpfs() -> DetachedMount {
        let context = Context::open("tmpfs").unwrap();
        context.string("size", "1M").unwrap();
        context.create(Attributes::empty()).unwrap()
    }

    /// Somewhere to mount, unmounted whatever happens.
    struct Target(tempfile::TempDir);

    impl Drop for Target {
        fn drop(&mut self) {
            let _ = unmount(self.0.path(), Unmount::Lazy);
        }
    }

    #[test]
    fn a_detached_mount_is_usable_and_attaches() {
        let mount = tmpfs();
        std::fs::write(mount.path().join("a"), "b").unwrap();
        let target = Target(tempfile::tempdir().unwrap());
        let dir = target.0.path();
        mount.attach(dir).unwrap();
        assert_eq!(std::fs::read(dir.join("a")).unwrap(), b"b");
        unmount(dir, Unmount::Now).unwrap();
        assert!(!dir.join("a").exists());
        assert!(unmount(dir, Unmount::Now).is_err());
    }

    #[test]
    fn a_read_only_copy_refuses_writes_and_the_original_does_not() {
        let target = Target(tempfile::tempdir().unwrap());
        let dir = target.0.path();
        tmpfs().attach(dir).unwrap();
        let copy = DetachedMount::of_path(dir, true).unwrap();
        copy.make_private(true).unwrap();
        copy.set_attributes(Attributes::MOUNT_ATTR_RDONLY, true).unwrap();
        let refused = std::fs::write(copy.path().join("a"), "").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
        std::fs::write(dir.join("a"), "").unwrap();
    }

    #[test]
    fn a_text_has_a_bound() {
        let context = Context::open("tmpfs").unwrap();
        context.string("source", "x".repeat(MAX_STRING)).unwrap();
        assert!(context.string("source", "x".repeat(MAX_STRING + 1)).is_err());
    }

    #[test]
    fn the_kernel_says_why_it_refuses() {
        let context = Context::open("overlay").unwrap();
        context.string("lowerdir", "/does-not-exist").unwrap_err();
        let error = context.string("no-such-parameter", "x").unwrap_err();
        assert!(error.to_string().contains("no-such-parameter of overlay"), "{error}");
        assert!(!error.log.is_empty(), "{error}");
        assert!(Context::open("no-such-filesystem").is_err());
    }
}
