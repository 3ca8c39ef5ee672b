//! Indexes beside an image whose windows are fetched when they are needed.

use stratafs::chain::artifact::WINDOWS;
use stratafs::chain::{Chain, Quiet, Store, Trust, Trusted};
use stratafs::content::registry::Client;
use stratafs::image;
use stratafs::io::ReadAt;

use super::config;
use super::lazy::World;
use crate::images::program::Stratafs;

/// A registry with an image that an index was pushed for, opened by that index elsewhere.
struct Elsewhere {
    world: World,
    store: Store,
    chain: Chain,
    /// The digest of the windows.
    windows: String,
    _root: tempfile::TempDir,
}

impl Elsewhere {
    fn new() -> Self {
        let world = World::new();
        Stratafs::new().run(&["index", "push", &world.reference()]);
        let documents: Vec<Vec<u8>> =
            world.registry.inside().manifests.values().map(|(_, data)| data.clone()).collect();
        let windows = documents.iter().find_map(|data| {
            let manifest: serde_json::Value = serde_json::from_slice(data).unwrap();
            let layers = manifest["layers"].as_array()?;
            let found = layers.iter().find(|layer| layer["mediaType"] == WINDOWS)?;
            Some(found["digest"].as_str().unwrap().to_owned())
        });
        let root = tempfile::tempdir().unwrap();
        let client = Client::new(config());
        let (provider, found) = image::open(&world.reference().parse().unwrap(), &client).unwrap();
        let image = image::resolve(&*provider, &found, None).unwrap();
        let store = Store::open(root.path()).unwrap().trusting(Trust::new(vec![Trusted::Any]));
        let chain = store.chain(&provider, &image, &Quiet).unwrap();
        assert_eq!(chain.layers[0].origin.to_string(), "layer index");
        Self { world, store, chain, windows: windows.unwrap(), _root: root }
    }

    /// How often windows were asked for.
    fn asked(&self) -> usize {
        let requests = self.world.registry.requests();
        requests.iter().filter(|request| request.path.ends_with(&self.windows)).count()
            - self.pushed()
    }

    /// Requests of who pushed them.
    fn pushed(&self) -> usize {
        let requests = self.world.registry.requests();
        let of_windows = requests.iter().filter(|request| request.path.ends_with(&self.windows));
        of_windows.filter(|request| request.header("range").is_none()).count()
    }

    fn read(&self, offset: usize) -> std::io::Result<()> {
        let mut bytes = vec![0; 50_000];
        self.chain.layers[0].reader.read_exact_at(&mut bytes, offset as u64)?;
        assert!(bytes == self.world.tar[offset..][..50_000], "wrong bytes at {offset}");
        Ok(())
    }
}

#[test]
fn windows_are_fetched_with_what_they_are_for_and_once() {
    let elsewhere = Elsewhere::new();
    assert_eq!(elsewhere.asked(), 0, "nothing was read yet");
    elsewhere.read(3 << 20).unwrap();
    assert!((1..=2).contains(&elsewhere.asked()), "{}", elsewhere.asked());
    let whole = elsewhere.world.registry.inside().blobs[&elsewhere.windows].len() as u64;
    let kept = std::fs::read_dir(elsewhere._root.path().join("windows")).unwrap().count();
    assert_eq!(kept, 1);
    assert!(whole > 1000, "{whole} bytes of windows");
    // Kept though what they were for is not.
    let asked = elsewhere.asked();
    elsewhere.store.cache().unwrap().prune(0);
    elsewhere.read(3 << 20).unwrap();
    assert_eq!(elsewhere.asked(), asked);
}

#[test]
fn windows_that_are_not_what_the_index_says_are_never_used() {
    let elsewhere = Elsewhere::new();
    let mut inside = elsewhere.world.registry.inside();
    let windows = inside.blobs.get_mut(&elsewhere.windows).unwrap();
    windows.iter_mut().for_each(|byte| *byte ^= 1);
    drop(inside);
    // What cannot be checked is not read by them, but by a pass over the layer.
    elsewhere.read(3 << 20).unwrap();
    let fallback = elsewhere.chain.layers[0].fallback.as_ref().unwrap();
    assert!(fallback.reason().is_some());
}
