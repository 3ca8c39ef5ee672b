//! The tree file: a header, a body of six sections, and the checksums of the body.
//!
//! ```text
//! 0       header, 4,096 bytes, little endian
//!         0    magic "stratree"
//!         8    version u32
//!         12   crc32c u32 of the header with this field zero
//!         16   length of the file u64
//!         24   the sections in the order of [`Section`], each offset u64 and length u64
//!         120  the checksums: offset u64, length u64, their crc32c u32
//!         140  flags u32, none
//!         144  directories u32, zeros u32, bytes of all regular files u64
//!         160  length of the virtual blob u64
//!         168  zeros
//! 4096    body: the sections, each aligned to 64 bytes
//! then    a crc32c u32 of every 64 KiB block of the body, the last one being shorter
//! ```
//!
//! An inode is the record at its number minus one, a directory's names are a stretch of name
//! records sorted bytewise. The file holds no list of anything that opening would have to walk.

/// The length of the header, and where the body starts, in bytes.
pub(super) const HEADER_LEN: usize = 4096;
/// How much of the body one checksum covers, in bytes.
pub(super) const BLOCK_LEN: usize = 65_536;
/// What each section is aligned to in bytes, so that no inode record lies in two blocks.
pub(super) const ALIGN: u64 = 64;

const MAGIC: [u8; 8] = *b"stratree";
const CRC_AT: usize = 12;
const SECTIONS_AT: usize = 24;

/// A section of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// The layers, bottom first: fixed-size records.
    Layers,
    /// The inodes: fixed-size records.
    Inodes,
    /// The names, by folder: fixed-size records.
    Names,
    /// The bytes of names, then those of the targets of symbolic links.
    Strings,
    /// The extents of the files that have not just one: fixed-size records.
    Extents,
    /// Sets of extended attributes, each once.
    Xattrs,
}

/// A stretch of the file in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stretch {
    /// Where it starts in the file.
    pub(super) offset: u64,
    /// How long it is.
    pub(super) len: u64,
}

impl Stretch {
    /// The offset after its last byte.
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// The header's fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub(super) file_len: u64,
    pub(super) sections: [Stretch; 6],
    pub(super) checksums: Stretch,
    pub(super) checksums_crc: u32,
    pub(super) directories: u32,
    pub(super) bytes: u64,
    pub(super) data_len: u64,
}

/// Why bytes are no header of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    NotATree,
    Version(u32),
    Damaged(&'static str),
}

impl Header {
    /// A header for sections of these lengths, in the order of [`Section`].
    pub(super) fn of_lengths(lengths: [u64; 6]) -> Option<Self> {
        let mut header = Self::default();
        let mut at = HEADER_LEN as u64;
        for (section, len) in header.sections.iter_mut().zip(lengths) {
            *section = Stretch { offset: at, len };
            at = section.end()?.checked_next_multiple_of(ALIGN)?;
        }
        let blocks = (at - HEADER_LEN as u64).div_ceil(BLOCK_LEN as u64);
        header.checksums = Stretch { offset: at, len: blocks * 4 };
        header.file_len = header.checksums.end()?;
        Some(header)
    }

    /// Where `section` is.
    pub(super) fn section(&self, section: Section) -> Stretch {
        self.sections[section as usize]
    }

    /// The header as the first [`HEADER_LEN`] bytes of a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&super::VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.file_len.to_le_bytes());
        for stretch in self.sections.iter().chain([&self.checksums]) {
            out.extend_from_slice(&stretch.offset.to_le_bytes());
            out.extend_from_slice(&stretch.len.to_le_bytes());
        }
        out.extend_from_slice(&self.checksums_crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.directories.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.data_len.to_le_bytes());
        out.resize(HEADER_LEN, 0);
        let crc = crc32c::crc32c(&out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of a whole tree file and checks that all it names lies in the file.
    pub(super) fn decode(file: &[u8]) -> Result<Self, BadHeader> {
        let header = file.get(..HEADER_LEN).ok_or(BadHeader::NotATree)?;
        if header[..8] != MAGIC {
            return Err(BadHeader::NotATree);
        }
        let version = u32_at(header, 8);
        if version != super::VERSION {
            return Err(BadHeader::Version(version));
        }
        let zeroed = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), &[0; 4]);
        if crc32c::crc32c_append(zeroed, &header[CRC_AT + 4..]) != u32_at(header, CRC_AT) {
            return Err(BadHeader::Damaged("the header does not match its checksum"));
        }
        let stretch = |at| Stretch { offset: u64_at(header, at), len: u64_at(header, at + 8) };
        let mut decoded = Self {
            file_len: u64_at(header, 16),
            checksums: stretch(120),
            checksums_crc: u32_at(header, 136),
            directories: u32_at(header, 144),
            bytes: u64_at(header, 152),
            data_len: u64_at(header, 160),
            ..Self::default()
        };
        for (place, section) in decoded.sections.iter_mut().enumerate() {
            *section = stretch(SECTIONS_AT + 16 * place);
        }
        decoded.check(file).map_err(BadHeader::Damaged)?;
        Ok(decoded)
    }

    fn check(&self, file: &[u8]) -> Result<(), &'static str> {
        if self.file_len != file.len() as u64 {
            return Err("the file does not have the length that its header says");
        }
        let lengths = self.sections.map(|section| section.len);
        let expected = Self::of_lengths(lengths).ok_or("the sections are too long")?;
        if (expected.sections, expected.checksums) != (self.sections, self.checksums)
            || expected.file_len != self.file_len
        {
            return Err("the sections are not where their lengths put them");
        }
        let checksums = self.slice(file, self.checksums).ok_or("the checksums are not there")?;
        if crc32c::crc32c(checksums) != self.checksums_crc {
            return Err("the checksums do not match theirs");
        }
        Ok(())
    }

    fn slice<'a>(&self, file: &'a [u8], stretch: Stretch) -> Option<&'a [u8]> {
        let start = usize::try_from(stretch.offset).ok()?;
        file.get(start..usize::try_from(stretch.end()?).ok()?)
    }
}

/// The little-endian number at `at`, which is inside of `bytes` for all callers' fixed sizes.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// As [`u16_at`].
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// As [`u16_at`].
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}
