use proptest::prelude::*;

use super::*;
use crate::io::ReadAt;

/// A file as a list of runs: `Some` bytes, or a hole of a length.
fn runs() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((1..3000_usize, any::<bool>()), 0..12)
}

/// A layer with the file `f`, and its content.
fn file_of(runs: &[(usize, bool)]) -> (Layer, Vec<u8>) {
    let mut content = Vec::new();
    let bytes = noise(40_000);
    let mut data = Vec::new();
    for &(len, is_data) in runs {
        if is_data {
            let at = content.len();
            data.push((at as u64, &bytes[at..at + len]));
            content.extend_from_slice(&bytes[at..at + len]);
        } else {
            content.resize(content.len() + len, 0);
        }
    }
    (Layer::new().sparse("f", content.len() as u64, &data), content)
}

/// Has at hand only what starts in an even kilobyte.
struct Patchy(Vec<u8>);

impl ReadAt for Patchy {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<Option<usize>> {
        if (offset / 1024).is_multiple_of(2) {
            self.read_at(buf, offset).map(Some)
        } else {
            Ok(None)
        }
    }
}

proptest! {
    #[test]
    fn reads_give_the_content_at_any_place(
        runs in runs(),
        reads in prop::collection::vec((0..40_000_u64, 0..9_000_usize), 1..20),
    ) {
        let (layer, content) = file_of(&runs);
        let fs = Filesystem::of_tree(with_readers(vec![layer], |data| Arc::new(Patchy(data))));
        let f = node(&fs, "f");
        for (offset, len) in reads {
            let start = content.len().min(usize::try_from(offset).unwrap());
            let expected = &content[start..content.len().min(start + len)];
            let mut buf = vec![0xa5; len];
            let n = fs.read(f, offset, &mut buf).unwrap();
            prop_assert_eq!(&buf[..n], expected);
            let mut buf = vec![0xa5; len];
            if let Cached::Ready(n) = fs.read_cached(f, offset, &mut buf).unwrap() {
                prop_assert_eq!(&buf[..n], expected);
            }
        }
    }

    #[test]
    fn seeks_find_data_and_holes(runs in runs(), from in 0..40_000_u64) {
        let (layer, content) = file_of(&runs);
        let mut is_data = Vec::new();
        for &(len, data) in &runs {
            is_data.resize(is_data.len() + len, data);
        }
        let fs = Filesystem::of_tree(in_memory(vec![layer]));
        let f = node(&fs, "f");
        let from_usize = usize::try_from(from).unwrap();
        let model = |wanted: bool| {
            (from_usize..content.len()).find(|at| is_data[*at] == wanted).map(|at| at as i64)
        };
        let seek = |whence| fs.seek(f, from.cast_signed(), whence);
        if from_usize >= content.len() {
            prop_assert_eq!(seek(libc::SEEK_DATA).unwrap_err().errno(), libc::ENXIO);
            prop_assert_eq!(seek(libc::SEEK_HOLE).unwrap_err().errno(), libc::ENXIO);
        } else {
            prop_assert_eq!(seek(libc::SEEK_DATA).ok(), model(true));
            let end = content.len() as i64;
            prop_assert_eq!(seek(libc::SEEK_HOLE).unwrap(), model(false).unwrap_or(end));
        }
    }

    #[test]
    fn a_listing_in_pages_is_the_whole_listing(files in 0..60_usize, page in 1..20_usize) {
        let layer = (0..files).fold(Layer::new().dir("d", 0o755), |layer, n| {
            layer.file(&format!("d/{n:03}"), 0o644, b"")
        });
        let fs = one(layer);
        let listed = list(&fs, node(&fs, "d"), 0, page);
        let expected: Vec<String> = (0..files).map(|n| format!("{n:03}")).collect();
        prop_assert_eq!(&names(&listed)[..2], &[".", ".."]);
        prop_assert_eq!(&names(&listed)[2..], expected);
    }

    #[test]
    fn numbers_that_name_nothing_are_stale(
        raw in prop_oneof![any::<u64>(), 0..20_u64, (1_u64 << 32)..(1 << 32) + 20],
        name in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<u64>(),
    ) {
        let fs = Filesystem::new();
        fs.attach(&chain(1), tree_with("one")).unwrap();
        for fs in [fs, one(Layer::new().symlink("l", "x").dir("d", 0o755))] {
            let any = NodeId::from_raw(raw);
            let exists = fs.getattr(any).is_ok();
            let lookup = fs.lookup(any, &name);
            let _ = (fs.readlink(any), fs.getxattr(any, &name), fs.listxattr(any));
            let _ = (fs.read(any, at, &mut [0; 16]), fs.read_cached(any, at, &mut [0; 16]));
            let _ = fs.seek(any, at.cast_signed(), libc::SEEK_DATA);
            let _ = (fs.readdir(any, at, &mut |_| true), fs.statfs(any).is_ok());
            if !exists {
                prop_assert_eq!(fs.getattr(any).unwrap_err().errno(), libc::ESTALE);
                prop_assert_eq!(fs.open(any, 0).unwrap_err().errno(), libc::ESTALE);
                prop_assert!(lookup.is_err());
            }
        }
    }
}
