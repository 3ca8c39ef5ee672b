//! `status`: what is mounted, how it is read, and what the cache holds.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::content::cache::StoredLayer;
use crate::digest::{ChainId, Digest};
use crate::erofs::{Choice, Way};
use crate::io::AtomicFile;
use crate::rootfs::{Record, Records};
use crate::service::Shown;

use super::args::StatusArgs;
use super::failure::Failure;
use super::in_use::way_text;
use super::output::{Output, human_size};
use super::wire::Wire;

/// What the process that serves a mount has done, as it writes it down now and then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Requests to registries.
    requests: u64,
    /// Bytes that registries sent.
    received: u64,
    /// Bytes that reads got from disk.
    hit_bytes: u64,
    /// Reads that waited.
    misses: u64,
    /// How long they waited altogether, in seconds.
    waited: f64,
    /// Compressed bytes of the spans that reads wanted.
    #[serde(default)]
    wanted_bytes: u64,
    /// Compressed bytes fetched for reads.
    demand_bytes: u64,
    /// Compressed bytes fetched before a read wanted them.
    ahead_bytes: u64,
    /// Spans that failed their digest, on disk or as they came.
    verification_failures: u64,
    /// Spans that were not kept for want of room.
    not_kept: u64,
    layers: Vec<LayerCounts>,
}

/// The same of one layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LayerCounts {
    digest: String,
    lazy: String,
    /// Uncompressed bytes that reads were given.
    served: u64,
    /// Of those, from the cache.
    hits: u64,
    /// Compressed bytes fetched.
    fetched: u64,
    fetches: u64,
}

impl Counts {
    /// What is known of `chain` now.
    pub(super) fn of(wire: &Wire, chain: &Chain) -> Self {
        let mut counts = Self {
            requests: wire.traffic().requests(),
            received: wire.traffic().bytes(),
            ..Self::default()
        };
        if let Ok(cache) = wire.store().and_then(|store| Ok(store.cache()?)) {
            let c = cache.counters();
            counts.hit_bytes = c.hit_bytes.get();
            counts.misses = c.misses.get();
            counts.waited = c.miss_latency.sum();
            counts.wanted_bytes = c.wanted_bytes.get();
            counts.demand_bytes = c.demand_bytes.get();
            counts.ahead_bytes = c.ahead_bytes.get();
            counts.verification_failures = c.corrupt.get() + c.mismatched.get();
            counts.not_kept = c.full.get();
        }
        counts.layers = chain.layers.iter().map(LayerCounts::of).collect();
        counts
    }

    /// Writes them where `status` finds them.
    pub(super) fn save(&self, run_root: &Path, id: &str) -> Result<(), Failure> {
        let path = path(run_root, id);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut file = AtomicFile::create(&path)?;
        file.file().write_all(&serde_json::to_vec(self).map_err(std::io::Error::from)?)?;
        Ok(file.commit()?)
    }

    /// Removes them, with the mount.
    pub(super) fn forget(run_root: &Path, id: &str) {
        // They may never have been written.
        let _gone = fs::remove_file(path(run_root, id));
    }

    fn load(run_root: &Path, id: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(run_root, id)).ok()?).ok()
    }

    /// A few lines for a person.
    pub(super) fn text(&self) -> String {
        format!(
            "{} requests, {} received; reads wanted {}; {} fetched for reads, {} ahead of them\n\
             {} read from the cache; {} reads waited, {:.2} s altogether\n",
            self.requests,
            human_size(self.received),
            human_size(self.wanted_bytes),
            human_size(self.demand_bytes),
            human_size(self.ahead_bytes),
            human_size(self.hit_bytes),
            self.misses,
            self.waited,
        )
    }
}

impl LayerCounts {
    fn of(layer: &crate::chain::Layer) -> Self {
        let mut counts = Self {
            digest: layer.descriptor.digest.to_string(),
            lazy: layer.how(),
            ..Self::default()
        };
        match &layer.cached {
            Some(cached) => {
                let c = cached.counters();
                counts.served = c.served_bytes.get();
                counts.hits = c.hit_bytes.get();
                counts.fetched = c.fetched_bytes.get();
                counts.fetches = c.fetches.get();
            }
            None => counts.fetched = layer.blob.bytes(),
        }
        counts
    }

    /// A line for a person.
    fn text(&self) -> String {
        format!(
            "    {} fetches of {}; reads got {}, {} of it from the cache\n",
            self.fetches,
            human_size(self.fetched),
            human_size(self.served),
            human_size(self.hits),
        )
    }
}

fn path(run_root: &Path, id: &str) -> PathBuf {
    run_root.join("counts").join(format!("{id}.json"))
}

#[derive(Debug, Serialize)]
struct Status {
    root: PathBuf,
    cache_used: u64,
    cache_limit: u64,
    /// How the next image will be mounted, and why.
    mount: Choice,
    mounts: Vec<MountShown>,
    /// What the daemon shows; `None` where none was started, or one mount was asked for.
    daemon: Option<Shown>,
}

#[derive(Debug, Serialize)]
struct MountShown {
    #[serde(flatten)]
    record: Record,
    served: bool,
    layers: Vec<LayerShown>,
    counts: Option<Counts>,
}

#[derive(Debug, Serialize)]
struct LayerShown {
    digest: String,
    /// Uncompressed bytes in the cache, and in all; `None` for layers that are not kept there.
    stored: Option<u64>,
    size: Option<u64>,
}

/// Shows the state root and its mounts.
pub(crate) fn run(wire: &Wire, args: &StatusArgs, out: Output) -> Result<(), Failure> {
    let config = wire.config();
    let mut records = Records::open(&config.run_root)?.list()?;
    if let Some(target) = &args.target {
        let target = std::path::absolute(target)?;
        records.retain(|record| record.target == target);
        if records.is_empty() {
            return Err(crate::rootfs::Error::NotMounted { target }.into());
        }
    }
    let cache = wire.store()?.cache()?;
    let layers = cache.layers();
    let kept: HashMap<&Digest, &StoredLayer> = layers.iter().map(|l| (l.digest(), l)).collect();
    let mut mounts = Vec::new();
    for record in records {
        mounts.push(MountShown {
            served: record.is_served(),
            layers: layers_of(wire, &record, &kept)?,
            counts: Counts::load(&config.run_root, &record.id),
            record,
        });
    }
    let status = Status {
        root: config.root.clone(),
        cache_used: cache.stored() + cache.whole_stored(),
        cache_limit: cache.limit(),
        mount: choice(wire),
        mounts,
        daemon: if args.target.is_none() { Shown::load(&config.run_root)? } else { None },
    };
    out.show(&status, text)
}

/// How images are mounted; that it is not possible as asked for is no reason to say nothing else.
fn choice(wire: &Wire) -> Choice {
    wire.mount_choice().unwrap_or_else(|failure| Choice {
        way: Way::Erofs,
        why: format!("asked for, and not possible: {failure}"),
    })
}

fn layers_of(
    wire: &Wire,
    record: &Record,
    kept: &HashMap<&Digest, &StoredLayer>,
) -> Result<Vec<LayerShown>, Failure> {
    let Ok(chain_id) = record.chain_id.parse::<ChainId>() else { return Ok(Vec::new()) };
    let digests = wire.store()?.digests_of(&chain_id)?;
    // The chain ID, and then a diffID and a blob for each layer.
    let blobs = digests.iter().skip(2).step_by(2);
    let shown = |blob: &Digest| {
        let stored = kept.get(blob);
        LayerShown {
            digest: blob.to_string(),
            stored: stored.map(|layer| layer.stored()),
            size: stored.map(|layer| layer.size()),
        }
    };
    Ok(blobs.map(shown).collect())
}

/// How much of a layer is in the cache: bytes there and in all, `None` for what is not kept there.
pub(super) fn here(stored: Option<(u64, u64)>) -> String {
    match stored {
        Some((stored, size)) if stored == size => "complete".to_owned(),
        Some((stored, size)) => format!("{} of {}", human_size(stored), human_size(size)),
        None => "read where it is".to_owned(),
    }
}

fn text(status: &Status) -> String {
    let mut text = format!(
        "root   {}\ncache  {} of at most {}\nmount  by {}: {}\n",
        status.root.display(),
        human_size(status.cache_used),
        human_size(status.cache_limit),
        status.mount.way.name(),
        status.mount.why
    );
    for mount in &status.mounts {
        let record = &mount.record;
        let gone = if mount.served { "" } else { "  (its server is gone: umount it)" };
        let (target, image) = (record.target.display(), &record.image);
        let way = way_text(record.mode, record.local, &record.why);
        text.push_str(&format!("\n{target}  {image}  {way}{gone}\n"));
        let counts = mount.counts.as_ref();
        for layer in &mount.layers {
            let here = here(layer.stored.zip(layer.size));
            let same = |c: &&LayerCounts| c.digest == layer.digest;
            let counts = counts.and_then(|c| c.layers.iter().find(same));
            let lazy = counts.map_or("", |c| &c.lazy);
            text.push_str(&format!("  {}  {here}  {lazy}\n", layer.digest));
            counts.iter().for_each(|counts| text.push_str(&counts.text()));
        }
        if let Some(counts) = counts {
            counts.text().lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    }
    status.daemon.iter().for_each(|daemon| daemon_text(daemon, &mut text));
    text
}

fn daemon_text(daemon: &Shown, text: &mut String) {
    let served = if daemon.served { "" } else { "  (it is gone: they wait for the next one)" };
    text.push_str(&format!("\nchains of the daemon: {}{served}\n", daemon.chains.len()));
    for chain in &daemon.chains {
        let way = way_text(chain.mode, chain.local, &chain.why);
        text.push_str(&format!("  {}  {way}\n", chain.chain_id));
    }
}
