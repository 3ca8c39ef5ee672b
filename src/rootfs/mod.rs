//! An image's root filesystem at a folder: the mounts of its tree, and what stands on them.
//!
//! # Layout
//!
//! ```text
//! RUN/mounts/<id>.json       the record of a mount, for whoever unmounts it
//! RUN/mnt/<id>/              its FUSE filesystem: chains/<chain-id>/, layers/<diff-id>/,
//!                            blobs/<chain-id>
//! RUN/erofs/<id>/            the same as chains/<chain-id>: the chain's EROFS image, with its data
//!                            from blobs/<chain-id>, or from a local file once all of them are here
//! ```
//!
//! The folder that the user names shows the EROFS mount or, where the kernel cannot do that or the
//! tree cannot be an EROFS image, `chains/<chain-id>`; by a bind mount or, where it is writable, by
//! kernel overlayfs over it. Both show the same tree. RUN is open to its owner only, so that setuid programs
//! of an image are reached through the user's folder alone. A user without rights gets the FUSE
//! filesystem itself at the folder: the chain alone or, where asked for, `chains/` and `layers/`.
//!
//! # Invariants
//!
//! - a record is written before anything is mounted and removed after all is unmounted: what a
//!   dead process leaves is found and can be unmounted.
//! - mounting that fails half-way undoes what it did.
//! - what stands on something is unmounted before it: target, EROFS, FUSE.

mod background;
mod error;
mod lower;
mod overlay;
mod record;
mod unmount;

pub use background::Background;
pub use error::Error;
pub use lower::Lower;
pub use record::{Record, Records};
pub use unmount::{Holder, unmount};

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::content::cache::Whole;
use crate::erofs::{Mode, Way};
use crate::fs::{Filesystem, SlotName};
use crate::fuse;
use crate::sys::mount_at;

/// Where and how to mount.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image, as the user named it, for the record.
    pub image: String,
    /// The folder to mount on: an empty one.
    pub target: PathBuf,
    /// The folder that takes changes; `None` for a read-only mount.
    pub upper: Option<PathBuf>,
    /// Whether that folder is thrown away after the unmount, so that nothing has to make sure that it
    /// is on disk.
    pub is_temporary: bool,
    /// The folder of live mounts.
    pub run_root: PathBuf,
    /// Which way to show the tree; without rights it is always FUSE.
    pub mode: Mode,
    /// What to show.
    pub view: View,
}

/// What a mount shows at its folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum View {
    /// The image's root filesystem.
    #[default]
    Root,
    /// `chains/<chain-id>` with the root filesystem, and `layers/<diff-id>` with each layer alone
    /// and its whiteouts visible as such: to see which layer does what. Read-only, by FUSE.
    Layers,
}

/// A mounted root filesystem, served by this process. Dropping it unmounts.
pub struct Rootfs {
    fuse: Option<fuse::Mounted>,
    background: Option<Background>,
    /// The local file that the data come from, kept while it is in use.
    data: Option<Whole>,
    record: Record,
    records: Records,
}

impl Rootfs {
    /// Mounts `chain` as `options` say, and returns when it can be used.
    ///
    /// # Errors
    ///
    /// See [`Error`]; nothing stays mounted then.
    pub fn mount(chain: &Chain, options: &Options) -> Result<Self, Error> {
        let target = checked_target(&options.target)?;
        let records = Records::open(&options.run_root)?;
        let pid = std::process::id();
        let id = format!("{}-{pid}", chain.chain_id.digest().short());
        let id = unused_id(&records, &id)?;
        let direct = options.view == View::Layers || !rustix::process::geteuid().is_root();
        let fuse_dir = if direct { target.clone() } else { options.run_root.join("mnt").join(&id) };
        let erofs = (!direct).then(|| options.run_root.join("erofs").join(&id));
        let record = Record {
            id,
            pid,
            started: record::process_start(pid).unwrap_or(0),
            image: options.image.clone(),
            chain_id: chain.chain_id.to_string(),
            target,
            fuse: fuse_dir,
            erofs,
            mode: Way::Fuse,
            why: match options.view {
                View::Root => "only root may mount EROFS".to_owned(),
                View::Layers => "layers are shown by FUSE".to_owned(),
            },
            local: false,
            upper: options.upper.clone(),
            device: None,
            unmounted: false,
        };
        records.save(&record)?;
        // From here on dropping it undoes what was done.
        let mut rootfs = Self { fuse: None, background: None, data: None, record, records };
        rootfs.mount_fuse(chain, options.view)?;
        if !direct {
            rootfs.mount_target(chain, options)?;
        }
        Ok(rootfs)
    }

    fn mount_fuse(&mut self, chain: &Chain, view: View) -> Result<(), Error> {
        let dir = &self.record.fuse;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| Error::io(dir, e))?;
        let privileged = rustix::process::geteuid().is_root();
        let mut options =
            if privileged { fuse::Options::rootfs() } else { fuse::Options::default() };
        let filesystem = if privileged || view == View::Layers {
            filesystem(chain)?
        } else {
            Filesystem::of_tree(chain.mounted_tree())
        };
        // Nothing is attached later.
        options.xattrs = filesystem.has_xattrs();
        self.fuse = Some(fuse::mount(Arc::new(filesystem), dir, &options)?);
        Ok(())
    }

    fn mount_target(&mut self, chain: &Chain, options: &Options) -> Result<(), Error> {
        let Some(erofs) = self.record.erofs.clone() else { return Ok(()) };
        let lower = Lower::mount(chain, options.mode, &self.record.fuse, &erofs)?;
        self.record.mode = lower.choice.way;
        self.record.why = lower.choice.why;
        self.record.erofs = Some(erofs).filter(|_| lower.choice.way == Way::Erofs);
        match &self.record.upper {
            None => overlay::bind(&lower.path, &self.record.target)?,
            Some(upper) => {
                overlay::overlay(&lower.path, upper, &self.record.target, options.is_temporary)?;
            }
        }
        self.record.device = device_at(&self.record.target)?;
        self.record.local = lower.data.is_some();
        if lower.choice.way == Way::Erofs && lower.data.is_none() {
            self.background = chain.to_be_whole().map(Background::start);
        }
        self.data = lower.data;
        self.records.save(&self.record)
    }

    /// The record of this mount.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the kernel asked for so far.
    pub fn stats(&self) -> Option<&Arc<fuse::Stats>> {
        self.fuse.as_ref().map(fuse::Mounted::stats)
    }

    /// Waits until somebody unmounted it, for at most `timeout`, and says whether that was so.
    ///
    /// # Errors
    ///
    /// [`Error::Fuse`] where serving ended with an error.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        match &self.fuse {
            Some(mounted) => Ok(mounted.wait(timeout)?),
            None => Ok(true),
        }
    }

    /// Unmounts it.
    ///
    /// # Errors
    ///
    /// [`Error::Mount`] where it is in use; it is still mounted then.
    pub fn unmount(mut self) -> Result<(), Error> {
        self.end(false)
    }

    fn end(&mut self, lazy: bool) -> Result<(), Error> {
        self.background = None;
        if let Some(mounted) = self.fuse.take() {
            if self.record.fuse != self.record.target
                && let Err(e) = self.unmount_target(lazy)
            {
                self.fuse = Some(mounted);
                return Err(e);
            }
            if let Some(erofs) = &self.record.erofs {
                // Only others than those of the target can use it now: for them it goes on.
                Lower::unmount(erofs)?;
            }
            mounted.unmount()?;
        }
        forget(&self.records, &self.record)
    }

    /// What was never mounted is not unmounted, nor what somebody has unmounted already: another
    /// may have mounted there since.
    fn unmount_target(&self, lazy: bool) -> Result<(), Error> {
        let is_unmounted = self.records.load(&self.record.id).is_none_or(|r| r.unmounted);
        if is_unmounted || self.record.device.is_none() {
            return Ok(());
        }
        unmount::unmount_target(&self.record, lazy)
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        if let Err(error) = self.end(true) {
            tracing::error!(target = %self.record.target.display(), %error, "the mount stays");
        }
    }
}

/// The filesystem that was just mounted on `target`.
fn device_at(target: &Path) -> Result<Option<(u32, u32)>, Error> {
    match mount_at(target) {
        Ok(on_top) => Ok(on_top.map(|entry| entry.device)),
        Err(e) => {
            overlay::unmount(target, true)?;
            Err(Error::io(target, e))
        }
    }
}

/// Removes the record and the folder of a mount that is no more.
fn forget(records: &Records, record: &Record) -> Result<(), Error> {
    if record.fuse != record.target {
        match fs::remove_dir(&record.fuse) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %record.fuse.display(), error = %e, "folder stays");
            }
            _ => {}
        }
    }
    records.remove(&record.id)
}

/// The virtual root that shows the chain, and each of its layers alone.
fn filesystem(chain: &Chain) -> Result<Filesystem, Error> {
    let filesystem = Filesystem::new();
    let at = |source| Error::Tree { chain_id: chain.chain_id.to_string(), source };
    let name = SlotName::Chain(chain.chain_id.clone());
    filesystem.attach(&name, chain.mounted_tree()).map_err(at)?;
    for layer in &chain.layers {
        let name = SlotName::Layer(layer.diff_id.clone());
        if filesystem.slot(&name).is_some() {
            continue; // An image may have the same layer twice.
        }
        filesystem.attach(&name, layer.mounted_tree()).map_err(at)?;
    }
    Ok(filesystem)
}

/// The folder to mount on, absolute, if it is one and empty.
fn checked_target(target: &Path) -> Result<PathBuf, Error> {
    let path = target.canonicalize().map_err(|e| Error::io(target, e))?;
    let bad = |reason| Error::BadTarget { target: target.to_owned(), reason };
    if !path.is_dir() {
        return Err(bad("not a folder"));
    }
    let mut entries = fs::read_dir(&path).map_err(|e| Error::io(&path, e))?;
    if entries.next().is_some() {
        return Err(bad("the folder is not empty; mount on an empty one"));
    }
    Ok(path)
}

/// A name for a mount that no record has.
fn unused_id(records: &Records, wanted: &str) -> Result<String, Error> {
    let taken = records.list()?;
    let is_taken = |id: &str| taken.iter().any(|r| r.id == id);
    let mut id = wanted.to_owned();
    let mut n = 1;
    while is_taken(&id) {
        n += 1;
        id = format!("{wanted}-{n}");
    }
    Ok(id)
}
