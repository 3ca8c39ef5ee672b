use std::sync::Arc;

use crate::digest::{Digest, Hasher};
use crate::io::ReadAt;

use super::{Descriptor, Error};

/// The largest manifest, index or config that is read, in bytes (registries refuse larger ones).
pub const MAX_DOCUMENT: u64 = 8 << 20;

/// The reading side of a content store.
pub trait Provider: Send + Sync {
    /// The store, as the user would name it.
    fn name(&self) -> &str;

    /// A positioned reader of the content that `descriptor` names. Its bytes are not checked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::SizeMismatch`] or [`Error::Io`].
    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error>;

    /// As [`Provider::open`], for content that is read once, from front to back: a remote store
    /// then fetches ahead.
    ///
    /// # Errors
    ///
    /// As [`Provider::open`].
    fn open_sequential(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        self.open(descriptor)
    }

    /// Whether reads go over a network, so that what is read is worth keeping on disk.
    fn is_remote(&self) -> bool {
        false
    }

    /// A manifest or image index by its digest alone, checked, with its descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], also where a store cannot look without a size; as [`Provider::read`].
    fn find_document(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        Err(Error::NotFound { digest: digest.clone(), store: self.name().to_owned() })
    }

    /// The manifests whose subject is `digest`, those of type `artifact_type` if it is given; none
    /// in a store that keeps no such thing.
    ///
    /// # Errors
    ///
    /// What the store answers.
    fn referrers(
        &self,
        _digest: &Digest,
        _artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }

    /// Says that all manifests whose subject is `digest` will soon be asked for, so that a store far
    /// away can ask meanwhile.
    fn expect_referrers(&self, _digest: &Digest) {}

    /// The manifest or image index under the tag that this store was opened by, with `suffix` behind
    /// it; `None` where there is none, or where the store was not opened by a tag.
    ///
    /// # Errors
    ///
    /// What the store answers.
    fn find_by_suffix(&self, _suffix: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        Ok(None)
    }

    /// The whole content of a document, checked against its digest.
    ///
    /// # Errors
    ///
    /// As [`Provider::open`]; [`Error::TooLarge`] beyond [`MAX_DOCUMENT`];
    /// [`Error::DigestMismatch`].
    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let digest = &descriptor.digest;
        if descriptor.size > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                digest: digest.clone(),
                size: descriptor.size,
                limit: MAX_DOCUMENT,
            });
        }
        let blob = self.open(descriptor)?;
        let mut data = vec![0; usize::try_from(descriptor.size).unwrap_or(0)];
        blob.read_exact_at(&mut data, 0)
            .map_err(Error::io(format_args!("{digest} in {}", self.name())))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&data);
        let found = hasher.finish();
        if found == *digest {
            return Ok(data);
        }
        Err(Error::DigestMismatch {
            expected: digest.clone(),
            found,
            store: self.name().to_owned(),
        })
    }
}

impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        (**self).open(descriptor)
    }
    fn open_sequential(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        (**self).open_sequential(descriptor)
    }
    fn is_remote(&self) -> bool {
        (**self).is_remote()
    }
    fn find_document(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), Error> {
        (**self).find_document(digest)
    }
    fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        (**self).referrers(digest, artifact_type)
    }
    fn expect_referrers(&self, digest: &Digest) {
        (**self).expect_referrers(digest);
    }
    fn find_by_suffix(&self, suffix: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        (**self).find_by_suffix(suffix)
    }
    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        (**self).read(descriptor)
    }
}

/// Checks the size of what a store holds against the descriptor that asked for it.
pub(crate) fn check_size(store: &str, descriptor: &Descriptor, found: u64) -> Result<(), Error> {
    if found == descriptor.size {
        return Ok(());
    }
    Err(Error::SizeMismatch {
        digest: descriptor.digest.clone(),
        store: store.to_owned(),
        expected: descriptor.size,
        found,
    })
}

/// The error for what `store` does not have.
pub(crate) fn not_found(store: &str, descriptor: &Descriptor) -> Error {
    Error::NotFound { digest: descriptor.digest.clone(), store: store.to_owned() }
}
