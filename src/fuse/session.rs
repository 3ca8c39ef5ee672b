//! Mounting and serving.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};
use parking_lot::Mutex;

use crate::fs::Filesystem;
use crate::sys::mount_at;

use super::adapter::Adapter;
use super::miss::MissPool;
use super::negotiate::{Negotiated, Offer};
use super::settle::Settle;
use super::takeover::Handover;
use super::unmount::{How, unmount_connection};
use super::{Error, Options, Stats, connection};

/// The source and the subtype in the mount table.
pub(super) const NAME: &str = "stratafs";

/// How long a new mount may take to answer.
const LIVE: Duration = Duration::from_secs(10);

/// How long the server of an unmounted filesystem may take to end.
const END: Duration = Duration::from_secs(5);

/// A mounted filesystem and the threads that serve it. Dropping it unmounts.
pub struct Mounted {
    mountpoint: PathBuf,
    connection: u32,
    stats: Arc<Stats>,
    negotiated: Arc<Negotiated>,
    device: OwnedFd,
    ended: Mutex<Receiver<io::Result<()>>>,
    /// Whether nothing is left to unmount, or it is somebody else's to do.
    unmounted: bool,
}

/// Mounts `fs` on the folder `mountpoint` and returns when the mount answers.
///
/// Root mounts directly, others through `fusermount3`, where setuid programs and devices of
/// images never count, and where only the own user sees the mount unless `/etc/fuse.conf` says
/// `user_allow_other`.
///
/// # Errors
///
/// [`Error::MountPoint`], [`Error::Mount`], [`Error::Thread`], [`Error::NotLive`]; nothing is
/// mounted then.
pub fn mount(fs: Arc<Filesystem>, mountpoint: &Path, options: &Options) -> Result<Mounted, Error> {
    let path = mountpoint
        .canonicalize()
        .map_err(|source| Error::MountPoint { path: mountpoint.to_owned(), source })?;
    let parts = Parts::new(fs, Settle::new());
    let session = start(&path, options, &parts)?;
    let connection = match mount_at(&path) {
        Ok(Some(entry)) => entry.device.1,
        Ok(None) => return Err(Error::NotMounted { path }),
        Err(source) => return Err(Error::Mount { path, source }),
    };
    let settle = parts.settle.clone();
    let mounted = parts.serve(session, path, connection)?;
    if let Err(e) = connection::set_read_ahead(connection, options.read_ahead) {
        tracing::debug!(connection, error = %e, "read-ahead stays as the kernel set it");
    }
    mounted.wait_live(settle)?;
    Ok(mounted)
}

fn start(path: &Path, options: &Options, parts: &Parts) -> Result<Session<Adapter>, Error> {
    let mut config = config(options);
    config.mount_options = mount_options(options);
    let session = match Session::new(parts.adapter(options), path, &config) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            tracing::info!(error = %e, "only the own user will see the mount");
            config.acl = SessionACL::Owner;
            Session::new(parts.adapter(options), path, &config)
        }
        other => other,
    };
    session.map_err(|source| Error::Mount { path: path.to_owned(), source })
}

/// How a session is served, however it began.
pub(super) fn config(options: &Options) -> Config {
    let mut config = Config::default();
    config.n_threads = Some(options.threads.max(1));
    // A clone of the device in this process alone would lose its requests at a takeover.
    config.clone_fd = false;
    config.acl = SessionACL::All;
    config
}

fn mount_options(options: &Options) -> Vec<MountOption> {
    let mut list = vec![
        MountOption::FSName(NAME.into()),
        MountOption::CUSTOM(format!("subtype={NAME}")),
        MountOption::RO,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
    ];
    // Only root may ask for these; fuser adds their opposites where they are missing.
    if rustix::process::geteuid().is_root() {
        list.extend(options.suid.then_some(MountOption::Suid));
        list.extend(options.dev.then_some(MountOption::Dev));
    }
    list
}

/// What the handlers of a session and those who watch it share.
pub(super) struct Parts {
    fs: Arc<Filesystem>,
    stats: Arc<Stats>,
    negotiated: Arc<Negotiated>,
    settle: Arc<Settle>,
}

impl Parts {
    pub(super) fn new(fs: Arc<Filesystem>, settle: Settle) -> Self {
        Self { fs, stats: Arc::default(), negotiated: Arc::default(), settle: Arc::new(settle) }
    }

    pub(super) fn adapter(&self, options: &Options) -> Adapter {
        Adapter {
            fs: self.fs.clone(),
            options: options.clone(),
            stats: self.stats.clone(),
            misses: MissPool::new(options.misses.clone()),
            settle: self.settle.clone(),
            negotiated: self.negotiated.clone(),
        }
    }

    /// Serves in threads of its own.
    pub(super) fn serve(
        self,
        session: Session<Adapter>,
        path: PathBuf,
        connection: u32,
    ) -> Result<Mounted, Error> {
        let failed = |source| Error::Thread { path: path.clone(), source };
        let device = session.as_fd().try_clone_to_owned().map_err(failed)?;
        let (tell, ended) = channel();
        let thread = std::thread::Builder::new().name("fuse".into()).spawn(move || {
            let result = session.run();
            if let Err(e) = &result {
                tracing::error!(error = %e, "serving ended");
            }
            let _ = tell.send(result);
        });
        thread.map_err(failed)?;
        Ok(Mounted {
            mountpoint: path,
            connection,
            stats: self.stats,
            negotiated: self.negotiated,
            device,
            ended: Mutex::new(ended),
            unmounted: false,
        })
    }
}

impl Mounted {
    /// Where it is mounted: absolute, without links.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// The number of the connection, for [`abort`](super::abort): the minor device number.
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// What was asked and answered so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// What the kernel offered when the connection began.
    pub fn offer(&self) -> Option<Offer> {
        self.negotiated.offer()
    }

    /// What another process needs to go on serving this mount when this one is gone.
    ///
    /// # Errors
    ///
    /// [`Error::TakeOver`] where no descriptor is left, or before the connection began.
    pub fn handover(&self) -> Result<Handover, Error> {
        let failed = |source| Error::TakeOver { path: self.mountpoint.clone(), source };
        let offer = self.offer().ok_or_else(|| failed(io::ErrorKind::NotConnected.into()))?;
        let device = self.device.try_clone().map_err(failed)?;
        Ok(Handover::new(device, offer, self.connection, &self.mountpoint))
    }

    /// As [`Mounted::handover`], and leaves the mount in place when this is dropped: for a process
    /// that is to end while another takes over. It serves until it ends; what it has read and
    /// not answered by then is asked again of the next.
    ///
    /// # Errors
    ///
    /// As [`Mounted::handover`]; dropping unmounts then.
    pub fn leave(mut self) -> Result<Handover, Error> {
        let handover = self.handover()?;
        self.unmounted = true;
        Ok(handover)
    }

    /// Waits until the mount has ended, by [`unmount`] or from outside, for at most `timeout`;
    /// says whether it has.
    ///
    /// # Errors
    ///
    /// [`Error::Serve`] where serving ended with an error.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        let ended = self.ended.lock().recv_timeout(timeout);
        match ended {
            Ok(Ok(())) | Err(RecvTimeoutError::Disconnected) => Ok(true),
            Ok(Err(source)) => Err(Error::Serve { path: self.mountpoint.clone(), source }),
            Err(RecvTimeoutError::Timeout) => Ok(false),
        }
    }

    /// Unmounts, lazily if it stays in use: then those who have files open go on reading, and
    /// serving ends with the last of them.
    ///
    /// # Errors
    ///
    /// [`Error::Unmount`]; the mount is still there.
    pub fn unmount(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.unmounted, true) {
            return Ok(());
        }
        match unmount_connection(&self.mountpoint, Some(self.connection))? {
            How::Clean if !self.wait(END)? => {
                let path = self.mountpoint.display();
                tracing::warn!(%path, "serving goes on after the unmount");
            }
            // Serving ends, or has ended, with the last who uses the mount.
            How::Clean | How::Detached | How::Absent => {}
        }
        Ok(())
    }

    /// Has the first requests made, by a thread that may hang where this one must not.
    fn wait_live(&self, settle: Arc<Settle>) -> Result<(), Error> {
        let path = self.mountpoint.clone();
        let (tell, answered) = channel();
        let thread = std::thread::Builder::new().name("settle".into()).spawn({
            let path = path.clone();
            move || {
                let _ = tell.send(settle.run(&path));
            }
        });
        thread.map_err(|source| Error::Thread { path: path.clone(), source })?;
        match answered.recv_timeout(LIVE) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Mount { path, source }),
            Err(_) => {
                if let Err(e) = connection::abort(self.connection) {
                    tracing::error!(error = %e, "a mount that does not answer stays");
                }
                Err(Error::NotLive { path, after: LIVE })
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(e) = self.end() {
            tracing::error!(error = %e, "the mount stays");
        }
    }
}
