//! Inflate with stops at deflate block ends, a primed start and a preset window.
//!
//! zlib-rs offers these only through its C-shaped interface (zlib manual, "Advanced Functions");
//! this is the one place that calls it.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt;

use libz_rs_sys as z;

/// The largest distance of a deflate back-reference in bytes (RFC 1951, section 2): the most that
/// a preset window holds.
pub const WINDOW_SIZE: usize = 32 << 10;

/// Why a stream can't be inflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The stream breaks its format.
    #[error("broken stream: {0}")]
    Broken(String),
    /// There is no memory for the state.
    #[error("no memory for the inflate state")]
    OutOfMemory,
    /// The library refused a call.
    #[error("zlib answered {code} to {call}")]
    Refused {
        /// The function that was called.
        call: &'static str,
        /// Its return code.
        code: i32,
    },
}

/// What surrounds the deflate stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapper {
    /// Nothing.
    Raw,
    /// A gzip member header and trailer; the trailer's checksum and length are checked.
    Gzip,
    /// As [`Wrapper::Gzip`], but what the trailer says is left to the caller to check.
    GzipUnchecked,
}

impl Wrapper {
    /// zlib's `windowBits`: 15 bits of window, negated for raw, 16 more for gzip.
    fn window_bits(self) -> i32 {
        match self {
            Wrapper::Raw => -15,
            Wrapper::Gzip | Wrapper::GzipUnchecked => 15 + 16,
        }
    }
}

/// When a call returns before its input or output is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// At the end of the stream only.
    Never,
    /// At each block end, and after a wrapper's header.
    AtBlocks,
}

/// Where a call stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Anywhere: the input or the output is used up.
    Inside,
    /// Before a block. `bits` (0 to 7) bits of the last byte that was taken belong to it.
    BlockStart {
        /// How many bits are left of the last byte, counted from its top.
        bits: u8,
    },
    /// After the stream, the wrapper's trailer included.
    End,
}

/// What a call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of the input were taken.
    pub consumed: usize,
    /// How many bytes of the output were written.
    pub produced: usize,
    /// Where it stopped.
    pub at: At,
}

/// The state of one inflate stream.
pub struct Inflater {
    // Boxed: the library is free to keep a pointer to it.
    stream: Box<z::z_stream>,
}

// SAFETY: the stream owns its state, which was allocated by the global allocator and is reached
// through `&mut self` only.
unsafe impl Send for Inflater {}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("total_in", &self.stream.total_in)
            .field("total_out", &self.stream.total_out)
            .finish()
    }
}

impl Inflater {
    /// A state at the start of a stream in `wrapper`.
    ///
    /// # Errors
    ///
    /// [`InflateError::OutOfMemory`], [`InflateError::Refused`].
    pub fn new(wrapper: Wrapper) -> Result<Self, InflateError> {
        let mut stream = Box::<z::z_stream>::default();
        let size = i32::try_from(size_of::<z::z_stream>()).map_err(|_| InflateError::Refused {
            call: "inflateInit2",
            code: z::Z_VERSION_ERROR,
        })?;
        // SAFETY: the stream is a valid, exclusively owned z_stream without allocators, and the
        // version and size are those of the library that is linked.
        let code = unsafe {
            z::inflateInit2_(&raw mut *stream, wrapper.window_bits(), z::zlibVersion(), size)
        };
        accept("inflateInit2", code)?;
        let mut inflater = Self { stream };
        inflater.choose_checks(wrapper)?;
        Ok(inflater)
    }

    /// Turns the checks of the trailer off where `wrapper` says so; they are on before.
    fn choose_checks(&mut self, wrapper: Wrapper) -> Result<(), InflateError> {
        match wrapper {
            Wrapper::Raw | Wrapper::Gzip => Ok(()),
            Wrapper::GzipUnchecked => {
                // SAFETY: the stream was initialised by `new`.
                let code = unsafe { z::inflateValidate(&raw mut *self.stream, 0) };
                accept("inflateValidate", code)
            }
        }
    }

    /// Back to the start of a stream in `wrapper`, keeping the memory.
    ///
    /// # Errors
    ///
    /// [`InflateError::Refused`].
    pub fn reset(&mut self, wrapper: Wrapper) -> Result<(), InflateError> {
        // SAFETY: the stream was initialised by `new`.
        let code = unsafe { z::inflateReset2(&raw mut *self.stream, wrapper.window_bits()) };
        accept("inflateReset2", code)?;
        self.choose_checks(wrapper)
    }

    /// Puts the top `bits` (0 to 7) bits of `byte` before the input.
    ///
    /// # Errors
    ///
    /// [`InflateError::Refused`] for more bits than that, or after the first input.
    pub fn prime(&mut self, bits: u8, byte: u8) -> Result<(), InflateError> {
        if bits == 0 {
            return Ok(());
        }
        let value = u32::from(byte).checked_shr(8_u32.saturating_sub(u32::from(bits)));
        let value = value.filter(|_| bits < 8).and_then(|v| i32::try_from(v).ok());
        let refused = InflateError::Refused { call: "inflatePrime", code: z::Z_STREAM_ERROR };
        let value = value.ok_or(refused)?;
        // SAFETY: the stream was initialised by `new`.
        let code = unsafe { z::inflatePrime(&raw mut *self.stream, i32::from(bits), value) };
        accept("inflatePrime", code)
    }

    /// Makes `window` what a raw stream refers to as the bytes before it; of more than
    /// [`WINDOW_SIZE`] bytes the last ones count.
    ///
    /// # Errors
    ///
    /// [`InflateError::Refused`] for a wrapped stream.
    pub fn set_window(&mut self, window: &[u8]) -> Result<(), InflateError> {
        let window = &window[window.len().saturating_sub(WINDOW_SIZE)..];
        let len = clamp(window.len());
        // SAFETY: the stream was initialised by `new`; `window` is readable for `len` bytes and is
        // copied by the call.
        let code = unsafe { z::inflateSetDictionary(&raw mut *self.stream, window.as_ptr(), len) };
        accept("inflateSetDictionary", code)
    }

    /// Inflates `input` into `output` until one of them is used up or `stop` says so.
    ///
    /// Nothing consumed and nothing produced means that more input or more room is needed.
    ///
    /// # Errors
    ///
    /// [`InflateError::Broken`] for a stream that breaks its format, [`InflateError::Refused`].
    pub fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Step, InflateError> {
        let (avail_in, avail_out) = (clamp(input.len()), clamp(output.len()));
        let strm = &mut *self.stream;
        strm.next_in = input.as_ptr();
        strm.avail_in = avail_in;
        strm.next_out = output.as_mut_ptr();
        strm.avail_out = avail_out;
        let flush = match stop {
            Stop::Never => z::Z_NO_FLUSH,
            Stop::AtBlocks => z::Z_BLOCK,
        };
        // SAFETY: the stream was initialised by `new`; next_in and next_out are valid for avail_in
        // and avail_out bytes for the length of the call, and the slices don't overlap.
        let code = unsafe { z::inflate(&raw mut *strm, flush) };
        let consumed = (avail_in - strm.avail_in) as usize;
        let produced = (avail_out - strm.avail_out) as usize;
        strm.next_in = std::ptr::null();
        strm.next_out = std::ptr::null_mut();
        let at = match code {
            // An error that is found with output at hand is reported by the next call, under another
            // name; the message is there already.
            z::Z_OK | z::Z_BUF_ERROR if !strm.msg.is_null() => {
                return Err(InflateError::Broken(self.message()));
            }
            z::Z_OK | z::Z_BUF_ERROR => place(strm.data_type, stop),
            z::Z_STREAM_END => At::End,
            z::Z_DATA_ERROR => return Err(InflateError::Broken(self.message())),
            z::Z_NEED_DICT => return Err(InflateError::Broken("it wants a dictionary".into())),
            z::Z_MEM_ERROR => return Err(InflateError::OutOfMemory),
            code => return Err(InflateError::Refused { call: "inflate", code }),
        };
        Ok(Step { consumed, produced, at })
    }

    /// What the library says of the last error.
    fn message(&self) -> String {
        if self.stream.msg.is_null() {
            return "no reason given".to_owned();
        }
        // SAFETY: a non-null msg is one of the library's static, NUL-terminated texts.
        let text = unsafe { CStr::from_ptr(self.stream.msg) };
        text.to_string_lossy().into_owned()
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new` and is not used again.
        unsafe { z::inflateEnd(&raw mut *self.stream) };
    }
}

/// The CRC-32 of gzip (RFC 1952, section 8) of `bytes` after those whose CRC-32 is `before`; that of
/// no bytes is 0.
pub fn crc32(before: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the slice is readable for its length.
    let crc = unsafe { z::crc32_z(before.into(), bytes.as_ptr(), bytes.len()) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a CRC-32 has 32 bits, in whatever it comes"
    )]
    let crc = crc as u32;
    crc
}

/// The library counts in 32 bits; a longer slice is taken in several calls.
fn clamp(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn accept(call: &'static str, code: i32) -> Result<(), InflateError> {
    match code {
        z::Z_OK => Ok(()),
        z::Z_MEM_ERROR => Err(InflateError::OutOfMemory),
        code => Err(InflateError::Refused { call, code }),
    }
}

/// Reads zlib's `data_type`: bit 7 is set before a block, bit 6 in or after the last one, the low
/// five bits count the unused bits of the last byte.
fn place(data_type: i32, stop: Stop) -> At {
    const BEFORE_BLOCK: i32 = 128;
    const LAST_BLOCK: i32 = 64;
    const BITS: i32 = 31;
    if stop == Stop::Never || data_type & (BEFORE_BLOCK | LAST_BLOCK) != BEFORE_BLOCK {
        return At::Inside;
    }
    match u8::try_from(data_type & BITS) {
        Ok(bits @ 0..=7) => At::BlockStart { bits },
        _ => At::Inside,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};

    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000_u32)
            .flat_map(|i| format!("{} ", i.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut e = DeflateEncoder::new(Vec::new(), Compression::new(6));
        e.write_all(data).unwrap();
        e.finish().unwrap()
    }

    /// Every block start as (input offset, output offset, bits), and the output.
    fn blocks(packed: &[u8]) -> (Vec<(usize, usize, u8)>, Vec<u8>) {
        let mut inflater = Inflater::new(Wrapper::Raw).unwrap();
        let mut out = vec![0; 4 << 20];
        let (mut i, mut o, mut found) = (0, 0, Vec::new());
        loop {
            let step = inflater.inflate(&packed[i..], &mut out[o..], Stop::AtBlocks).unwrap();
            i += step.consumed;
            o += step.produced;
            match step.at {
                At::BlockStart { bits } => found.push((i, o, bits)),
                At::End => break,
                At::Inside => assert!(step.consumed + step.produced > 0),
            }
        }
        out.truncate(o);
        (found, out)
    }

    #[test]
    fn decoding_starts_at_any_block_with_its_bits_and_window() {
        let data = text();
        let packed = deflate(&data);
        let (points, out) = blocks(&packed);
        assert_eq!(out, data);
        assert!(points.len() > 3);
        assert!(points.iter().any(|p| p.2 != 0));
        let mut inflater = Inflater::new(Wrapper::Gzip).unwrap();
        for (i, o, bits) in points {
            inflater.reset(Wrapper::Raw).unwrap();
            inflater.prime(bits, if i > 0 { packed[i - 1] } else { 0 }).unwrap();
            inflater.set_window(&data[..o]).unwrap();
            let mut rest = vec![0; data.len() - o];
            let step = inflater.inflate(&packed[i..], &mut rest, Stop::Never).unwrap();
            assert_eq!((step.produced, step.at), (rest.len(), At::End));
            assert_eq!(rest, data[o..]);
        }
    }

    #[test]
    fn the_trailer_of_a_gzip_member_is_checked_where_that_is_wanted() {
        let mut e = GzEncoder::new(Vec::new(), Compression::new(1));
        e.write_all(b"hello").unwrap();
        let mut packed = e.finish().unwrap();
        let mut out = [0; 16];
        let mut inflater = Inflater::new(Wrapper::Gzip).unwrap();
        let step = inflater.inflate(&packed, &mut out, Stop::Never).unwrap();
        assert_eq!(step, Step { consumed: packed.len(), produced: 5, at: At::End });
        let end = packed.len();
        packed[end - 8] ^= 1;
        inflater.reset(Wrapper::Gzip).unwrap();
        let error = inflater.inflate(&packed, &mut out, Stop::Never).unwrap_err();
        assert_eq!(error, InflateError::Broken("incorrect data check".into()));
        inflater.reset(Wrapper::GzipUnchecked).unwrap();
        let step = inflater.inflate(&packed, &mut out, Stop::Never).unwrap();
        assert_eq!(step, Step { consumed: packed.len(), produced: 5, at: At::End });
    }

    #[test]
    fn empty_input_or_output_only_asks_for_more() {
        let mut inflater = Inflater::new(Wrapper::Raw).unwrap();
        let step = inflater.inflate(&[], &mut [0; 4], Stop::Never).unwrap();
        assert_eq!((step.consumed, step.produced), (0, 0));
        let packed = deflate(b"some bytes");
        let step = inflater.inflate(&packed, &mut [], Stop::Never).unwrap();
        assert_eq!((step.produced, step.at), (0, At::Inside));
    }

    #[test]
    fn more_than_seven_bits_are_refused() {
        let mut inflater = Inflater::new(Wrapper::Raw).unwrap();
        assert!(inflater.prime(8, 0xff).is_err());
        assert!(inflater.prime(255, 0xff).is_err());
        assert!(Inflater::new(Wrapper::Gzip).unwrap().set_window(&[0; 8]).is_err());
    }
}
