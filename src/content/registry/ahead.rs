use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use parking_lot::Mutex;

use crate::io::ReadAt;

use super::Error;
use super::blob::Blob;

/// How many bytes one request asks for.
const CHUNK: usize = 2 << 20;
/// How many requests are under way for one blob.
const DEPTH: usize = 4;

/// A blob that is read once, from front to back: the next few chunks are under way while one is
/// read. Reads elsewhere are right too, but begin anew.
pub(super) struct Ahead {
    blob: Arc<Blob>,
    /// Taken out while it is used, so that nothing is locked while a chunk is waited for.
    window: Mutex<Option<Window>>,
}

/// Chunks in order, without a gap.
#[derive(Default)]
struct Window {
    chunks: VecDeque<Chunk>,
}

struct Chunk {
    offset: u64,
    len: usize,
    state: State,
}

enum State {
    Coming(Receiver<Result<Vec<u8>, Error>>),
    There(Vec<u8>),
}

impl Ahead {
    pub(super) fn new(blob: Arc<Blob>) -> Self {
        Self { blob, window: Mutex::new(Some(Window::default())) }
    }

    /// The chunk of `window` that holds `offset`, with those after it under way.
    fn advance<'a>(&self, window: &'a mut Window, offset: u64) -> Result<&'a mut Chunk, Error> {
        let size = self.blob.descriptor.size;
        let chunks = &mut window.chunks;
        while chunks.front().is_some_and(|chunk| chunk.end() <= offset) {
            chunks.pop_front();
        }
        if chunks.front().is_some_and(|chunk| chunk.offset > offset) {
            chunks.clear();
        }
        let mut next = chunks.back().map_or(offset, Chunk::end);
        while chunks.len() < DEPTH && next < size {
            let len = usize::try_from(size - next).map_or(CHUNK, |left| left.min(CHUNK));
            chunks.push_back(self.start(next, len)?);
            next += len as u64;
        }
        chunks.front_mut().ok_or(Error::Stopped)
    }

    fn start(&self, offset: u64, len: usize) -> Result<Chunk, Error> {
        let blob = self.blob.clone();
        let state = State::Coming(self.blob.shared().driver.start(async move {
            // Reads that somebody waits for come first: they need no permit.
            let permit = blob.shared().bulk.clone().acquire_owned().await;
            let data = blob.range(offset, len).await;
            drop(permit);
            data
        })?);
        Ok(Chunk { offset, len, state })
    }

    fn read(&self, window: &mut Window, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut done = 0;
        while done < buf.len() && offset + (done as u64) < self.blob.descriptor.size {
            let at = offset + done as u64;
            let chunk = self.advance(window, at)?;
            let skip = usize::try_from(at - chunk.offset).unwrap_or(usize::MAX);
            let data = &chunk.wait()?[skip..];
            let n = data.len().min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&data[..n]);
            done += n;
        }
        Ok(done)
    }
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + self.len as u64
    }

    /// The bytes, all `len` of them.
    fn wait(&mut self) -> Result<&[u8], Error> {
        if let State::Coming(receiver) = &self.state {
            self.state = State::There(receiver.recv().unwrap_or(Err(Error::Stopped))?);
        }
        match &self.state {
            State::There(data) => Ok(data),
            State::Coming(_) => Err(Error::Stopped),
        }
    }
}

impl ReadAt for Ahead {
    fn size(&self) -> u64 {
        self.blob.descriptor.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // A second reader at the same time has a window of its own.
        let mut window = self.window.lock().take().unwrap_or_default();
        let outcome = self.read(&mut window, buf, offset);
        if outcome.is_err() {
            // No error is kept: the next read asks again.
            window = Window::default();
        }
        *self.window.lock() = Some(window);
        Ok(outcome?)
    }
}
