//! containerd's content store, for what copies images on threads that wait.

use std::io::{self, Write};

use tokio::runtime::Handle;

use super::Containerd;
use super::blobs::{BlobWriter, unused_reference};
use crate::content::{self, Descriptor, Ingester, Writer};
use crate::digest::{Algorithm, Digest};
use crate::snapshot::Labels;

/// Takes content, with these labels, into containerd. Its methods wait for the runtime, so they are
/// not to be called on a thread of it.
pub(in crate::service) struct ContentStore {
    client: Containerd,
    labels: Labels,
    runtime: Handle,
}

impl ContentStore {
    /// The store behind `client`, whose calls go through `runtime`.
    pub(in crate::service) fn new(client: Containerd, labels: Labels, runtime: Handle) -> Self {
        Self { client, labels, runtime }
    }

    fn writer(&self) -> Writing {
        // The stream of a writer begins in the runtime.
        let _entered = self.runtime.enter();
        let inner = self.client.writer(&unused_reference("content"));
        Writing { inner, written: 0, labels: self.labels.clone(), runtime: self.runtime.clone() }
    }
}

impl Ingester for ContentStore {
    fn name(&self) -> &str {
        "containerd"
    }

    /// Never: writing it again is how it gets the labels and the lease, without which it may be gone
    /// at any time.
    fn contains(&self, _: &Descriptor) -> Result<bool, content::Error> {
        Ok(false)
    }

    fn create(&self, _: Algorithm) -> Result<Box<dyn Writer>, content::Error> {
        Ok(Box::new(self.writer()))
    }

    fn resume(&self, _: &Descriptor) -> Result<Box<dyn Writer>, content::Error> {
        Ok(Box::new(self.writer()))
    }
}

/// Content on its way to containerd, which checks size and digest.
struct Writing {
    inner: BlobWriter,
    written: u64,
    labels: Labels,
    runtime: Handle,
}

impl Write for Writing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(data)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Writer for Writing {
    fn written(&self) -> u64 {
        self.written
    }

    fn commit(self: Box<Self>, size: u64, digest: &Digest) -> Result<(), content::Error> {
        let Self { inner, labels, runtime, .. } = *self;
        let committed = runtime.block_on(inner.commit(digest, size, &labels));
        let failed = content::Error::io(format!("{digest} in containerd"));
        committed.map_err(|e| failed(io::Error::other(e)))
    }
}
