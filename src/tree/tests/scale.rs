//! Large trees: correct here, measured in release builds on request.

use std::time::Instant;

use super::chain::{identities, inode};
use crate::archive::{FileType, LayerPath};
use crate::layer::{Extent, Name, Target, Toc};
use crate::tree::{ROOT, Tree, merge};

/// `files` files in folders of `width`, spread over `layers` layers that all list the folders.
fn wide(files: usize, width: usize, layers: usize) -> Vec<Toc> {
    let mut tocs = vec![Toc::default(); layers];
    let mut add = |layer: usize, path: String, file_type, place: usize| {
        let toc = &mut tocs[layer];
        let mut new = inode(file_type);
        if file_type == FileType::Regular {
            new.size = 1000;
            new.extents = vec![Extent { file_offset: 0, len: 1000, layer_offset: place as u64 }];
        }
        let target = Target::Inode(toc.inodes.len() as u32);
        toc.inodes.push(new);
        toc.names.push(Name { path: LayerPath::parse(path.as_bytes()).unwrap(), target });
    };
    for folder in 0..files.div_ceil(width) {
        let path = format!("usr/lib/folder{folder:06}");
        (0..layers).for_each(|layer| add(layer, path.clone(), FileType::Directory, 0));
        for file in (0..width).take(files - folder * width) {
            let path = format!("{path}/some-file-name-{file:06}.py");
            add(file % layers, path, FileType::Regular, file);
        }
    }
    tocs
}

#[test]
fn a_folder_of_many_names_is_found_whole() {
    let tocs = wide(30_000, 30_000, 3);
    let merged = merge(&tocs.iter().collect::<Vec<_>>()).unwrap();
    let tree = Tree::in_memory(&merged, &identities(3)).unwrap();
    let folder = tree.resolve(b"usr/lib/folder000000", false).unwrap().ino;
    let mut last = Vec::new();
    let mut count = 0;
    for child in tree.children(folder, 0).unwrap() {
        let child = child.unwrap();
        assert!(child.name > last.as_slice());
        assert_eq!(tree.lookup(folder, child.name).unwrap(), Some(child.ino));
        last = child.name.to_vec();
        count += 1;
    }
    assert_eq!(count, 30_000);
}

#[test]
fn a_path_of_two_thousand_folders_is_merged_and_found() {
    let deep = "d/".repeat(2040) + "f";
    let mut toc = Toc::default();
    toc.inodes.push(inode(FileType::Regular));
    let path = LayerPath::parse(deep.as_bytes()).unwrap();
    toc.names.push(Name { path, target: Target::Inode(0) });
    let tree = Tree::in_memory(&merge(&[&toc]).unwrap(), &identities(1)).unwrap();
    assert_eq!(tree.resolve(deep.as_bytes(), false).unwrap().ino, tree.summary().inodes);
}

#[test]
#[ignore = "measures; run with --release --ignored --nocapture"]
fn a_million_files() {
    for (width, layers) in [(100, 1), (100, 10), (100, 128), (100_000, 10)] {
        let tocs = wide(1_000_000, width, layers);
        let refs: Vec<&Toc> = tocs.iter().collect();
        let start = Instant::now();
        let merged = merge(&refs).unwrap();
        let merging = start.elapsed();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree");
        let start = Instant::now();
        Tree::write(&merged, &identities(layers), &path).unwrap();
        let writing = start.elapsed();
        let start = Instant::now();
        let tree = Tree::open(&path).unwrap();
        let opening = start.elapsed();
        let start = Instant::now();
        let mut pending = vec![ROOT];
        let mut found: Vec<(u32, Vec<u8>, u32)> = Vec::new();
        while let Some(ino) = pending.pop() {
            for child in tree.children(ino, 0).unwrap() {
                let child = child.unwrap();
                assert!(tree.node(child.ino).unwrap().nlink > 0);
                found.push((ino, child.name.to_vec(), child.ino));
                if child.file_type == FileType::Directory {
                    pending.push(child.ino);
                }
            }
        }
        let walking = start.elapsed();
        let start = Instant::now();
        for (dir, name, ino) in &found {
            assert_eq!(tree.lookup(*dir, name).unwrap(), Some(*ino));
        }
        let finding = start.elapsed();
        let size = std::fs::metadata(&path).unwrap().len();
        println!(
            "{width} a folder, {layers} layers, {} inodes: merge {merging:?}, write {writing:?} \
             ({size} bytes), open {opening:?}, walk {walking:?}, lookups {finding:?}",
            tree.summary().inodes
        );
    }
}
