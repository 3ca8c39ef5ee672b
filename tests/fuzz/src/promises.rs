//! What is promised of every layer, whoever described it.

use stratafs::compress::{SpanTable, Start};
use stratafs::digest::{DiffId, Digest};
use stratafs::layer::lazy::Lazy;
use stratafs::layer::{Identity, LayerIndex, Origin, Toc};
use stratafs::tree;

/// A layer can be merged, written and read.
pub(crate) fn layer(toc: Toc, table: SpanTable, windows: Vec<u8>) {
    for merged in [tree::merge(&[&toc]), tree::merge(&[&toc, &toc]), tree::raw(&toc)] {
        if let Err(error @ (tree::Error::BrokenToc { .. } | tree::Error::TooMany { .. })) = merged {
            panic!("{error}: {toc:?}");
        }
    }
    let identity = Identity {
        digest: Digest::sha256(b""),
        diff_id: DiffId::new(Digest::sha256(b"")),
        media_type: String::new(),
        origin: Origin::Scan,
    };
    let index = LayerIndex { identity, toc, table, windows, apart: None };
    let file = index.encode().expect("a layer of this size can be written");
    assert_eq!(LayerIndex::decode(&file).as_ref(), Ok(&index));
}

/// As [`layer`], and no file has content that the spans do not have, nor a span a place outside of
/// the blob.
pub(crate) fn lazy(lazy: Lazy) {
    for inode in &lazy.toc.inodes {
        let mut reached = 0;
        for extent in &inode.extents {
            assert!(extent.len > 0 && extent.file_offset >= reached);
            reached = extent.file_offset + extent.len;
            assert!(extent.layer_offset + extent.len <= lazy.table.size);
        }
        assert!(reached <= inode.size);
    }
    for span in &lazy.table.spans {
        let point = &lazy.table.points[span.point as usize];
        assert!(point.in_offset < lazy.table.blob_size && point.out_offset <= span.out_offset);
        if let Start::Deflate { window: Some(window), .. } = &point.start {
            assert!(window.offset + u64::from(window.len) <= lazy.windows.len() as u64);
        }
    }
    layer(lazy.toc, lazy.table, lazy.windows);
}
