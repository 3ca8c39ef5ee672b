use super::Limits;

/// How a filesystem is mounted and served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether setuid and setgid bits and file capabilities of images count.
    pub suid: bool,
    /// Whether device nodes of images can be opened.
    pub dev: bool,
    /// Threads that answer the kernel; they never wait for content.
    pub threads: usize,
    /// How far the kernel reads ahead, in bytes; above 128 KiB only for root.
    pub read_ahead: u32,
    /// Requests that the kernel may have under way without a process waiting for each.
    pub max_background: u16,
    /// Whether anything that is or will ever be shown on this connection has extended attributes.
    /// Where not, the kernel is told once and never asks again, which it else does for each file
    /// that overlayfs finds and each program that is executed. Listing attributes gives none, as
    /// ever, so what copies files by listing goes on; reading one by name gives EOPNOTSUPP where it
    /// would be ENODATA. The answer is for the life of the connection.
    pub xattrs: bool,
    /// Bounds of the reads that have to wait.
    pub misses: Limits,
}

impl Default for Options {
    /// For a mount that all users of the machine can reach: an image must not bring them a
    /// setuid program or a device.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            suid: false,
            dev: false,
            threads: cores.clamp(2, 4),
            read_ahead: 1024 * 1024,
            max_background: 256,
            xattrs: true,
            misses: Limits::default(),
        }
    }
}

impl Options {
    /// For the root filesystem of containers, below a folder that only root can enter: setuid
    /// programs and device nodes work as in an unpacked image.
    pub fn rootfs() -> Self {
        Self { suid: true, dev: true, ..Self::default() }
    }
}
