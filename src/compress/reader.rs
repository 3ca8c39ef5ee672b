use std::io;
use std::sync::Arc;

use crate::error::{Classify, Kind};
use crate::io::ReadAt;

use super::cache::Key;
use super::flight::{Boarding, Landed, Lead, PointKey};
use super::pages::Pages;
use super::{DecodeError, SpanCache, SpanError, SpanSource};

/// The uncompressed stream of a layer as a positioned reader, over verified spans.
///
/// Reads never come short but at the end of the stream. Threads that miss on the same span share
/// one decode; its failure is told to those who waited and is not remembered.
#[derive(Debug)]
pub struct SpanReader<S> {
    source: S,
    layer: u32,
    cache: Arc<SpanCache>,
}

/// The failure of a decode, shared by those who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<SpanError>);

impl<S: SpanSource> SpanReader<S> {
    /// A reader of `source`, whose spans are kept in `cache` under the number `layer`: one that no
    /// other source of the same cache has.
    pub fn new(source: S, layer: u32, cache: Arc<SpanCache>) -> Self {
        Self { source, layer, cache }
    }

    /// Where the spans come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    fn key(&self, span: u32) -> Key {
        Key { layer: self.layer, span }
    }

    /// The bytes of a span, from the cache or decoded.
    fn span(&self, span: u32) -> io::Result<Arc<Pages>> {
        let point = self.source.table().spans.get(span as usize).map(|s| s.point);
        let point = point.ok_or_else(|| {
            to_io(Arc::new(SpanError::Decode { span, source: DecodeError::NoSuchSpan }))
        })?;
        loop {
            if let Some(bytes) = self.cache.get(self.key(span)) {
                return Ok(bytes);
            }
            let lead = match self.cache.flights.board(PointKey { layer: self.layer, point }) {
                Boarding::Lead(lead) => lead,
                Boarding::Wait(flight) => match flight.wait(span) {
                    Landed::Bytes(bytes) => return Ok(bytes),
                    Landed::LookAgain => continue,
                    Landed::Failed(e) => return Err(to_io(e)),
                    Landed::TimedOut => return Err(late(span)),
                },
            };
            // Another flight may have landed between the look-up and the boarding.
            if let Some(bytes) = self.cache.get(self.key(span)) {
                return Ok(bytes);
            }
            return self.decode(span, lead);
        }
    }

    /// Decodes a span, keeps it and those that come with it, and tells those who wait.
    fn decode(&self, span: u32, lead: Lead<'_>) -> io::Result<Arc<Pages>> {
        let mut wanted = Err(DecodeError::NotDelivered);
        let read = self.source.read_span(span, &mut |number, bytes| {
            let pages = match Pages::copy_of(bytes) {
                Ok(pages) => Arc::new(pages),
                Err(_) if number == span => return wanted = Err(DecodeError::OutOfMemory),
                Err(_) => return,
            };
            self.cache.insert(self.key(number), Arc::clone(&pages));
            lead.passed(number);
            if number == span {
                wanted = Ok(pages);
            }
        });
        let wanted = wanted.map_err(|source| SpanError::Decode { span, source });
        match read.and(wanted) {
            Ok(pages) => {
                lead.land(span, Arc::clone(&pages));
                Ok(pages)
            }
            Err(e) => {
                let e = Arc::new(e);
                lead.fail(Arc::clone(&e));
                Err(to_io(e))
            }
        }
    }

    /// Copies from the spans that `span` gives, from `offset` on; `None` as soon as it gives none.
    fn copy(
        &self,
        buf: &mut [u8],
        offset: u64,
        mut span: impl FnMut(u32) -> io::Result<Option<Arc<Pages>>>,
    ) -> io::Result<Option<usize>> {
        let table = self.source.table();
        let left = usize::try_from(table.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let broken = || io::Error::new(io::ErrorKind::InvalidData, "the span table has a gap");
            let number = table.find(at).ok_or_else(broken)?;
            let Some(bytes) = span(number)? else { return Ok(None) };
            let start = table.spans.get(number as usize).map_or(at, |s| s.out_offset);
            let skip = usize::try_from(at - start).unwrap_or(usize::MAX);
            let rest = bytes.get(skip..).filter(|r| !r.is_empty()).ok_or_else(broken)?;
            let n = rest.len().min(want - done);
            buf[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
        }
        Ok(Some(done))
    }
}

impl<S: SpanSource> ReadAt for SpanReader<S> {
    fn size(&self) -> u64 {
        self.source.table().size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let done = self.copy(buf, offset, |span| self.span(span).map(Some))?;
        Ok(done.unwrap_or(0))
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.copy(buf, offset, |span| Ok(self.cache.get(self.key(span))))
    }
}

/// The error of a reader for that of a source.
fn to_io(e: Arc<SpanError>) -> io::Error {
    let kind = match (&*e, e.kind()) {
        (SpanError::Read { source, .. } | SpanError::ReadWindow { source, .. }, _) => source.kind(),
        (_, Kind::ResourceExhausted) => io::ErrorKind::OutOfMemory,
        (SpanError::Decode { .. } | SpanError::Mismatch { .. }, _) => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, Shared(e))
}

fn late(span: u32) -> io::Error {
    let text = format!("span {span}: another thread's decode has not ended in time");
    io::Error::new(io::ErrorKind::TimedOut, text)
}
