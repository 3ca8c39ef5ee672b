//! Serving a live connection that another process made.
//!
//! A FUSE connection lives as long as any descriptor of its device is open, in whatever process.
//! A holder (the service manager, say) that keeps a [`Handover`] keeps the mount alive when its
//! server dies: cached files and names go on working, requests wait. The next server takes it over.
//!
//! The kernel sends FUSE_INIT once in the life of a connection, and fuser wants to see it. So the
//! new session begins on a pair of sockets, where it is sent the INIT that the kernel once sent;
//! then the device takes the place of the socket under the session's descriptor. Requests that the
//! dead server had read and not answered go back to the queue by FUSE_NOTIFY_RESEND (Linux 6.9).
//!
//! This works because nothing else is state of a server: node ids are a pure function of the
//! trees, there are no handles, and all settings follow from the kernel's offer. The new server
//! must show the same trees in the same slots.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{InitFlags, Session};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::fs::Filesystem;
use crate::sys::descriptor;

use super::adapter::Adapter;
use super::negotiate::Offer;
use super::session::{Mounted, Parts, config};
use super::settle::Settle;
use super::{Error, Options};

/// The longest record that is received: a path is at most 4,096 bytes.
const MAX_RECORD: usize = 64 * 1024;

/// A live connection, apart from the process that serves it.
#[derive(Debug)]
pub struct Handover {
    device: OwnedFd,
    record: Record,
}

/// What has to be known of a connection besides its device.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Record {
    offer: Offer,
    connection: u32,
    mountpoint: Vec<u8>,
}

impl Handover {
    pub(super) fn new(device: OwnedFd, offer: Offer, connection: u32, mountpoint: &Path) -> Self {
        let mountpoint = mountpoint.as_os_str().as_bytes().to_vec();
        Self { device, record: Record { offer, connection, mountpoint } }
    }

    /// Where the connection is mounted.
    pub fn mountpoint(&self) -> PathBuf {
        std::ffi::OsString::from_vec(self.record.mountpoint.clone()).into()
    }

    /// The number of the connection, for [`abort`](super::abort): the minor device number.
    pub fn connection(&self) -> u32 {
        self.record.connection
    }

    /// Sends it to the process at the other end of `socket`; both have it then.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2).
    pub fn send(&self, socket: &UnixStream) -> io::Result<()> {
        let record = serde_json::to_vec(&self.record)?;
        descriptor::send(socket, &record, self.device.as_fd())
    }

    /// Receives what [`Handover::send`] sent.
    ///
    /// # Errors
    ///
    /// Those of recvmsg(2); `InvalidData` for something else.
    pub fn receive(socket: &UnixStream) -> io::Result<Self> {
        let mut buf = vec![0; MAX_RECORD];
        let (n, device) = descriptor::receive(socket, &mut buf)?;
        Ok(Self { device, record: serde_json::from_slice(&buf[..n])? })
    }
}

/// Serves the connection of `handover`, whose earlier server must be gone. `fs` must show the
/// same trees in the same slots as it did there.
///
/// # Errors
///
/// [`Error::TakeOver`] where the connection has ended, or for want of descriptors;
/// [`Error::Thread`]. The mount stays as it was.
pub fn take_over(
    fs: Arc<Filesystem>,
    handover: Handover,
    options: &Options,
) -> Result<Mounted, Error> {
    let path = handover.mountpoint();
    let Handover { device, record } = handover;
    let parts = Parts::new(fs, Settle::done());
    let session = begin(&device, &record, parts.adapter(options), options)
        .map_err(|source| Error::TakeOver { path: path.clone(), source })?;
    parts.serve(session, path, record.connection)
}

fn begin(
    device: &OwnedFd,
    record: &Record,
    adapter: Adapter,
    options: &Options,
) -> io::Result<Session<Adapter>> {
    if !is_connected(device)? {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "the connection has ended"));
    }
    let (kernel, server) = UnixDatagram::pair()?;
    kernel.send(&init_request(&record.offer))?;
    let config = config(options);
    let session = Session::from_fd(adapter, server.into(), config.acl, config)?;
    descriptor::replace(session.as_fd(), device.as_fd())?;
    // Before a thread reads: what is read from now on is not sent twice.
    if let Err(e) = resend(device) {
        tracing::warn!(error = %e, "requests of the earlier server stay unanswered");
    }
    Ok(session)
}

/// Whether the kernel still has the connection: its device polls as in error otherwise.
fn is_connected(device: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(device.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(!fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)))
}

/// The FUSE_INIT request that the kernel sent when the connection began: `struct fuse_in_header`
/// and `struct fuse_init_in` of `linux/fuse.h`.
fn init_request(offer: &Offer) -> Vec<u8> {
    const LEN: usize = 104;
    const OPCODE_INIT: u32 = 26;
    const UNIQUE: u64 = 2;
    // Without this bit the upper half of the flags does not count; capabilities are told without.
    let flags = offer.flags | InitFlags::FUSE_INIT_EXT.bits();
    let halves = [flags & 0xffff_ffff, flags >> 32];
    let [low, high] = halves.map(|half| u32::try_from(half).unwrap_or_default());
    let mut request = Vec::with_capacity(LEN);
    request.extend_from_slice(&104_u32.to_ne_bytes());
    request.extend_from_slice(&OPCODE_INIT.to_ne_bytes());
    request.extend_from_slice(&UNIQUE.to_ne_bytes());
    // Node, user, group, process: none.
    request.resize(40, 0);
    for field in [offer.major, offer.minor, offer.max_readahead, low, high] {
        request.extend_from_slice(&field.to_ne_bytes());
    }
    request.resize(LEN, 0);
    request
}

/// Puts all requests that were read and not answered back into the queue: a `struct
/// fuse_out_header` with FUSE_NOTIFY_RESEND as its error.
fn resend(device: &OwnedFd) -> io::Result<()> {
    const NOTIFY_RESEND: i32 = 7;
    let mut message = Vec::with_capacity(16);
    message.extend_from_slice(&16_u32.to_ne_bytes());
    message.extend_from_slice(&NOTIFY_RESEND.to_ne_bytes());
    message.extend_from_slice(&0_u64.to_ne_bytes());
    nix::unistd::write(device, &message)?;
    Ok(())
}
