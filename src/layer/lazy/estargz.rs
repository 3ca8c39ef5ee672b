//! eStargz: a gzip layer in which every file, or piece of one, starts a gzip member, with a table
//! of contents at the end.
//!
//! Source: stargz-snapshotter, `docs/estargz.md`. Where the table of contents and the tar headers
//! differ, the table of contents is right.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::archive::{Event, TarParser};
use crate::compress::Codec;
use crate::digest::{Digest, Hasher};

use super::chunks::{LIMITS, Payload, layer};
use super::landmark::{Landmark, TOC_NAME, is_hidden};
use super::toc_json::MAX_TOC_JSON;
use super::{Lazy, LazyError};

/// The annotation of a layer's descriptor with the digest of its table of contents.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// How many bytes at the end of a blob hold its footer, whichever it is.
pub const FOOTER_SIZE: usize = 51;

/// The length in bytes of the footer that says that the table of contents is in another image.
pub const EXTERNAL_FOOTER_SIZE: u64 = 46;

/// How a footer begins: an empty gzip member with an extra field.
const FOOTER_HEADER: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff";
/// How a footer ends: an empty stored block, checksum and size of nothing.
const FOOTER_END: &[u8] = b"\x01\0\0\xff\xff\0\0\0\0\0\0\0\0";

/// What the footer of a blob says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footer {
    /// The table of contents is in the blob.
    Toc {
        /// Where it begins: the gzip member of its tar header.
        offset: u64,
        /// Where it ends and the footer begins.
        end: u64,
    },
    /// The table of contents is in an image of its own.
    External,
}

impl Footer {
    /// The footer at the end of a blob of `blob_size` bytes, of which `tail` are the last
    /// [`FOOTER_SIZE`], or all; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`LazyError::Footer`] for one that leads out of the blob.
    pub fn parse(tail: &[u8], blob_size: u64) -> Result<Option<Self>, LazyError> {
        let with = |extra_start: &[u8]| {
            let start = [FOOTER_HEADER, extra_start].concat();
            let len = start.len() + 22 + FOOTER_END.len();
            let footer = &tail[tail.len().checked_sub(len)?..];
            let extra = footer.strip_prefix(&start[..])?.strip_suffix(FOOTER_END)?;
            Some((extra.strip_suffix(b"STARGZ")?, len as u64))
        };
        let external = [FOOTER_HEADER, b"\x15\0SG\x11\0STARGZEXTERNALTOC", FOOTER_END].concat();
        if tail.ends_with(&external) {
            return Ok(Some(Footer::External));
        }
        let found = with(b"\x1a\0SG\x16\0").or_else(|| with(b"\x16\0"));
        let Some((digits, len)) = found else { return Ok(None) };
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex);
        let offset = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let end = blob_size.checked_sub(len);
        match (offset, end) {
            (Some(offset), Some(end)) if offset < end => Ok(Some(Footer::Toc { offset, end })),
            _ => Err(LazyError::Footer),
        }
    }
}

/// The JSON of the table of contents in `member`: the bytes of the blob between [`Footer::Toc`]'s
/// offsets. It is checked to have the digest `expected`, which the image's manifest vouches for, if
/// there is one.
///
/// # Errors
///
/// See [`LazyError`]; what is used of memory is bounded by [`MAX_TOC_JSON`].
pub fn toc_json(member: &[u8], expected: Option<&Digest>) -> Result<Vec<u8>, LazyError> {
    let mut archive = MultiGzDecoder::new(member).take(MAX_TOC_JSON + (1 << 20));
    let mut json: Option<Vec<u8>> = None;
    let mut sink = |event: Event<'_>| {
        match event {
            Event::Entry(entry) => match &json {
                None if entry.path == TOC_NAME && entry.size <= MAX_TOC_JSON => {
                    // At once, not twice as much in the end; what is not written takes no memory.
                    let len = usize::try_from(entry.size).unwrap_or(0);
                    json = Some(Vec::with_capacity(len));
                }
                None if entry.path == TOC_NAME => return Err(LazyError::TooLarge(entry.size)),
                _ => return Err(LazyError::Missing),
            },
            Event::Data { bytes, .. } => json.get_or_insert_default().extend_from_slice(bytes),
            Event::End => {}
        }
        Ok(())
    };
    let (mut parser, mut piece) = (TarParser::new(), vec![0; 64 << 10]);
    loop {
        match archive.read(&mut piece).map_err(|_| LazyError::Decompress)? {
            0 => break,
            n => parser.push(&piece[..n], &mut sink)?,
        }
    }
    parser.finish::<LazyError>(&mut sink)?;
    let json = json.ok_or(LazyError::Missing)?;
    if let Some(expected) = expected {
        check(&json, expected)?;
    }
    Ok(json)
}

/// Says whether `bytes` have the digest `expected`.
pub(super) fn check(bytes: &[u8], expected: &Digest) -> Result<(), LazyError> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *expected {
        return Ok(());
    }
    Err(LazyError::Digest { expected: expected.clone(), found })
}

/// The layer that the table of contents `json`, already checked, says is in a blob of `blob_size`
/// bytes, whose files end at `payload_end`.
///
/// # Errors
///
/// See [`LazyError`].
pub fn decode(json: &[u8], blob_size: u64, payload_end: u64) -> Result<Lazy, LazyError> {
    let mut landmark = Landmark::default();
    let payload = Payload { codec: Codec::Gzip, blob_size, end: payload_end.min(blob_size) };
    let (toc, table) = layer(json, payload, LIMITS, &is_hidden, &mut |e| landmark.see(e))?;
    let prefetch = landmark.prefetch(payload.end);
    Ok(Lazy { toc, table, windows: Vec::new(), prefetch })
}
