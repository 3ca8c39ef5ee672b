//! The virtual blob as a file.

use proptest::prelude::*;

use super::*;

fn blob_of(fs: &Filesystem, n: u8) -> NodeId {
    node(fs, &chain(n.into()).blob_path().unwrap())
}

#[test]
fn each_chain_has_a_blob_of_whole_blocks() {
    let fs = Filesystem::new();
    let layer = Layer::new().file("a", 0o644, &noise(5000)).file("b", 0o600, b"b");
    let slot = fs.attach(&chain(1), in_memory(vec![layer])).unwrap();
    let listed = list(&fs, node(&fs, "blobs"), 0, 1);
    let name = chain(1).blob_path().unwrap();
    assert_eq!(names(&listed), [".", "..", &name["blobs/".len()..]]);
    assert_eq!(listed[2].1, NodeId::blob(slot));
    let found = fs.getattr(blob_of(&fs, 1)).unwrap();
    assert_eq!((found.value.size, found.value.file_type), (3 * 4096, FileType::Regular));
    assert_eq!(found.value.mode, 0o400, "it holds what only root may read");
    assert_eq!(found.validity, Validity::Immutable);
    fs.detach(&chain(1)).unwrap();
    assert_eq!(fs.read(NodeId::blob(slot), 0, &mut [0]).unwrap_err().errno(), libc::ESTALE);
    assert!(fs.lookup(node(&fs, "blobs"), name.as_bytes()).unwrap().value.is_none());
}

#[test]
fn a_blob_is_a_plain_file() {
    let fs = Filesystem::new();
    let layer = Layer::new().file("a", 0o644, &noise(5000)).xattr("user.x", b"y");
    fs.attach(&chain(1), in_memory(vec![layer])).unwrap();
    let blob = blob_of(&fs, 1);
    fs.open(blob, libc::O_RDONLY).unwrap();
    assert_eq!(fs.open(blob, libc::O_RDWR).unwrap_err().errno(), libc::EROFS);
    assert_eq!(fs.lookup(blob, b".").unwrap().value.unwrap().node, blob);
    assert_eq!(fs.lookup(blob, b"x").unwrap_err().errno(), libc::ENOTDIR);
    assert_eq!(fs.readdir(blob, 0, &mut |_| true).unwrap_err().errno(), libc::ENOTDIR);
    assert_eq!(fs.readlink(blob).unwrap_err().errno(), libc::EINVAL);
    assert_eq!(fs.getxattr(blob, b"user.x").unwrap_err().errno(), libc::ENODATA);
    assert!(fs.listxattr(blob).unwrap().is_empty());
    assert_eq!(fs.seek(blob, 17, libc::SEEK_DATA).unwrap(), 17);
    assert_eq!(fs.seek(blob, 17, libc::SEEK_HOLE).unwrap(), 8192);
    assert!(matches!(fs.seek(blob, 8192, libc::SEEK_HOLE), Err(Error::NoSuchOffset { .. })));
}

#[test]
fn all_of_a_small_file_is_expected_where_a_part_of_it_is_waited_for() {
    type Expected = Arc<parking_lot::Mutex<Vec<u64>>>;
    struct Noted(Vec<u8>, Expected);
    impl crate::io::ReadAt for Noted {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.0.read_at(buf, offset)
        }
        fn expect(&self, _: u64, len: u64) {
            self.1.lock().push(len);
        }
    }
    let expected = Expected::default();
    let layer = Layer::new()
        .file("a-large", 0o644, &noise(300_000))
        .file("b-small", 0o644, &noise(200_000))
        .sparse("c-sparse", 200_000, &[(0, &noise(10)), (100_000, &noise(20))]);
    let fs = Filesystem::new();
    let readers = |data| -> Arc<dyn crate::io::ReadAt> { Arc::new(Noted(data, expected.clone())) };
    let slot = fs.attach(&chain(1), with_readers(vec![layer], readers)).unwrap();
    let blob = NodeId::blob(slot);
    let after = |node, offset, len| {
        fs.expect(node, offset, len).unwrap();
        std::mem::take(&mut *expected.lock())
    };
    assert_eq!(after(blob, 4096, 4096), [0; 0], "of a large file, what is read");
    let small = 300_000_u64.next_multiple_of(4096);
    assert_eq!(after(blob, small, 4096), [200_000 - 4096]);
    assert_eq!(after(blob, small + 8192, 4096), [8192, 200_000 - 12_288]);
    assert_eq!(after(blob, small, 1 << 20), [0; 0], "all of it is read");
    let sparse = small + 200_000_u64.next_multiple_of(4096);
    assert_eq!(after(blob, sparse, 4096), [20]);
    assert_eq!(after(blob, sparse + 4096, 4096), [10]);
    assert_eq!(after(blob, 1 << 40, 4096), [0; 0]);
    let root = chain(1).path();
    let file = |name: &str| node(&fs, &format!("{root}/{name}"));
    assert_eq!(after(file("b-small"), 196_608, 4096), [196_608]);
    assert_eq!(after(file("a-large"), 0, 4096), [0; 0]);
}

#[test]
fn a_blob_waits_for_what_its_files_wait_for() {
    struct Late(Vec<u8>);
    impl crate::io::ReadAt for Late {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.0.read_at(buf, offset)
        }
    }
    let fs = Filesystem::new();
    let layer = Layer::new().file("a", 0o644, &noise(5000)).sparse("hole", 1 << 20, &[]);
    fs.attach(&chain(1), with_readers(vec![layer], |data| Arc::new(Late(data)))).unwrap();
    let mut buf = [0xa5; 9000];
    let blob = blob_of(&fs, 1);
    assert!(matches!(fs.read_cached(blob, 0, &mut buf).unwrap(), Cached::Missing(_)));
    assert_eq!(fs.read(blob, 0, &mut buf).unwrap(), 8192, "a hole takes nothing");
    assert_eq!(buf[..5000], noise(5000));
    assert!(buf[5000..8192].iter().all(|byte| *byte == 0));
}

proptest! {
    #[test]
    fn every_place_of_a_blob_is_its_files_place_or_zero(
        files in prop::collection::vec((0..9000_usize, 0..3_usize), 0..40),
        reads in prop::collection::vec((0..400_000_u64, 0..50_000_usize), 1..20),
    ) {
        let mut layer = Layer::new();
        for (n, (size, holes)) in files.iter().enumerate() {
            let bytes = noise(*size);
            let path = format!("d{}/{n}", n % 3);
            // A hole may be as long as many blocks, before, after or between data.
            let gap = holes * 20_000;
            let half = size / 2;
            let parts = [(gap, &bytes[..half]), (2 * gap + half, &bytes[half..])];
            let data: Vec<(u64, &[u8])> = parts
                .iter()
                .filter(|(_, bytes)| !bytes.is_empty())
                .map(|(at, bytes)| (*at as u64, *bytes))
                .collect();
            layer = layer.sparse(&path, (size + 3 * gap) as u64, &data);
        }
        let tree = in_memory(vec![layer]);
        let model = model(&tree);
        let fs = Filesystem::new();
        fs.attach(&chain(1), tree).unwrap();
        let blob = blob_of(&fs, 1);
        for (offset, len) in reads {
            let start = model.len().min(usize::try_from(offset).unwrap());
            let expected = &model[start..model.len().min(start + len)];
            let mut buf = vec![0xa5; len];
            prop_assert_eq!(fs.read(blob, offset, &mut buf).unwrap(), expected.len());
            prop_assert!(&buf[..expected.len()] == expected);
        }
    }
}

/// The whole blob, file by file: each run of each file where the tree says that it is.
fn model(tree: &MountedTree) -> Vec<u8> {
    const BLOCK: u64 = crate::tree::DATA_BLOCK;
    let mut blob = Vec::new();
    for ino in 1..=tree.tree.summary().inodes {
        let node = tree.tree.node(ino).unwrap();
        assert_eq!(node.data_start, blob.len() as u64);
        for run in tree.tree.data_runs(ino).unwrap() {
            let run = run.unwrap();
            let mut bytes = vec![0; usize::try_from(run.blocks * BLOCK).unwrap()];
            let file = NodeId::new(9, ino);
            let left = node.size - run.block * BLOCK;
            let n = bytes.len().min(usize::try_from(left).unwrap());
            tree.read(file, run.block * BLOCK, &mut bytes[..n]).unwrap();
            blob.extend_from_slice(&bytes);
        }
    }
    assert_eq!(blob.len() as u64, tree.tree.summary().data_len);
    blob
}
