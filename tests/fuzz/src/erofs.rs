//! Any layers as an EROFS image: `fsck.erofs` accepts it, the kernel would be handed nothing else,
//! and an image with a damaged byte is refused.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use stratafs::archive::{DataRun, Device, Entry, EntryKind, FileType, Metadata, Timestamp, Xattr};
use stratafs::digest::{DiffId, Digest};
use stratafs::erofs::{self, Image};
use stratafs::layer::{Toc, TocBuilder};
use stratafs::tree::{self, Layer, Tree};

/// Takes four bytes for the place and the kind of a damage, and the rest for a script of entries:
/// one line a member, a byte that says the kind and how many attributes there are, the path, and
/// after a tab a target, or numbers. A line of its own with a dash begins the next layer.
pub fn run(data: &[u8]) {
    let (damage, script) = data.split_at(data.len().min(4));
    let Some(tree) = tree_of(script) else { return };
    let mut image = Cursor::new(Vec::new());
    match erofs::write(&tree, &mut image) {
        Ok(len) => assert_eq!(len, image.get_ref().len() as u64),
        Err(error) if error.is_limit() => return,
        Err(error) => panic!("{error}"),
    }
    let folder = folder();
    let (mut bytes, path) = (image.into_inner(), folder.path().join("image"));
    fs::write(&path, &bytes).unwrap();
    accepted(&path, &tree);
    Image::open(&tree, &path).and_then(|image| image.verify()).unwrap();
    let place = damage.iter().take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    // The first 1,024 bytes are nobody's.
    let place = 1024 + place % (bytes.len() - 1024);
    bytes[place] ^= damage.get(3).copied().unwrap_or(1).max(1);
    fs::write(&path, &bytes).unwrap();
    let found = Image::open(&tree, &path).and_then(|image| image.verify());
    assert!(matches!(found, Err(erofs::Error::Stale { .. })), "byte {place}: {found:?}");
}

/// Has `fsck.erofs` look at the image.
fn accepted(image: &Path, tree: &Tree) {
    let blob = image.with_file_name("blob");
    File::create(&blob).unwrap().set_len(tree.summary().data_len).unwrap();
    let device = format!("--device={}", blob.display());
    let output = Command::new("fsck.erofs").arg(device).arg(image).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("<E>"), "{text}");
}

/// In memory where that can be: nothing of it has to last.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn tree_of(script: &[u8]) -> Option<Tree> {
    let lines: Vec<&[u8]> = script.split(|&b| b == b'\n').collect();
    let tocs: Option<Vec<Toc>> = lines.split(|line| *line == b"-").map(toc_of).collect();
    let tocs = tocs?;
    let merged = tree::merge(&tocs.iter().collect::<Vec<_>>()).ok()?;
    let nobody = Digest::sha256(b"");
    let layer = Layer { diff_id: DiffId::new(nobody.clone()), blob: nobody };
    Some(Tree::in_memory(&merged, &vec![layer; tocs.len()]).unwrap())
}

fn toc_of(lines: &[&[u8]]) -> Option<Toc> {
    let mut builder = TocBuilder::new();
    for line in lines {
        let Some((kind, rest)) = line.split_first() else { continue };
        let mut parts = rest.splitn(2, |&b| b == b'\t');
        let path = parts.next().unwrap_or_default().to_vec();
        builder.add(entry(*kind, path, parts.next().unwrap_or_default())).ok()?;
    }
    Some(builder.finish())
}

fn entry(code: u8, path: Vec<u8>, target: &[u8]) -> Entry {
    let byte = |place: usize| target.get(place).copied().unwrap_or(0);
    let number = |place: usize| u64::from(byte(place));
    let (kind, file_type) = match code % 8 {
        0 | 1 => (EntryKind::Regular, FileType::Regular),
        2 => (EntryKind::Directory, FileType::Directory),
        3 => (EntryKind::Symlink(target.to_vec()), FileType::Symlink),
        4 => (EntryKind::HardLink(target.to_vec()), FileType::Regular),
        5 => (EntryKind::Fifo, FileType::Fifo),
        6 => (EntryKind::CharDevice, FileType::CharDevice),
        _ => (EntryKind::BlockDevice, FileType::BlockDevice),
    };
    let size = number(0) | number(1) << 8 | number(2) << 16;
    let (size, runs) = match code % 8 {
        0 => (size, vec![DataRun { file_offset: 0, len: size, stream_offset: 512 }]),
        1 => holes(target),
        _ => (0, Vec::new()),
    };
    let runs = runs.into_iter().filter(|run| run.len > 0).collect();
    let xattr = |n: u8| Xattr {
        name: [&b"user."[..], b"security.", b"trusted."][usize::from(n) % 3]
            .iter()
            .copied()
            .chain(target.iter().copied().filter(u8::is_ascii_graphic).take(usize::from(n) * 40))
            .chain([b'a' + n])
            .collect(),
        value: target.repeat(usize::from(n)),
    };
    let device =
        Device { major: byte(0).into(), minor: u16::from_le_bytes([byte(1), byte(2)]).into() };
    let metadata = Metadata {
        file_type,
        mode: u16::from(code) << 4 | 0o7,
        uid: u32::from(code) << 24,
        gid: 2,
        mtime: Timestamp { secs: number(0).cast_signed() - 100, nanos: 5 },
        device: if code % 8 > 5 { device } else { Device::default() },
        xattrs: (0..code / 32).map(xattr).collect(),
    };
    Entry { offset: 0, path, kind, metadata, size, runs }
}

/// A file with data at growing distances, as numbers say: two bytes a hole, two bytes data.
fn holes(numbers: &[u8]) -> (u64, Vec<DataRun>) {
    let mut at = 0;
    let mut runs = Vec::new();
    for four in numbers.chunks_exact(4) {
        let [a, b, c, d] = four else { continue };
        let (hole, len) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        at += u64::from(hole);
        runs.push(DataRun { file_offset: at, len: len.into(), stream_offset: at });
        at += u64::from(len);
    }
    (at + numbers.len() as u64 % 4 * 5000, runs)
}
