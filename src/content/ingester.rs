use std::io;

use crate::digest::{Algorithm, Digest, Hasher};

use super::{Descriptor, Error};

/// The writing side of a content store.
pub trait Ingester: Send + Sync {
    /// The store, as the user would name it.
    fn name(&self) -> &str;

    /// Whether the store has the content already, in the size that `descriptor` says.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the store does not answer.
    fn contains(&self, descriptor: &Descriptor) -> Result<bool, Error>;

    /// Begins content whose digest is not known yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    fn create(&self, algorithm: Algorithm) -> Result<Box<dyn Writer>, Error>;

    /// Begins the content that `descriptor` names, or goes on where an earlier writer of it
    /// stopped: [`Writer::written`] says from where.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    fn resume(&self, descriptor: &Descriptor) -> Result<Box<dyn Writer>, Error>;
}

/// Content on its way into a store. Only [`Writer::commit`] makes it visible, and only when its
/// size and digest are right; dropped, it never was.
pub trait Writer: io::Write + Send {
    /// How many bytes there are so far.
    fn written(&self) -> u64;

    /// Whether a failed write has lost what was there, so that only another writer of the same
    /// content, which begins anew, can succeed.
    fn is_lost(&self) -> bool {
        false
    }

    /// Checks size and digest and makes the content durable and visible. Content that is in the
    /// store already is no error.
    ///
    /// # Errors
    ///
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`] or [`Error::Io`]; the content is not in
    /// the store then.
    fn commit(self: Box<Self>, size: u64, digest: &Digest) -> Result<(), Error>;
}

/// Stores `data` and returns its descriptor.
///
/// # Errors
///
/// [`Error::Io`].
pub fn ingest(
    store: &dyn Ingester,
    media_type: impl Into<String>,
    data: &[u8],
) -> Result<Descriptor, Error> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(data);
    let descriptor = Descriptor::new(media_type, hasher.finish(), data.len() as u64);
    if store.contains(&descriptor)? {
        return Ok(descriptor);
    }
    // By its descriptor, not as bytes of any kind: a registry keeps documents apart from blobs.
    let mut writer = store.resume(&descriptor)?;
    let resumed = usize::try_from(writer.written()).unwrap_or(usize::MAX);
    let rest = data.get(resumed..).unwrap_or_default();
    write(store, &descriptor, &mut *writer, rest)?;
    match writer.commit(descriptor.size, &descriptor.digest) {
        // What an earlier writer left may be what is wrong.
        Err(Error::DigestMismatch { .. } | Error::SizeMismatch { .. }) if resumed > 0 => {
            let mut writer = store.resume(&descriptor)?;
            write(store, &descriptor, &mut *writer, data)?;
            writer.commit(descriptor.size, &descriptor.digest)?;
        }
        other => other?,
    }
    Ok(descriptor)
}

fn write(
    store: &dyn Ingester,
    descriptor: &Descriptor,
    writer: &mut dyn Writer,
    data: &[u8],
) -> Result<(), Error> {
    let object = format!("{} in {}", descriptor.digest, store.name());
    writer.write_all(data).map_err(Error::io(object))
}
