use rustix::fs::Stat;

/// What `stat` says of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The device that holds the inode.
    pub dev: u64,
    /// The inode number, unique on `dev`.
    pub ino: u64,
    /// File type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The number of names that the inode has.
    pub nlink: u64,
    /// The size in bytes.
    pub size: u64,
    /// What is allocated of it, in bytes.
    pub allocated: u64,
    /// The device number of a device node.
    pub rdev: u64,
    /// Last modification: seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds after `mtime`.
    pub mtime_nanos: u32,
}

impl Status {
    /// The file type bits of the mode.
    pub fn file_type(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == libc::S_IFDIR
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type() == libc::S_IFREG
    }

    /// Whether this is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type() == libc::S_IFLNK
    }

    /// Whether this is a character device 0:0, which overlayfs takes for a whiteout (kernel,
    /// `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories").
    pub fn is_overlay_whiteout(&self) -> bool {
        self.file_type() == libc::S_IFCHR && self.rdev == 0
    }

    /// What tells one inode from another.
    pub fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

impl From<Stat> for Status {
    fn from(s: Stat) -> Self {
        // The widths of these fields differ between architectures.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        Self {
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            mode: s.st_mode,
            uid: s.st_uid,
            gid: s.st_gid,
            nlink: s.st_nlink as u64,
            size: u64::try_from(s.st_size).unwrap_or(0),
            allocated: u64::try_from(s.st_blocks).unwrap_or(0).saturating_mul(512),
            rdev: s.st_rdev as u64,
            mtime: s.st_mtime as i64,
            mtime_nanos: u32::try_from(s.st_mtime_nsec).unwrap_or(0),
        }
    }
}
