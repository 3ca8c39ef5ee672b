//! Landmarks of eStargz: what comes before one is what a start reads.

use std::ops::Range;
use std::time::Duration;
use std::{fs, thread};

use serde_json::json;

use super::discovery::{TOC_DIGEST, annotated, layer};
use crate::images::program::Stratafs;
use crate::registry::fake::Fake;
use crate::registry::fill;

/// Where the landmark's content is in the vector, by its table of contents; what was given priority
/// comes before, `big` after it.
const LANDMARK: u64 = 361;

/// The ranges of the layer's blob that were asked for since `since` requests.
fn ranges(registry: &Fake, blob: &str, since: usize) -> Vec<Range<u64>> {
    let requests = registry.requests();
    let of_blob = requests.iter().skip(since).filter(|request| request.path.ends_with(blob));
    let range = |text: &str| {
        let (from, to) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        from.parse::<u64>().unwrap()..to.parse::<u64>().unwrap() + 1
    };
    of_blob.map(|request| range(request.header("range").unwrap())).collect()
}

/// A mount of the image that stargz-snapshotter made for these prioritised files, and what it fetched
/// of the layer beyond its table of contents before anything was read.
fn fetched(prefetch: &str, wait: impl Fn(&Stratafs, &str) -> bool) -> (Vec<Range<u64>>, u64) {
    let image = annotated(layer("estargz.tar.gz"), &[(TOC_DIGEST, super::ESTARGZ_TOC)]);
    let blob = layer("estargz.tar.gz").digest();
    let registry = Fake::start();
    fill(&registry, &image, "1");
    let stratafs = Stratafs::new();
    let image = format!("docker://{}/app:1", registry.host());
    // The table of contents is fetched, and nothing else.
    stratafs.run(&["ls", &image, "/"]);
    let since = registry.requests().len();
    assert!(fs::read_dir(stratafs.root().join("index")).unwrap().any(|file| {
        file.unwrap().path().extension().is_some_and(|extension| extension == "trace")
    }));
    let target = stratafs.mount(&image, &["--prefetch", prefetch]);
    let at = target.to_str().unwrap();
    crate::watchdog::wait_until("it is fetched", || wait(&stratafs, at));
    // What else there were to come would have come by then.
    thread::sleep(Duration::from_millis(500));
    let ahead = ranges(&registry, &blob, since);
    let before = registry.requests().len();
    for file in ["zz-first", "dir/hard"] {
        assert!(!fs::read(target.join(file)).unwrap().is_empty());
    }
    let later = ranges(&registry, &blob, before).len() as u64;
    // What comes behind the landmark is there for reads.
    assert_eq!(fs::read(target.join("big")).unwrap().len(), 20_000);
    stratafs.run(&["umount", at]);
    (ahead, later)
}

fn stored(stratafs: &Stratafs, target: &str) -> u64 {
    let status: serde_json::Value =
        serde_json::from_str(&stratafs.run(&["--json", "status", target])).unwrap();
    let layer = &status["mounts"][0]["layers"][0];
    assert_ne!(layer["digest"], json!(null), "{status}");
    layer["stored"].as_u64().unwrap_or(0)
}

#[test]
fn what_comes_before_a_landmark_is_fetched_at_the_start_and_nothing_else() {
    // Two files of 5 and 6 bytes.
    let (ranges, later) = fetched("trace", |stratafs, at| stored(stratafs, at) >= 11);
    assert!(!ranges.is_empty());
    for range in &ranges {
        assert!(range.end <= LANDMARK, "{ranges:?}");
    }
    let covers = |at: u64| ranges.iter().any(|range| range.contains(&at));
    assert!(covers(128) && covers(269), "both files: {ranges:?}");
    assert_eq!(later, 0, "they are read from the cache");
}

#[test]
fn nothing_is_fetched_before_it_is_read_where_that_is_not_wanted() {
    let (ranges, later) = fetched("none", |_, _| true);
    assert_eq!(ranges, []);
    assert!(later > 0);
}
