use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use parking_lot::Mutex;

/// Who may write or punch a span of the data file: one thread of all processes.
///
/// Between processes by locks on single bytes of the `lock` file, which end with the process; among
/// the threads that share this value by a set. Nobody waits: who does not get the claim does
/// without.
#[derive(Debug)]
pub(super) struct Claims {
    file: File,
    taken: Mutex<HashSet<u32>>,
}

/// The right to write or punch one span; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    span: u32,
}

impl Claims {
    /// The claims on the layer in the folder `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        Ok(Self { file: file.open(dir.join("lock"))?, taken: Mutex::default() })
    }

    /// Takes the claim on `span`, if nobody has it.
    pub(super) fn take(&self, span: u32) -> Option<Claim<'_>> {
        if !self.taken.lock().insert(span) {
            return None;
        }
        match self.lock(span, libc::F_WRLCK) {
            Ok(()) => Some(Claim { claims: self, span }),
            Err(_) => {
                self.taken.lock().remove(&span);
                None
            }
        }
    }

    fn lock(&self, span: u32, kind: i32) -> Result<(), Errno> {
        let range = libc::flock {
            l_type: i16::try_from(kind).unwrap_or(0),
            l_whence: 0,
            l_start: i64::from(span),
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range)).map(drop)
    }
}

impl Claim<'_> {
    /// The span.
    pub(super) fn span(&self) -> u32 {
        self.span
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // The lock goes first: whoever finds the set without it must get the lock.
        let _unlocked = self.claims.lock(self.span, libc::F_UNLCK);
        self.claims.taken.lock().remove(&self.span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_claimed_once_among_threads_and_among_openers() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (Claims::open(dir.path()).unwrap(), Claims::open(dir.path()).unwrap());
        let claim = one.take(3).unwrap();
        assert!(one.take(3).is_none());
        assert!(other.take(3).is_none());
        let neighbours = (one.take(2).unwrap(), other.take(4).unwrap());
        drop(claim);
        let claim = other.take(3).unwrap();
        assert!(one.take(3).is_none());
        drop((neighbours, claim));
        assert!(one.take(3).is_some());
    }
}
