//! Content, to containerd and from it.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::FieldMask;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::{Containerd, Error, failed};
use crate::content::Descriptor;
use crate::digest::Digest;
use crate::error::{Classify, Kind};
use crate::service::api::content::content_client::ContentClient;
use crate::service::api::content::{
    Info, ReadContentRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use crate::snapshot::Labels;

/// How much is sent in one message.
const CHUNK: usize = 1 << 20;

/// How many messages may wait on either side.
const AHEAD: usize = 4;

impl Containerd {
    /// Writes a whole document; where it is there already, it gets the labels.
    pub(in crate::service) async fn write(
        &self,
        what: &Descriptor,
        data: &[u8],
        labels: &Labels,
    ) -> Result<(), Error> {
        let this = self.clone();
        let (what_there, labels_there) = (what.digest.clone(), labels.clone());
        let mut writer = this.writer(&unused_reference("document"));
        let (data, what, labels) = (data.to_vec(), what.clone(), labels.clone());
        let written = tokio::task::spawn_blocking(move || {
            writer.write_all(&data).map_err(Error::Content)?;
            Ok((writer, what.digest, what.size, labels))
        });
        let panicked = |_| Err(Error::Panicked { what: "writing content" });
        let (writer, digest, size, labels) = written.await.unwrap_or_else(panicked)?;
        writer.commit(&digest, size, &labels).await?;
        self.label(&what_there, &labels_there).await
    }

    /// Sets labels of what is there.
    async fn label(&self, digest: &Digest, labels: &Labels) -> Result<(), Error> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Info {
            digest: digest.to_string(),
            labels: labels.clone().into_iter().collect(),
            ..Info::default()
        };
        let request = UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) };
        let mut client = ContentClient::new(self.channel.clone());
        client.update(self.request(request)).await.map_err(failed("label content"))?;
        Ok(())
    }

    /// Begins to write content under `reference`. It may be written on a thread that waits; this
    /// has to be called in the runtime.
    pub(in crate::service) fn writer(&self, reference: &str) -> BlobWriter {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let mut client = ContentClient::new(self.channel.clone());
        let request = self.request(ReceiverStream::new(receiver));
        let answers = tokio::spawn(async move {
            let failed = failed("write content");
            let mut answers = client.write(request).await.map_err(&failed)?.into_inner();
            while answers.message().await.map_err(&failed)?.is_some() {}
            Ok(())
        });
        BlobWriter { reference: reference.to_owned(), sender, answers, offset: 0 }
    }

    /// What `descriptor` names, to be read on a thread that may wait.
    pub(in crate::service) async fn reader(&self, digest: &str) -> Result<BlobReader, Error> {
        let mut client =
            ContentClient::new(self.channel.clone()).max_decoding_message_size(super::MAX_MESSAGE);
        let request =
            self.request(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 });
        let mut answers = client.read(request).await.map_err(failed("read content"))?.into_inner();
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            loop {
                let part = match answers.message().await {
                    Ok(Some(part)) => Ok(part.data),
                    Ok(None) => break,
                    Err(status) => Err(status.message().to_owned()),
                };
                let last = part.is_err();
                if sender.send(part).await.is_err() || last {
                    return;
                }
            }
            // An empty part is the end: a connection that breaks off has none.
            let _ = sender.send(Ok(Vec::new())).await;
        });
        Ok(BlobReader { receiver, part: Vec::new(), at: 0, ended: false })
    }
}

/// A name for unfinished content that nobody else uses: two who write the same do not wait for one
/// another, and what a killed process left is in nobody's way.
pub(in crate::service) fn unused_reference(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("stratafs-{what}-{now}-{process}-{next}")
}

/// Content on its way to containerd.
pub(in crate::service) struct BlobWriter {
    reference: String,
    sender: mpsc::Sender<WriteContentRequest>,
    answers: JoinHandle<Result<(), Error>>,
    offset: usize,
}

impl BlobWriter {
    /// Ends it: what was written is `digest`, of `size` bytes. That it is there already is no
    /// error.
    pub(in crate::service) async fn commit(
        self,
        digest: &Digest,
        size: u64,
        labels: &Labels,
    ) -> Result<(), Error> {
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            r#ref: self.reference,
            total: i64::try_from(size).unwrap_or(i64::MAX),
            expected: digest.to_string(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            data: Vec::new(),
            labels: labels.clone().into_iter().collect(),
        };
        // Where it cannot be sent, the answer says why.
        let _ = self.sender.send(request).await;
        drop(self.sender);
        let panicked = |_| Err(Error::Panicked { what: "writing content" });
        match self.answers.await.unwrap_or_else(panicked) {
            Err(e) if e.kind() == Kind::AlreadyExists => Ok(()),
            other => other,
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(CHUNK)];
        let request = WriteContentRequest {
            action: WriteAction::Write.into(),
            r#ref: self.reference.clone(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            data: data.to_vec(),
            ..WriteContentRequest::default()
        };
        // Where containerd has stopped reading, the commit says why.
        let _ = self.sender.blocking_send(request);
        self.offset += data.len();
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Content on its way from containerd.
pub(in crate::service) struct BlobReader {
    receiver: mpsc::Receiver<Result<Vec<u8>, String>>,
    part: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Ok(part)) => {
                    self.ended = part.is_empty();
                    (self.part, self.at) = (part, 0);
                }
                Some(Err(reason)) => return Err(io::Error::other(reason)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let len = buf.len().min(self.part.len() - self.at);
        buf[..len].copy_from_slice(&self.part[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
