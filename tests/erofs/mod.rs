//! EROFS images as the kernel and erofs-utils see them, at sizes that real images have.

mod served;
mod takeover;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use stratafs::erofs::{DataPath, Image};
use stratafs::layer::Toc;
use stratafs::sys::mount::{Attributes, Context, DetachedMount};
use stratafs::tree::Tree;

use crate::fixture::{Layer, merged};

/// A folder on the filesystem that is built on: the kernel takes no EROFS image from tmpfs.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

struct Mounted {
    mount: DetachedMount,
    image: PathBuf,
}

impl Mounted {
    fn root(&self) -> PathBuf {
        self.mount.path()
    }
}

/// The layers as a tree, and the tree mounted as EROFS over a blob that is written to `dir`.
fn mount(dir: &Path, layers: Vec<Layer>) -> (Arc<Tree>, Mounted) {
    let (tocs, data): (Vec<Toc>, Vec<Vec<u8>>) = layers.into_iter().map(Layer::build).unzip();
    let tree = merged(&tocs.iter().collect::<Vec<_>>());
    let blob = dir.join("blob");
    write_blob(&tree, &data, &blob);
    let image = Image::create(&tree, &dir.join("image")).unwrap();
    let mount = image.mount(&blob, DataPath::Direct).unwrap();
    let image = image.path().to_owned();
    (tree, Mounted { mount, image })
}

/// Writes the virtual blob out, file by file.
fn write_blob(tree: &Tree, layers: &[Vec<u8>], path: &Path) {
    let blob = File::create(path).unwrap();
    blob.set_len(tree.summary().data_len).unwrap();
    let mut at = 0;
    while let Some(segment) = tree.segment(at).unwrap() {
        for extent in tree.extents(segment.ino, segment.file_offset).unwrap() {
            let extent = extent.unwrap();
            let start = extent.file_offset.max(segment.file_offset);
            let end = extent.end().min(segment.file_offset + segment.len);
            if start < end {
                let from = usize::try_from(extent.layer_offset + start - extent.file_offset);
                let len = usize::try_from(end - start).unwrap();
                let bytes = &layers[usize::from(extent.layer)][from.unwrap()..][..len];
                blob.write_all_at(bytes, segment.offset + start - segment.file_offset).unwrap();
            }
        }
        at += segment.len;
    }
}

fn fsck(image: &Path) {
    fsck_with(image, &image.with_file_name("blob"));
}

fn fsck_with(image: &Path, blob: &Path) {
    let device = format!("--device={}", blob.display());
    let output = Command::new("fsck.erofs").arg(&device).arg(image).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_of_a_hundred_thousand_names_is_listed_and_found() {
    let dir = folder();
    let mut layer = Layer::new();
    let mut expected = Vec::new();
    for n in 0..100_000 {
        // Up to 255 bytes.
        let name = format!("{n:05}{}", "x".repeat(n % 251));
        layer = layer.file(&format!("d/{name}"), 0o644, b"");
        expected.push(name);
    }
    let (tree, mounted) = mount(dir.path(), vec![layer]);
    fsck(&mounted.image);
    assert_eq!(tree.summary().inodes, 100_002);
    let folder = mounted.root().join("d");
    assert!(names(&folder) == expected);
    for name in expected.iter().step_by(37) {
        assert!(folder.join(name).symlink_metadata().unwrap().is_file(), "{name}");
        assert!(!folder.join(format!("{name}-")).exists());
    }
}

#[test]
fn ten_thousand_links_are_one_inode() {
    let dir = folder();
    let mut layer = Layer::new().file("first", 0o600, b"content");
    for n in 0..9_999 {
        layer = layer.link(&format!("links/{n:04}"), "first");
    }
    let (_, mounted) = mount(dir.path(), vec![layer]);
    fsck(&mounted.image);
    let first = mounted.root().join("first").metadata().unwrap();
    assert_eq!(first.nlink(), 10_000);
    let links = mounted.root().join("links");
    assert_eq!(names(&links).len(), 9_999);
    for n in (0..9_999).step_by(101) {
        assert_eq!(links.join(format!("{n:04}")).metadata().unwrap().ino(), first.ino());
    }
    assert_eq!(std::fs::read(links.join("0042")).unwrap(), b"content");
}

#[test]
fn a_hundred_and_twenty_eight_layers_are_one_image() {
    let dir = folder();
    let mut expected = BTreeMap::new();
    let layers = (0..128).map(|n| {
        let content = |name: &str| format!("{name} of layer {n}").repeat(300).into_bytes();
        let mut layer = Layer::new().dir("d", 0o755);
        for name in [format!("d/own-{n:03}"), "d/each".into(), format!("d/every-tenth-{}", n / 10)]
        {
            layer = layer.file(&name, 0o644, &content(&name));
            expected.insert(name.clone(), content(&name));
        }
        if n % 3 == 2 {
            let hidden = format!("d/own-{:03}", n - 1);
            expected.remove(&hidden);
            layer = layer.whiteout(&hidden);
        }
        layer
    });
    let layers: Vec<Layer> = layers.collect();
    let (_, mounted) = mount(dir.path(), layers);
    fsck(&mounted.image);
    let found: BTreeMap<String, Vec<u8>> = names(&mounted.root().join("d"))
        .into_iter()
        .map(|name| format!("d/{name}"))
        .map(|path| (path.clone(), std::fs::read(mounted.root().join(path)).unwrap()))
        .collect();
    assert!(found == expected);
}

#[test]
fn a_writable_overlay_stands_on_an_image() {
    let dir = folder();
    let layer = Layer::new()
        .file("keep", 0o644, b"kept")
        .file("change", 0o644, b"before")
        .link("change-2", "change")
        .file("gone", 0o644, b"")
        .file("d/inside", 0o755, b"inside");
    let (_, mounted) = mount(dir.path(), vec![layer]);
    let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::create_dir(&work).unwrap();
    let context = Context::open("overlay").unwrap();
    context.string("lowerdir+", mounted.root()).unwrap();
    context.string("upperdir", &upper).unwrap();
    context.string("workdir", &work).unwrap();
    let overlay = context.create(Attributes::empty()).unwrap();
    let root = overlay.path();
    assert_eq!(std::fs::read(root.join("keep")).unwrap(), b"kept");
    std::fs::write(root.join("change"), "after").unwrap();
    std::fs::remove_file(root.join("gone")).unwrap();
    std::fs::remove_dir_all(root.join("d")).unwrap();
    std::fs::create_dir(root.join("d")).unwrap();
    std::fs::write(root.join("d/new"), "new").unwrap();
    assert_eq!(names(&root), ["change", "change-2", "d", "keep"]);
    assert_eq!(names(&root.join("d")), ["new"]);
    assert_eq!(std::fs::read(root.join("change")).unwrap(), b"after");
    assert_eq!(std::fs::read(mounted.root().join("change")).unwrap(), b"before");
    assert_eq!(std::fs::read(mounted.root().join("d/inside")).unwrap(), b"inside");
}
