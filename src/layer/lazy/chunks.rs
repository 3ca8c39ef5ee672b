//! From the entries of a JSON table of contents to a [`Toc`] and a span table.
//!
//! The address space of the span table is made up: the chunks, one after the other in the order of
//! the blob. Tar headers and padding between them are nowhere in it.

use std::collections::BTreeMap;

use crate::archive::{DataRun, Entry, LayerPath};
use crate::compress::{AccessPoint, Codec, SPAN_LEN_MAX, Span, SpanDigest, SpanTable, Start};
use crate::digest::{Algorithm, Digest};
use crate::layer::{Extent, Toc};

use super::members::Members;
use super::toc_json::{JsonEntry, parse};
use super::{EntryFault, LazyError, MAX_CHUNKS, MAX_MEMBERS};

/// The most bytes of a gzip member or zstd frame in front of a chunk in it.
const MAX_INNER_OFFSET: u64 = 64 << 20;

/// How much a table of contents may say. What is kept of it grows with these and the length of its
/// names, not with what else stands in the JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) members: usize,
    pub(super) chunks: usize,
}

/// What is read of anybody.
pub(super) const LIMITS: Limits = Limits { members: MAX_MEMBERS, chunks: MAX_CHUNKS };

/// What the part of a blob is like that holds the chunks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload {
    pub(super) codec: Codec,
    pub(super) blob_size: u64,
    /// Where in the blob the chunks end and the table of contents begins.
    pub(super) end: u64,
}

/// Where a chunk is: in the blob, and in what is decoded from there.
type Place = (u64, u32);

/// A piece of a file that is verified as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    len: u32,
    digest: [u8; 32],
}

/// A file whose chunks come in.
struct File {
    entry: Entry,
    name: String,
    /// How much of it they make up so far; `None` for what has none.
    reached: Option<u64>,
}

/// Takes entries in, one by one, and keeps what is needed of them.
struct Reader<'a> {
    payload: Payload,
    limits: Limits,
    hidden: &'a dyn Fn(&LayerPath) -> bool,
    members: Members,
    entries: usize,
    file: Option<File>,
    chunks: Vec<Chunk>,
    by_place: BTreeMap<Place, u32>,
}

/// The layer that the table of contents `json` describes. Names that are `hidden` are the format's own
/// and left out; `seen` is shown every entry.
pub(super) fn layer(
    json: &[u8],
    payload: Payload,
    limits: Limits,
    hidden: &dyn Fn(&LayerPath) -> bool,
    seen: &mut dyn FnMut(&JsonEntry<'_>),
) -> Result<(Toc, SpanTable), LazyError> {
    let mut reader = Reader {
        payload,
        limits,
        hidden,
        members: Members::default(),
        entries: 0,
        file: None,
        chunks: Vec::new(),
        by_place: BTreeMap::new(),
    };
    parse(json, &mut |entry| {
        seen(entry);
        reader.add(entry)
    })?;
    reader.finish()
}

impl Reader<'_> {
    fn add(&mut self, entry: &JsonEntry<'_>) -> Result<(), LazyError> {
        if entry.is_chunk() {
            return self.add_chunk(entry).map_err(|fault| entry.broken(fault));
        }
        self.end_file()?;
        self.entries += 1;
        if self.entries > self.limits.members {
            return Err(LazyError::TooMany { what: "files", limit: self.limits.members });
        }
        let member = entry.member().map_err(|fault| entry.broken(fault))?;
        let has_data = member.size > 0;
        let reached = entry.is_regular().then_some(0);
        self.file = Some(File { entry: member, name: entry.short_name(), reached });
        if has_data { self.add_chunk(entry).map_err(|fault| entry.broken(fault)) } else { Ok(()) }
    }

    /// Says that no more chunks of the last file follow.
    fn end_file(&mut self) -> Result<(), LazyError> {
        let Some(File { entry, name, reached }) = self.file.take() else { return Ok(()) };
        if reached.is_some_and(|reached| reached != entry.size) {
            return Err(LazyError::Entry { entry: name, fault: EntryFault::Chunks });
        }
        match LayerPath::parse_clamped(&entry.path) {
            Ok(path) if (self.hidden)(&path) => Ok(()),
            _ => Ok(self.members.add(entry)?),
        }
    }

    fn add_chunk(&mut self, entry: &JsonEntry<'_>) -> Result<(), EntryFault> {
        let Some(File { entry: file, reached: Some(reached), .. }) = &mut self.file else {
            return Err(EntryFault::StrayChunk);
        };
        let number = |what, n: i64| u64::try_from(n).map_err(|_| EntryFault::Range(what));
        let file_offset = number("chunk offset", entry.chunk_offset)?;
        let rest = file.size.checked_sub(file_offset).ok_or(EntryFault::Chunks)?;
        let len = match number("chunk size", entry.chunk_size)? {
            0 => rest,
            len => len,
        };
        if file_offset != *reached || len == 0 || len > rest {
            return Err(EntryFault::Chunks);
        }
        *reached = file_offset + len;
        if entry.chunk_type == "zeros" {
            return Ok(());
        }
        let short = u32::try_from(len).ok().filter(|&len| len <= SPAN_LEN_MAX);
        let chunk = Chunk {
            len: short.ok_or(EntryFault::ChunkTooLarge(len))?,
            digest: digest(entry, len == file.size)?,
        };
        let offset = number("offset", entry.offset)?;
        let inner = number("inner offset", entry.inner_offset)?;
        let inner = u32::try_from(inner).ok().filter(|_| inner <= MAX_INNER_OFFSET);
        let place = (offset, inner.ok_or(EntryFault::Range("inner offset"))?);
        if offset >= self.payload.end {
            return Err(EntryFault::Outside);
        }
        let next = u32::try_from(self.chunks.len()).ok();
        let next = next.filter(|_| self.chunks.len() < self.limits.chunks);
        let next = next.ok_or(EntryFault::TooManyChunks(self.limits.chunks))?;
        let number = *self.by_place.entry(place).or_insert(next);
        if number == next {
            self.chunks.push(chunk);
        } else if self.chunks[number as usize] != chunk {
            return Err(EntryFault::Overlap);
        }
        // Where it is in the address space is known in the end: its number stands for it.
        file.runs.push(DataRun { file_offset, len, stream_offset: u64::from(number) });
        Ok(())
    }

    fn finish(mut self) -> Result<(Toc, SpanTable), LazyError> {
        self.end_file()?;
        let (table, starts) = table(self.payload, &self.chunks, &self.by_place);
        drop((self.chunks, self.by_place));
        let mut toc = self.members.finish()?;
        toc.inodes.iter_mut().for_each(|inode| place(&mut inode.extents, &starts));
        Ok((toc, table))
    }
}

/// The span table of `chunks`, and where in its address space each of them starts.
fn table(
    payload: Payload,
    chunks: &[Chunk],
    by_place: &BTreeMap<Place, u32>,
) -> (SpanTable, Vec<u64>) {
    let mut table = SpanTable {
        codec: payload.codec,
        blob_size: payload.blob_size,
        size: 0,
        points: Vec::with_capacity(chunks.len()),
        spans: Vec::with_capacity(chunks.len()),
        windows_size: 0,
        span_digest: SpanDigest::Sha256,
    };
    let start = match payload.codec {
        Codec::Gzip => Start::GzipMember,
        Codec::Zstd => Start::ZstdFrame,
        Codec::Plain => Start::Plain,
    };
    let mut starts = vec![0; chunks.len()];
    for ((&(in_offset, skip), &number), point) in by_place.iter().zip(0..) {
        let (chunk, out_offset) = (chunks[number as usize], table.size);
        table.points.push(AccessPoint { out_offset, in_offset, skip, start: start.clone() });
        table.spans.push(Span { out_offset, len: chunk.len, point, digest: chunk.digest });
        table.size += u64::from(chunk.len);
        starts[number as usize] = out_offset;
    }
    (table, starts)
}

/// Puts extents, each of one chunk and with its number, where those start; neighbours in the file that
/// are neighbours in the address space are one.
fn place(extents: &mut Vec<Extent>, starts: &[u64]) {
    for extent in &mut *extents {
        let number = usize::try_from(extent.layer_offset).ok();
        extent.layer_offset = number.and_then(|n| starts.get(n)).copied().unwrap_or(0);
    }
    extents.dedup_by(|next, last| {
        let follows = last.file_offset + last.len == next.file_offset
            && last.layer_offset + last.len == next.layer_offset;
        if follows {
            last.len += next.len;
        }
        follows
    });
    extents.shrink_to_fit();
}

/// The SHA-256 of a chunk, which may be that of its file if it is `whole`.
fn digest(entry: &JsonEntry<'_>, whole: bool) -> Result<[u8; 32], EntryFault> {
    let text = match &*entry.chunk_digest {
        "" if whole => &*entry.digest,
        text => text,
    };
    if text.is_empty() {
        return Err(EntryFault::NoDigest);
    }
    let digest: Digest = text.parse()?;
    match (digest.algorithm(), digest.as_bytes().try_into()) {
        (Algorithm::Sha256, Ok(bytes)) => Ok(bytes),
        _ => Err(EntryFault::Algorithm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: Payload = Payload { codec: Codec::Gzip, blob_size: 1000, end: 900 };
    const SMALL: Limits = Limits { members: 4, chunks: 3 };

    fn of(entries: &str) -> Result<(Toc, SpanTable), LazyError> {
        let json = format!(r#"{{"version":1,"entries":[{entries}"#);
        layer(json.as_bytes(), PAYLOAD, SMALL, &|_| false, &mut |_| {})
    }

    fn file(name: &str, offset: usize, chunks: usize) -> String {
        let digest = format!("sha256:{}", "0".repeat(64));
        let chunk = |n: usize| {
            let kind = if n == 0 { "reg" } else { "chunk" };
            let (size, offset) = (chunks * 10, offset + n);
            format!(
                r#"{{"name":"{name}","type":"{kind}","size":{size},"offset":{offset},
                "chunkOffset":{},"chunkSize":10,"chunkDigest":"{digest}"}}"#,
                n * 10
            )
        };
        (0..chunks).map(chunk).collect::<Vec<_>>().join(",")
    }

    /// What comes behind the bound is no JSON at all, and nobody looks at it.
    #[test]
    fn what_is_beyond_a_bound_is_not_even_read() {
        let folder = r#"{"name":"d","type":"dir"}"#;
        let four = [folder; 4].join(",");
        assert_eq!(of(&format!("{four}]}}")).unwrap().0.names.len(), 1);
        let error = of(&format!("{four},{folder},!")).unwrap_err();
        assert!(matches!(error, LazyError::TooMany { what: "files", limit: 4 }), "{error}");
        let (_, table) = of(&format!("{}]}}", file("f", 1, 3))).unwrap();
        assert_eq!((table.spans.len(), table.size), (3, 30));
        for more in [file("f", 1, 4), [file("f", 1, 3), file("g", 9, 1)].join(",")] {
            let error = of(&format!("{more},!")).unwrap_err();
            let LazyError::Entry { fault, .. } = error else { panic!("{error}") };
            assert_eq!(fault, EntryFault::TooManyChunks(3));
        }
    }

    #[test]
    fn chunks_in_any_order_are_found_and_neighbours_are_one_extent() {
        let json = [file("b", 50, 2), file("a", 10, 1)].join(",");
        let (toc, table) = of(&format!("{json}]}}")).unwrap();
        let points: Vec<u64> = table.points.iter().map(|point| point.in_offset).collect();
        assert_eq!(points, [10, 50, 51]);
        let extent = |file_offset, len, layer_offset| Extent { file_offset, len, layer_offset };
        assert_eq!(toc.inodes[0].extents, [extent(0, 20, 10)]);
        assert_eq!(toc.inodes[1].extents, [extent(0, 10, 0)]);
    }
}
