//! The read-only tree that a rootfs is: as EROFS where that can be done, else by FUSE.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, overlay};
use crate::chain::Chain;
use crate::content::cache::Whole;
use crate::erofs::{self, Choice, DataPath, Image, Mode, Way};
use crate::fs::SlotName;
use crate::sys::mount::DetachedMount;

/// How long a start takes at most.
const START: Duration = Duration::from_secs(30);

/// The read-only tree of a chain, shown in a folder: by FUSE, or as EROFS over it.
#[derive(Debug)]
pub struct Lower {
    /// The folder.
    pub path: PathBuf,
    /// Which way it is shown, and why.
    pub choice: Choice,
    /// The local file that its data come from, if they do; to be kept while it is in use.
    pub data: Option<Whole>,
}

impl Lower {
    /// Shows `chain`, which the FUSE filesystem at `fuse` serves, in the folder `erofs`, which is
    /// made, or else where it is in `fuse`.
    ///
    /// # Errors
    ///
    /// [`Error::Erofs`] where `mode` is [`Mode::Erofs`] and it cannot be done.
    pub fn mount(chain: &Chain, mode: Mode, fuse: &Path, erofs: &Path) -> Result<Self, Error> {
        let name = SlotName::Chain(chain.chain_id.clone());
        let by_fuse = |choice| Self { path: fuse.join(name.path()), choice, data: None };
        let Some(blob) = name.blob_path().filter(|_| mode != Mode::Fuse) else {
            return Ok(by_fuse(Choice::asked_for(Way::Fuse)));
        };
        // The mount itself shows whether it can be done: nothing is probed before.
        match (mount_erofs(chain, &fuse.join(blob), erofs), mode) {
            (Ok(data), mode) => {
                let choice = match mode {
                    Mode::Erofs => Choice::asked_for(Way::Erofs),
                    Mode::Auto | Mode::Fuse => Choice::possible(),
                };
                Ok(Self { path: erofs.to_owned(), choice, data })
            }
            (Err(source), Mode::Erofs) => Err(Error::Erofs { source }),
            (Err(e), Mode::Auto | Mode::Fuse) => {
                let choice = Choice::not_possible(&e);
                tracing::info!(chain = %chain.chain_id, why = %choice.why, "shown by FUSE");
                Ok(by_fuse(choice))
            }
        }
    }
}

/// Mounts with data from the local file where there is one, which is returned then.
fn mount_erofs(chain: &Chain, blob: &Path, target: &Path) -> Result<Option<Whole>, erofs::Error> {
    let image = Image::ready(&chain.tree, &chain.erofs)?;
    let local = chain.whole().unwrap_or_else(|error| {
        tracing::warn!(chain = %chain.chain_id, %error, "data in a file are not used");
        None
    });
    let (mount, local) = match local {
        Some(whole) => (image.mount(whole.path(), DataPath::Cached)?, Some(whole)),
        None if chain.is_far() => (image.mount_far(blob, START)?, None),
        None => (image.mount(blob, DataPath::Direct)?, None),
    };
    attach(mount, target)?;
    Ok(local)
}

fn attach(mount: DetachedMount, target: &Path) -> Result<(), erofs::Error> {
    let failed = |source| erofs::Error::Io { path: target.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(target).map_err(failed)?;
    mount.attach(target).map_err(|e| {
        // Nothing is mounted there: it is an empty folder that is in nobody's way.
        let _stays = fs::remove_dir(target);
        failed(e)
    })
}

impl Lower {
    /// Takes what is mounted as EROFS at `erofs` out of sight, if anything is, and removes the
    /// folder. It ends with those who still use it.
    ///
    /// # Errors
    ///
    /// [`Error::Mount`].
    pub fn unmount(erofs: &Path) -> Result<(), Error> {
        overlay::unmount(erofs, true)?;
        match fs::remove_dir(erofs) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %erofs.display(), error = %e, "folder stays");
            }
            _ => {}
        }
        Ok(())
    }
}
