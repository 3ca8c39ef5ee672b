//! The virtual blob.

use super::chain::{layer, merged};
use crate::layer::Extent;
use crate::tree::{DATA_BLOCK, DataRun, Tree};

/// A tree whose inode 2 is a file of `size` bytes with one byte of data at each of `offsets`.
fn sparse(size: u64, offsets: &[u64]) -> Tree {
    let mut toc = layer(&["file a"]);
    let extent = |o: &u64| Extent { file_offset: *o, len: 1, layer_offset: 0 };
    toc.inodes[0].extents = offsets.iter().map(extent).collect();
    toc.inodes[0].size = size;
    merged(&[toc])
}

fn runs(tree: &Tree) -> Vec<(u64, u64)> {
    let runs = tree.data_runs(2).unwrap();
    runs.map(|run| run.map(|DataRun { block, blocks }| (block, blocks)).unwrap()).collect()
}

#[test]
fn a_file_without_holes_is_one_chunk() {
    let mut toc = layer(&["file a", "file b"]);
    toc.inodes[0].size = 3 * DATA_BLOCK + 1;
    toc.inodes[0].extents[0].len = 3 * DATA_BLOCK + 1;
    let tree = merged(&[toc]);
    let chunks = tree.data_runs(2).unwrap().chunks();
    assert_eq!((chunks.bits, chunks.blocks, chunks.count()), (2, 4, 1));
    assert_eq!(runs(&tree), [(0, 4)]);
    assert_eq!(tree.node(3).unwrap().data_start, 4 * DATA_BLOCK);
    assert_eq!(tree.summary().data_len, 5 * DATA_BLOCK);
}

#[test]
fn holes_of_whole_blocks_take_no_place() {
    let tree = sparse(10 * DATA_BLOCK, &[0, 1, DATA_BLOCK, 5 * DATA_BLOCK, 10 * DATA_BLOCK - 1]);
    assert_eq!(runs(&tree), [(0, 2), (5, 1), (9, 1)]);
    assert_eq!(tree.summary().data_len, 4 * DATA_BLOCK);
    assert_eq!(sparse(1 << 40, &[]).summary().data_len, 0);
}

#[test]
fn a_huge_file_with_holes_has_large_chunks() {
    let tree = sparse(1 << 40, &[5, 1 << 39]);
    let chunks = tree.data_runs(2).unwrap().chunks();
    assert_eq!((chunks.bits, chunks.count()), (14, 16_384));
    assert_eq!(runs(&tree), [(0, 1 << 14), (1 << 27, 1 << 14)]);
}

#[test]
fn the_largest_file_has_the_largest_chunks() {
    let tree = sparse(i64::MAX as u64, &[0, i64::MAX as u64 - 1]);
    let chunks = tree.data_runs(2).unwrap().chunks();
    assert_eq!((chunks.bits, chunks.count()), (31, 1 << 20));
    assert_eq!(runs(&tree), [(0, 1 << 31), ((1 << 51) - (1 << 31), 1 << 31)]);
}
