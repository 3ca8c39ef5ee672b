//! The one FUSE mount of the daemon, in which the trees of all chains are shown.
//!
//! A chain is shown when the first snapshot on it is used. The mount outlives the daemon, and the
//! next one takes it over.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Error;
use super::images::Images;
use super::slots::{Slot, Slots};
use crate::chain::{Chain, Quiet, Store};
use crate::digest::ChainId;
use crate::error::Classify;
use crate::fs::{Filesystem, SlotName};
use crate::fuse::{self, Handover, Mounted};
use crate::snapshot::{LayerError, LayerMounter};

/// Shows chains in one FUSE mount.
pub(super) struct Layers {
    filesystem: Arc<Filesystem>,
    /// Never dropped: that would unmount.
    mounted: ManuallyDrop<Mounted>,
    mountpoint: PathBuf,
    store: Arc<Store>,
    images: Arc<Images>,
    slots: Slots,
    /// Chains that are being shown just now; who comes second waits.
    opening: Mutex<HashMap<ChainId, Arc<Mutex<()>>>>,
}

impl Layers {
    /// Makes a new mount at `mountpoint`; what is mounted there is taken out of sight.
    pub(super) fn mount(
        mountpoint: &Path,
        slots: &Path,
        store: Arc<Store>,
        images: Arc<Images>,
    ) -> Result<Self, Error> {
        while let Ok(()) = fuse::unmount(mountpoint) {}
        let filesystem = Arc::new(Filesystem::new());
        let mounted = fuse::mount(filesystem.clone(), mountpoint, &fuse::Options::rootfs())?;
        let slots = Slots::new(slots, mounted.connection())?;
        Ok(Self::of(filesystem, mounted, store, images, slots))
    }

    /// Goes on with the mount of a daemon that is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Fuse`] where the connection has ended.
    pub(super) fn take_over(
        handover: Handover,
        slots: Slots,
        store: Arc<Store>,
        images: Arc<Images>,
    ) -> Result<Self, Error> {
        let filesystem = Arc::new(Filesystem::new());
        for (chain, slot) in slots.all() {
            // Its users get ESTALE; all others must not suffer for that.
            if let Err(error) = show_again(&filesystem, &store, &images, &chain, slot) {
                tracing::error!(%chain, %error, "layers of running containers cannot be shown");
                slots.give_up(&chain)?;
            }
        }
        let options = fuse::Options::rootfs();
        let mounted = fuse::take_over(filesystem.clone(), handover, &options)?;
        Ok(Self::of(filesystem, mounted, store, images, slots))
    }

    fn of(
        filesystem: Arc<Filesystem>,
        mounted: Mounted,
        store: Arc<Store>,
        images: Arc<Images>,
        slots: Slots,
    ) -> Self {
        let mountpoint = mounted.mountpoint().to_owned();
        let (opening, mounted) = (Mutex::default(), ManuallyDrop::new(mounted));
        Self { filesystem, mounted, mountpoint, store, images, slots, opening }
    }

    /// What another process needs to keep the mount alive.
    pub(super) fn handover(&self) -> Result<Handover, Error> {
        Ok(self.mounted.handover()?)
    }

    /// Waits until somebody has unmounted it, for at most `timeout`; says whether that is so.
    pub(super) fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        Ok(self.mounted.wait(timeout)?)
    }

    /// What the kernel asked for so far.
    pub(super) fn stats(&self) -> &Arc<fuse::Stats> {
        self.mounted.stats()
    }

    /// How many chains are shown.
    pub(super) fn shown(&self) -> usize {
        self.slots.all().len()
    }

    fn show(&self, chain: &ChainId, name: &SlotName) -> Result<(), Error> {
        let turn = self.opening.lock().entry(chain.clone()).or_default().clone();
        let mine = turn.lock();
        let shown = match self.filesystem.slot(name) {
            Some(_) => Ok(()),
            None => self.show_alone(chain, name),
        };
        drop(mine);
        let mut opening = self.opening.lock();
        // The map's and this one: nobody waits for their turn.
        if Arc::strong_count(&turn) <= 2 {
            opening.remove(chain);
        }
        shown
    }

    fn show_alone(&self, chain: &ChainId, name: &SlotName) -> Result<(), Error> {
        let opened = open(&self.store, &self.images, chain)?;
        let slot = self.slots.take(chain, opened.tree.fingerprint())?;
        let attached = self.filesystem.attach_at(slot, name, opened.mounted_tree());
        attached.map_err(|source| Error::Attach { chain: chain.clone(), source })
    }
}

/// The chain, made ready from what is here, or from its registry where that is gone.
fn open(store: &Store, images: &Images, chain: &ChainId) -> Result<Chain, Error> {
    let found = images.of_chain(chain)?;
    Ok(store.chain(&found.provider, &found.image, &Quiet)?)
}

/// Shows a chain where a kernel expects it, if it is still what it was.
fn show_again(
    filesystem: &Filesystem,
    store: &Store,
    images: &Images,
    chain: &ChainId,
    slot: Slot,
) -> Result<(), Error> {
    let opened = open(store, images, chain)?;
    if opened.tree.fingerprint() != slot.fingerprint {
        return Err(Error::OtherTree { chain: chain.clone() });
    }
    let name = SlotName::Chain(chain.clone());
    let attached = filesystem.attach_at(slot.number, &name, opened.mounted_tree());
    attached.map_err(|source| Error::Attach { chain: chain.clone(), source })
}

impl LayerMounter for Layers {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let name = SlotName::Chain(chain.clone());
        if self.filesystem.slot(&name).is_none()
            && let Err(error) = self.show(chain, &name)
        {
            let kind = error.kind();
            return Err(LayerError { chain: chain.clone(), kind, source: error.into() });
        }
        self.place(chain)
    }

    fn place(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        Ok(self.mountpoint.join(SlotName::Chain(chain.clone()).path()))
    }

    fn unmount(&self, chain: &ChainId) -> Result<(), LayerError> {
        if self.filesystem.detach(&SlotName::Chain(chain.clone())).is_none() {
            return Ok(());
        }
        self.slots.give_up(chain).map_err(|error| LayerError {
            chain: chain.clone(),
            kind: error.kind(),
            source: error.into(),
        })
    }
}
