use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::compress::Codec;
use crate::digest::{Algorithm, DiffId, Digest, Hasher};

/// The level of gzip and zstd: the usual one of both tools.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Compresses a layer on its way to `W`, and hashes it before and after.
///
/// The same layer always gives the same bytes: no time, no file name in the header.
pub struct LayerWriter<W: Write> {
    encoder: Encoder<Counted<W>>,
    uncompressed: Hasher,
    uncompressed_size: u64,
}

enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLayer {
    /// The digest of the uncompressed layer.
    pub diff_id: DiffId,
    /// The size of the uncompressed layer in bytes.
    pub uncompressed_size: u64,
    /// The digest of the bytes that were written.
    pub digest: Digest,
    /// How many bytes were written.
    pub size: u64,
}

impl<W: Write> LayerWriter<W> {
    /// Writes to `inner`, compressed by `codec`.
    ///
    /// # Errors
    ///
    /// Those of setting up the encoder.
    pub fn new(inner: W, codec: Codec) -> io::Result<Self> {
        let out = Counted { inner, hasher: Hasher::new(Algorithm::Sha256), size: 0 };
        let encoder = match codec {
            Codec::Plain => Encoder::Plain(out),
            Codec::Gzip => Encoder::Gzip(GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL))),
            Codec::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?),
        };
        let uncompressed = Hasher::new(Algorithm::Sha256);
        Ok(Self { encoder, uncompressed, uncompressed_size: 0 })
    }

    /// Ends the stream and gives back where it went.
    ///
    /// # Errors
    ///
    /// Those of writing the rest.
    pub fn finish(self) -> io::Result<(W, WrittenLayer)> {
        let mut out = match self.encoder {
            Encoder::Plain(out) => out,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        out.flush()?;
        let written = WrittenLayer {
            diff_id: DiffId::new(self.uncompressed.finish()),
            uncompressed_size: self.uncompressed_size,
            digest: out.hasher.finish(),
            size: out.size,
        };
        Ok((out.inner, written))
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = match &mut self.encoder {
            Encoder::Plain(out) => out.write(buf),
            Encoder::Gzip(encoder) => encoder.write(buf),
            Encoder::Zstd(encoder) => encoder.write(buf),
        }?;
        self.uncompressed.update(&buf[..n]);
        self.uncompressed_size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Plain(out) => out.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Counts and hashes what passes through.
struct Counted<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_codec_gives_the_layer_back_and_says_both_digests() {
        let layer: Vec<u8> = b"layer ".repeat(10_000);
        for codec in [Codec::Plain, Codec::Gzip, Codec::Zstd] {
            let write = || {
                let mut writer = LayerWriter::new(Vec::new(), codec).unwrap();
                writer.write_all(&layer).unwrap();
                writer.finish().unwrap()
            };
            let (bytes, written) = write();
            assert_eq!(crate::compress::sniff(&bytes), codec);
            assert_eq!(*written.diff_id.digest(), Digest::sha256(&layer));
            assert_eq!(written.digest, Digest::sha256(&bytes));
            assert_eq!((written.uncompressed_size, written.size), (60_000, bytes.len() as u64));
            let mut back = Vec::new();
            match codec {
                Codec::Plain => back.clone_from(&bytes),
                Codec::Gzip => {
                    flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut back).map(drop).unwrap();
                }
                Codec::Zstd => back = zstd::decode_all(&*bytes).unwrap(),
            }
            assert_eq!(back, layer);
            assert_eq!(write().0, bytes, "reproducible");
        }
    }
}
