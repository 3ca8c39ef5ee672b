//! What the kernel offers when a connection begins (FUSE_INIT), and what of it is used.

use std::sync::OnceLock;

use fuser::{InitFlags, KernelConfig};

use super::Options;

/// The largest request: 256 pages, the kernel's own bound (`fs.fuse.max_pages_limit`).
const MAX_REQUEST: u32 = 1024 * 1024;

/// Everything that is asked for, where it is offered.
const WANTED: [InitFlags; 11] = [
    // Several reads of one file at once.
    InitFlags::FUSE_ASYNC_READ,
    // A listing brings the attributes of what it lists, where names were looked up before.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_MAX_PAGES,
    // Cached listings of the virtual directories end when their mtime changes; all else is
    // immutable and its attributes are never asked for again, so it costs nothing.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    // POSIX ACLs of images count.
    InitFlags::FUSE_POSIX_ACL,
    // Nodes can be looked up by number, so file handles (of overlayfs, of NFS) outlive caches.
    InitFlags::FUSE_EXPORT_SUPPORT,
    // Requests that a dead server had read can be served by the next one.
    InitFlags::FUSE_HAS_RESEND,
    InitFlags::FUSE_ASYNC_DIO,
];

/// What the kernel said in FUSE_INIT. A process that takes the connection over needs it: the
/// kernel says it only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Offer {
    /// The protocol's major version.
    pub major: u32,
    /// The protocol's minor version.
    pub minor: u32,
    /// All flags that the kernel offered, `flags2` in the upper half, without `FUSE_INIT_EXT`.
    pub flags: u64,
    /// The largest read-ahead that the kernel offered, in bytes.
    pub max_readahead: u32,
}

/// The result of the negotiation of one connection.
#[derive(Debug, Default)]
pub(super) struct Negotiated {
    offer: OnceLock<Offer>,
}

impl Negotiated {
    /// Chooses from what the kernel offers.
    pub(super) fn agree(&self, config: &mut KernelConfig, options: &Options) {
        let offered = config.capabilities();
        for flag in WANTED {
            // An error says that the flag is not offered: an older kernel, which does without.
            let _ = config.add_capabilities(flag);
        }
        let version = config.kernel_abi();
        // The largest possible value is told by the error of asking for more.
        let max_readahead = config.set_max_readahead(u32::MAX).err().unwrap_or(u32::MAX);
        let _ = config.set_max_readahead(options.read_ahead.clamp(1, max_readahead));
        let _ = config.set_max_write(MAX_REQUEST);
        let _ = config.set_max_background(options.max_background.max(1));
        let offer =
            Offer { major: version.0, minor: version.1, flags: offered.bits(), max_readahead };
        tracing::debug!(?offer, "connection begins");
        let _ = self.offer.set(offer);
    }

    pub(super) fn offer(&self) -> Option<Offer> {
        self.offer.get().copied()
    }

    /// Whether OPEN is answered by ENOSYS, after which the kernel does it alone.
    pub(super) fn no_open(&self) -> bool {
        self.offers(InitFlags::FUSE_NO_OPEN_SUPPORT)
    }

    /// Whether OPENDIR is answered by ENOSYS, after which the kernel does it alone.
    pub(super) fn no_opendir(&self) -> bool {
        self.offers(InitFlags::FUSE_NO_OPENDIR_SUPPORT)
    }

    fn offers(&self, flag: InitFlags) -> bool {
        self.offer().is_some_and(|offer| offer.flags & flag.bits() != 0)
    }
}
