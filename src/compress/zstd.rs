use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use crate::sys::inflate::Stop;

use super::DecodeError;
use super::stream::{Entry, Step, Stream};

/// The binary logarithm of the largest window that a frame may ask for: 128 MiB, what the zstd
/// program decodes without being told to.
const WINDOW_LOG_MAX: u32 = 27;

/// Where in the sequence of frames the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a frame, or before the end.
    Between,
    /// Inside of a frame, of which nothing may have been read yet.
    Frame,
}

/// A sequence of zstd frames (RFC 8878, section 3), from the start of one on.
pub(super) struct ZstdStream {
    context: DCtx<'static>,
    place: Place,
}

impl ZstdStream {
    /// From the header of a frame on.
    pub(super) fn at_frame() -> Result<Self, DecodeError> {
        let mut context = DCtx::try_create().ok_or(DecodeError::Zstd("no memory"))?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(named)?;
        Ok(Self { context, place: Place::Between })
    }
}

fn named(code: usize) -> DecodeError {
    DecodeError::Zstd(get_error_name(code))
}

impl Stream for ZstdStream {
    fn step(&mut self, input: &[u8], output: &mut [u8], _: Stop) -> Result<Step, DecodeError> {
        if self.place == Place::Between {
            if input.is_empty() {
                return Ok(Step { consumed: 0, produced: 0, entry: None, trailer: None });
            }
            self.place = Place::Frame;
            return Ok(Step { consumed: 0, produced: 0, entry: Some(Entry::Frame), trailer: None });
        }
        let mut source = InBuffer::around(input);
        let mut sink = OutBuffer::around(output);
        // 0 says that a frame has ended and all of it was handed over.
        if self.context.decompress_stream(&mut sink, &mut source).map_err(named)? == 0 {
            self.place = Place::Between;
        }
        Ok(Step { consumed: source.pos(), produced: sink.pos(), entry: None, trailer: None })
    }

    fn may_end(&self) -> bool {
        self.place == Place::Between
    }
}
