//! Whole images to committed snapshots.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stratafs::chain::{UnpackError, UnpackOptions, unpack};
use stratafs::content::{Descriptor, Layout, Provider, ingest};
use stratafs::digest::Digest;
use stratafs::error::{Classify, Kind};
use stratafs::image::{Image, media_type, resolve};
use stratafs::snapshot::{
    Backend, Filter, Labels, NoLayers, Options, OverlaySnapshotter, Owner, Snapshotter,
};

use super::archive::{Member, dir, file, link, tar};

/// An image in a layout folder, and a state root.
struct Setup {
    temp: tempfile::TempDir,
    provider: Arc<dyn Provider>,
    image: Image,
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The image of the layers `tars`; its configuration names the layers of `named` instead.
fn image(layout: &Layout, tars: &[Vec<u8>], named: &[Vec<u8>]) -> Image {
    let layers: Vec<Descriptor> = tars
        .iter()
        .enumerate()
        .map(|(place, tar)| match place % 3 {
            0 => ingest(layout, media_type::OCI_LAYER_GZIP, &gzip(tar)).unwrap(),
            1 => {
                let blob = zstd::encode_all(&tar[..], 1).unwrap();
                ingest(layout, media_type::OCI_LAYER_ZSTD, &blob).unwrap()
            }
            _ => ingest(layout, media_type::OCI_LAYER, tar).unwrap(),
        })
        .collect();
    let diff_ids: Vec<String> = named.iter().map(|tar| Digest::sha256(tar).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = ingest(layout, media_type::OCI_CONFIG, config.to_string().as_bytes()).unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config, "layers": layers,
    });
    let root = ingest(layout, media_type::OCI_MANIFEST, manifest.to_string().as_bytes()).unwrap();
    resolve(layout, &root, None).unwrap()
}

impl Setup {
    fn new(tars: &[Vec<u8>], named: &[Vec<u8>]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::create(temp.path().join("layout")).unwrap();
        let image = image(&layout, tars, named);
        Self { provider: Arc::new(layout), image, temp }
    }

    fn snapshots(&self) -> OverlaySnapshotter {
        // Whether files are on disk matters to no test here.
        let options = Options { sync_on_commit: false, ..Options::default() };
        let root = self.temp.path().join("root");
        Backend::open(&root, Arc::new(NoLayers), options).unwrap().snapshotter(Owner::CommandLine)
    }

    fn locks(&self) -> std::path::PathBuf {
        self.temp.path().join("locks")
    }

    fn unpack(&self, snapshots: &OverlaySnapshotter) -> Result<usize, UnpackError> {
        let options = UnpackOptions { locks: Some(self.locks()), ..UnpackOptions::default() };
        unpack(snapshots, &self.provider, &self.image, &options)
    }
}

fn names(snapshots: &OverlaySnapshotter) -> Vec<String> {
    let mut names = Vec::new();
    let filter = Filter::all();
    snapshots
        .walk(&filter, &mut |info| {
            names.push(info.name);
            ControlFlow::Continue(())
        })
        .unwrap();
    names.sort();
    names
}

/// Shows the top of the image and looks at it.
fn look(setup: &Setup, snapshots: &OverlaySnapshotter, at: impl FnOnce(&Path)) {
    let top = setup.image.chain_id().unwrap().to_string();
    let mounts = snapshots.view("look", Some(&top), &Labels::new()).unwrap();
    let mount = stratafs::snapshot::mounter::TemporaryMount::new(&mounts).unwrap();
    at(&mount.path());
    drop(mount);
    snapshots.remove("look").unwrap();
}

fn layers() -> Vec<Vec<u8>> {
    let many = |layer: usize| {
        (0..20).map(move |i| file(&format!("layer{layer}/{i}"), vec![b'x'; 10_000 * i]))
    };
    let stack: Vec<Vec<Member>> = vec![
        [dir("layer0", 0o755), file("shared", "lower"), dir("d", 0o700), file("d/old", "")]
            .into_iter()
            .chain(many(0))
            .collect(),
        [file("d/.wh.old", ""), link("shared", "hard")].into_iter().chain(many(1)).collect(),
        [file("shared", "upper")].into_iter().chain(many(2)).collect(),
        vec![],
        [file("last", "last")].into_iter().chain(many(4)).collect(),
    ];
    stack.iter().map(|members| tar(members)).collect()
}

#[test]
fn each_layer_becomes_a_snapshot_once() {
    let layers = layers();
    let setup = Setup::new(&layers, &layers);
    let snapshots = setup.snapshots();
    assert_eq!(setup.unpack(&snapshots).unwrap(), 5);
    assert_eq!(setup.unpack(&snapshots).unwrap(), 0);
    let mut chains: Vec<String> =
        setup.image.layers.iter().map(|layer| layer.chain_id.to_string()).collect();
    chains.sort();
    assert_eq!(names(&snapshots), chains);
    assert_eq!(fs::read_dir(setup.locks()).unwrap().count(), 0);
    look(&setup, &snapshots, |root| {
        let read = |path| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(
            (read("shared"), read("hard"), read("last")),
            ("upper".into(), "lower".into(), "last".into())
        );
        assert!(!root.join("d/old").exists());
        assert_eq!(fs::metadata(root.join("layer4/19")).unwrap().len(), 190_000);
    });
}

#[test]
fn many_at_once_do_the_work_once() {
    let layers = layers();
    let setup = Setup::new(&layers, &layers);
    let applied = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let snapshots = setup.snapshots();
                applied.fetch_add(setup.unpack(&snapshots).unwrap(), Ordering::SeqCst);
            });
        }
    });
    assert_eq!(applied.into_inner(), 5);
    assert_eq!(names(&setup.snapshots()).len(), 5);
}

/// Without locks the work may be done twice, and nobody fails.
#[test]
fn many_at_once_succeed_without_locks() {
    let layers = layers();
    let setup = Setup::new(&layers, &layers);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let snapshots = setup.snapshots();
                let options = UnpackOptions::default();
                unpack(&snapshots, &setup.provider, &setup.image, &options).unwrap();
            });
        }
    });
    assert_eq!(names(&setup.snapshots()).len(), 5);
}

#[test]
fn nobody_waits_for_ever() {
    let layers = layers();
    let setup = Setup::new(&layers, &layers);
    fs::create_dir(setup.locks()).unwrap();
    let first = setup.image.layers[0].chain_id.digest().hex();
    let stuck = fs::File::create(setup.locks().join(format!("sha256-{first}.lock"))).unwrap();
    stuck.lock().unwrap();
    let snapshots = setup.snapshots();
    let lock_wait = Duration::from_millis(200);
    let options =
        UnpackOptions { locks: Some(setup.locks()), lock_wait, ..UnpackOptions::default() };
    let start = Instant::now();
    assert_eq!(unpack(&snapshots, &setup.provider, &setup.image, &options).unwrap(), 5);
    assert!(start.elapsed() >= lock_wait);
}

/// The layers below one that is broken stay; nothing of it does.
fn leaves_two_layers(setup: &Setup, kind: Kind) -> UnpackError {
    let snapshots = setup.snapshots();
    let e = setup.unpack(&snapshots).unwrap_err();
    assert_eq!(e.kind(), kind, "{e}");
    let below: Vec<String> =
        setup.image.layers[..2].iter().map(|layer| layer.chain_id.to_string()).collect();
    let mut left = names(&snapshots);
    left.retain(|name| !below.contains(name));
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(names(&snapshots).len(), 2);
    e
}

#[test]
fn a_wrong_diff_id_leaves_no_trace() {
    let layers = layers();
    let mut named = layers.clone();
    named[2] = tar(&[file("other", "")]);
    let e = leaves_two_layers(&Setup::new(&layers, &named), Kind::DataLoss);
    assert!(matches!(e, UnpackError::DiffId { .. }), "{e}");
}

#[test]
fn a_hostile_layer_leaves_no_trace() {
    for (bad, kind) in [
        (tar(&[file("../../etc/passwd", "")]), Kind::InvalidArgument),
        (tar(&[file(".wh..", "")]), Kind::InvalidArgument),
        (tar(&[link("/etc/shadow", "l")]), Kind::InvalidArgument),
        (tar(&[file("f", vec![0; 5000])])[..3000].to_vec(), Kind::DataLoss),
    ] {
        let mut layers = layers();
        layers[2] = bad;
        leaves_two_layers(&Setup::new(&layers, &layers), kind);
    }
}

#[test]
fn a_blob_that_changed_is_told_from_a_broken_layer() {
    let layers = layers();
    let setup = Setup::new(&layers, &layers);
    let digest = &setup.image.layers[2].descriptor.digest;
    let blob = setup.temp.path().join("layout/blobs/sha256").join(digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[700] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let e = leaves_two_layers(&setup, Kind::DataLoss);
    assert!(matches!(e, UnpackError::Digest { .. }), "{e}");
}
