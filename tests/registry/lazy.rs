//! Layers of a registry read lazily through the cache, in all weathers; starts without a registry.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stratafs::chain::{Chain, Prefetch, Quiet, Store};
use stratafs::content::Documents;
use stratafs::content::registry::{Client, Config};
use stratafs::digest::Digest;
use stratafs::error::Kind;
use stratafs::image::{self, Opened, Source, media_type};
use stratafs::io::ReadAt;

use super::fake::{AuthMode, Fake, Fault};
use super::{Account, config};
use crate::fixture::noise;

/// Bytes that deflate cuts into blocks, where reading can begin.
pub(super) fn text(len: usize) -> Vec<u8> {
    let mut text: Vec<u8> = noise(len.div_ceil(2)).iter().flat_map(|b| [b >> 4, b & 15]).collect();
    text.iter_mut().for_each(|digit| *digit += b'a');
    text.truncate(len);
    text
}

/// The length of the file `big` in bytes.
const BIG: usize = 6 << 20;

/// A registry with an image of one layer, and a state root.
pub(super) struct World {
    pub(super) registry: Fake,
    pub(super) root: tempfile::TempDir,
    /// The layer, uncompressed.
    pub(super) tar: Vec<u8>,
}

impl World {
    pub(super) fn new() -> Self {
        let files = [("small", 5000), ("big", BIG), ("other", 300_000)];
        Self::of(&files.map(|(name, len)| (name, text(len))))
    }

    /// With an image of these files, which anybody may execute.
    pub(super) fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            builder.append_data(&mut header, name, &content[..]).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&tar).unwrap();
        let blob = gzip.finish().unwrap();
        let registry = Fake::start();
        registry.add_blob(&blob);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&tar).to_string()]},
        });
        let config = config.to_string().into_bytes();
        registry.add_blob(&config);
        let descriptor = |media_type: &str, data: &[u8]| {
            serde_json::json!({"mediaType": media_type, "size": data.len(),
                "digest": Digest::sha256(data).to_string()})
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &blob)],
        });
        registry.add_manifest("1", media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
        Self { registry, root: tempfile::tempdir().unwrap(), tar }
    }

    pub(super) fn reference(&self) -> String {
        format!("docker://{}/app:1", self.registry.host())
    }

    /// The content of the file `big`: behind a header, `small` in whole blocks, and its own header.
    pub(super) fn big(&self) -> &[u8] {
        &self.tar[512 + 5120 + 512..][..BIG]
    }

    fn open(&self, config: Config) -> Result<Opened, image::Error> {
        let source: Source = self.reference().parse().unwrap();
        let documents = Documents::new(&self.root.path().join("documents"));
        image::open_remembering(&source, &Client::new(config), &documents)
    }

    /// The chain as a new process has it.
    fn chain(&self) -> (Store, Chain) {
        self.chain_with(config())
    }

    fn chain_with(&self, config: Config) -> (Store, Chain) {
        let opened = self.open(config).unwrap();
        let found = image::resolve(&*opened.provider, &opened.root, None).unwrap();
        let store = Store::open(self.root.path()).unwrap();
        let chain = store.chain(&opened.provider, &found, &Quiet).unwrap();
        (store, chain)
    }

    /// An indexed chain of which nothing is in the cache.
    pub(super) fn cold(&self) -> (Store, Chain) {
        let (store, chain) = self.chain();
        drop((store, chain));
        let (store, chain) = self.chain();
        store.cache().unwrap().prune(0);
        (store, chain)
    }

    fn check(&self, chain: &Chain, offset: usize, len: usize) -> std::io::Result<()> {
        let mut buf = vec![0; len];
        chain.layers[0].reader.read_exact_at(&mut buf, offset as u64)?;
        assert!(buf == self.tar[offset..offset + len], "wrong bytes at {offset}");
        Ok(())
    }
}

#[test]
fn a_read_fetches_what_it_needs_in_one_request_and_once() {
    let world = World::new();
    let (store, chain) = world.cold();
    let before = world.registry.requests().len();
    world.check(&chain, 3 << 20, 200_000).unwrap();
    assert_eq!(world.registry.requests().len(), before + 1);
    world.check(&chain, 3 << 20, 200_000).unwrap();
    assert_eq!(world.registry.requests().len(), before + 1);
    let counters = store.cache().unwrap().counters();
    assert_eq!((counters.misses.get(), counters.miss_latency.count()), (1, 1));
    let fetched = counters.demand_bytes.get();
    assert!((100_000..700_000).contains(&fetched), "{fetched} for one or two spans");
}

#[test]
fn a_second_start_needs_neither_registry_nor_credentials() {
    let world = World::new();
    let (store, chain) = world.chain();
    drop((store, chain));
    world.registry.inside().auth = Some(AuthMode::TokenFor("user", "new password"));
    let mut config = config();
    config.credentials = Account::password("user", "old password");
    let opened = world.open(config).unwrap();
    assert!(opened.recalled.is_some(), "the tag may mean something else by now");
    world.registry.inside().auth = None;
    assert!(world.open(super::config()).unwrap().recalled.is_none());
    world.registry.set_down(true);
    let begun = Instant::now();
    let (_store, chain) = world.chain();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    world.check(&chain, 0, world.tar.len()).unwrap();
}

#[test]
fn a_tag_that_is_gone_is_not_found_though_it_was_seen() {
    let world = World::new();
    drop(world.chain());
    world.registry.inside().manifests.clear();
    let error = world.open(config()).map(|_| ()).unwrap_err();
    assert_eq!(stratafs::error::Classify::kind(&error), Kind::NotFound, "{error}");
}

#[test]
fn weather_is_invisible_through_the_cache() {
    let world = World::new();
    let (store, chain) = world.cold();
    let late = Duration::from_secs(1);
    let faults = [
        vec![Fault::Late(late)],
        vec![Fault::Stall(10_000, late)],
        vec![Fault::Reset, Fault::Cut(1000)],
        vec![Fault::OtherRange, Fault::NoContentRange],
        vec![Fault::Status(500), Fault::Status(502), Fault::Status(503), Fault::Status(504)],
        vec![Fault::Throttle(1)],
        vec![Fault::Flip],
    ];
    for (number, faults) in faults.into_iter().enumerate() {
        world.registry.faults(faults.clone());
        let read = world.check(&chain, number * 900_000 + 10_000, 5000);
        read.unwrap_or_else(|e| panic!("{faults:?}: {e}"));
        assert!(world.registry.inside().faults.is_empty(), "{faults:?} were met");
    }
    let counters = store.cache().unwrap().counters();
    assert_eq!(counters.mismatched.get(), 1, "what was flipped, and nothing else");
}

#[test]
fn corrupt_bytes_are_an_error_are_not_kept_and_are_fetched_again() {
    let world = World::new();
    let (store, chain) = world.cold();
    world.registry.inside().always = Some(Fault::Flip);
    let error = world.check(&chain, 2 << 20, 5000).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert_eq!(store.cache().unwrap().stored(), 0);
    world.registry.inside().always = None;
    world.check(&chain, 2 << 20, 5000).unwrap();
    assert_eq!(store.verify_cache().unwrap()[0].2, 0);
}

#[test]
fn an_outage_for_good_is_an_error_within_the_deadline_and_none_afterwards() {
    let world = World::new();
    let (_store, chain) = world.cold();
    world.registry.set_down(true);
    let begun = Instant::now();
    world.check(&chain, 1 << 20, 5000).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    world.registry.set_down(false);
    world.check(&chain, 1 << 20, 5000).unwrap();
}

#[test]
fn a_token_that_expires_between_reads_is_fetched_anew() {
    let world = World::new();
    world.registry.inside().auth = Some(AuthMode::Token);
    let (_store, chain) = world.cold();
    for offset in [1 << 20, 4 << 20] {
        world.registry.inside().tokens.clear();
        world.check(&chain, offset, 5000).unwrap();
    }
    assert!(world.registry.inside().issued >= 3);
}

#[test]
fn a_registry_without_ranges_serves_lazy_layers() {
    let world = World::new();
    let (_store, chain) = world.cold();
    world.registry.inside().ignores_ranges = true;
    for offset in [5 << 20, 1 << 20, 3 << 20] {
        world.check(&chain, offset, 100_000).unwrap();
    }
}

#[test]
fn the_rest_of_a_layer_comes_by_itself_and_a_trace_is_replayed() {
    let world = World::new();
    let (store, chain) = world.cold();
    chain.start(Prefetch::None);
    world.check(&chain, 3 << 20, 5000).unwrap();
    world.check(&chain, 1 << 20, 5000).unwrap();
    chain.end_start();
    drop((store, chain));
    let (store, chain) = world.cold();
    let layer = chain.layers[0].cached.clone().unwrap();
    chain.start(Prefetch::All);
    wait_for("the trace", || layer.state().stored > 0);
    wait_for("the rest", || layer.is_complete());
    let before = world.registry.requests().len();
    world.check(&chain, 0, world.tar.len()).unwrap();
    assert_eq!(world.registry.requests().len(), before);
    assert_eq!(store.cache().unwrap().counters().misses.get(), 0);
}

pub(super) fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} has not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn killed_while_it_fetches_it_leaves_a_right_cache() {
    let world = World::new();
    drop(world.cold());
    // Slow enough to be hit in the middle.
    world.registry.inside().always = Some(Fault::Late(Duration::from_millis(20)));
    let program = env!("CARGO_BIN_EXE_stratafs");
    let pull = || {
        let mut command = Command::new(program);
        command.arg("--root").arg(world.root.path()).args(["pull", &world.reference()]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for round in 0..8_u64 {
        let mut child = pull();
        std::thread::sleep(Duration::from_millis(15 + 25 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(world.root.path()).unwrap();
        for (_, _, bad) in store.verify_cache().unwrap() {
            assert_eq!(bad, 0, "round {round}");
        }
    }
    assert!(pull().wait().unwrap().success());
    world.registry.inside().always = None;
    let (_store, chain) = world.chain();
    assert!(Arc::clone(chain.layers[0].cached.as_ref().unwrap()).is_complete());
    world.registry.set_down(true);
    world.check(&chain, 0, world.tar.len()).unwrap();
}
