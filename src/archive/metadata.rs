/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

impl FileType {
    /// The file type bits of `st_mode` (inode(7)).
    pub fn mode_bits(self) -> u32 {
        match self {
            FileType::Regular => libc::S_IFREG,
            FileType::Directory => libc::S_IFDIR,
            FileType::Symlink => libc::S_IFLNK,
            FileType::CharDevice => libc::S_IFCHR,
            FileType::BlockDevice => libc::S_IFBLK,
            FileType::Fifo => libc::S_IFIFO,
        }
    }
}

/// A point in time: seconds since 1970, which may be negative, and nanoseconds after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01 00:00 UTC.
    pub secs: i64,
    /// Nanoseconds after `secs`, 0 to 999,999,999.
    pub nanos: u32,
}

/// A device number, in the two parts that tar stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Device {
    /// The `dev_t` of Linux for this device.
    pub fn dev_t(self) -> u64 {
        libc::makedev(self.major, self.minor)
    }

    /// The device of a `dev_t` of Linux.
    pub fn from_dev_t(dev: u64) -> Self {
        Self { major: libc::major(dev), minor: libc::minor(dev) }
    }
}

/// An extended attribute: its whole name, prefix included, and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// The name, such as `security.capability`.
    pub name: Vec<u8>,
    /// The value, any bytes.
    pub value: Vec<u8>,
}

/// What a layer says of one inode, its content apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The kind of file.
    pub file_type: FileType,
    /// Permission, setuid, setgid and sticky bits: at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// The device number of a device node, else 0:0.
    pub device: Device,
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
}

impl Metadata {
    /// A directory that a layer implies and does not list: root's, 0755, of 1970.
    pub fn implied_directory() -> Self {
        Self {
            file_type: FileType::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            device: Device::default(),
            xattrs: Vec::new(),
        }
    }

    /// `st_mode`: type and permission bits.
    pub fn st_mode(&self) -> u32 {
        self.file_type.mode_bits() | u32::from(self.mode)
    }
}
