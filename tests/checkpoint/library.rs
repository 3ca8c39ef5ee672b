//! Restoring as a user of the library does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use stratafs::chain::{UnpackOptions, unpack};
use stratafs::checkpoint::{
    Any, BaseLayers, Layers, LayersError, Memory, Restorer, SPEC_TYPE, Wanted,
};
use stratafs::content::{Descriptor, Layout, Provider, ingest};
use stratafs::error::{Classify, Kind};
use stratafs::image::{Cancel, Image, children_handler, copy, media_type as mt, resolve, walk};
use stratafs::snapshot::mounter::TemporaryMount;
use stratafs::snapshot::{Backend, NoLayers, Options, Owner, Snapshotter};

use super::archives::{gzip, spec, tar};
use crate::images::corpus;

/// Unpacks the image that a checkpoint carries.
struct Unpacked<'a>(&'a dyn Snapshotter);

impl BaseLayers for Unpacked<'_> {
    fn prepare(&self, wanted: Wanted<'_>) -> Result<Layers, LayersError> {
        let Wanted::Carried(provider, descriptor) = wanted else {
            let source = "the checkpoint does not carry its image".into();
            return Err(LayersError { kind: Kind::NotFound, source });
        };
        let unpacked = || -> Result<Image, Box<dyn std::error::Error + Send + Sync>> {
            let image = resolve(&**provider, descriptor, None)?;
            unpack(self.0, provider, &image, &UnpackOptions::default())?;
            Ok(image)
        };
        let image = unpacked().map_err(|source| LayersError { kind: Kind::Internal, source })?;
        Ok(Layers { image, made: Vec::new() })
    }
}

/// A layout with a checkpoint of an image, with changes, a specification and a memory image.
fn checkpoint(dir: &Path) -> (Arc<dyn Provider>, Descriptor, Descriptor) {
    let debian = Layout::open(corpus::folder("debian")).unwrap();
    let source: stratafs::image::Source = corpus::image("debian", "latest").parse().unwrap();
    use stratafs::content::registry::{Anonymous, Config};
    let config = Config::new(dir.join("cache"), Arc::new(Anonymous));
    let client = stratafs::content::registry::Client::new(config);
    let (_, image) = stratafs::image::open(&source, &client).unwrap();
    let layout = Layout::create(dir.join("layout")).unwrap();
    let four = std::num::NonZeroUsize::new(4).unwrap();
    copy(&debian, &layout, &image, |graph| graph, four, &|_, _| {}, &Cancel::new()).unwrap();
    let any = Any { type_url: SPEC_TYPE.into(), value: spec().into_bytes() };
    let members = [
        Descriptor::new(&image.media_type, image.digest.clone(), image.size),
        ingest(&layout, mt::OCI_LAYER_GZIP, &gzip(&tar(&[("new", b"changed")]))).unwrap(),
        ingest(&layout, mt::CHECKPOINT_CONFIG, &any.encode()).unwrap(),
        ingest(&layout, mt::CRIU, &tar(&[("pstree.img", b"memory")])).unwrap(),
    ];
    let index = json!({"schemaVersion": 2, "manifests": members});
    let index = ingest(&layout, mt::OCI_INDEX, index.to_string().as_bytes()).unwrap();
    // The graph of a checkpoint is that of an image and its parts.
    let visited = std::sync::atomic::AtomicUsize::new(0);
    let count = |d: &Descriptor, cancel: &Cancel| {
        visited.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        stratafs::image::Handler::handle(&children_handler(&layout), d, cancel)
    };
    walk(&count, std::slice::from_ref(&index), &Cancel::new()).unwrap();
    let layers = resolve(&layout, &image, None).unwrap().layers.len();
    assert_eq!(visited.into_inner(), 1 + 4 + 1 + layers);
    (Arc::new(layout), index, image)
}

#[test]
fn restore_container_gives_image_snapshot_mounts_spec_and_task() {
    let dir = tempfile::tempdir().unwrap();
    let (provider, index, image) = checkpoint(dir.path());
    let options = Options { delete_in_background: false, ..Options::default() };
    let backend = Backend::open(&dir.path().join("root"), Arc::new(NoLayers), options).unwrap();
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let restorer = Restorer {
        snapshots: &snapshots,
        layers: &Unpacked(&snapshots),
        reuse: false,
        without_changes: false,
        work: dir.path(),
        stand_ins: None,
    };
    let restored = restorer.restore_container(&provider, &index, "web").unwrap();
    assert_eq!(restored.image.descriptor.digest, image.digest);
    assert_eq!(restored.snapshot, "web");
    assert_eq!(restored.mounts, snapshots.mounts("web").unwrap());
    assert_eq!(restored.spec.args()[0], "sh");
    let memory = dir.path().join("memory");
    match &restored.task {
        Some(task @ Memory::Tar(_)) => task.unpack(&memory).unwrap(),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(memory.join("pstree.img")).unwrap(), b"memory");
    let mounted = TemporaryMount::new(&restored.mounts).unwrap();
    assert_eq!(fs::read(mounted.path().join("new")).unwrap(), b"changed");
    assert!(mounted.path().join("etc/os-release").exists());
    drop(mounted);

    let again = restorer.restore_container(&provider, &index, "web").unwrap_err();
    assert_eq!(again.kind(), Kind::AlreadyExists);
    let reused = Restorer { reuse: true, ..restorer };
    assert_eq!(reused.restore_container(&provider, &index, "web").unwrap().made.key, None);
}
