//! Any bytes as a tree file: refused, or every call on it ends without a panic, also where its
//! checksums are right and its references are not; and so does writing an EROFS image of it.

use std::io::{self, Seek, SeekFrom, Write};

use stratafs::archive::FileType;
use stratafs::tree::{Error, Tree};

/// How much of anything is read: a few records can claim very much.
const MOST: usize = 200;

/// Takes `data` for a file. With a first byte of 0xff it is taken for six lengths (u16) and the
/// sections of these lengths, which are packed into a file whose checksums are right.
pub fn run(data: &[u8]) {
    let file = match data.split_first() {
        Some((0xff, sections)) => file(sections),
        _ => data.to_vec(),
    };
    let Ok(tree) = Tree::from_bytes(file) else { return };
    let _ = tree.verify();
    for ino in (0..=tree.summary().inodes).take(MOST) {
        let _ = read(&tree, ino);
    }
    for path in [&b"a"[..], b"a/../b/./c", b"/s/s/s/", b".."] {
        let _ = tree.resolve(path, true);
    }
    for offset in [0, 1, 4096, 1 << 20, u64::MAX] {
        let _ = tree.segment(offset);
    }
    let _ = stratafs::erofs::write(&tree, &mut Sink { at: 0 });
}

fn read(tree: &Tree, ino: u32) -> Result<(), Error> {
    let node = tree.node(ino)?;
    for offset in [0, node.size / 2, u64::MAX] {
        tree.extents(ino, offset)?.take(MOST).try_for_each(|extent| extent.map(drop))?;
    }
    tree.data_runs(ino)?.take(MOST).try_for_each(|run| run.map(drop))?;
    tree.xattrs(ino)?.take(MOST).try_for_each(|xattr| xattr.map(drop))?;
    tree.xattr(ino, b"user.a")?;
    match node.file_type {
        FileType::Directory => {
            tree.parent(ino)?;
            for child in tree.children(ino, 0)?.take(MOST) {
                let child = child?;
                tree.lookup(ino, child.name)?;
            }
        }
        FileType::Symlink => drop(tree.link_target(ino)?),
        FileType::Regular | FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {}
    }
    Ok(())
}

/// An output that takes a megabyte.
struct Sink {
    at: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.at += bytes.len() as u64;
        if self.at > 1 << 20 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if let SeekFrom::Start(at) = to {
            self.at = at;
        }
        Ok(self.at)
    }
}

/// A file of the given sections.
fn file(data: &[u8]) -> Vec<u8> {
    let (lengths, mut rest) = data.split_at(data.len().min(12));
    let mut header = vec![0; 4096];
    header[..8].copy_from_slice(b"stratree");
    header[8] = 1;
    let mut body = Vec::new();
    for (n, len) in lengths.chunks_exact(2).enumerate() {
        let len = usize::from(u16::from_le_bytes([len[0], len[1]])).min(rest.len());
        let (section, after) = rest.split_at(len);
        let at = 24 + 16 * n;
        header[at..at + 8].copy_from_slice(&(4096 + body.len() as u64).to_le_bytes());
        header[at + 8..at + 16].copy_from_slice(&(len as u64).to_le_bytes());
        body.extend_from_slice(section);
        body.resize(body.len().next_multiple_of(64), 0);
        rest = after;
    }
    let checksums: Vec<u8> =
        body.chunks(65_536).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect();
    let checksums_at = 4096 + body.len() as u64;
    header[16..24].copy_from_slice(&(checksums_at + checksums.len() as u64).to_le_bytes());
    header[120..128].copy_from_slice(&checksums_at.to_le_bytes());
    header[128..136].copy_from_slice(&(checksums.len() as u64).to_le_bytes());
    header[136..140].copy_from_slice(&crc32c::crc32c(&checksums).to_le_bytes());
    // The length of the virtual blob: the rest of the input, for what it is worth.
    let data_len: Vec<u8> = rest.iter().copied().chain([0; 8]).take(8).collect();
    header[160..168].copy_from_slice(&data_len);
    let crc = crc32c::crc32c(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    [header, body, checksums].concat()
}
