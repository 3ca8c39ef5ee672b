//! Large trees.

use std::time::Instant;

use super::made::{Made, check, folder};
use crate::archive::{FileType, LayerPath};
use crate::erofs::{DataPath, Image};
use crate::layer::{Extent, Inode, Name, Target, Toc};
use crate::tree::tests::chain::{inode, merged};

fn file(size: u64, place: u64) -> Inode {
    let mut new = inode(FileType::Regular);
    new.size = size;
    if size > 0 {
        new.extents = vec![Extent { file_offset: 0, len: size, layer_offset: place * 512 }];
    }
    new
}

fn name(toc: &mut Toc, path: &str, place: usize) {
    let path = LayerPath::parse(path.as_bytes()).unwrap();
    toc.names.push(Name { path, target: Target::Inode(place as u32) });
}

#[test]
fn large_folders_and_many_links_are_shown() {
    let mut toc = Toc::default();
    // Names of many lengths, so that blocks end in all ways.
    for n in 0..20_000 {
        toc.inodes.push(file(n % 1000 / 999, n));
        let filler = "f".repeat((n % 200) as usize);
        name(&mut toc, &format!("large/{n:05}{filler}"), n as usize);
    }
    toc.inodes.push(file(50, 1));
    for n in 0..2_000 {
        name(&mut toc, &format!("links/{n:05}"), 20_000);
    }
    toc.names.sort_by(|a, b| a.path.cmp(&b.path));
    let tree = merged(&[toc]);
    let dir = folder();
    let made = Made::new(&tree, dir.path());
    made.check();
    made.compare_mounted(DataPath::Cached);
}

/// `files` files in folders of `width`.
fn wide(files: usize, width: usize) -> Toc {
    let mut toc = Toc::default();
    for n in 0..files {
        toc.inodes.push(file(1000, n as u64));
        let path = format!("usr/lib/folder{:06}/some-file-name-{:06}.py", n / width, n % width);
        name(&mut toc, &path, n);
    }
    toc
}

#[test]
fn a_million_files_are_an_image() {
    const FILES: usize = 1_000_000;
    let tree = merged(&[wide(FILES, 1000)]);
    let dir = folder();
    let path = dir.path().join("image");
    let image = Image::create(&tree, &path).unwrap();
    let blob = dir.path().join("blob");
    std::fs::File::create(&blob).unwrap().set_len(tree.summary().data_len).unwrap();
    check(&path, &blob);
    let mount = image.mount(&blob, DataPath::Cached).unwrap();
    let lib = mount.path().join("usr/lib");
    let mut found = 0;
    for (folder, n) in std::fs::read_dir(&lib).unwrap().zip(0..) {
        let folder = folder.unwrap();
        found += std::fs::read_dir(folder.path()).unwrap().count();
        let any = folder.path().join(format!("some-file-name-{:06}.py", n % 1000));
        assert_eq!(any.symlink_metadata().unwrap().len(), 1000);
    }
    assert_eq!(found, FILES);
}

#[test]
#[ignore = "measures; run with --release --ignored --nocapture"]
fn a_million_inodes() {
    for (files, width) in [(20_000, 20), (1_000_000, 100), (1_000_000, 100_000)] {
        let tree = merged(&[wide(files, width)]);
        let dir = folder();
        let path = dir.path().join("image");
        let mut best = std::time::Duration::MAX;
        for _ in 0..5 {
            let mut out = std::io::Cursor::new(Vec::with_capacity(200 << 20));
            let start = Instant::now();
            crate::erofs::write(&tree, &mut out).unwrap();
            best = best.min(start.elapsed());
        }
        let start = Instant::now();
        let image = Image::create(&tree, &path).unwrap();
        let created = start.elapsed();
        let start = Instant::now();
        image.verify().unwrap();
        let verified = start.elapsed();
        let size = std::fs::metadata(&path).unwrap().len();
        let made = Made::new(&tree, dir.path());
        made.check();
        made.compare_mounted(DataPath::Cached);
        println!(
            "{files} files, {width} a folder, {} inodes: written in {best:?} to memory, {created:?} \
             to a synced file of {size} bytes, verified in {verified:?}",
            tree.summary().inodes
        );
    }
}
