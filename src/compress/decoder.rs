use std::io::{self, Read};

use crate::sys::inflate::Stop;

use super::gzip::GzipStream;
use super::stream::Stream;
use super::zstd::ZstdStream;
use super::{Codec, DecodeError, SNIFF_LEN, sniff};

/// How many bytes of a blob are read at once; each call of a decoder costs a copy of its window.
const INPUT: usize = 256 << 10;

/// Decodes a whole blob from start to end, whatever codec its first bytes tell.
///
/// A blob of no bytes is an empty stream. All members of a gzip blob and all frames of a zstd blob
/// are decoded, and it must end after one.
pub struct Decoder<R> {
    blob: R,
    /// `None` for plain bytes.
    stream: Option<Box<dyn Stream>>,
    input: Box<[u8]>,
    /// The part of `input` that is not decoded yet.
    filled: std::ops::Range<usize>,
    is_over: bool,
}

impl<R: Read> Decoder<R> {
    /// A decoder of the blob that `blob` reads.
    ///
    /// # Errors
    ///
    /// Those of reading its first bytes.
    pub fn new(mut blob: R) -> io::Result<Self> {
        let mut input = vec![0; INPUT].into_boxed_slice();
        let mut end = 0;
        while end < SNIFF_LEN {
            match blob.read(&mut input[end..]) {
                Ok(0) => break,
                Ok(n) => end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let stream: Option<Box<dyn Stream>> = match sniff(&input[..end]) {
            Codec::Plain => None,
            Codec::Gzip => Some(Box::new(GzipStream::at_member().map_err(broken)?)),
            Codec::Zstd => Some(Box::new(ZstdStream::at_frame().map_err(broken)?)),
        };
        Ok(Self { blob, stream, input, filled: 0..end, is_over: end < SNIFF_LEN })
    }

    /// Reads more of the blob where all that was read is decoded.
    fn refill(&mut self) -> io::Result<()> {
        if self.filled.is_empty() && !self.is_over {
            let n = self.blob.read(&mut self.input)?;
            (self.filled, self.is_over) = (0..n, n == 0);
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    /// As [`Read::read`]; a broken blob is `InvalidData`, a short one `UnexpectedEof`, each with a
    /// [`DecodeError`] inside.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            self.refill()?;
            let input = &self.input[self.filled.clone()];
            let Some(stream) = &mut self.stream else {
                if input.is_empty() {
                    return Ok(0);
                }
                let n = input.len().min(buf.len());
                buf[..n].copy_from_slice(&input[..n]);
                self.filled.start += n;
                return Ok(n);
            };
            let step = stream.step(input, buf, Stop::Never).map_err(broken)?;
            self.filled.start += step.consumed;
            if step.produced > 0 {
                return Ok(step.produced);
            }
            if step.consumed == 0 && step.entry.is_none() {
                if !self.is_over {
                    // A step that takes nothing of what there is would do so for ever.
                    if !self.filled.is_empty() {
                        return Err(broken(DecodeError::NotDelivered));
                    }
                } else if stream.may_end() {
                    return Ok(0);
                } else {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        DecodeError::Truncated,
                    ));
                }
            }
        }
        Ok(0)
    }
}

fn broken(e: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        ::zstd::encode_all(data, 1).unwrap()
    }

    /// Reads as little at once as a reader may.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(1);
            self.0.read(&mut buf[..n])
        }
    }

    fn decode(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        Decoder::new(blob)?.read_to_end(&mut whole)?;
        let mut slow = Vec::new();
        Decoder::new(Dribble(blob))?.read_to_end(&mut slow)?;
        assert_eq!(whole, slow);
        Ok(whole)
    }

    #[test]
    fn every_codec_is_decoded_to_its_end() {
        let data: Vec<u8> = (0..300_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let (head, tail) = data.split_at(100_001);
        assert_eq!(decode(&data).unwrap(), data);
        assert_eq!(decode(&[gzip(head), gzip(tail)].concat()).unwrap(), data);
        assert_eq!(decode(&[gzip(&data), vec![0; 700]].concat()).unwrap(), data);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9].to_vec();
        assert_eq!(decode(&[skippable, zstd(head), zstd(tail)].concat()).unwrap(), data);
        for short in [&b""[..], b"a", b"abc"] {
            assert_eq!(decode(short).unwrap(), short);
        }
    }

    #[test]
    fn short_and_broken_blobs_are_refused() {
        for blob in [gzip(b"hello world"), zstd(b"hello world")] {
            for len in SNIFF_LEN..blob.len() {
                let e = decode(&blob[..len]).unwrap_err();
                assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof, "{len}");
            }
            let garbage = decode(&[&blob[..], b"garbage"].concat()).unwrap_err();
            assert_eq!(garbage.kind(), io::ErrorKind::InvalidData);
        }
    }
}
