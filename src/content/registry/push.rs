//! The writing side (OCI distribution specification, "Pushing").

use std::io;

use bytes::Bytes;

use crate::content::{self, Descriptor, Ingester, MAX_DOCUMENT, Writer};
use crate::digest::{Algorithm, Digest, Hasher};

use super::manifests::is_document;
use super::uploads::{Put, Upload};
use super::{Error, Repository};

/// How much of a blob one request carries, in bytes.
const PIECE: usize = 8 << 20;

impl Repository {
    /// Gives the manifest or index `descriptor`, which is in the repository, the name `tag`.
    ///
    /// # Errors
    ///
    /// [`Error::BadTag`]; what the network and the registry answer.
    pub fn set_root(&self, descriptor: &Descriptor, tag: &str) -> Result<(), Error> {
        let named = self.reference().with_tag(tag)?;
        let (inner, descriptor) = (self.inner().clone(), descriptor.clone());
        self.inner().shared.driver.run(async move {
            let digest = &descriptor.digest;
            let document = inner.fetch_document(&digest.to_string(), Some(digest)).await?;
            let tag = named.tag().unwrap_or_default();
            let put = Put { name: tag, media_type: &descriptor.media_type, data: document.data };
            inner.put_document(put).await.map(drop)
        })
    }
}

impl Ingester for Repository {
    fn name(&self) -> &str {
        content::Provider::name(self)
    }

    fn contains(&self, descriptor: &Descriptor) -> Result<bool, content::Error> {
        let (inner, asked) = (self.inner().clone(), descriptor.clone());
        let outcome = self.inner().shared.driver.run(async move { inner.has(&asked).await });
        outcome.map_err(|e| self.convert(e, &descriptor.digest))
    }

    fn create(&self, algorithm: Algorithm) -> Result<Box<dyn Writer>, content::Error> {
        Ok(Box::new(PushWriter::new(self.clone(), algorithm, None)))
    }

    fn resume(&self, descriptor: &Descriptor) -> Result<Box<dyn Writer>, content::Error> {
        let algorithm = descriptor.digest.algorithm();
        let document = is_document(&descriptor.media_type).then(|| descriptor.media_type.clone());
        Ok(Box::new(PushWriter::new(self.clone(), algorithm, document)))
    }
}

/// Content on its way into a repository: pieces of a blob, or a whole document.
struct PushWriter {
    repository: Repository,
    hasher: Hasher,
    written: u64,
    /// What is not sent yet.
    piece: Vec<u8>,
    upload: Option<Upload>,
    /// The media type, where this is a manifest or index.
    document: Option<String>,
}

impl PushWriter {
    fn new(repository: Repository, algorithm: Algorithm, document: Option<String>) -> Self {
        let (hasher, piece) = (Hasher::new(algorithm), Vec::new());
        Self { repository, hasher, written: 0, piece, upload: None, document }
    }

    /// Sends the piece.
    fn send(&mut self) -> Result<(), Error> {
        let (inner, upload) = (self.repository.inner().clone(), self.upload.take());
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let run = async move {
            let upload = match upload {
                Some(upload) => upload,
                None => inner.begin_upload().await?,
            };
            inner.send_piece(upload, piece).await
        };
        self.upload = Some(self.repository.inner().shared.driver.run(run)?);
        Ok(())
    }

    fn finish(&mut self, digest: &Digest) -> Result<(), Error> {
        let inner = self.repository.inner().clone();
        let (upload, piece) = (self.upload.take(), std::mem::take(&mut self.piece));
        let (document, digest) = (self.document.take(), digest.clone());
        self.repository.inner().shared.driver.run(async move {
            if let Some(media_type) = document {
                let name = digest.to_string();
                let put = Put { name: &name, media_type: &media_type, data: piece };
                return inner.put_with_subject(put, &digest).await;
            }
            let upload = match upload {
                Some(upload) => upload,
                None => inner.begin_upload().await?,
            };
            inner.end_upload(upload, Bytes::from(piece), &digest).await
        })
    }
}

impl io::Write for PushWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let limit = match self.document {
            Some(_) if self.written + buf.len() as u64 > MAX_DOCUMENT => {
                let reason = format!("a manifest of more than {MAX_DOCUMENT} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
            }
            Some(_) => usize::MAX,
            None => PIECE,
        };
        if self.piece.len() >= limit {
            self.send()?;
        }
        let n = buf.len().min(limit - self.piece.len());
        self.piece.extend_from_slice(&buf[..n]);
        self.hasher.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer for PushWriter {
    fn written(&self) -> u64 {
        self.written
    }

    fn commit(mut self: Box<Self>, size: u64, digest: &Digest) -> Result<(), content::Error> {
        let store = content::Provider::name(&self.repository).to_owned();
        if self.written != size {
            let (digest, found) = (digest.clone(), self.written);
            return Err(content::Error::SizeMismatch { digest, store, expected: size, found });
        }
        let found = self.hasher.clone().finish();
        if found != *digest {
            return Err(content::Error::DigestMismatch { expected: digest.clone(), found, store });
        }
        let repository = self.repository.clone();
        self.finish(digest).map_err(|e| repository.convert(e, digest))
    }
}
