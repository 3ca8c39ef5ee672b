use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use crate::digest::{Algorithm, Digest, Hasher};

/// Hashes what is read through it; the digest is known when the end has been reached.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    found: Found,
}

/// Where the digest of a [`VerifyingReader`] appears.
#[derive(Debug, Clone, Default)]
pub struct Found(Arc<OnceLock<Digest>>);

impl Found {
    /// The digest of all bytes; `None` where the end was not reached.
    pub fn get(&self) -> Option<Digest> {
        self.0.get().cloned()
    }
}

impl<R: Read> VerifyingReader<R> {
    /// Hashes what is read of `inner`.
    pub fn new(inner: R, algorithm: Algorithm) -> (Self, Found) {
        let found = Found::default();
        let reader = Self { inner, hasher: Some(Hasher::new(algorithm)), found: found.clone() };
        (reader, found)
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if n > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buf[..n]);
            }
        } else if !buf.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let _first = self.found.0.set(hasher.finish());
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_known_at_the_end_and_not_before() {
        let (mut reader, found) = VerifyingReader::new(&b"abc"[..], Algorithm::Sha256);
        let mut buf = [0; 3];
        reader.read_exact(&mut buf).unwrap();
        assert_eq!(found.get(), None);
        assert_eq!(reader.read(&mut buf).unwrap(), 0);
        assert_eq!(found.get(), Some(Digest::sha256(b"abc")));
    }
}
