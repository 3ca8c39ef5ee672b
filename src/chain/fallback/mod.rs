//! The way back from a table of contents that turns out to be wrong.
//!
//! A digest vouches for what a table of contents says, not for its truth: where it says that content
//! is at a place of the blob where it is not, that shows when the content is read. By then the tree is
//! shown, and stays what it is. So when bytes came whole, from afar twice, and were not those that were
//! promised, the layer is passed over once from front to back, as one that has no table of contents;
//! its digest and diffID are checked, and its index is kept. From then on the content of each file
//! that is shown is that of the file of the same name and size in the layer. What the layer has no such
//! file for is an I/O error.
//!
//! That the format is not to be used for this blob is written down with the reason, which `inspect`
//! shows; the next start reads the layer by its own index.
//!
//! # Locking
//!
//! The mutex guards the state alone and is held over nothing that waits but its own condition
//! variable. One thread passes over the layer, at most one at a time.

mod remap;

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::compress::{BlobSpans, SpanCache, SpanReader};
use crate::content::Provider;
use crate::content::cache::LayerCache;
use crate::error::{Classify, Kind};
use crate::image;
use crate::io::ReadAt;
use crate::layer::{IndexStore, LayerIndex, Origin};

use super::discover::Known;
use super::{Error, build};
use remap::{Place, Remap};

/// How long a read waits for the pass over its layer, which goes on without it.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long after a failed pass none is begun, where the next may well do better.
const PAUSE: Duration = Duration::from_secs(2);
/// The same where the blob itself is wrong.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// The most decoded bytes of a layer that is not in the cache on disk.
const MEMORY_CACHE: u64 = 8 << 20;

/// What a pass over a layer takes.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) layer: image::Layer,
    pub(super) origin: Origin,
    pub(super) indexes: IndexStore,
    pub(super) known: Known,
    pub(super) cache: Option<Arc<LayerCache>>,
}

/// A layer that is read by a table of contents, as long as that is right.
pub struct Fallback {
    parts: Parts,
    near: Arc<dyn ReadAt>,
    me: Weak<Self>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone)]
enum State {
    /// Nothing speaks against it.
    Believed,
    /// The layer is being passed over.
    Streaming { why: Arc<str> },
    /// The layer is read by its own index.
    Own { why: Arc<str>, own: Arc<Own> },
    /// The pass failed; until then it is not tried again.
    Failed { why: Arc<str>, kind: io::ErrorKind, error: Arc<str>, until: Instant },
}

/// The content of a layer by its own index, where the table of contents says it is.
struct Own {
    reader: Arc<dyn ReadAt>,
    remap: Remap,
}

impl Fallback {
    /// The layer as `near` reads it.
    pub(super) fn new(parts: Parts, near: Arc<dyn ReadAt>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            parts,
            near,
            me: me.clone(),
            state: Mutex::new(State::Believed),
            changed: Condvar::new(),
        })
    }

    /// Why the table of contents is not used any more, and what is used; `None` while it is.
    pub fn reason(&self) -> Option<String> {
        let state = self.state.lock().clone();
        match state {
            State::Believed => None,
            State::Streaming { why } => Some(format!("{why}; the whole layer is being read")),
            State::Own { why, .. } => Some(format!("{why}; read by an own index")),
            State::Failed { why, error, .. } => {
                Some(format!("{why}; the whole layer could not be read: {error}"))
            }
        }
    }

    /// Passes over the layer unless that was done, because of `error`: bytes that came were not those
    /// that the table of contents promises.
    ///
    /// # Errors
    ///
    /// That of the pass; `TimedOut` where it takes longer than two minutes, and goes on.
    pub(super) fn give_up_format(&self, error: &dyn std::fmt::Display) -> io::Result<()> {
        self.wait_for_own(error).map(drop)
    }

    fn own(&self) -> Option<Arc<Own>> {
        match &*self.state.lock() {
            State::Own { own, .. } => Some(own.clone()),
            State::Believed | State::Streaming { .. } | State::Failed { .. } => None,
        }
    }

    fn wait_for_own(&self, cause: &dyn std::fmt::Display) -> io::Result<Arc<Own>> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Own { own, .. } => return Ok(own.clone()),
                State::Failed { kind, error, until, .. } if Instant::now() < *until => {
                    return Err(io::Error::new(*kind, error.to_string()));
                }
                State::Believed | State::Failed { .. } => {
                    let why: Arc<str> = wrong(cause).into();
                    self.begin(&why)?;
                    *state = State::Streaming { why };
                }
                State::Streaming { .. } => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        let text = "the layer is being read from front to back, which takes long";
                        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                    }
                }
            }
        }
    }

    /// Starts the thread that passes over the layer; it waits for the state before it says anything.
    fn begin(&self, why: &Arc<str>) -> io::Result<()> {
        let me = self.me.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let why = why.clone();
        let pass = move || Landing(&me).land(me.make_own(&why));
        thread::Builder::new().name("fallback".into()).spawn(pass).map(drop)
    }

    /// Passes over the layer, where no index of it is here yet.
    fn make_own(&self, why: &str) -> Result<Own, Error> {
        let Parts { provider, layer, origin, indexes, known, cache } = &self.parts;
        let digest = &layer.descriptor.digest;
        tracing::warn!(%digest, format = %origin, "the whole layer is read from front to back: {why}");
        let failed = |source| Error::Index { digest: digest.clone(), source };
        let gone = || Error::Gone { chain_id: layer.chain_id.clone() };
        let there = indexes.load(digest, &Origin::Scan).map_err(failed)?;
        let found = match there.filter(|index| index.identity.diff_id == layer.diff_id) {
            Some(index) => index,
            None => self.pass()?,
        };
        let shown = indexes.load(digest, origin).map_err(failed)?.ok_or_else(gone)?;
        let remap = Remap::between(&shown.toc, &found.toc);
        drop((shown, found));
        let stored = indexes.load_table(digest, &Origin::Scan).map_err(failed)?.ok_or_else(gone)?;
        if let Err(error) = known.refuse(digest, origin, why) {
            tracing::warn!(%digest, %error, "it is not written down that a format is not to be used");
        }
        if remap.strangers() > 0 {
            let files = remap.strangers();
            tracing::error!(%digest, files, "files are shown that the layer does not have like that");
        }
        let content = |source| Error::Content { digest: digest.clone(), source };
        let blob = provider.open(&layer.descriptor).map_err(content)?;
        let spans = Arc::new(BlobSpans::new(stored.table, stored.windows, blob));
        let cached = cache.as_ref().and_then(|cache| cache.layer(digest, spans.clone()).ok());
        let reader: Arc<dyn ReadAt> = match cached {
            Some(cached) => cached,
            None => Arc::new(SpanReader::new(spans, 0, Arc::new(SpanCache::new(MEMORY_CACHE)))),
        };
        Ok(Own { reader, remap })
    }

    fn pass(&self) -> Result<LayerIndex, Error> {
        let Parts { provider, layer, indexes, cache, .. } = &self.parts;
        let digest = &layer.descriptor.digest;
        if let Some(cache) = cache {
            cache.counters().distrusted.add(1);
        }
        let ingest = cache.as_ref().and_then(|cache| cache.ingest(digest).ok());
        let index = build::pass(provider, layer, ingest, &mut |_| {})?;
        let saved = indexes.save(&index);
        saved.map_err(|source| Error::Index { digest: digest.clone(), source })?;
        Ok(index)
    }
}

/// Says how a pass ended, also where it ends by a panic.
struct Landing<'a>(&'a Fallback);

impl Landing<'_> {
    fn land(self, outcome: Result<Own, Error>) {
        let digest = &self.0.parts.layer.descriptor.digest;
        let (kind, error) = match outcome {
            Ok(own) => {
                tracing::info!(%digest, "the layer is read by its own index from now on");
                return self.0.settle(|why| State::Own { why, own: Arc::new(own) });
            }
            Err(error) => (error.kind(), error.to_string()),
        };
        tracing::error!(%digest, %error, "the layer cannot be read from front to back either");
        let pause = if kind == Kind::DataLoss { LONG_PAUSE } else { PAUSE };
        self.0.settle(|why| State::Failed {
            why,
            kind: if kind == Kind::DataLoss {
                io::ErrorKind::InvalidData
            } else {
                io::ErrorKind::Other
            },
            error: error.into(),
            until: Instant::now() + pause,
        });
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let error = "the pass over the layer ended by a fault";
        self.0.settle(|why| State::Failed {
            why,
            kind: io::ErrorKind::Other,
            error: error.into(),
            until: Instant::now() + LONG_PAUSE,
        });
    }
}

impl Fallback {
    /// Ends the pass, if it has not been said how it ended.
    fn settle(&self, next: impl FnOnce(Arc<str>) -> State) {
        let mut state = self.state.lock();
        if let State::Streaming { why } = &*state {
            *state = next(why.clone());
            self.changed.notify_all();
        }
    }
}

/// Whether `error` says that bytes came and were not those that were promised.
fn is_wrong(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

fn wrong(cause: &dyn std::fmt::Display) -> String {
    format!("its table of contents is wrong: {cause}")
}

impl ReadAt for Fallback {
    fn size(&self) -> u64 {
        self.near.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(own) = self.own() {
            return own.read_at(buf, offset, self.size());
        }
        // What comes from afar was asked for twice, as it may have been damaged on its way.
        match self.near.read_at(buf, offset) {
            Err(e) if is_wrong(&e) => self.wait_for_own(&e)?.read_at(buf, offset, self.size()),
            other => other,
        }
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        match self.own() {
            Some(own) => own.try_read_at(buf, offset, self.size()),
            None => self.near.try_read_at(buf, offset),
        }
    }

    fn expect(&self, offset: u64, len: u64) {
        if self.own().is_none() {
            self.near.expect(offset, len);
        }
    }
}

impl Own {
    fn read_at(&self, buf: &mut [u8], offset: u64, size: u64) -> io::Result<usize> {
        let read = self.pieces(buf, offset, size, |piece, at| {
            self.reader.read_exact_at(piece, at).map(|()| true)
        })?;
        Ok(read.unwrap_or(0))
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64, size: u64) -> io::Result<Option<usize>> {
        self.pieces(buf, offset, size, |piece, at| {
            Ok(self.reader.try_read_at(piece, at)? == Some(piece.len()))
        })
    }

    /// Calls `read` for each piece of `buf` that lies in order; `None` as soon as it says `false`.
    fn pieces(
        &self,
        buf: &mut [u8],
        offset: u64,
        size: u64,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<bool>,
    ) -> io::Result<Option<usize>> {
        let want =
            usize::try_from(size.saturating_sub(offset)).map_or(buf.len(), |n| n.min(buf.len()));
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let (place, len) = self.remap.find(at);
            let len = usize::try_from(len).map_or(want - done, |len| len.min(want - done));
            let piece = &mut buf[done..done + len];
            match place {
                Place::At(there) => {
                    if !read(piece, there)? {
                        return Ok(None);
                    }
                }
                Place::Hole => piece.fill(0),
                Place::Unknown => {
                    let text = format!("the layer has no such file for the content at {at}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
            done += len;
        }
        Ok(Some(want))
    }
}
