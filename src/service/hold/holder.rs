use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{DONE, GET, MAGIC, MAX_RECORD, NOTHING, PATIENCE, PUT, UNKNOWN, VERSION};
use crate::sys::descriptor;

/// Keeps one mount alive. It never touches the mount, so it cannot hang with it.
#[derive(Debug)]
pub struct Holder {
    listener: UnixListener,
    held: Option<Held>,
    /// Whether to end with the mount.
    end_with_mount: bool,
}

#[derive(Debug)]
struct Held {
    record: Vec<u8>,
    device: OwnedFd,
    /// The caller that gave it sees by this when the holder is gone.
    _caller: UnixStream,
}

impl Holder {
    /// A holder that is asked through `listener`; with `end_with_mount` it ends when what it
    /// holds is unmounted.
    pub fn new(listener: UnixListener, end_with_mount: bool) -> Self {
        Self { listener, held: None, end_with_mount }
    }

    /// Answers callers until the mount has ended, or for ever.
    ///
    /// # Errors
    ///
    /// Those of poll(2) and accept(2); a caller's faults are no errors.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            let (called, ended) = self.wait()?;
            if ended {
                tracing::info!("the mount has ended");
                self.held = None;
                if self.end_with_mount {
                    return Ok(());
                }
            }
            if called {
                let (stream, _) = self.listener.accept()?;
                if let Err(error) = self.answer(stream) {
                    tracing::warn!(%error, "a caller was not understood");
                }
            }
        }
    }

    /// Waits for a caller, or for the end of the mount: its device is in error then.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let device = self.held.iter().map(|held| held.device.as_fd());
        fds.extend(device.map(|device| PollFd::new(device, PollFlags::empty())));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok((false, false)),
            other => other?,
        };
        let has = |fd: &PollFd<'_>, flag| fd.revents().is_some_and(|seen| seen.contains(flag));
        let ended = fds.get(1).is_some_and(|fd| has(fd, PollFlags::POLLERR));
        Ok((has(&fds[0], PollFlags::POLLIN), ended))
    }

    fn answer(&mut self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut call = [0; 6];
        stream.read_exact(&mut call)?;
        let known = call[..4] == MAGIC && call[4] == VERSION;
        match (call[5], &self.held) {
            (PUT, _) if known => self.keep(stream),
            (GET, None) if known => stream.write_all(&[NOTHING]),
            (GET, Some(held)) if known => {
                stream.write_all(&[DONE])?;
                descriptor::send(&stream, &held.record, held.device.as_fd())
            }
            _ => stream.write_all(&[UNKNOWN]),
        }
    }

    fn keep(&mut self, mut stream: UnixStream) -> io::Result<()> {
        stream.write_all(&[DONE])?;
        let mut record = vec![0; MAX_RECORD];
        let (len, device) = descriptor::receive(&stream, &mut record)?;
        record.truncate(len);
        stream.write_all(&[DONE])?;
        self.held = Some(Held { record, device, _caller: stream });
        Ok(())
    }
}
