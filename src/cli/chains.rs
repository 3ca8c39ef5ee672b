//! Chains of layers shown for snapshots: by one process a chain, started when it is first needed.
//!
//! # Layout
//!
//! ```text
//! ROOT/sources/<chain>.json    which image has the layers of a chain
//! RUN/chains/<chain>/          where the chain is mounted while a snapshot is in use
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::ChainId;
use crate::error::Kind;
use crate::io::AtomicFile;
use crate::rootfs::{self, Records};
use crate::snapshot::{LayerError, LayerMounter};

use super::args::MountArgs;
use super::config::Config;
use super::failure::Failure;
use super::mount;
use super::wire::Wire;

/// Where the layers of a chain are.
#[derive(Debug, Serialize, Deserialize)]
struct Source {
    image: String,
    platform: Option<String>,
}

/// Shows chains whose image was remembered.
pub(super) struct Chains {
    config: Config,
    /// Whether chains are really mounted, or only their folders named for later.
    serve: bool,
}

impl Chains {
    /// Chains that are mounted when they are asked for.
    pub(super) fn served(config: &Config) -> Self {
        Self { config: config.clone(), serve: true }
    }

    /// Chains that are only registered: nothing is mounted.
    pub(super) fn named(config: &Config) -> Self {
        Self { config: config.clone(), serve: false }
    }

    /// Remembers that `image` has the layers of `chain`.
    pub(super) fn remember(&self, chain: &ChainId, image: &str) -> Result<(), Failure> {
        let path = self.source_path(chain);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let source = Source { image: image.to_owned(), platform: self.config.platform.clone() };
        let mut file = AtomicFile::create(&path)?;
        file.file().write_all(&serde_json::to_vec(&source).map_err(io::Error::from)?)?;
        Ok(file.commit()?)
    }

    /// The image that has the layers of `chain`, where one was remembered.
    pub(super) fn image_of(&self, chain: &ChainId) -> Result<Option<String>, Failure> {
        match fs::read(self.source_path(chain)) {
            Ok(bytes) => {
                let source: Source = serde_json::from_slice(&bytes).map_err(io::Error::from)?;
                Ok(Some(source.image))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn source_path(&self, chain: &ChainId) -> PathBuf {
        self.config.root.join("sources").join(format!("{}.json", file_name(chain)))
    }

    fn target(&self, chain: &ChainId) -> PathBuf {
        self.config.run_root.join("chains").join(file_name(chain))
    }

    fn serve(&self, chain: &ChainId, target: &Path) -> Result<(), Failure> {
        let records = Records::open(&self.config.run_root)?;
        let served = records.find(target)?.iter().any(rootfs::Record::is_served);
        if served {
            return Ok(());
        }
        // What a dead process left would be in the way.
        match rootfs::unmount(&self.config.run_root, target, true) {
            Ok(_) | Err(rootfs::Error::NotMounted { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        let path = self.source_path(chain);
        let bytes = fs::read(&path).map_err(|e| {
            Failure::new(Kind::of_io(&e), format!("{}: {e}", path.display()))
                .hint("register the image again: stratafs unpack --lazy IMAGE")
        })?;
        let source: Source = serde_json::from_slice(&bytes).map_err(io::Error::from)?;
        let config = Config { platform: source.platform, ..self.config.clone() };
        let args = MountArgs {
            image: source.image,
            target: target.to_owned(),
            rw: None,
            foreground: false,
            chain: Some(chain.clone()),
            layers: false,
        };
        mount::start(&Wire::new(config), &args).map(drop)
    }

    /// One process at a time starts servers.
    fn lock(&self) -> io::Result<fs::File> {
        let lock = fs::File::create(self.config.run_root.join("chains.lock"))?;
        lock.lock()?;
        Ok(lock)
    }
}

/// The digest as a name that overlayfs takes: without a colon.
fn file_name(chain: &ChainId) -> String {
    let digest = chain.digest();
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

impl LayerMounter for Chains {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let target = self.target(chain);
        let shown = fs::create_dir_all(self.config.run_root.join("chains"))
            .map_err(Failure::from)
            .and_then(|()| {
                if !self.serve {
                    return Ok(());
                }
                let _lock = self.lock()?;
                if !target.exists() {
                    fs::create_dir(&target)?;
                }
                self.serve(chain, &target)
            });
        match shown {
            Ok(()) => Ok(target),
            Err(failure) => Err(LayerError {
                chain: chain.clone(),
                kind: failure.kind(),
                source: failure.to_string().into(),
            }),
        }
    }

    fn unmount(&self, chain: &ChainId) -> Result<(), LayerError> {
        match rootfs::unmount(&self.config.run_root, &self.target(chain), false) {
            Ok(_) | Err(rootfs::Error::NotMounted { .. }) => Ok(()),
            Err(e) => Err(LayerError {
                chain: chain.clone(),
                kind: crate::error::Classify::kind(&e),
                source: e.into(),
            }),
        }
    }
}
