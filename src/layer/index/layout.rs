//! The layout of a layer index file. Numbers are little-endian; varints are LEB128 of 64 bits.
//!
//! ```text
//! 0   magic "STRATIDX"
//! 8   version, u32
//! 12  five times: CRC-32C of the section, u32; its length, u64
//! 72  CRC-32C of all before, u32
//! 76  the sections "identity", "spans", "windows", "apart" and "toc", one right after the other;
//!     nothing more
//! ```
//!
//! - **identity**: origin, a byte, and unless it is 0 a digest; blob digest and diffID; media type, as
//!   a varint length and UTF-8. A digest is an algorithm, a byte, and the hash. Origins are 0 a pass
//!   over the blob, 1 eStargz, 2 zstd:chunked, 3 SOCI, 4 another index.
//! - **spans**: a span table as [`crate::compress::SpanTable::encode`] writes it.
//! - **windows**: the packed windows that the span table refers to, read from the file when one is
//!   needed.
//! - **apart**: nothing, or where the windows are if the section "windows" is empty: the digest of a
//!   blob that holds nothing else; the BLAKE3 of each packed group in it.
//! - **toc**: the length of what follows once decompressed, u64; a zstd frame of that: the numbers
//!   of inodes, names, whiteouts and opaques, as varints; the length of each [`Column`], likewise;
//!   the columns, one right after the other.
//!
//! Values of one kind stand together in a column because they compress to much less so. A value
//! that can mostly be foreseen is stored as the difference to what was foreseen, zigzag-coded.

/// The first bytes of a file.
pub(super) const MAGIC: &[u8; 8] = b"STRATIDX";
/// The version of this layout. Files of another one are made again.
pub(super) const VERSION: u32 = 4;
/// The length of the header in bytes.
pub(super) const HEADER_LEN: usize = 76;
/// How many sections there are.
pub(super) const SECTIONS: usize = 5;
/// The longest section "identity", in bytes.
pub(super) const MAX_IDENTITY: u64 = 4096;
/// The longest section "spans", in bytes.
pub(super) const MAX_SPANS: u64 = 1 << 30;
/// The longest section "windows", in bytes.
pub(super) const MAX_WINDOWS: u64 = 1 << 32;
/// The longest section "apart", in bytes.
pub(super) const MAX_APART: u64 = 1 << 28;
/// The longest section "toc", in bytes.
pub(super) const MAX_TOC: u64 = 1 << 28;
/// The most bytes of columns, once decompressed.
pub(super) const MAX_COLUMNS: u64 = 1 << 30;
/// How many times longer the columns may be than their zstd frame, beyond a MiB.
pub(super) const MAX_RATIO: u64 = 1024;
/// How strongly the columns are compressed.
pub(super) const ZSTD_LEVEL: i32 = 6;

/// What a column of the TOC holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// An inode's file type, a byte.
    Types,
    /// An inode's mode.
    Modes,
    /// An inode's uid and gid.
    Owners,
    /// An inode's seconds, as the difference to the inode before, and nanoseconds.
    Times,
    /// A device node's major and minor number.
    Devices,
    /// A regular file's size.
    Sizes,
    /// A regular file's extents: 0 for none; 1 for one that is the whole file, and its place; else
    /// their number plus 1, and for each the gap since the end of the one before, its length and
    /// place. A place is the difference to where a tar of no extension headers would have it.
    Extents,
    /// The number of an inode's list of xattrs, from 1; 0 for none.
    Xattrs,
    /// The lists of xattrs that there are: their count; for each its count of xattrs; for each of
    /// these the lengths and bytes of name and value.
    XattrLists,
    /// The length and bytes of a symbolic link's target.
    Links,
    /// The paths of names, then of whiteouts, then of opaques, each: how many bytes it has in common
    /// with the start of the one before; the length and bytes of the rest.
    Paths,
    /// What a name stands for: 0 for a hard link to a layer below; else 1 plus the difference of its
    /// inode's number to that of the name before plus 1.
    Targets,
    /// The length and bytes of the target of a hard link to a layer below.
    Lowers,
}

/// How many columns there are.
pub(super) const COLUMNS: usize = Column::Lowers as usize + 1;

/// Where the data of the next file of a tar are if they come after `end`, behind one header block.
pub(super) fn foreseen_place(end: u64) -> u64 {
    end.wrapping_add(511 & end.wrapping_neg()).wrapping_add(512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_of_a_tar_is_foreseen() {
        for (end, place) in [(0, 512), (512, 1024), (513, 1536), (1023, 1536), (1024, 1536)] {
            assert_eq!(foreseen_place(end), place, "{end}");
        }
        foreseen_place(u64::MAX);
    }
}
