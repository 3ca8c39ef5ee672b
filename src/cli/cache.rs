//! `cache`: what is kept of layers.

use serde::Serialize;

use crate::content::cache::StoredLayer;
use crate::error::Kind;

use super::args::{CacheVerb, PruneArgs};
use super::failure::Failure;
use super::output::{Output, human_size};
use super::wire::Wire;

/// A layer in the cache.
#[derive(Debug, Serialize)]
pub(super) struct LayerShown {
    digest: String,
    /// Uncompressed bytes that are here.
    stored: u64,
    /// Uncompressed bytes in all.
    size: u64,
    /// Seconds since 1970.
    last_used: Option<u32>,
    in_use: bool,
}

#[derive(Debug, Serialize)]
struct CacheShown {
    used: u64,
    limit: u64,
    /// Data of whole chains, as files for the kernel; part of `used`.
    whole_chains: u64,
    layers: Vec<LayerShown>,
}

#[derive(Debug, Serialize)]
struct Verified {
    digest: String,
    good_spans: u64,
    dropped_spans: u64,
}

#[derive(Debug, Serialize)]
struct VerifiedAll {
    layers: Vec<Verified>,
    whole_chains: Vec<VerifiedChain>,
}

/// The data of a whole chain.
#[derive(Debug, Serialize)]
struct VerifiedChain {
    file: std::path::PathBuf,
    good: bool,
}

#[derive(Debug, Serialize)]
struct Pruned {
    freed: u64,
    used: u64,
}

/// Runs a verb of `cache`.
pub(crate) fn run(wire: &Wire, verb: &CacheVerb, out: Output) -> Result<(), Failure> {
    match verb {
        CacheVerb::Ls => ls(wire, out),
        CacheVerb::Prune(args) => prune(wire, args, out),
        CacheVerb::Verify => verify(wire, out),
    }
}

impl LayerShown {
    /// What is shown of `layer`.
    pub(super) fn of(layer: &StoredLayer) -> Self {
        Self {
            digest: layer.digest().to_string(),
            stored: layer.stored(),
            size: layer.size(),
            last_used: layer.last_used(),
            in_use: layer.is_in_use(),
        }
    }
}

fn ls(wire: &Wire, out: Output) -> Result<(), Failure> {
    let cache = wire.store()?.cache()?;
    let shown = CacheShown {
        used: cache.stored() + cache.whole_stored(),
        limit: cache.limit(),
        whole_chains: cache.whole_stored(),
        layers: cache.layers().iter().map(LayerShown::of).collect(),
    };
    out.show(&shown, |shown| {
        let mut text = String::new();
        for layer in &shown.layers {
            let (stored, size) = (human_size(layer.stored), human_size(layer.size));
            let used = if layer.in_use { "  in use" } else { "" };
            text.push_str(&format!("{}  {stored:>10} of {size}{used}\n", layer.digest));
        }
        let (used, limit) = (human_size(shown.used), human_size(shown.limit));
        text.push_str(&format!("{used} of at most {limit}\n"));
        text
    })
}

fn prune(wire: &Wire, args: &PruneArgs, out: Output) -> Result<(), Failure> {
    let cache = wire.store()?.cache()?;
    let freed = cache.prune(args.keep.as_u64());
    let shown = Pruned { freed, used: cache.stored() + cache.whole_stored() };
    out.show(&shown, |shown| {
        format!("freed {}, {} are left\n", human_size(shown.freed), human_size(shown.used))
    })
}

fn verify(wire: &Wire, out: Output) -> Result<(), Failure> {
    let store = wire.store()?;
    let layers = store.verify_cache()?.into_iter().map(|(digest, good_spans, dropped_spans)| {
        Verified { digest: digest.to_string(), good_spans, dropped_spans }
    });
    let whole = store.cache()?.verify_whole()?.into_iter();
    let shown = VerifiedAll {
        layers: layers.collect(),
        whole_chains: whole.map(|(file, good)| VerifiedChain { file, good }).collect(),
    };
    out.show(&shown, |shown| {
        let layer = |v: &Verified| match v.dropped_spans {
            0 => format!("{}  {} spans are right\n", v.digest, v.good_spans),
            bad => format!("{}  {bad} spans were damaged and are dropped\n", v.digest),
        };
        let chain = |v: &VerifiedChain| {
            let found = if v.good { "right" } else { "damaged, and removed" };
            format!("{}  data of a whole chain: {found}\n", v.file.display())
        };
        let layers = shown.layers.iter().map(layer);
        layers.chain(shown.whole_chains.iter().map(chain)).collect()
    })?;
    let spans: u64 = shown.layers.iter().map(|v| v.dropped_spans).sum();
    let chains = shown.whole_chains.iter().filter(|v| !v.good).count();
    if spans == 0 && chains == 0 {
        return Ok(());
    }
    let text = format!("{spans} spans and {chains} files of data of the cache were damaged");
    let again = if chains == 0 {
        "they are fetched again when they are read"
    } else {
        "they are made again; unmount and mount again what shows its data in a local file"
    };
    Err(Failure::new(Kind::DataLoss, text).hint(format!("{again}; look at the health of the disk")))
}
