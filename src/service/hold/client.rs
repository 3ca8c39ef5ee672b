use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{DONE, GET, MAGIC, NOTHING, PATIENCE, PUT, VERSION};
use crate::fuse::Handover;
use crate::service::Error;

/// The sign that a holder has what was put: it lasts as long as the holder.
#[derive(Debug)]
pub(in crate::service) struct Kept(UnixStream);

impl Kept {
    /// Waits until the holder is gone.
    pub(in crate::service) fn wait(&mut self) {
        // Nothing is ever sent.
        while !matches!(self.0.read(&mut [0]), Ok(0) | Err(_)) {}
    }
}

/// Gives `handover` to the holder at `socket`.
///
/// # Errors
///
/// [`Error::Io`]; [`Error::OtherHolder`].
pub(in crate::service) fn put(socket: &Path, handover: &Handover) -> Result<Kept, Error> {
    let failed = |e| Error::io("give the mount to", socket)(e);
    let (mut stream, answer) = call(socket, PUT).map_err(failed)?;
    if answer != DONE {
        return Err(Error::OtherHolder { path: socket.to_owned() });
    }
    handover.send(&stream).map_err(failed)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(failed)?;
    stream.set_read_timeout(None).map_err(failed)?;
    Ok(Kept(stream))
}

/// What the holder at `socket` holds.
///
/// # Errors
///
/// As [`put`].
pub(in crate::service) fn get(socket: &Path) -> Result<Option<Handover>, Error> {
    let failed = |e| Error::io("ask for the mount at", socket)(e);
    let (stream, answer) = call(socket, GET).map_err(failed)?;
    match answer {
        DONE => Handover::receive(&stream).map(Some).map_err(failed),
        NOTHING => Ok(None),
        _ => Err(Error::OtherHolder { path: socket.to_owned() }),
    }
}

fn call(socket: &Path, operation: u8) -> io::Result<(UnixStream, u8)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = MAGIC.to_vec();
    request.extend([VERSION, operation]);
    stream.write_all(&request)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok((stream, answer[0]))
}
