use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::write::GzEncoder;
use parking_lot::Mutex;

use crate::compress::Codec;
use crate::digest::{Algorithm, DiffId, Digest, Hasher};

/// The level of gzip and zstd: the usual one of both tools.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// How many bytes of the layer are compressed alone: 1 MiB, which costs less than one percent of
/// the compressed size.
const BLOCK: usize = 1 << 20;
/// The most threads that compress.
const MAX_THREADS: usize = 16;

/// Compresses a layer on its way to `W`, by as many threads as there are processors, and hashes it
/// before and after.
///
/// A gzip layer is a sequence of members and a zstd layer one of frames, 1 MiB of the layer each:
/// every reader takes them, and who reads lazily can start at any of them without more. The same
/// layer always gives the same bytes: no time, no file name in a header, nothing of the threads.
pub struct LayerWriter<W: Write> {
    out: Counted<W>,
    uncompressed: Hasher,
    uncompressed_size: u64,
    /// `None` for plain layers.
    packer: Option<Packer>,
    /// What is not compressed yet.
    block: Vec<u8>,
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
    /// Where there can be no thread.
    pub fn new(inner: W, codec: Codec) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::with_threads(inner, codec, threads.min(MAX_THREADS))
    }

    fn with_threads(inner: W, codec: Codec, threads: usize) -> io::Result<Self> {
        let pack = match codec {
            Codec::Plain => None,
            Codec::Gzip => Some(gzip as Pack),
            Codec::Zstd => Some(zstd as Pack),
        };
        let packer = pack.map(|pack| Packer::start(pack, threads)).transpose()?;
        Ok(Self {
            out: Counted { inner, hasher: Hasher::new(Algorithm::Sha256), size: 0 },
            uncompressed: Hasher::new(Algorithm::Sha256),
            uncompressed_size: 0,
            packer,
            block: Vec::new(),
        })
    }

    /// Ends the stream and gives back where it went.
    ///
    /// # Errors
    ///
    /// Those of writing the rest.
    pub fn finish(mut self) -> io::Result<(W, WrittenLayer)> {
        if let Some(packer) = &mut self.packer {
            // An empty layer is an empty member, not nothing.
            if !self.block.is_empty() || self.uncompressed_size == 0 {
                packer.push(std::mem::take(&mut self.block))?;
            }
            while let Some(packed) = packer.take()? {
                self.out.write_all(&packed)?;
            }
        }
        self.out.flush()?;
        let written = WrittenLayer {
            diff_id: DiffId::new(self.uncompressed.finish()),
            uncompressed_size: self.uncompressed_size,
            digest: self.out.hasher.finish(),
            size: self.out.size,
        };
        Ok((self.out.inner, written))
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(packer) = &mut self.packer else {
            let n = self.out.write(buf)?;
            self.uncompressed.update(&buf[..n]);
            self.uncompressed_size += n as u64;
            return Ok(n);
        };
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        self.uncompressed.update(&buf[..n]);
        self.uncompressed_size += n as u64;
        if self.block.len() == BLOCK {
            if packer.is_full()
                && let Some(packed) = packer.take()?
            {
                self.out.write_all(&packed)?;
            }
            packer.push(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)))?;
        }
        Ok(n)
    }

    /// Does nothing to what is not compressed yet: where blocks end must not depend on it.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Compresses a block alone.
type Pack = fn(&[u8]) -> io::Result<Vec<u8>>;

fn gzip(block: &[u8]) -> io::Result<Vec<u8>> {
    let level = flate2::Compression::new(GZIP_LEVEL);
    let mut encoder = GzEncoder::new(Vec::with_capacity(block.len() / 2), level);
    encoder.write_all(block)?;
    encoder.finish()
}

fn zstd(block: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(block, ZSTD_LEVEL)
}

/// A block on its way to a thread, and where the result is waited for.
type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// Threads that compress blocks, and the results in the order of the blocks. The threads end with
/// the value.
struct Packer {
    jobs: SyncSender<Job>,
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    /// How many blocks may be under way.
    room: usize,
}

impl Packer {
    fn start(pack: Pack, threads: usize) -> io::Result<Self> {
        let room = 2 * threads;
        let (jobs, waiting) = sync_channel::<Job>(room);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new().name("layer-pack".to_owned()).spawn(move || {
                loop {
                    // The lock is held while waiting for a block, not while compressing it.
                    let job = waiting.lock().recv();
                    let Ok((block, result)) = job else { return };
                    // Nobody waits where the writer was given up.
                    let _ = result.send(pack(&block));
                }
            })?;
        }
        Ok(Self { jobs, results: VecDeque::new(), room })
    }

    fn is_full(&self) -> bool {
        self.results.len() >= self.room
    }

    fn push(&mut self, block: Vec<u8>) -> io::Result<()> {
        let (result, waited) = sync_channel(1);
        self.jobs.send((block, result)).map_err(|_| stopped())?;
        self.results.push_back(waited);
        Ok(())
    }

    /// The first block that is under way, compressed.
    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.results.pop_front() {
            None => Ok(None),
            Some(waited) => waited.recv().map_err(|_| stopped())?.map(Some),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("compression stopped half-way")
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
    use crate::compress::Decoder;

    fn write(layer: &[u8], piece: usize, codec: Codec, threads: usize) -> (Vec<u8>, WrittenLayer) {
        let mut writer = LayerWriter::with_threads(Vec::new(), codec, threads).unwrap();
        for piece in layer.chunks(piece) {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn every_codec_gives_the_layer_back_and_says_both_digests() {
        let numbers: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, numbers.len()] {
            let layer = &numbers[..size];
            for codec in [Codec::Plain, Codec::Gzip, Codec::Zstd] {
                let (bytes, written) = write(layer, 1 << 20, codec, 3);
                assert!(size == 0 || crate::compress::sniff(&bytes) == codec);
                assert_eq!(*written.diff_id.digest(), Digest::sha256(layer));
                assert_eq!(written.digest, Digest::sha256(&bytes));
                let sizes = (written.uncompressed_size, written.size);
                assert_eq!(sizes, (size as u64, bytes.len() as u64));
                let mut back = Vec::new();
                Decoder::new(&*bytes).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == layer);
                assert!(codec == Codec::Plain || !bytes.is_empty());
            }
        }
    }

    #[test]
    fn bytes_depend_on_nothing_but_the_layer() {
        let layer: Vec<u8> = (0..1_000_000_u32).flat_map(|i| (i / 3).to_le_bytes()).collect();
        for codec in [Codec::Gzip, Codec::Zstd] {
            let first = write(&layer, layer.len(), codec, 1);
            for (piece, threads) in [(1000, 1), (BLOCK, 4), (77_777, 2)] {
                assert!(write(&layer, piece, codec, threads) == first);
            }
        }
    }

    #[test]
    fn a_sink_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = LayerWriter::with_threads(Full, Codec::Gzip, 2).unwrap();
        let mut written = 0;
        let failed = loop {
            match writer.write_all(&[0; 100_000]) {
                Ok(()) => written += 100_000,
                Err(e) => break e,
            }
        };
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        assert!(written < 10 * BLOCK);
    }
}
