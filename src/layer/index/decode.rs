use crate::compress::SpanTable;
use crate::digest::{Algorithm, DiffId, Digest};

use super::layout::{
    HEADER_LEN, MAGIC, MAX_APART, MAX_IDENTITY, MAX_SPANS, MAX_TOC, MAX_WINDOWS, SECTIONS, VERSION,
};
use super::toc::decode_toc;
use super::wire::Input;
use super::{FormatError, Identity, LayerIndex, Origin, WindowsApart};

/// Where a section is, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) len: u64,
    checksum: u32,
    name: &'static str,
}

impl Section {
    /// `bytes` if they are this section's.
    pub(super) fn check<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        if bytes.len() as u64 != self.len {
            return Err(FormatError::Truncated);
        }
        self.check_sum(crc32c::crc32c(bytes))?;
        Ok(bytes)
    }

    /// Whether `checksum` is that of this section.
    pub(super) fn check_sum(&self, checksum: u32) -> Result<(), FormatError> {
        match checksum == self.checksum {
            true => Ok(()),
            false => Err(FormatError::Checksum(self.name)),
        }
    }
}

/// The header of a file: where its sections are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Section,
    pub(super) spans: Section,
    pub(super) windows: Section,
    pub(super) apart: Section,
    pub(super) toc: Section,
}

impl Header {
    /// The header that `bytes` start with, of a file of `file_len` bytes.
    pub(super) fn decode(bytes: &[u8], file_len: u64) -> Result<Self, FormatError> {
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        let mut input = Input(bytes.get(MAGIC.len()..HEADER_LEN).ok_or(FormatError::Truncated)?);
        let version = u32::from_le_bytes(array(&mut input)?);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let bounds: [(&str, u64); SECTIONS] = [
            ("identity", MAX_IDENTITY),
            ("span table", MAX_SPANS),
            ("windows", MAX_WINDOWS),
            ("windows apart", MAX_APART),
            ("TOC", MAX_TOC),
        ];
        let mut offset = HEADER_LEN as u64;
        let mut section = |(name, bound)| {
            let checksum = u32::from_le_bytes(array(&mut input)?);
            let len = u64::from_le_bytes(array(&mut input)?);
            let section = Section { offset, len, checksum, name };
            offset = offset.checked_add(len).ok_or(FormatError::Range("section"))?;
            if len > bound { Err(FormatError::TooLarge(len)) } else { Ok(section) }
        };
        let [identity, spans, windows, apart, toc] = bounds.map(&mut section);
        let checksum = u32::from_le_bytes(array(&mut input)?);
        if crc32c::crc32c(&bytes[..HEADER_LEN - 4]) != checksum {
            return Err(FormatError::Checksum("header"));
        }
        let (identity, spans, windows) = (identity?, spans?, windows?);
        let header = Self { identity, spans, windows, apart: apart?, toc: toc? };
        match offset.cmp(&file_len) {
            std::cmp::Ordering::Less => Err(FormatError::Trailing),
            std::cmp::Ordering::Equal => Ok(header),
            std::cmp::Ordering::Greater => Err(FormatError::Truncated),
        }
    }
}

/// The index that `file` is.
pub(super) fn decode(file: &[u8]) -> Result<LayerIndex, FormatError> {
    let header = Header::decode(file, file.len() as u64)?;
    let bytes = |section: &Section| {
        let start = usize::try_from(section.offset).map_err(|_| FormatError::Truncated)?;
        let len = usize::try_from(section.len).map_err(|_| FormatError::Truncated)?;
        section.check(Input(file.get(start..).ok_or(FormatError::Truncated)?).take(len)?)
    };
    let (spans, apart) = (bytes(&header.spans)?, bytes(&header.apart)?);
    let (table, apart) = decode_table(&header, spans, apart)?;
    Ok(LayerIndex {
        identity: decode_identity(bytes(&header.identity)?)?,
        table,
        windows: bytes(&header.windows)?.to_vec(),
        apart,
        toc: decode_toc(bytes(&header.toc)?)?,
    })
}

/// The section "spans", which refers to all of the section "windows", or of what the section "apart"
/// says.
pub(super) fn decode_table(
    header: &Header,
    spans: &[u8],
    apart: &[u8],
) -> Result<(SpanTable, Option<WindowsApart>), FormatError> {
    let table = SpanTable::decode(spans)?;
    if apart.is_empty() {
        return match table.windows_size == header.windows.len {
            true => Ok((table, None)),
            false => Err(FormatError::Invalid("size of the windows")),
        };
    }
    let mut input = Input(apart);
    let blob = digest(&mut input)?;
    let (groups, rest) = input.0.as_chunks();
    let is_whole = rest.is_empty() && groups.len() == table.window_groups().count();
    if header.windows.len != 0 || table.windows_size == 0 || !is_whole {
        return Err(FormatError::Invalid("windows apart"));
    }
    let apart = WindowsApart { blob, groups: groups.into() };
    Ok((table, Some(apart)))
}

/// The section "identity".
pub(super) fn decode_identity(bytes: &[u8]) -> Result<Identity, FormatError> {
    let mut input = Input(bytes);
    let code = input.byte()?;
    let of_origin = if code == 0 { None } else { Some(digest(&mut input)?) };
    let origin = Origin::from_code(code, of_origin).ok_or(FormatError::Invalid("origin"))?;
    let digest = digest(&mut input)?;
    let diff_id = DiffId::new(self::digest(&mut input)?);
    let media_type = std::str::from_utf8(input.bytes()?);
    let media_type = media_type.map_err(|_| FormatError::Invalid("media type"))?.to_owned();
    input.end()?;
    Ok(Identity { digest, diff_id, media_type, origin })
}

fn digest(input: &mut Input<'_>) -> Result<Digest, FormatError> {
    let algorithm = match input.byte()? {
        0 => Algorithm::Sha256,
        1 => Algorithm::Sha512,
        _ => return Err(FormatError::Invalid("digest")),
    };
    let hash = input.take(algorithm.len())?;
    Digest::from_bytes(algorithm, hash).ok_or(FormatError::Invalid("digest"))
}

fn array<const N: usize>(input: &mut Input<'_>) -> Result<[u8; N], FormatError> {
    input.take(N)?.try_into().map_err(|_| FormatError::Truncated)
}
