use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::content::{Descriptor, Provider};
use crate::io::{Cursor, VerifyingReader};

use super::Error;

/// The content of one part of a checkpoint: a blob of a store, or a file that was unpacked.
#[derive(Clone)]
pub struct Blob(Source);

#[derive(Clone)]
enum Source {
    Stored(Arc<dyn Provider>, Box<Descriptor>),
    File { name: String, path: PathBuf, size: u64 },
}

impl Blob {
    /// The content that `descriptor` names in `provider`.
    pub fn stored(provider: Arc<dyn Provider>, descriptor: Descriptor) -> Self {
        Self(Source::Stored(provider, Box::new(descriptor)))
    }

    /// The file at `path` of `size` bytes, called `name` in errors.
    pub(super) fn file(name: &str, path: PathBuf, size: u64) -> Self {
        Self(Source::File { name: name.to_owned(), path, size })
    }

    /// What it is called in errors.
    pub fn name(&self) -> String {
        match &self.0 {
            Source::Stored(_, descriptor) => descriptor.digest.to_string(),
            Source::File { name, .. } => name.clone(),
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Source::Stored(_, descriptor) => descriptor.size,
            Source::File { size, .. } => *size,
        }
    }

    /// Lets `f` read it from start to end, and checks its digest where it has one.
    ///
    /// # Errors
    ///
    /// Those of opening it and of `f`; [`Error::Digest`] rather than what `f` makes of wrong bytes;
    /// [`Error::NotReadWhole`] where `f` is content before the end, so that nothing is checked.
    pub fn read<T>(
        &self,
        f: impl FnOnce(Box<dyn Read + Send>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (provider, descriptor) = match &self.0 {
            Source::Stored(provider, descriptor) => (provider, descriptor),
            Source::File { path, .. } => {
                return f(Box::new(File::open(path).map_err(Error::io(path))?));
            }
        };
        let digest = &descriptor.digest;
        let cursor = Cursor::new(provider.open_sequential(descriptor)?);
        let (reader, found) = VerifyingReader::new(cursor, digest.algorithm());
        let outcome = f(Box::new(reader));
        match found.get() {
            Some(found) if found != *digest => {
                Err(Error::Digest { expected: digest.clone(), found })
            }
            None if outcome.is_ok() => Err(Error::NotReadWhole { digest: digest.clone() }),
            _ => outcome,
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.name(), self.size())
    }
}
