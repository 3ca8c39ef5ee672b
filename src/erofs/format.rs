//! EROFS on disk: the few structures that an image of metadata alone needs, little endian.
//!
//! Source: `fs/erofs/erofs_fs.h` of Linux and `Documentation/filesystems/erofs.rst`.

use crate::archive::{Device, FileType};

/// The block size in bytes; `blkszbits` is its logarithm.
pub(super) const BLOCK: u64 = 4096;
/// The same, as a length in memory.
pub(super) const BLOCK_LEN: usize = 4096;
const BLOCK_BITS: u8 = 12;
/// The length of an extended inode in bytes.
pub(super) const INODE_LEN: u64 = 64;
/// What the place of an inode is a multiple of; its number (nid) is the place divided by this.
pub(super) const SLOT: u64 = 32;
/// The length of a directory entry without its name.
pub(super) const DIRENT_LEN: usize = 12;
/// The length of a chunk index.
pub(super) const INDEX_LEN: u64 = 8;
/// What indexes are aligned to.
pub(super) const INDEX_ALIGN: u64 = 8;
/// The block number that stands for a hole, and for none.
pub(super) const NO_BLOCK: u32 = u32::MAX;
/// The length of the header of an inode's attributes.
pub(super) const XATTR_HEADER_LEN: u64 = 12;
/// The length of an attribute's entry without name and value.
pub(super) const XATTR_ENTRY_LEN: u64 = 4;
/// What attributes are aligned to.
pub(super) const XATTR_ALIGN: u64 = 4;
/// The most attributes that one inode shares with others: the count is a byte.
pub(super) const MAX_SHARED: usize = 255;
/// The most bytes of an inode's attributes: 4 times the largest count, plus header, minus one.
pub(super) const MAX_XATTR_LEN: u64 = XATTR_HEADER_LEN + 4 * (u16::MAX as u64 - 1);

const MAGIC: u32 = 0xe0f5_e1e2;
/// Where the superblock is in its block.
pub(super) const SUPERBLOCK_AT: usize = 1024;
const DEVICE_AT: usize = SUPERBLOCK_AT + 128;
/// Where the first block is free for what EROFS does not know.
pub(super) const FREE_AT: usize = DEVICE_AT + 128;
const DEVICE_SLOT_LEN: usize = 128;

const COMPAT_CHECKSUM: u32 = 0x1;
const COMPAT_MTIME: u32 = 0x2;
const COMPAT_XATTR_FILTER: u32 = 0x4;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;
const CHUNK_INDEXES: u32 = 0x20;

/// How an inode's data is stored (`i_format`, bits 1 to 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In whole blocks from this one on.
    Plain { block: u32 },
    /// The last block right after the inode, the others from this one on.
    Inline { block: u32 },
    /// In chunks of `4096 << bits` bytes, their indexes right after the inode.
    Chunks { bits: u8 },
    /// A device number.
    Device(Device),
}

/// An extended inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) layout: Layout,
    /// The length of the attributes after it in bytes.
    pub(super) xattr_len: u64,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) ino: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) nanos: u32,
    pub(super) nlink: u32,
}

impl Inode {
    pub(super) fn encode(&self) -> [u8; 64] {
        let (layout, union) = match self.layout {
            Layout::Plain { block } => (0, block),
            Layout::Inline { block } => (2, block),
            Layout::Chunks { bits } => (4, u32::from(bits) | CHUNK_INDEXES),
            Layout::Device(device) => (0, encode_device(device)),
        };
        // `i_xattr_icount` is the body in units of 4 with the header counted as one.
        let xattr_count = match self.xattr_len {
            0 => 0,
            len => low16((len - XATTR_HEADER_LEN) / XATTR_ALIGN + 1),
        };
        let mut out = [0; 64];
        put(&mut out, 0, &(1_u16 | layout << 1).to_le_bytes());
        put(&mut out, 2, &xattr_count.to_le_bytes());
        put(&mut out, 4, &low16(u64::from(self.mode)).to_le_bytes());
        put(&mut out, 8, &self.size.to_le_bytes());
        put(&mut out, 16, &union.to_le_bytes());
        put(&mut out, 20, &self.ino.to_le_bytes());
        put(&mut out, 24, &self.uid.to_le_bytes());
        put(&mut out, 28, &self.gid.to_le_bytes());
        put(&mut out, 32, &self.mtime.to_le_bytes());
        put(&mut out, 40, &self.nanos.to_le_bytes());
        put(&mut out, 44, &self.nlink.to_le_bytes());
        out
    }
}

/// `new_encode_dev` of Linux (`include/linux/kdev_t.h`).
fn encode_device(device: Device) -> u32 {
    (device.minor & 0xff) | (device.major << 8) | ((device.minor & !0xff) << 12)
}

/// Whether Linux has this device number.
pub(super) fn is_device(device: Device) -> bool {
    device.major < 1 << 12 && device.minor < 1 << 20
}

/// The index of a chunk: a block of the one device, or a hole.
pub(super) fn index(block: Option<u32>) -> [u8; 8] {
    let mut out = [0; 8];
    put(&mut out, 2, &u16::from(block.is_some()).to_le_bytes());
    put(&mut out, 4, &block.unwrap_or(NO_BLOCK).to_le_bytes());
    out
}

/// A directory entry without its name, which is at `name_at` of the block.
pub(super) fn dirent(nid: u64, name_at: u16, file_type: FileType) -> [u8; DIRENT_LEN] {
    let mut out = [0; DIRENT_LEN];
    put(&mut out, 0, &nid.to_le_bytes());
    put(&mut out, 8, &name_at.to_le_bytes());
    out[10] = match file_type {
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::CharDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Symlink => 7,
    };
    out
}

/// The header of an inode's attributes; a bit of `absent` says that no name has that hash.
pub(super) fn xattr_header(absent: u32, shared: u8) -> [u8; 12] {
    let mut out = [0; 12];
    put(&mut out, 0, &absent.to_le_bytes());
    out[4] = shared;
    out
}

/// The number of the namespace of an attribute and the rest of its name; `None` for a name of no
/// namespace that EROFS has.
pub(super) fn xattr_namespace(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    let (number, rest) = name
        .strip_prefix(b"user.")
        .map(|rest| (1, rest))
        .or_else(|| name.strip_prefix(b"trusted.").map(|rest| (4, rest)))
        .or_else(|| name.strip_prefix(b"security.").map(|rest| (6, rest)))?;
    (1..=255).contains(&rest.len()).then_some((number, rest))
}

/// The bit that stands for an attribute in the filter of [`xattr_header`] (`EROFS_XATTR_FILTER`).
pub(super) fn xattr_bit(namespace: u8, rest: &[u8]) -> u32 {
    1 << (xxh32(rest, 0x25bb_e08f_u32.wrapping_add(u32::from(namespace))) % 32)
}

/// xxHash, 32 bits (`doc/xxhash_spec.md` of the xxHash project).
fn xxh32(input: &[u8], seed: u32) -> u32 {
    const P: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    let lane = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let round = |acc: u32, b: &[u8]| {
        acc.wrapping_add(lane(b).wrapping_mul(P[1])).rotate_left(13).wrapping_mul(P[0])
    };
    let stripes = input.chunks_exact(16);
    let mut rest = stripes.remainder();
    let mut hash = if input.len() < 16 {
        seed.wrapping_add(P[4])
    } else {
        let start = seed.wrapping_add(P[0]).wrapping_add(P[1]);
        let mut acc = [start, seed.wrapping_add(P[1]), seed, seed.wrapping_sub(P[0])];
        for stripe in stripes {
            for (acc, bytes) in acc.iter_mut().zip(stripe.chunks_exact(4)) {
                *acc = round(*acc, bytes);
            }
        }
        acc.iter()
            .zip([1, 7, 12, 18])
            .fold(0_u32, |sum, (acc, by)| sum.wrapping_add(acc.rotate_left(by)))
    };
    hash = hash.wrapping_add(u32::try_from(input.len()).unwrap_or(u32::MAX));
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        hash = hash.wrapping_add(lane(word).wrapping_mul(P[2])).rotate_left(17).wrapping_mul(P[3]);
        rest = after;
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(P[4])).rotate_left(11);
        hash = hash.wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P[2]);
    hash ^ (hash >> 16)
}

/// What the superblock says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    pub(super) root_nid: u16,
    pub(super) inodes: u64,
    pub(super) blocks: u32,
    pub(super) xattr_block: u32,
    pub(super) uuid: [u8; 16],
    /// The blocks of the one device.
    pub(super) device_blocks: u32,
}

impl Superblock {
    /// The first block of the image, without its checksum: what is after [`FREE_AT`] is free, and
    /// [`seal`] then makes the block good.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK_LEN];
        let out = &mut block[SUPERBLOCK_AT..];
        put(out, 0, &MAGIC.to_le_bytes());
        let compat = COMPAT_CHECKSUM | COMPAT_MTIME | COMPAT_XATTR_FILTER;
        put(out, 8, &compat.to_le_bytes());
        out[12] = BLOCK_BITS;
        put(out, 14, &self.root_nid.to_le_bytes());
        put(out, 16, &self.inodes.to_le_bytes());
        put(out, 36, &self.blocks.to_le_bytes());
        put(out, 44, &self.xattr_block.to_le_bytes());
        put(out, 48, &self.uuid);
        put(out, 64, b"stratafs");
        put(out, 80, &(INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE).to_le_bytes());
        // One extra device; its slot is at 1152, in units of 128 bytes.
        put(out, 86, &1_u16.to_le_bytes());
        put(out, 88, &9_u16.to_le_bytes());
        let device = &mut block[DEVICE_AT..DEVICE_AT + DEVICE_SLOT_LEN];
        put(device, 64, &self.device_blocks.to_le_bytes());
        put(device, 68, &self.blocks.to_le_bytes());
        block
    }
}

/// Sets the checksum of a first block: from the superblock to the end, crc32c without the final
/// inversion.
pub(super) fn seal(block: &mut [u8]) {
    let crc = checksum(block);
    put(block, SUPERBLOCK_AT + 4, &crc.to_le_bytes());
}

/// Whether the checksum of a first block, and its magic, are right.
pub(super) fn is_sealed(block: &[u8]) -> bool {
    let word = |at: usize| block.get(at..at + 4).and_then(<[u8]>::first_chunk).copied();
    word(SUPERBLOCK_AT) == Some(MAGIC.to_le_bytes())
        && block.len() == BLOCK_LEN
        && word(SUPERBLOCK_AT + 4) == Some(checksum(block).to_le_bytes())
}

fn checksum(block: &[u8]) -> u32 {
    let covered = &block[SUPERBLOCK_AT..];
    let crc = crc32c::crc32c_append(crc32c::crc32c(&covered[..4]), &[0; 4]);
    !crc32c::crc32c_append(crc, &covered[8..])
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Counts that bounds have let through.
fn low16(n: u64) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xxh32_gives_the_published_sums() {
        assert_eq!(xxh32(b"", 0), 0x02cc_5d05);
        assert_eq!(xxh32(b"", 0x9e37_79b1), 0x36b7_8ae7);
        assert_eq!(xxh32(b"a", 0), 0x550d_7456);
        assert_eq!(xxh32(b"abc", 0), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition", 0), 0xe229_3b2f);
    }

    #[test]
    fn device_numbers_are_linux_ones() {
        assert_eq!(encode_device(Device { major: 8, minor: 1 }), 0x801);
        assert_eq!(encode_device(Device { major: 0xfff, minor: 0xfffff }), u32::MAX);
        assert!(!is_device(Device { major: 4096, minor: 0 }));
        assert!(!is_device(Device { major: 0, minor: 1 << 20 }));
    }

    #[test]
    fn a_sealed_block_is_known_until_a_byte_of_it_changes() {
        let superblock = Superblock {
            root_nid: 128,
            inodes: 1,
            blocks: 2,
            xattr_block: 2,
            uuid: [7; 16],
            device_blocks: 0,
        };
        let mut block = superblock.encode();
        seal(&mut block);
        assert!(is_sealed(&block));
        for place in SUPERBLOCK_AT..block.len() {
            block[place] ^= 1;
            assert!(!is_sealed(&block), "{place}");
            block[place] ^= 1;
        }
        assert!(!is_sealed(&block[..4095]) && !is_sealed(&[]));
    }
}
