use std::collections::HashMap;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use parking_lot::Mutex;

use crate::content::provider::check_size;
use crate::content::{self, Descriptor, Provider};
use crate::digest::Digest;
use crate::io::ReadAt;

use super::ahead::Ahead;
use super::blob::{Blob, BlobReader};
use super::client::Shared;
use super::endpoint::Endpoint;
use super::manifests::{self, Document};
use super::{Error, Reference};

/// How many documents are kept in memory.
const KEPT_DOCUMENTS: usize = 64;

/// One repository of a registry as a content store. Cheap to clone.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) servers: Vec<Arc<Endpoint>>,
    pub(super) reference: Reference,
    pub(super) name: String,
    /// What was just fetched is asked for again soon: a tag is resolved, then its manifest read.
    documents: Mutex<HashMap<Digest, Arc<Vec<u8>>>>,
    /// Readers of one blob share what they know of it.
    blobs: Mutex<HashMap<(Digest, u64), Weak<Blob>>>,
    /// The referrers that are expected to be asked for.
    expected: Mutex<Option<(Digest, Listing)>>,
}

/// Referrers that the registry is being asked for.
type Listing = mpsc::Receiver<Result<Vec<Descriptor>, Error>>;

impl Repository {
    pub(super) fn new(
        shared: Arc<Shared>,
        servers: Vec<Arc<Endpoint>>,
        reference: Reference,
    ) -> Self {
        let name = format!("docker://{}/{}", reference.host(), reference.repository());
        let (documents, blobs, expected) = Default::default();
        Self(Arc::new(Inner { shared, servers, reference, name, documents, blobs, expected }))
    }

    /// The reference it was made from.
    pub fn reference(&self) -> &Reference {
        &self.0.reference
    }

    /// The descriptor of what the reference names; its digest counts before its tag.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever the network and the registry answer.
    pub fn resolve(&self) -> Result<Descriptor, Error> {
        let reference = &self.0.reference;
        let document = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => self.0.clone().fetch(&digest.to_string(), Some(digest.clone()))?,
            (None, tag) => self.0.clone().fetch(tag.unwrap_or("latest"), None)?,
        };
        Ok(document)
    }

    /// As [`Repository::resolve`], for a tag whose meaning is known from before: all servers are
    /// asked once, and the answer is waited for no longer than `patience`.
    ///
    /// # Errors
    ///
    /// As [`Repository::resolve`].
    pub fn resolve_again(&self, patience: Duration) -> Result<Descriptor, Error> {
        let tag = self.0.reference.tag().unwrap_or("latest").to_owned();
        let mut timing = self.0.shared.timing;
        timing.total = timing.total.min(patience);
        // A second round would begin after the deadline.
        (timing.first_pause, timing.max_pause) = (2 * patience, 2 * patience);
        let inner = self.0.clone();
        let document = self
            .0
            .shared
            .driver
            .run(async move { inner.fetch_document_within(&tag, None, timing).await })?;
        Ok(self.0.keep_document(document))
    }

    /// The manifests whose subject is `digest`, those of type `artifact_type` if it is given
    /// (OCI distribution specification, "Listing Referrers"), through the tag scheme where the
    /// registry has no such list.
    ///
    /// # Errors
    ///
    /// What the network and the registry answer; having none is no error.
    pub fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let is_all = artifact_type.is_none();
        let expected = self.0.expected.lock().take_if(|(of, _)| is_all && of == digest);
        let listing = match expected {
            Some((_, listing)) => listing,
            None => self.list_referrers(digest, artifact_type)?,
        };
        listing.recv().unwrap_or(Err(Error::Stopped))
    }

    /// Begins to ask for referrers.
    fn list_referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Listing, Error> {
        let (inner, digest) = (self.0.clone(), digest.clone());
        let wanted = artifact_type.map(str::to_owned);
        self.0.shared.driver.start(async move { inner.referrers(&digest, wanted.as_deref()).await })
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<Blob> {
        let mut blobs = self.0.blobs.lock();
        let key = (descriptor.digest.clone(), descriptor.size);
        if let Some(blob) = blobs.get(&key).and_then(Weak::upgrade) {
            return blob;
        }
        blobs.retain(|_, blob| blob.strong_count() > 0);
        let servers = self.0.servers_for(|spec| spec.pull);
        let (shared, reference) = (self.0.shared.clone(), &self.0.reference);
        let blob = Arc::new(Blob::new(shared, servers, reference, descriptor));
        blobs.insert(key, Arc::downgrade(&blob));
        blob
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, content::Error> {
        let digest = &descriptor.digest;
        let kept = self.0.kept(digest);
        let data = match kept {
            Some(data) => data,
            None => {
                let fetched = self.0.clone().fetch(&digest.to_string(), Some(digest.clone()));
                fetched.map_err(|e| self.convert(e, digest))?;
                self.0.kept(digest).ok_or_else(|| self.convert(Error::Stopped, digest))?
            }
        };
        check_size(&self.0.name, descriptor, data.len() as u64)?;
        Ok(data)
    }

    /// An error of the registry as one of a content store.
    pub(super) fn convert(&self, error: Error, digest: &Digest) -> content::Error {
        let store = self.0.name.clone();
        if let Error::NotFound { .. } = error {
            return content::Error::NotFound { digest: digest.clone(), store };
        }
        if let Error::DigestMismatch { expected, found, .. } = error {
            return content::Error::DigestMismatch { expected, found, store };
        }
        content::Error::Registry(Box::new(error))
    }
}

impl Provider for Repository {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, content::Error> {
        if manifests::is_document(&descriptor.media_type) {
            return self.document(descriptor);
        }
        Ok(Arc::new(BlobReader(self.blob(descriptor))))
    }

    fn open_sequential(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, content::Error> {
        if manifests::is_document(&descriptor.media_type) {
            return self.document(descriptor);
        }
        Ok(Arc::new(Ahead::new(self.blob(descriptor))))
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn find_document(&self, digest: &Digest) -> Result<(Descriptor, Vec<u8>), content::Error> {
        let fetched = self.0.clone().fetch(&digest.to_string(), Some(digest.clone()));
        let descriptor = fetched.map_err(|e| self.convert(e, digest))?;
        let data = self.0.kept(digest).ok_or_else(|| self.convert(Error::Stopped, digest))?;
        Ok((descriptor, data.to_vec()))
    }

    fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, content::Error> {
        Self::referrers(self, digest, artifact_type).map_err(|e| self.convert(e, digest))
    }

    fn expect_referrers(&self, digest: &Digest) {
        // One that cannot be asked now says so when it is asked again.
        if let Ok(listing) = self.list_referrers(digest, None) {
            *self.0.expected.lock() = Some((digest.clone(), listing));
        }
    }

    fn find_by_suffix(
        &self,
        suffix: &str,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, content::Error> {
        let reference = &self.0.reference;
        let tag = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag,
            (None, None) => "latest",
            (None, Some(_)) => return Ok(None),
        };
        let descriptor = match self.0.clone().fetch(&format!("{tag}{suffix}"), None) {
            Ok(descriptor) => descriptor,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(content::Error::Registry(Box::new(e))),
        };
        let data = self.0.kept(&descriptor.digest);
        Ok(data.map(|data| (descriptor, data.to_vec())))
    }
}

impl Inner {
    /// The servers whose configuration allows something.
    pub(super) fn servers_for(
        &self,
        allows: impl Fn(&super::hosts::HostSpec) -> bool,
    ) -> Vec<Arc<Endpoint>> {
        self.servers.iter().filter(|server| allows(&server.spec)).cloned().collect()
    }

    /// Fetches a manifest or index by tag or digest, keeps it, and gives its descriptor.
    fn fetch(self: Arc<Self>, name: &str, digest: Option<Digest>) -> Result<Descriptor, Error> {
        let (inner, name) = (self.clone(), name.to_owned());
        let document = self
            .shared
            .driver
            .run(async move { inner.fetch_document(&name, digest.as_ref()).await })?;
        Ok(self.keep_document(document))
    }

    fn keep_document(&self, document: Document) -> Descriptor {
        let Document { media_type, digest, data } = document;
        let size = data.len() as u64;
        self.keep(digest.clone(), data);
        Descriptor::new(media_type, digest, size)
    }

    fn kept(&self, digest: &Digest) -> Option<Arc<Vec<u8>>> {
        self.documents.lock().get(digest).cloned()
    }

    fn keep(&self, digest: Digest, data: Vec<u8>) {
        let mut documents = self.documents.lock();
        if documents.len() >= KEPT_DOCUMENTS {
            documents.clear();
        }
        documents.insert(digest, Arc::new(data));
    }
}
