use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Classify, Kind};

use super::{DecodeError, SpanTable};

/// Why a span could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// The blob could not be read.
    #[error("blob bytes at {offset}: {source}")]
    Read {
        /// Where in the blob, in bytes.
        offset: u64,
        /// What the reader answered.
        source: io::Error,
    },
    /// The window of an access point could not be read.
    #[error("saved windows at {offset}: {source}")]
    ReadWindow {
        /// Where in the windows of the layer, in bytes.
        offset: u64,
        /// What the reader answered.
        source: io::Error,
    },
    /// The compressed bytes are broken.
    #[error("span {span}: {source}")]
    Decode {
        /// The span that was being decoded.
        span: u32,
        /// What the decoder says.
        source: DecodeError,
    },
    /// The decoded bytes are not those that were indexed.
    #[error("span {span}: content digest is {found}, the index has {expected}")]
    Mismatch {
        /// The span.
        span: u32,
        /// The digest in the table, function and hex.
        expected: String,
        /// The digest of what was found, likewise.
        found: String,
    },
}

impl SpanError {
    /// Whether bytes came and were not those that the table promises.
    pub fn is_wrong(&self) -> bool {
        match self {
            SpanError::Decode { .. } | SpanError::Mismatch { .. } => true,
            SpanError::Read { .. } | SpanError::ReadWindow { .. } => false,
        }
    }
}

impl Classify for SpanError {
    fn kind(&self) -> Kind {
        match self {
            SpanError::Read { source, .. } | SpanError::ReadWindow { source, .. } => {
                Kind::of_io(source)
            }
            SpanError::Decode { source, .. } => source.kind(),
            SpanError::Mismatch { .. } => Kind::DataLoss,
        }
    }
}

/// Something that gives verified spans of one layer: a blob and its table, or a cache before one.
pub trait SpanSource: Send + Sync {
    /// The table of the layer.
    fn table(&self) -> &SpanTable;

    /// Decodes span `span`, checks its digest and hands it to `sink`.
    ///
    /// Spans before it of the same access point may be decoded on the way; they are checked and
    /// handed over too, so that a cache can keep them. `span` is the last one handed over.
    ///
    /// # Errors
    ///
    /// See [`SpanError`]. Nothing that fails its check reaches `sink`.
    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError>;

    /// As [`SpanSource::read_span`] for every span of `spans`, in order; a source far away asks for
    /// all their compressed bytes at once.
    ///
    /// # Errors
    ///
    /// As [`SpanSource::read_span`]; what came before the error has reached `sink`.
    fn read_run(
        &self,
        spans: Range<u32>,
        sink: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), SpanError> {
        let all = &self.table().spans;
        let mut next = spans.start;
        while next < spans.end {
            let decode = |source| SpanError::Decode { span: next, source };
            let first = all.get(next as usize).ok_or_else(|| decode(DecodeError::NoSuchSpan))?;
            let of_point = all.partition_point(|span| span.point <= first.point);
            let end = u32::try_from(of_point).unwrap_or(u32::MAX).min(spans.end);
            self.read_span(end - 1, sink)?;
            next = end;
        }
        Ok(())
    }
}

impl<S: SpanSource + ?Sized> SpanSource for Arc<S> {
    fn table(&self) -> &SpanTable {
        (**self).table()
    }
    fn read_span(&self, span: u32, sink: &mut dyn FnMut(u32, &[u8])) -> Result<(), SpanError> {
        (**self).read_span(span, sink)
    }
    fn read_run(
        &self,
        spans: Range<u32>,
        sink: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), SpanError> {
        (**self).read_run(spans, sink)
    }
}
