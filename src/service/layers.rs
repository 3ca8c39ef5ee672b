//! The one FUSE mount of the daemon, in which the trees of all chains are shown.
//!
//! A chain is shown when the first snapshot on it is used: where the kernel can, as EROFS in a mount
//! of its own whose data come through the FUSE mount. All of these mounts outlive the daemon, and
//! the next one takes the FUSE mount over, so that the others go on.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Error;
use super::images::Images;
use super::shown::{ShownChain, ShownChains};
use super::slots::{Slot, Slots};
use crate::chain::{Chain, Prefetch, Quiet, Store};
use crate::content::cache::Whole;
use crate::content::registry::Traffic;
use crate::digest::ChainId;
use crate::erofs::{Choice, Mode, Way};
use crate::error::Classify;
use crate::fs::{Filesystem, SlotName};
use crate::fuse::{self, Handover, Mounted};
use crate::rootfs::{Background, Lower};
use crate::snapshot::{LayerError, LayerMounter};
use crate::sys::mount_at;

/// Shows chains in one FUSE mount.
pub(super) struct Layers {
    filesystem: Arc<Filesystem>,
    /// Never dropped: that would unmount.
    mounted: ManuallyDrop<Mounted>,
    mountpoint: PathBuf,
    store: Arc<Store>,
    images: Arc<Images>,
    slots: Slots,
    /// Which way each chain is shown.
    shown: ShownChains,
    /// The folder of EROFS mounts, by chain.
    erofs: PathBuf,
    mode: Mode,
    prefetch: Prefetch,
    /// Chains that are shown.
    lowers: Mutex<HashMap<ChainId, Shown>>,
    /// Chains that are being shown just now; who comes second waits.
    opening: Mutex<HashMap<ChainId, Arc<Mutex<()>>>>,
}

/// What all layers are shown with.
pub(super) struct Parts {
    pub(super) store: Arc<Store>,
    pub(super) images: Arc<Images>,
    /// The folder of what lives as long as the machine is up.
    pub(super) run_root: PathBuf,
    pub(super) mode: Mode,
    /// What is fetched of a chain when it is shown.
    pub(super) prefetch: Prefetch,
}

impl Parts {
    /// The folder of EROFS mounts.
    fn erofs(&self) -> PathBuf {
        self.run_root.join("erofs")
    }
}

/// A chain that is shown, and what that takes.
struct Shown {
    path: PathBuf,
    /// Where its data come from, if that is a local file.
    _data: Option<Whole>,
    /// What makes that file for the next mount.
    _background: Option<Background>,
}

impl Layers {
    /// Makes a new mount at `mountpoint`; what is mounted there is taken out of sight.
    pub(super) fn mount(mountpoint: &Path, slots: &Path, parts: Parts) -> Result<Self, Error> {
        unmount_all(&parts.erofs());
        while let Ok(()) = fuse::unmount(mountpoint) {}
        let filesystem = Arc::new(Filesystem::new());
        let mounted = fuse::mount(filesystem.clone(), mountpoint, &fuse::Options::rootfs())?;
        let slots = Slots::new(slots, mounted.connection())?;
        let shown = ShownChains::none(&parts.run_root);
        Ok(Self::of(filesystem, mounted, parts, slots, shown))
    }

    /// Goes on with the mount of a daemon that is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Fuse`] where the connection has ended.
    pub(super) fn take_over(handover: Handover, slots: Slots, parts: Parts) -> Result<Self, Error> {
        let filesystem = Arc::new(Filesystem::new());
        let shown = ShownChains::of_daemon_before(&parts.run_root);
        let mut chains = Vec::new();
        for (chain, slot) in slots.all() {
            // Its users get ESTALE; all others must not suffer for that.
            match show_again(&filesystem, &parts.store, &parts.images, &chain, slot) {
                Ok(opened) => chains.push(opened),
                Err(error) => {
                    tracing::error!(%chain, %error, "layers of running containers cannot be shown");
                    slots.give_up(&chain)?;
                    shown.remove(&chain);
                    if let Err(error) = Lower::unmount(&parts.erofs().join(file_name(&chain))) {
                        tracing::warn!(%chain, %error, "an EROFS mount stays");
                    }
                }
            }
        }
        let options = fuse::Options::rootfs();
        let mounted = fuse::take_over(filesystem.clone(), handover, &options)?;
        let layers = Self::of(filesystem, mounted, parts, slots, shown);
        for chain in &chains {
            let shown = layers.lower(chain);
            layers.lowers.lock().insert(chain.chain_id.clone(), shown);
        }
        Ok(layers)
    }

    fn of(
        filesystem: Arc<Filesystem>,
        mounted: Mounted,
        parts: Parts,
        slots: Slots,
        shown: ShownChains,
    ) -> Self {
        let mountpoint = mounted.mountpoint().to_owned();
        let mounted = ManuallyDrop::new(mounted);
        let erofs = parts.erofs();
        let Parts { store, images, run_root: _, mode, prefetch } = parts;
        let (lowers, opening) = (Mutex::default(), Mutex::default());
        Self {
            filesystem,
            mounted,
            mountpoint,
            store,
            images,
            slots,
            shown,
            erofs,
            mode,
            prefetch,
            lowers,
            opening,
        }
    }

    /// Shows a chain that is in the FUSE mount already; as EROFS where that can be done.
    fn lower(&self, chain: &Chain) -> Shown {
        let (id, path) = (&chain.chain_id, self.erofs.join(file_name(&chain.chain_id)));
        // One that another daemon has left goes on: its data come from the same place.
        if matches!(mount_at(&path), Ok(Some(entry)) if entry.fs_type == "erofs") {
            let data = chain.whole().ok().flatten();
            if self.shown.get(id).is_none() {
                self.shown.put(ShownChain::new(id, &path, Choice::possible(), false));
            }
            return Shown { path, _data: data, _background: None };
        }
        let lower =
            Lower::mount(chain, self.mode, &self.mountpoint, &path).unwrap_or_else(|error| {
                tracing::error!(chain = %id, %error, "shown by FUSE");
                let path = self.mountpoint.join(SlotName::Chain(id.clone()).path());
                Lower {
                    path,
                    choice: Choice { way: Way::Fuse, why: error.to_string() },
                    data: None,
                }
            });
        let wants_data = lower.choice.way == Way::Erofs && lower.data.is_none();
        let background = chain.to_be_whole().filter(|_| wants_data);
        self.shown.put(ShownChain::new(id, &lower.path, lower.choice, lower.data.is_some()));
        Shown {
            path: lower.path,
            _data: lower.data,
            _background: background.map(Background::start),
        }
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

    /// What the chains are made from.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// What was asked of registries.
    pub(super) fn traffic(&self) -> &Traffic {
        self.images.traffic()
    }

    /// Keeps what is in the cache, and what starts have read: the process is about to end.
    pub(super) fn keep(&self) {
        if let Ok(cache) = self.store.cache() {
            cache.keep(true);
        }
    }

    /// How many chains are shown.
    pub(super) fn shown(&self) -> usize {
        self.slots.all().len()
    }

    fn show(&self, chain: &ChainId, name: &SlotName) -> Result<(), Error> {
        let turn = self.opening.lock().entry(chain.clone()).or_default().clone();
        let mine = turn.lock();
        let is_shown = self.lowers.lock().contains_key(chain);
        let shown = if is_shown { Ok(()) } else { self.show_alone(chain, name) };
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
        // A container is about to start on it.
        opened.start(self.prefetch);
        let slot = self.slots.take(chain, opened.tree.fingerprint(), opened.readings())?;
        let attached = self.filesystem.attach_at(slot, name, opened.mounted_tree());
        attached.map_err(|source| Error::Attach { chain: chain.clone(), source })?;
        let shown = self.lower(&opened);
        self.lowers.lock().insert(chain.clone(), shown);
        Ok(())
    }
}

/// Takes what a dead daemon has left out of sight.
fn unmount_all(erofs: &Path) {
    for entry in std::fs::read_dir(erofs).into_iter().flatten().flatten() {
        if let Err(error) = Lower::unmount(&entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an EROFS mount stays");
        }
    }
}

/// The chain as the name of a folder.
fn file_name(chain: &ChainId) -> String {
    let digest = chain.digest();
    format!("{}-{}", digest.algorithm().name(), digest.hex())
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
) -> Result<Chain, Error> {
    let found = images.of_chain(chain)?;
    let opened = match store.chain_as(&found.provider, &found.image, &slot.readings)? {
        Some(opened) => opened,
        None => store.chain(&found.provider, &found.image, &Quiet)?,
    };
    if opened.tree.fingerprint() != slot.fingerprint {
        return Err(Error::OtherTree { chain: chain.clone() });
    }
    let name = SlotName::Chain(chain.clone());
    let attached = filesystem.attach_at(slot.number, &name, opened.mounted_tree());
    attached.map_err(|source| Error::Attach { chain: chain.clone(), source })?;
    Ok(opened)
}

impl LayerMounter for Layers {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let name = SlotName::Chain(chain.clone());
        let shown = || self.lowers.lock().get(chain).map(|shown| shown.path.clone());
        if let Some(path) = shown() {
            return Ok(path);
        }
        if let Err(error) = self.show(chain, &name) {
            let kind = error.kind();
            return Err(LayerError { chain: chain.clone(), kind, source: error.into() });
        }
        shown().map_or_else(|| self.place(chain), Ok)
    }

    fn place(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        Ok(self.mountpoint.join(SlotName::Chain(chain.clone()).path()))
    }

    fn unmount(&self, chain: &ChainId) -> Result<(), LayerError> {
        self.lowers.lock().remove(chain);
        self.shown.remove(chain);
        if let Err(error) = Lower::unmount(&self.erofs.join(file_name(chain))) {
            let kind = error.kind();
            return Err(LayerError { chain: chain.clone(), kind, source: error.into() });
        }
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
