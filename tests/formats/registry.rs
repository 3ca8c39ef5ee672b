//! A real image in every lazy format, made by the formats' own tools, from Debian's registry: it
//! opens by a fraction of its bytes and is whole all the same.

use std::io::Write;

use rstest::rstest;
use stratafs::chain::{Quiet, Store, Trust, Trusted};
use stratafs::content::registry::{Client, Repository};
use stratafs::content::{Descriptor, Layout, Provider, ingest};
use stratafs::image::{self, Manifest, media_type};

use crate::images::corpus;
use crate::images::program::Stratafs;
use crate::oracle;
use crate::registry::config;
use crate::registry::distribution::Distribution;

/// Puts `tag` of the image of lazy formats into `registry`, with what refers to it; the reference.
pub fn pushed(registry: &Distribution, tag: &str) -> String {
    let to = format!("docker://{}/some/app:{tag}", registry.host);
    let mut skopeo = std::process::Command::new("skopeo");
    skopeo.args(["copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]);
    corpus::run(skopeo.arg(corpus::image("lazy", tag)).arg(&to));
    let layout = Layout::open(corpus::folder("lazy")).unwrap();
    let client = Client::new(config());
    let there = client.repository(&to["docker://".len()..].parse().unwrap()).unwrap();
    let root = there.resolve().unwrap();
    for referrer in Provider::referrers(&layout, &root.digest, None).unwrap() {
        push_artifact(&layout, &there, &referrer);
    }
    to
}

/// What refers to that image, by its digest.
pub fn referrer(tag: &str) -> String {
    let layout = Layout::open(corpus::folder("lazy")).unwrap();
    let source = corpus::image("lazy", tag).parse().unwrap();
    let (_, root) = image::open(&source, &Client::new(config())).unwrap();
    let referrers = Provider::referrers(&layout, &root.digest, None).unwrap();
    referrers[0].digest.to_string()
}

fn push_artifact(layout: &Layout, there: &Repository, artifact: &Descriptor) {
    let data = layout.read(artifact).unwrap();
    let manifest = Manifest::parse(artifact, data.clone()).unwrap();
    for part in [&[manifest.config][..], &manifest.layers].concat() {
        let blob = layout.open(&part).unwrap();
        let mut bytes = vec![0; usize::try_from(part.size).unwrap()];
        stratafs::io::ReadAt::read_exact_at(&blob, &mut bytes, 0).unwrap();
        ingest(there, "application/octet-stream", &bytes).unwrap();
    }
    let mut writer = stratafs::content::Ingester::resume(there, artifact).unwrap();
    writer.write_all(&data).unwrap();
    writer.commit(artifact.size, &artifact.digest).unwrap();
}

/// Opens the image at `reference` with a new state root. Gives what share of its bytes was fetched
/// for that, and the formats of its layers.
fn opened(reference: &str, trust: Trust) -> (f64, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    let client = Client::new(config());
    let (provider, descriptor) = image::open(&reference.parse().unwrap(), &client).unwrap();
    let image = image::resolve(&*provider, &descriptor, None).unwrap();
    let store = Store::open(root.path()).unwrap().trusting(trust);
    let chain = store.chain(&provider, &image, &Quiet).unwrap();
    let whole: u64 = image.layers.iter().map(|layer| layer.descriptor.size).sum();
    assert!(whole > 50 << 20, "{whole}");
    let formats = chain.layers.iter().map(|layer| layer.origin.to_string());
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = client.traffic().bytes() as f64 / whole as f64;
    (share, formats.collect())
}

/// A few layers are so small that they have no table of contents.
fn is_mostly(format: &str, formats: &[String]) -> bool {
    formats.iter().filter(|found| *found == format).count() * 2 > formats.len()
}

#[rstest]
#[case("estargz", "eStargz", false)]
#[case("stargz-zstd", "zstd:chunked", false)]
#[case("storage-zstd", "zstd:chunked", false)]
#[case("soci", "SOCI", true)]
fn a_real_image_opens_by_its_tables_of_contents_and_is_whole(
    #[case] tag: &str,
    #[case] format: &str,
    #[case] takes_trust: bool,
) {
    let registry = Distribution::start(false);
    let reference = pushed(&registry, tag);
    let trust = if takes_trust { vec![Trusted::Any] } else { Vec::new() };
    let (share, formats) = opened(&reference, Trust::new(trust));
    assert!(is_mostly(format, &formats), "{formats:?}");
    assert!(share < 0.15, "{share} of the bytes were fetched to open {tag}");
    let stratafs = Stratafs::new();
    let args: &[&str] = if takes_trust { &["--trust-index", "any"] } else { &[] };
    let target = stratafs.mount(&reference, args);
    let mut seen = oracle::snapshot(&target);
    // The landmarks of stargz are nobody's files.
    seen.remove(std::path::Path::new("stargz.index.json"));
    oracle::assert_same(&corpus::unpacked("server", "latest"), &seen);
    stratafs.run(&["umount", target.to_str().unwrap()]);
}

#[test]
fn an_image_without_an_index_streams_once_and_is_lazy_elsewhere_after_a_push() {
    let registry = Distribution::start(false);
    let reference = pushed(&registry, "soci");
    let (share, formats) = opened(&reference, Trust::default());
    assert!(formats.iter().all(|format| format == "own index"), "{formats:?}");
    assert!((1.0..1.1).contains(&share), "{share}");
    let pushed = Stratafs::new().run(&["index", "push", &reference]);
    let digest: stratafs::digest::Digest = pushed.trim().parse().unwrap();
    for trusted in [Trusted::Any, Trusted::Index(digest)] {
        let (share, formats) = opened(&reference, Trust::new(vec![trusted]));
        assert!(formats.iter().all(|format| format == "layer index"), "{formats:?}");
        assert!(share < 0.15, "{share}");
    }
    // Two artifacts of one image, and a registry without a list of referrers.
    let client = Client::new(config());
    let there = client.repository(&reference["docker://".len()..].parse().unwrap()).unwrap();
    let root = there.resolve().unwrap();
    assert_eq!(there.referrers(&root.digest, None).unwrap().len(), 2);
    assert_eq!(root.media_type, media_type::OCI_MANIFEST);
}
