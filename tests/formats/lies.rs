//! Tables of contents that the image vouches for, and whose lies show only when content is read: the
//! layer is read whole then, and what is seen is the layer.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};
use stratafs::chain::{Quiet, Store, Trust};
use stratafs::content::registry::Client;
use stratafs::image;

use super::discovery::{annotated, eager, indexes, inspected, layer, mounted, with_soci};
use super::refused::{entry, taken_apart, with_toc};
use super::{STARGZ_ZSTD, range, vector};
use crate::images::layout::{Layout, digest};
use crate::images::program::Stratafs;
use crate::oracle;
use crate::registry::fake::{Fake, Fault};
use crate::registry::{config, fill};

/// The eStargz image whose entry of `name` says what `change` says.
fn estargz(name: &str, change: &Value) -> Layout {
    let (_, mut toc) = taken_apart();
    let changed = entry(&mut toc, name).as_object_mut().unwrap();
    changed.extend(change.as_object().unwrap().clone());
    with_toc(&toc)
}

/// The zstd:chunked image of stargz-snapshotter, in which a file is said to begin a byte later.
fn zstd_chunked() -> Layout {
    let blob = vector("stargz.tar.zst");
    let (end, len) = (70_313 - 8, 4195);
    let frame = range(&blob, end + 8, end + 8 + len);
    let mut toc: Value = serde_json::from_slice(&zstd::decode_all(frame).unwrap()).unwrap();
    let changed = entry(&mut toc, "./zz-first");
    changed["offset"] = json!(changed["offset"].as_u64().unwrap() + 1);
    let raw = toc.to_string().into_bytes();
    let frame = zstd::encode_all(&raw[..], 3).unwrap();
    let place = format!("{}:{}:{}:1", end + 8, frame.len(), raw.len());
    let skippable = |bytes: &[u8]| {
        let len = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [b"\x50\x2a\x4d\x18", &len[..], bytes].concat()
    };
    let layer = layer("stargz.tar.zst").with_blob(|blob| {
        blob.truncate(usize::try_from(end).unwrap());
        blob.extend(skippable(&frame));
    });
    annotated(layer, &[(STARGZ_ZSTD[0].0, &digest(&frame)), (STARGZ_ZSTD[1].0, &place)])
}

/// The gzip image with a SOCI index in which the digest of a span is another.
fn soci() -> Layout {
    let mut ztoc = vector("layer.ztoc");
    let at = ztoc.windows(7).position(|w| w == b"sha256:").unwrap() + 7;
    ztoc[at] = if ztoc[at] == b'0' { b'1' } else { b'0' };
    with_soci(&ztoc, true, false).0
}

/// A registry with the image of `layout`, and what is beside it as manifests too.
fn serve(layout: &Layout) -> Fake {
    let registry = Fake::start();
    fill(&registry, layout, "1");
    for entry in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if let Some(media_type) = document["mediaType"].as_str() {
            registry.add_manifest("other", media_type, &bytes);
        }
    }
    registry
}

/// A registry with an image `app:1` whose table of contents lies about where `zz-first` is.
pub fn lying() -> Fake {
    serve(&estargz("./zz-first", &json!({"offset": 270})))
}

#[rstest]
#[case::no_member_there("eStargz", estargz("./zz-first", &json!({"offset": 270})))]
#[case::other_content("eStargz", estargz("./zz-first", &json!({"offset": 268, "innerOffset": 1})))]
#[case::longer("eStargz", estargz("./dir/hard", &json!({"innerOffset": 1})))]
#[case::wrong_digest("eStargz", estargz("./text", &json!({"chunkDigest": digest(b"else")})))]
#[case::zstd("zstd:chunked", zstd_chunked())]
#[case::span("SOCI", soci())]
fn a_lie_about_content_makes_the_layer_be_read_whole(#[case] format: &str, #[case] layout: Layout) {
    let registry = serve(&layout);
    // From a folder, and over a network into the cache.
    for image in [layout.image(), format!("docker://{}/app:1", registry.host())] {
        let stratafs = Stratafs::new();
        let said = inspected(&stratafs, &image, &[]);
        assert_eq!((&said["format"], &said["lazy"]), (&json!(format), &json!(true)), "{said}");
        oracle::assert_same(&eager(), &mounted(&stratafs, &image, &[]));
        assert_eq!(indexes(&stratafs), (1, 1), "by the format, and then by a pass");
        let said = inspected(&stratafs, &image, &[]);
        assert_eq!(said["format"], "own index", "{said}");
        let refused = said["refused"].to_string();
        assert!(refused.contains(&format!("{format}: its table of contents is wrong")), "{said}");
        assert!(stratafs.log().contains("its table of contents is wrong"), "{}", stratafs.log());
        // From now on, by the layer's own index.
        oracle::assert_same(&eager(), &mounted(&stratafs, &image, &[]));
        assert_eq!(indexes(&stratafs), (1, 1));
        // Were that lost, the format would not be tried again all the same.
        let is_own = |path: &Path| path.to_str().unwrap().matches('.').count() == 1;
        let own =
            stratafs.state().into_iter().filter(|p| p.extension().is_some_and(|e| e == "toc"));
        for path in own.filter(|path| is_own(path)) {
            fs::remove_file(stratafs.root().join(path)).unwrap();
        }
        oracle::assert_same(&eager(), &mounted(&stratafs, &image, &[]));
        assert_eq!(indexes(&stratafs), (1, 1));
    }
}

#[test]
fn status_says_why_a_layer_was_read_whole() {
    let layout = estargz("./zz-first", &json!({"offset": 270}));
    let registry = Fake::start();
    fill(&registry, &layout, "1");
    let stratafs = Stratafs::new();
    let image = format!("docker://{}/app:1", registry.host());
    let target = stratafs.mount(&image, &["--prefetch", "none"]);
    let at = target.to_str().unwrap().to_owned();
    assert_eq!(fs::read(target.join("dir/hard")).unwrap().len(), 6);
    let says = |text: &str| {
        crate::watchdog::wait_until(text, || stratafs.run(&["status", &at]).contains(text));
    };
    says("eStargz: gzip, ");
    assert!(!stratafs.run(&["status", &at]).contains("wrong"));
    assert_eq!(fs::read(target.join("zz-first")).unwrap().len(), 5);
    says("its table of contents is wrong: span ");
    says("read by an own index");
    stratafs.run(&["umount", &at]);
}

/// A file that the layer does not have: nobody can say what is in it. All else is right.
#[test]
fn a_file_that_is_only_in_the_table_of_contents_is_an_error() {
    let (_, mut toc) = taken_apart();
    let mut ghost = entry(&mut toc, "./zz-first").clone();
    ghost["name"] = json!("./ghost");
    ghost["offset"] = json!(270);
    toc["entries"].as_array_mut().unwrap().push(ghost);
    let layout = with_toc(&toc);
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &[]);
    let error = fs::read(target.join("ghost")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    assert_eq!(fs::read(target.join("zz-first")).unwrap().len(), 5);
    let mut seen = Vec::new();
    File::open(target.join("text")).unwrap().read_to_end(&mut seen).unwrap();
    assert_eq!(seen.len(), 199_852);
    stratafs.run(&["umount", target.to_str().unwrap()]);
    // The next mount shows what the layer has.
    oracle::assert_same(&eager(), &mounted(&stratafs, &layout.image(), &[]));
}

/// A bit that was flipped on the way is not the table's fault.
#[test]
fn bytes_that_are_damaged_once_are_asked_for_again() {
    let registry = Fake::start();
    fill(&registry, &estargz("./zz-first", &json!({})), "1");
    let stratafs = Stratafs::new();
    let image = format!("docker://{}/app:1", registry.host());
    let target = stratafs.mount(&image, &["--prefetch", "none"]);
    registry.faults([Fault::Flip]);
    assert_eq!(fs::read(target.join("text")).unwrap().len(), 199_852);
    assert!(registry.inside().faults.is_empty(), "nothing was flipped");
    stratafs.run(&["umount", target.to_str().unwrap()]);
    assert_eq!(indexes(&stratafs), (0, 1));
    assert_eq!(inspected(&stratafs, &image, &[])["refused"], json!([]));
}

#[test]
fn a_registry_that_is_gone_when_the_layer_is_to_be_read_whole_is_asked_again_later() {
    let registry = Fake::start();
    fill(&registry, &estargz("./zz-first", &json!({"offset": 270})), "1");
    let root = tempfile::tempdir().unwrap();
    let open = || Store::open(root.path()).unwrap().trusting(Trust::default());
    let client = Client::new(config());
    let reference = format!("docker://{}/app:1", registry.host()).parse().unwrap();
    let (provider, descriptor) = image::open(&reference, &client).unwrap();
    let image = image::resolve(&*provider, &descriptor, None).unwrap();
    let store = open();
    let chain = store.chain(&provider, &image, &Quiet).unwrap();
    let readings = chain.readings();
    let tree = chain.mounted_tree();
    let layer = &chain.layers[0];
    let wrong = layer.cached.as_ref().unwrap().table().points.iter();
    let wrong = wrong.clone().find(|point| point.in_offset == 270).unwrap().out_offset;
    let read = || {
        let mut buf = [0; 5];
        tree.layers[0].read_exact_at(&mut buf, wrong).map(|()| buf)
    };
    // The two tries to read it get through, the pass does not.
    registry.faults(std::iter::repeat_n(Fault::Late(std::time::Duration::ZERO), 2));
    registry.inside().always = Some(Fault::Status(500));
    let error = read().unwrap_err();
    assert!(layer.how().contains("could not be read"), "{error}: {}", layer.how());
    registry.inside().always = None;
    crate::watchdog::wait_until("it is tried again", || read().is_ok());
    let unpacked = eager();
    let expected = unpacked.get(Path::new("zz-first")).unwrap();
    assert!(format!("{expected:?}").len() > 5);
    // Another process that goes on with the same tree reads each layer as it was read, although there
    // is an index of its own now, by which the tree is another.
    let (fingerprint, store) = (chain.tree.fingerprint(), open());
    let again = store.chain_as(&provider, &image, &readings).unwrap().unwrap();
    assert_eq!(again.tree.fingerprint(), fingerprint);
    assert_eq!(again.readings(), readings);
    let own = store.chain(&provider, &image, &Quiet).unwrap();
    assert_eq!(own.readings(), [None]);
    assert_ne!(own.tree.fingerprint(), fingerprint);
    let mut buf = [0; 5];
    again.mounted_tree().layers[0].read_exact_at(&mut buf, wrong).unwrap();
    assert_eq!(buf, read().unwrap());
}
