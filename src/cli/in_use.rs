//! Where a chain of layers is shown just now, and which way.

use std::path::PathBuf;

use serde::Serialize;

use crate::erofs::Way;
use crate::rootfs::Records;
use crate::service::{Shown, ShownChain};

use super::config::Config;
use super::failure::Failure;

/// A place where a chain is shown.
#[derive(Debug, Serialize)]
pub(super) struct InUse {
    path: PathBuf,
    mode: Way,
    why: String,
    /// Whether the data come from a local file and not through FUSE.
    local: bool,
}

impl InUse {
    /// All of the chain `chain_id`: mounts of the command line, then the daemon's.
    pub(super) fn of_chain(config: &Config, chain_id: &str) -> Result<Vec<Self>, Failure> {
        if !config.run_root.exists() {
            return Ok(Vec::new());
        }
        let mut records = Records::open(&config.run_root)?.list()?;
        records.retain(|record| record.chain_id == chain_id && record.is_served());
        let mut found: Vec<Self> = records
            .into_iter()
            .map(|r| Self { path: r.target, mode: r.mode, why: r.why, local: r.local })
            .collect();
        let daemon = Shown::load(&config.run_root)?.filter(|daemon| daemon.served);
        let chains = daemon.into_iter().flat_map(|daemon| daemon.chains);
        found.extend(chains.filter(|chain| chain.chain_id == chain_id).map(Self::from));
        Ok(found)
    }

    /// One line for a person.
    pub(super) fn text(&self) -> String {
        format!("{}  {}", self.path.display(), way_text(self.mode, self.local, &self.why))
    }
}

impl From<ShownChain> for InUse {
    fn from(chain: ShownChain) -> Self {
        Self { path: chain.path, mode: chain.mode, why: chain.why, local: chain.local }
    }
}

/// How something is shown, and why, for a person.
pub(super) fn way_text(mode: Way, local: bool, why: &str) -> String {
    let local = if local { ", data in a local file" } else { "" };
    format!("{}{local}: {why}", mode.name())
}
