//! From the entries of a JSON table of contents to a [`Toc`] and a span table.
//!
//! The address space of the span table is made up: the chunks, one after the other in the order of
//! the blob. Tar headers and padding between them are nowhere in it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::archive::{DataRun, Entry, EntryKind, LayerPath};
use crate::compress::{AccessPoint, Codec, SPAN_LEN_MAX, Span, SpanDigest, SpanTable, Start};
use crate::digest::{Algorithm, Digest};
use crate::layer::{Toc, TocBuilder};

use super::toc_json::JsonEntry;
use super::{EntryFault, LazyError};

/// The most bytes of a gzip member or zstd frame in front of a chunk in it.
const MAX_INNER_OFFSET: u64 = 64 << 20;

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

/// A piece of a file and the chunk that it is.
#[derive(Debug, Clone, Copy)]
struct Piece {
    file_offset: u64,
    len: u64,
    place: Place,
}

/// Takes entries in, one by one, and keeps what their chunks say.
struct Reader {
    payload: Payload,
    chunks: BTreeMap<Place, Chunk>,
    members: Vec<(Entry, Vec<Piece>)>,
    /// How much of the last file its chunks make up so far; `None` after what is no file.
    reached: Option<u64>,
}

/// The layer that `entries` describe. Names in `hidden` are the format's own and left out.
pub(super) fn layer(
    entries: &[JsonEntry],
    payload: Payload,
    hidden: &dyn Fn(&LayerPath) -> bool,
) -> Result<(Toc, SpanTable), LazyError> {
    let mut reader =
        Reader { payload, chunks: BTreeMap::new(), members: Vec::new(), reached: None };
    let mut last: Option<&JsonEntry> = None;
    for entry in entries {
        if !entry.is_chunk() {
            if let Some(last) = last {
                reader.end_file().map_err(|fault| last.broken(fault))?;
            }
            last = Some(entry);
        }
        reader.add(entry).map_err(|fault| entry.broken(fault))?;
    }
    if let Some(last) = last {
        reader.end_file().map_err(|fault| last.broken(fault))?;
    }
    let (table, starts) = reader.table();
    let placed = reader.members.into_iter().map(|(mut entry, pieces)| {
        entry.runs = runs(&pieces, &starts);
        entry
    });
    Ok((toc(placed.collect(), hidden)?, table))
}

impl Reader {
    fn add(&mut self, entry: &JsonEntry) -> Result<(), EntryFault> {
        if entry.is_chunk() {
            return self.add_chunk(entry);
        }
        let member = entry.member()?;
        self.reached = entry.is_regular().then_some(0);
        let has_data = member.size > 0;
        self.members.push((member, Vec::new()));
        if has_data { self.add_chunk(entry) } else { Ok(()) }
    }

    /// Says that no more chunks of the last file follow.
    fn end_file(&mut self) -> Result<(), EntryFault> {
        let whole = self.members.last().map_or(0, |(member, _)| member.size);
        match self.reached {
            Some(reached) if reached != whole => Err(EntryFault::Chunks),
            _ => Ok(()),
        }
    }

    fn add_chunk(&mut self, entry: &JsonEntry) -> Result<(), EntryFault> {
        let (Some((file, pieces)), Some(reached)) = (self.members.last_mut(), self.reached) else {
            return Err(EntryFault::StrayChunk);
        };
        let number = |what, n: i64| u64::try_from(n).map_err(|_| EntryFault::Range(what));
        let file_offset = number("chunk offset", entry.chunk_offset)?;
        let rest = file.size.checked_sub(file_offset).ok_or(EntryFault::Chunks)?;
        let len = match number("chunk size", entry.chunk_size)? {
            0 => rest,
            len => len,
        };
        if file_offset != reached || len == 0 || len > rest {
            return Err(EntryFault::Chunks);
        }
        self.reached = Some(file_offset + len);
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
        pieces.push(Piece { file_offset, len, place });
        match self.chunks.insert(place, chunk) {
            Some(before) if before != chunk => Err(EntryFault::Overlap),
            _ => Ok(()),
        }
    }

    /// The span table, and where in its address space each chunk starts.
    fn table(&self) -> (SpanTable, HashMap<Place, u64>) {
        let mut table = SpanTable {
            codec: self.payload.codec,
            blob_size: self.payload.blob_size,
            size: 0,
            points: Vec::with_capacity(self.chunks.len()),
            spans: Vec::with_capacity(self.chunks.len()),
            windows_size: 0,
            span_digest: SpanDigest::Sha256,
        };
        let mut starts = HashMap::with_capacity(self.chunks.len());
        for ((&place, chunk), point) in self.chunks.iter().zip(0..) {
            let (in_offset, skip) = place;
            let start = match self.payload.codec {
                Codec::Gzip => Start::GzipMember,
                Codec::Zstd => Start::ZstdFrame,
                Codec::Plain => Start::Plain,
            };
            let out_offset = table.size;
            table.points.push(AccessPoint { out_offset, in_offset, skip, start });
            table.spans.push(Span { out_offset, len: chunk.len, point, digest: chunk.digest });
            table.size += u64::from(chunk.len);
            starts.insert(place, out_offset);
        }
        (table, starts)
    }
}

/// The SHA-256 of a chunk, which may be that of its file if it is `whole`.
fn digest(entry: &JsonEntry, whole: bool) -> Result<[u8; 32], EntryFault> {
    let text = match entry.chunk_digest.as_str() {
        "" if whole => entry.digest.as_str(),
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

/// The data of a file; neighbours in the file that are neighbours in the address space are one run.
fn runs(pieces: &[Piece], starts: &HashMap<Place, u64>) -> Vec<DataRun> {
    let mut runs: Vec<DataRun> = Vec::new();
    for piece in pieces {
        let stream_offset = starts.get(&piece.place).copied().unwrap_or(0);
        match runs.last_mut() {
            Some(last)
                if last.file_offset + last.len == piece.file_offset
                    && last.stream_offset + last.len == stream_offset =>
            {
                last.len += piece.len;
            }
            _ => {
                runs.push(DataRun { file_offset: piece.file_offset, len: piece.len, stream_offset })
            }
        }
    }
    runs
}

/// The layer of `members`, whose order says little: a hard link may come before what it links to.
fn toc(members: Vec<Entry>, hidden: &dyn Fn(&LayerPath) -> bool) -> Result<Toc, LazyError> {
    let clean = |path: &[u8]| LayerPath::parse_clamped(path).ok();
    let mut missing: HashSet<LayerPath> =
        members.iter().filter_map(|member| clean(&member.path)).collect();
    let mut builder = TocBuilder::new();
    let mut waiting: Vec<Entry> = Vec::new();
    for member in members {
        let path = clean(&member.path);
        if path.as_ref().is_some_and(hidden) {
            continue;
        }
        let waits = match &member.kind {
            EntryKind::HardLink(target) => clean(target).is_some_and(|t| missing.contains(&t)),
            EntryKind::Regular
            | EntryKind::Directory
            | EntryKind::Symlink(_)
            | EntryKind::CharDevice
            | EntryKind::BlockDevice
            | EntryKind::Fifo => false,
        };
        if waits {
            waiting.push(member);
            continue;
        }
        if let Some(path) = path {
            missing.remove(&path);
        }
        builder.add(member)?;
    }
    add_links(&mut builder, waiting, missing)?;
    Ok(builder.finish())
}

/// Adds hard links in an order in which each comes after its target. Those that link to one another
/// in a circle come last, in theirs, and link to what the layers below have.
fn add_links(
    builder: &mut TocBuilder,
    mut waiting: Vec<Entry>,
    mut missing: HashSet<LayerPath>,
) -> Result<(), LazyError> {
    loop {
        let before = waiting.len();
        let mut still = Vec::new();
        for link in waiting {
            let EntryKind::HardLink(target) = &link.kind else { continue };
            let target = LayerPath::parse_clamped(target).ok();
            if target.is_some_and(|target| missing.contains(&target)) {
                still.push(link);
                continue;
            }
            if let Ok(path) = LayerPath::parse_clamped(&link.path) {
                missing.remove(&path);
            }
            builder.add(link)?;
        }
        if still.len() == before {
            return Ok(still.into_iter().try_for_each(|link| builder.add(link))?);
        }
        waiting = still;
    }
}
