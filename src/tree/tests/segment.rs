//! Which place of the virtual blob is which place of which file.

use super::chain::{layer, merged};
use crate::layer::Extent;
use crate::tree::Segment;

#[test]
fn places_of_the_blob_are_places_of_files() {
    let mut toc = layer(&["dir d", "file d/a", "file d/b", "file c", "symlink e x"]);
    let extent = |file_offset, len| Extent { file_offset, len, layer_offset: 0 };
    // Numbers: c 2, d 3, e 4, d/a 5, d/b 6.
    toc.inodes[1].extents = vec![extent(0, 10), extent(20_000, 10)];
    toc.inodes[1].size = 30_000;
    toc.inodes[2].extents = vec![extent(0, 5000)];
    toc.inodes[2].size = 5000;
    let tree = merged(&[toc]);
    assert_eq!(tree.summary().data_len, 5 * 4096);
    let segment = |offset, len, ino, file_offset| {
        assert_eq!(tree.segment(offset).unwrap(), Some(Segment { offset, len, ino, file_offset }));
    };
    segment(0, 4096, 2, 0);
    segment(4095, 1, 2, 4095);
    segment(4096, 4096, 5, 0);
    segment(2 * 4096, 4096, 5, 4 * 4096);
    segment(2 * 4096 + 7, 4089, 5, 4 * 4096 + 7);
    segment(3 * 4096, 8192, 6, 0);
    segment(5 * 4096 - 1, 1, 6, 8191);
    assert_eq!(tree.segment(5 * 4096).unwrap(), None);
    assert_eq!(tree.segment(u64::MAX).unwrap(), None);
}

#[test]
fn a_tree_without_data_has_an_empty_blob() {
    let tree = merged(&[layer(&["dir d"])]);
    assert_eq!(tree.summary().data_len, 0);
    assert_eq!(tree.segment(0).unwrap(), None);
}
