//! The writing side (OCI distribution specification, "Pushing").

use std::io;

use bytes::Bytes;

use crate::content::{self, Descriptor, Ingester, MAX_DOCUMENT, Writer};
use crate::digest::{Algorithm, Digest, Hasher};

use super::error::Remedy;
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
        let has = outcome.map_err(|e| self.convert(e, &descriptor.digest))?;
        if has {
            // Of somebody who was killed when it was sent, but not yet forgotten.
            self.inner().forget(&descriptor.digest);
        }
        Ok(has)
    }

    fn create(&self, algorithm: Algorithm) -> Result<Box<dyn Writer>, content::Error> {
        Ok(Box::new(PushWriter::new(self.clone(), Hasher::new(algorithm))))
    }

    fn resume(&self, descriptor: &Descriptor) -> Result<Box<dyn Writer>, content::Error> {
        let digest = descriptor.digest.clone();
        let mut writer = PushWriter::new(self.clone(), Hasher::new(digest.algorithm()));
        if is_document(&descriptor.media_type) {
            writer.document = Some(descriptor.media_type.clone());
            return Ok(Box::new(writer));
        }
        let (inner, wanted, size) = (self.inner().clone(), digest.clone(), descriptor.size);
        let begun = async move { Ok(inner.take_up(&wanted, size).await) };
        let begun = self.inner().shared.driver.run(begun).map_err(|e| self.convert(e, &digest))?;
        if let Some(upload) = begun {
            (writer.written, writer.hasher) = (upload.sent(), None);
            writer.upload = Some(upload);
        }
        writer.digest = Some(digest);
        Ok(Box::new(writer))
    }
}

/// Content on its way into a repository: pieces of a blob, or a whole document.
struct PushWriter {
    repository: Repository,
    /// `None` where another process has sent the beginning: then only the registry checks it.
    hasher: Option<Hasher>,
    written: u64,
    /// What is not sent yet.
    piece: Vec<u8>,
    upload: Option<Upload>,
    /// The media type, where this is a manifest or index.
    document: Option<String>,
    /// Of the blob, where it is known before.
    digest: Option<Digest>,
    lost: bool,
}

impl PushWriter {
    fn new(repository: Repository, hasher: Hasher) -> Self {
        Self {
            repository,
            hasher: Some(hasher),
            written: 0,
            piece: Vec::new(),
            upload: None,
            document: None,
            digest: None,
            lost: false,
        }
    }

    /// Sends the piece.
    fn send(&mut self) -> Result<(), Error> {
        let (inner, upload) = (self.repository.inner().clone(), self.upload.take());
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let digest = self.digest.clone();
        let run = async move {
            let upload = match upload {
                Some(upload) => upload,
                None => inner.begin_upload().await?,
            };
            let upload = inner.send_piece(upload, piece).await?;
            digest.iter().for_each(|digest| inner.note(&upload, digest));
            Ok(upload)
        };
        let sent = self.repository.inner().shared.driver.run(run);
        self.lost = matches!(sent, Err(Error::UploadLost { .. }));
        self.upload = Some(sent?);
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
            let ended = inner.end_upload(upload, Bytes::from(piece), &digest).await;
            // Of what the registry does not take nobody else makes a blob either.
            if ended.as_ref().err().is_none_or(|e| e.remedy() == Remedy::Elsewhere) {
                inner.forget(&digest);
            }
            ended
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
        self.hasher.iter_mut().for_each(|hasher| hasher.update(&buf[..n]));
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

    fn is_lost(&self) -> bool {
        self.lost
    }

    fn commit(mut self: Box<Self>, size: u64, digest: &Digest) -> Result<(), content::Error> {
        let store = content::Provider::name(&self.repository).to_owned();
        if self.written != size {
            let (digest, found) = (digest.clone(), self.written);
            return Err(content::Error::SizeMismatch { digest, store, expected: size, found });
        }
        if let Some(found) = self.hasher.take().map(Hasher::finish)
            && found != *digest
        {
            return Err(content::Error::DigestMismatch { expected: digest.clone(), found, store });
        }
        let repository = self.repository.clone();
        self.finish(digest).map_err(|e| repository.convert(e, digest))
    }
}
