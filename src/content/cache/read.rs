//! Reading a layer: from disk, or else from its source.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Instant;

use crate::compress::SpanError;
use crate::io::ReadAt;

use super::demand::Advice;
use super::layer::CachedLayer;
use super::plan;
use super::streams::Step;

/// The most compressed bytes of what is expected that are fetched at once.
const EXPECT_MAX: u64 = 128 << 10;
/// How often a read looks again because what it waited for was evicted, or not kept.
const MAX_TRIES: u32 = 16;

impl CachedLayer {
    /// The span at `at`, how far into it that is, and how many of `len` bytes it has.
    fn piece(&self, at: u64, len: usize) -> io::Result<(u32, u64, usize)> {
        let gap = || io::Error::new(io::ErrorKind::InvalidData, "the span table has a gap");
        let index = self.table().find(at).ok_or_else(gap)?;
        let span = self.span(index);
        let skip = at - span.out_offset;
        let left =
            u64::from(span.len).checked_sub(skip).filter(|&left| left > 0).ok_or_else(gap)?;
        Ok((index, skip, usize::try_from(left).map_or(len, |left| left.min(len))))
    }

    /// How many of `len` bytes at `offset` there are.
    fn clip(&self, offset: u64, len: usize) -> usize {
        let left = self.table().size.saturating_sub(offset);
        usize::try_from(left).map_or(len, |left| left.min(len))
    }

    /// Notes that a read of `bytes` wants these spans, and has fetched what that lets expect.
    fn wanted(&self, bytes: &Range<u64>, spans: RangeInclusive<u32>) {
        let last = *spans.end();
        for span in spans {
            let table = self.table();
            // Where all is here, nobody has to know where the files are.
            let end_of = |step: &Step| match step.spans.clone().all(|span| self.is_here(span)) {
                true => step.spans.end,
                false => self.guesses.end_of(step, span, table),
            };
            let Some(advice) = self.demand.wanted(span, end_of) else { continue };
            let (Some(cache), Some(me)) = (self.cache.upgrade(), self.me.upgrade()) else { return };
            let account = cache.account();
            let len = plan::compressed_len(table, &(span..span + 1));
            cache.counters().wanted_bytes.add(len);
            match advice {
                // What a trace says is on its way, and no sign of more.
                Advice::Ahead(_) if self.guesses.is_traced(span) => {}
                Advice::All if self.guesses.has_trace() => {}
                // The read brings its own spans itself.
                Advice::Ahead(spans) if spans.end > last + 1 => {
                    let spans = spans.start.max(last + 1)..spans.end;
                    self.guesses.charge(spans.clone(), table, account);
                    cache.ahead().fetch(&me, spans);
                }
                Advice::All if (last as usize) + 1 < table.spans.len() => {
                    cache.ahead().fetch_all(&me);
                }
                Advice::Nothing | Advice::Ahead(_) | Advice::All => {}
            }
            let is_here = |span| self.is_here(span);
            for run in self.guesses.wanted(bytes, span, last, table, account, is_here) {
                cache.ahead().fetch(&me, run);
            }
        }
    }

    fn read_waiting(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut done, mut tries) = (0, 0);
        while done < buf.len() {
            let at = offset + done as u64;
            let (span, skip, take) = self.piece(at, buf.len() - done)?;
            if self.read_stored(span, &mut buf[done..done + take], skip).is_some() {
                self.counters.hit_bytes.add(take as u64);
                self.count(|c| &c.hit_bytes, take as u64);
                (done, tries) = (done + take, 0);
                continue;
            }
            let last = self.table().find(offset + buf.len() as u64 - 1).unwrap_or(span);
            // The disk takes nothing, so that what others fetched is not there: for ourselves.
            let alone = tries == MAX_TRIES;
            let read = self.read_far(span, last, &mut buf[done..], at, alone);
            done += read.map_err(to_io)?;
            tries += 1;
        }
        Ok(done)
    }
}

/// A layer as a reader whose reads are no sign of what else is wanted: of who reads all of it.
struct Unnoticed(Arc<CachedLayer>);

impl CachedLayer {
    /// The layer as a reader whose reads start no read-ahead and are in no trace.
    pub fn unnoticed(self: &Arc<Self>) -> Arc<dyn ReadAt> {
        Arc::new(Unnoticed(self.clone()))
    }
}

impl ReadAt for Unnoticed {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.0.clip(offset, buf.len());
        self.0.read_waiting(&mut buf[..len], offset)
    }

    fn expect(&self, offset: u64, len: u64) {
        self.0.expect(offset, len);
    }
}

fn to_io(e: SpanError) -> io::Error {
    match e {
        SpanError::Read { source, .. } | SpanError::ReadWindow { source, .. } => source,
        e @ (SpanError::Decode { .. } | SpanError::Mismatch { .. }) => {
            io::Error::new(io::ErrorKind::InvalidData, e)
        }
    }
}

impl ReadAt for CachedLayer {
    fn size(&self) -> u64 {
        self.table().size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.clip(offset, buf.len());
        if let Some(n) = self.try_read_at(&mut buf[..len], offset)? {
            return Ok(n);
        }
        let begun = Instant::now();
        let cache = self.cache.upgrade();
        let _waiting = cache.as_ref().map(|cache| cache.ahead().read_waits());
        let (first, ..) = self.piece(offset, len)?;
        let last = self.table().find(offset + len as u64 - 1).unwrap_or(first);
        // Before it waits: what is expected comes beside what is wanted.
        self.wanted(&(offset..offset + len as u64), first..=last);
        let read = self.read_waiting(&mut buf[..len], offset);
        if let Some(cache) = &cache {
            cache.counters().misses.add(1);
            cache.counters().miss_latency.observe(begun.elapsed());
        }
        self.counters.served_bytes.add(read.as_ref().map_or(0, |n| *n as u64));
        read
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let len = self.clip(offset, buf.len());
        let mut done = 0;
        while done < len {
            let (span, skip, take) = self.piece(offset + done as u64, len - done)?;
            if self.read_stored(span, &mut buf[done..done + take], skip).is_none() {
                return Ok(None);
            }
            self.wanted(&(offset..offset + len as u64), span..=span);
            done += take;
        }
        self.counters.hit_bytes.add(done as u64);
        self.counters.served_bytes.add(done as u64);
        self.count(|c| &c.hit_bytes, done as u64);
        Ok(Some(done))
    }

    fn expect(&self, offset: u64, len: u64) {
        let (Some(cache), Some(me)) = (self.cache.upgrade(), self.me.upgrade()) else { return };
        let end = self.table().size.min(offset.saturating_add(len));
        let last = end.checked_sub(1).filter(|&last| last >= offset);
        let (Some(first), Some(last)) = (self.table().find(offset), last) else { return };
        let Some(last) = self.table().find(last) else { return };
        // Those that are here stay as they are.
        let missing = (first..=last).filter(|span| !self.is_here(*span));
        for run in plan::runs(self.table(), missing, 0, EXPECT_MAX) {
            cache.ahead().fetch(&me, run);
        }
    }
}
