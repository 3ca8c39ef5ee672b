use std::fmt;

use crate::compress::{Codec, SpanTable};
use crate::layer::Origin;

use super::Refused;

/// Above this many bytes from an access point, decoding again is too dear: what a pass decodes is
/// kept on disk.
const LONG_RUN: u64 = 8 << 20;

/// Whether a layer is read lazily, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lazy {
    /// It has no index yet; the first use makes one in one pass.
    NotIndexed,
    /// Any part can be decoded alone.
    Spans {
        /// How it is compressed.
        codec: Codec,
        /// Spans.
        spans: usize,
        /// Places where decoding can start.
        points: usize,
    },
    /// It is compressed in one piece: the first read decodes up to that place, and the decoded
    /// bytes are kept on disk.
    OnePiece {
        /// How it is compressed.
        codec: Codec,
        /// The longest stretch without a place to start, in uncompressed bytes.
        run: u64,
    },
}

impl Lazy {
    /// What `table` allows.
    pub(super) fn of(table: &SpanTable) -> Self {
        let (codec, run) = (table.codec, table.longest_run());
        if run > LONG_RUN {
            return Lazy::OnePiece { codec, run };
        }
        Lazy::Spans { codec, spans: table.spans.len(), points: table.points.len() }
    }

    /// Whether a part is read without decoding much more than it.
    pub fn is_lazy(&self) -> bool {
        matches!(self, Lazy::Spans { .. })
    }
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Plain => "uncompressed",
        Codec::Gzip => "gzip",
        Codec::Zstd => "zstd",
    }
}

impl fmt::Display for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lazy::NotIndexed => f.write_str("not indexed yet; its first use makes the index"),
            Lazy::Spans { codec, spans, points } => {
                write!(f, "{}, {spans} spans from {points} access points", codec_name(*codec))
            }
            Lazy::OnePiece { codec, run } => write!(
                f,
                "{} without a place to start for {}; decoded bytes are kept on disk",
                codec_name(*codec),
                bytesize::ByteSize(*run).display().iec()
            ),
        }
    }
}

/// How a layer of an image is read, and what was refused on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Whether it is read lazily.
    pub lazy: Lazy,
    /// What says where its files are; `None` for a layer of which nothing is known yet.
    pub origin: Option<Origin>,
    /// Formats that it has and that are not used.
    pub refused: Vec<Refused>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        self.lazy.fmt(f)
    }
}
