use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use tokio::sync::watch;

use crate::content::Descriptor;
use crate::digest::Hasher;

use super::Error;
use super::answer::host_of;
use super::blob::Blob;
use super::body::Body;
use super::endpoint::Endpoint;

/// A blob on its way, whole, into an unnamed file: for registries that ignore ranges. Its bytes
/// can be read as soon as they are there.
pub(super) struct Spool {
    file: Arc<File>,
    state: watch::Receiver<State>,
    /// For errors.
    what: String,
    host: String,
    stall: Duration,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// So many bytes from the start are there.
    there: u64,
    failed: Option<Error>,
}

impl Spool {
    /// Begins the download; called on a thread of the client's runtime.
    pub(super) fn start(blob: Arc<Blob>) -> Result<Arc<Self>, Error> {
        let folder = &blob.shared().spool_dir;
        let made = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
        let file = made.map_err(Error::io(folder.display()))?;
        let file = Arc::new(file);
        let (sender, state) = watch::channel(State::default());
        let spool = Self {
            file: file.clone(),
            state,
            what: blob.call().what,
            host: blob.host(),
            stall: blob.shared().timing.total,
        };
        tokio::spawn(async move {
            if let Err(e) = download(&blob, &file, &sender).await {
                sender.send_modify(|state| state.failed = Some(e));
            }
        });
        Ok(Arc::new(spool))
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.borrow().failed.is_some()
    }

    /// The `len` bytes from `offset`, once they are there.
    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let end = offset + len as u64;
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| state.there >= end || state.failed.is_some());
        self.while_it_moves(reached).await?;
        if self.state.borrow().there < end {
            return Err(self.state.borrow().failed.clone().unwrap_or(Error::Stopped));
        }
        let mut data = vec![0; len];
        // From the page cache, a moment after it was written.
        self.file.read_exact_at(&mut data, offset).map_err(Error::io(&self.what))?;
        Ok(data)
    }

    /// Waits for `reached` as long as more bytes come.
    async fn while_it_moves<T>(
        &self,
        reached: impl Future<Output = Result<T, watch::error::RecvError>>,
    ) -> Result<(), Error> {
        let mut moves = self.state.clone();
        tokio::pin!(reached);
        loop {
            moves.mark_unchanged();
            let changed = tokio::time::timeout(self.stall, moves.changed());
            tokio::select! {
                biased;
                outcome = &mut reached => return outcome.map(drop).map_err(|_| Error::Stopped),
                outcome = changed => match outcome {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(Error::Stopped),
                    Err(_) => return Err(Error::Silent {
                        what: self.what.clone(),
                        host: self.host.clone(),
                        seconds: self.stall.as_secs(),
                    }),
                },
            }
        }
    }
}

async fn download(blob: &Blob, file: &File, sender: &watch::Sender<State>) -> Result<(), Error> {
    let mut tries = blob.tries(blob.descriptor.size);
    loop {
        let server = tries.next().await?;
        match try_download(blob, &server, file, sender, tries.deadline).await {
            Ok(()) => {
                server.worked();
                return Ok(());
            }
            Err(e) => {
                if matches!(e, Error::DigestMismatch { .. }) {
                    sender.send_modify(|state| state.there = 0);
                }
                tries.failed(&server, e)?;
            }
        }
    }
}

/// Fetches the blob from its start; what an earlier try wrote is written again.
async fn try_download(
    blob: &Blob,
    server: &Endpoint,
    file: &File,
    sender: &watch::Sender<State>,
    deadline: std::time::Instant,
) -> Result<(), Error> {
    let Descriptor { digest, size, .. } = &blob.descriptor;
    let call = blob.call();
    let (response, url) = server.send(&call, deadline).await?;
    let host = host_of(&url);
    let mismatch = |found| Error::SizeMismatch {
        digest: digest.clone(),
        host: host.clone(),
        expected: *size,
        found,
    };
    let length = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(found) = length.filter(|length| length != size) {
        return Err(mismatch(found));
    }
    let shared = blob.shared();
    let mut body = Body::new(response, &call.what, &host, &shared.timing, deadline);
    let mut hasher = Hasher::new(digest.algorithm());
    let mut at = 0;
    while let Some(piece) = body.next().await? {
        let end = at + piece.len() as u64;
        if end > *size {
            return Err(mismatch(end));
        }
        hasher.update(&piece);
        // The last byte is held back until the whole is checked.
        let shown = end.min(size.saturating_sub(1));
        file.write_all_at(&piece, at).map_err(Error::io(&call.what))?;
        if shown > sender.borrow().there {
            sender.send_modify(|state| state.there = shown);
        }
        shared.traffic.count_bytes(piece.len() as u64);
        at = end;
    }
    if at < *size {
        return Err(body.cut_short(usize::try_from(size - at).unwrap_or(usize::MAX)));
    }
    let found = hasher.finish();
    if found != *digest {
        return Err(Error::DigestMismatch { expected: digest.clone(), found, host });
    }
    sender.send_modify(|state| state.there = *size);
    Ok(())
}
