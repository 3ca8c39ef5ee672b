//! File descriptors that move: to another process, or to another number.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, UnixAddr, recvmsg, sendmsg,
};
use rustix::io::DupFlags;

/// Makes the number of `target` a descriptor of the file that `with` is of (dup3(2)). Whoever uses
/// that number reads and writes the new file from then on; the old one is closed.
///
/// # Errors
///
/// Those of dup3(2).
pub fn replace(target: BorrowedFd<'_>, with: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number is open for as long as `target` lives. The owned form is never dropped,
    // so it closes nothing, and what dup3 leaves at the number belongs to the number's owner as
    // what was there before did.
    let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(target.as_raw_fd()) });
    Ok(rustix::io::dup3(with, &mut target, DupFlags::CLOEXEC)?)
}

/// Takes over a descriptor that this process was started with, as by systemd's socket activation.
///
/// # Errors
///
/// `EBADF` where there is none of this number; those of fcntl(2).
pub fn inherited(number: std::os::fd::RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is only looked at: fcntl answers EBADF where nothing is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and what a process was started with is its own: the caller says that
    // nobody else in it has taken this one.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends `bytes`, which must not be empty, and with them a descriptor.
///
/// # Errors
///
/// Those of sendmsg(2); `WriteZero` where not all was sent.
pub fn send(socket: &UnixStream, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let n = sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &rights, flags, None)?;
    if n == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives at most `buf.len()` bytes and the descriptor that came with them.
///
/// # Errors
///
/// Those of recvmsg(2); `UnexpectedEof` where the other side is gone; `InvalidData` where there is
/// not exactly one descriptor.
pub fn receive(socket: &UnixStream, buf: &mut [u8]) -> io::Result<(usize, OwnedFd)> {
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 2]);
    let mut parts = [IoSliceMut::new(buf)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        recvmsg::<UnixAddr>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = descriptors(&message)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match (fds.pop(), fds.is_empty()) {
        (Some(fd), true) => Ok((message.bytes, fd)),
        (Some(_) | None, _) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Takes over all descriptors of a message, so that none leaks.
fn descriptors(message: &RecvMsg<'_, '_, UnixAddr>) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel has just opened these numbers for this process, and nobody else
            // knows them.
            all.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_descriptor_goes_with_bytes_to_another_process() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        send(&a, b"name", file.as_fd()).unwrap();
        let mut buf = [0; 16];
        let (n, fd) = receive(&b, &mut buf).unwrap();
        assert_eq!(&buf[..n], b"name");
        let mut other = File::from(fd);
        other.rewind().unwrap();
        let mut content = String::new();
        other.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
    }

    #[test]
    fn bytes_without_a_descriptor_are_refused() {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(b"x").unwrap();
        assert_eq!(receive(&b, &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert!(receive(&b, &mut [0; 4]).is_err());
    }

    #[test]
    fn a_number_gets_another_file() {
        let (mut first, mut second) =
            (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        replace(first.as_fd(), second.as_fd()).unwrap();
        first.write_all(b"both").unwrap();
        second.rewind().unwrap();
        let mut content = String::new();
        second.read_to_string(&mut content).unwrap();
        assert_eq!(content, "both");
    }
}
