//! A layer on its way from a reader to whoever takes the uncompressed bytes.
//!
//! One thread reads and decodes, one hashes, and the caller takes the chunks in order, so that none
//! of the three waits for another as long as there is room. What is ready and not taken is bounded.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::compress::Decoder;
use crate::digest::{Algorithm, DiffId, Hasher};

use super::Error;

/// The size of a chunk in bytes.
const CHUNK: usize = 256 << 10;
/// How much may be ready and not taken while a layer is applied, in bytes.
pub(super) const READ_AHEAD: usize = 4 << 20;

/// A layer that is being read and decompressed by threads of its own, which end when it is over or
/// dropped.
#[derive(Debug)]
pub struct LayerStream {
    chunks: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    digest: Receiver<DiffId>,
}

impl LayerStream {
    /// Starts to read `blob`, whose compression is told by its first bytes; about `ahead` bytes are
    /// decompressed before they are asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Stream`] where there can be no thread.
    pub fn start(blob: impl Read + Send + 'static, ahead: usize) -> Result<Self, Error> {
        let (decoded, to_hash) = sync_channel(ahead / CHUNK);
        let (hashed, chunks) = sync_channel(2);
        let (used, reused) = channel();
        let (digests, digest) = channel();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(work).map_err(Error::Stream)
        };
        // The threads end by themselves: when the blob is over or when nobody takes chunks any more.
        spawn("layer-decode", Box::new(move || decode(blob, &decoded, &reused)))?;
        spawn("layer-hash", Box::new(move || hash(&to_hash, &hashed, &digests)))?;
        Ok(Self { chunks, used, digest })
    }

    /// The next bytes; `None` at the end of the layer.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.chunks.recv() {
            Ok(Ok(chunk)) => Ok(Some(chunk)),
            Ok(Err(e)) => Err(Error::Stream(e)),
            Err(_) => Ok(None),
        }
    }

    /// Gives the room of a chunk back.
    pub(super) fn recycle(&mut self, chunk: Vec<u8>) {
        // The decoder may be done already.
        let _ = self.used.send(chunk);
    }

    /// The digest of all bytes, which must have been taken.
    pub(super) fn finish(self) -> Result<DiffId, Error> {
        // No digest and no error came: a thread has died.
        self.digest.recv().map_err(|_| Error::Stream(io::Error::other("decoding stopped half-way")))
    }
}

/// Decodes `blob` into chunks until it ends, fails, or nobody takes them.
fn decode(blob: impl Read, chunks: &SyncSender<io::Result<Vec<u8>>>, reused: &Receiver<Vec<u8>>) {
    let mut decoder = match Decoder::new(blob) {
        Ok(decoder) => decoder,
        Err(e) => {
            let _ = chunks.send(Err(e));
            return;
        }
    };
    loop {
        let mut chunk = reused.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let (len, end) = fill(&mut decoder, &mut chunk);
        chunk.truncate(len);
        if len > 0 && chunks.send(Ok(chunk)).is_err() {
            return;
        }
        match end {
            None => {}
            // An empty chunk says that all is there: a thread that dies says nothing.
            Some(Ok(())) => {
                let _ = chunks.send(Ok(Vec::new()));
                return;
            }
            Some(Err(e)) => {
                let _ = chunks.send(Err(e));
                return;
            }
        }
    }
}

/// Fills `chunk`; says how far, and how the stream ended if it did.
fn fill(from: &mut impl Read, chunk: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut len = 0;
    while len < chunk.len() {
        match from.read(&mut chunk[len..]) {
            Ok(0) => return (len, Some(Ok(()))),
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (len, Some(Err(e))),
        }
    }
    (len, None)
}

/// Hashes chunks on their way.
fn hash(
    from: &Receiver<io::Result<Vec<u8>>>,
    to: &SyncSender<io::Result<Vec<u8>>>,
    digest: &Sender<DiffId>,
) {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for chunk in from {
        match &chunk {
            Ok(bytes) if bytes.is_empty() => {
                // Sent before the chunks end, which they do when this thread drops its sender.
                let _ = digest.send(DiffId::new(hasher.finish()));
                return;
            }
            Ok(bytes) => hasher.update(bytes),
            Err(_) => {
                let _ = to.send(chunk);
                return;
            }
        }
        if to.send(chunk).is_err() {
            return;
        }
    }
}
