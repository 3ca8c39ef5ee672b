//! Blobs on their way in pieces, documents whole, and the lists of referrers that a registry may
//! leave to its clients.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::content::Descriptor;
use crate::digest::Digest;

use super::Error;
use super::call::Call;
use super::endpoint::Endpoint;
use super::manifests::{OCI_INDEX, is_document, referrers_tag};
use super::repository::Inner;
use super::tries::Tries;

/// The upload of one blob.
pub(super) struct Upload {
    server: Arc<Endpoint>,
    /// Where the next piece goes.
    location: Url,
    sent: u64,
}

/// A document to put.
pub(super) struct Put<'a> {
    /// A tag or digest.
    pub(super) name: &'a str,
    pub(super) media_type: &'a str,
    pub(super) data: Vec<u8>,
}

impl Upload {
    /// How many bytes the registry has.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }
}

impl Inner {
    /// Whether the repository has the content, in the size that is asked for where it says.
    pub(super) async fn has(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let call = if is_document(&descriptor.media_type) {
            self.manifest_call(Method::HEAD, &descriptor.digest.to_string(), "pull,push")
        } else {
            self.upload_call(Method::HEAD, &format!("blobs/{}", descriptor.digest))
        };
        let mut tries = self.push_tries(&call.what, 0)?;
        loop {
            let server = tries.next().await?;
            match server.head(&call, tries.deadline).await {
                Ok(headers) => {
                    server.worked();
                    let length = headers.get(CONTENT_LENGTH);
                    let length = length.and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
                    // A redirect says that it is there, and the length is of the redirect.
                    let whole = !headers.contains_key(LOCATION);
                    return Ok(!whole || length.is_none_or(|l| l == descriptor.size));
                }
                Err(Error::NotFound { .. }) => return Ok(false),
                Err(e) => tries.failed(&server, e)?,
            }
        }
    }

    pub(super) async fn begin_upload(&self) -> Result<Upload, Error> {
        let call = self.upload_call(Method::POST, "blobs/uploads/").with_body(Bytes::new());
        let mut tries = self.push_tries(&call.what, 0)?;
        loop {
            let server = tries.next().await?;
            let outcome = server.send(&call, tries.deadline).await;
            match outcome.and_then(|(response, url)| next_location(&response, &url, &call)) {
                Ok(location) => return Ok(Upload { server, location, sent: 0 }),
                Err(e) => tries.failed(&server, e)?,
            }
        }
    }

    /// Sends a piece of an upload; after a failure the registry is asked how far it is.
    pub(super) async fn send_piece(
        &self,
        mut upload: Upload,
        piece: Bytes,
    ) -> Result<Upload, Error> {
        let start = upload.sent;
        let end = start + piece.len() as u64;
        let mut tries = self.upload_tries(&upload, piece.len() as u64);
        while upload.sent < end {
            let server = tries.next().await?;
            let rest = usize::try_from(upload.sent - start).unwrap_or(usize::MAX);
            let call = self
                .upload_call(Method::PATCH, "")
                .at(upload.location.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_RANGE, &format!("{}-{}", upload.sent, end - 1))
                .with_body(piece.slice(rest..));
            let outcome = server.send(&call, tries.deadline).await;
            match outcome.and_then(|(response, url)| next_location(&response, &url, &call)) {
                Ok(location) => {
                    server.worked();
                    (upload.location, upload.sent) = (location, end);
                }
                Err(e) => {
                    tries.failed(&server, e)?;
                    self.ask_progress(&mut upload, start, end, tries.deadline).await?;
                }
            }
        }
        Ok(upload)
    }

    /// Asks how much of an upload is there.
    ///
    /// # Errors
    ///
    /// [`Error::UploadLost`] where the registry does not know it any more, or less of it than before;
    /// distribution forgets uploads of which a piece broke off.
    async fn ask_progress(
        &self,
        upload: &mut Upload,
        start: u64,
        end: u64,
        deadline: Instant,
    ) -> Result<(), Error> {
        let call = self.upload_call(Method::GET, "").at(upload.location.clone());
        let lost = |what| Error::UploadLost { what, host: upload.server.host() };
        let (response, url) = match upload.server.send(&call, deadline).await {
            Ok(answer) => answer,
            Err(Error::NotFound { .. } | Error::Status { status: 400 | 410 | 416, .. }) => {
                return Err(lost(call.what));
            }
            // Where it cannot say either, the piece is simply sent again.
            Err(_) => return Ok(()),
        };
        let there = progress(&response);
        if !(start..=end).contains(&there) {
            return Err(lost(call.what));
        }
        upload.sent = there;
        if let Ok(location) = next_location(&response, &url, &call) {
            upload.location = location;
        }
        Ok(())
    }

    /// Goes on with the upload of a blob of `size` bytes that another process began; `None` where
    /// none is known, or the registry does not know it any more.
    pub(super) async fn take_up(&self, digest: &Digest, size: u64) -> Option<Upload> {
        let address = self.shared.unfinished.as_ref()?.take(&self.name, digest)?;
        let location = Url::parse(&address).ok()?;
        let servers = self.servers_for(|spec| spec.push);
        let server = servers.into_iter().next().filter(|server| server.is_own(&location))?;
        let mut upload = Upload { server, location, sent: 0 };
        let deadline = Instant::now() + self.shared.timing.total;
        self.ask_progress(&mut upload, 1, size, deadline).await.ok()?;
        // It could not say: nothing is gained.
        if upload.sent == 0 {
            return None;
        }
        self.note(&upload, digest);
        Some(upload)
    }

    /// Writes down how far the upload of `digest` is.
    pub(super) fn note(&self, upload: &Upload, digest: &Digest) {
        if let Some(unfinished) = &self.shared.unfinished
            && upload.server.is_own(&upload.location)
        {
            unfinished.keep(&self.name, digest, upload.location.as_str());
        }
    }

    /// Forgets the upload of `digest`.
    pub(super) fn forget(&self, digest: &Digest) {
        if let Some(unfinished) = &self.shared.unfinished {
            unfinished.forget(&self.name, digest);
        }
    }

    /// Sends the last piece and closes the upload.
    pub(super) async fn end_upload(
        &self,
        upload: Upload,
        piece: Bytes,
        digest: &Digest,
    ) -> Result<(), Error> {
        let mut location = upload.location.clone();
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        let call = self
            .upload_call(Method::PUT, "")
            .at(location)
            .header(CONTENT_TYPE, "application/octet-stream")
            .with_body(piece);
        let mut tries = self.upload_tries(&upload, call.body.as_ref().map_or(0, Bytes::len) as u64);
        let mut has_failed = false;
        loop {
            let server = tries.next().await?;
            match server.send(&call, tries.deadline).await {
                Ok(_) => return Ok(()),
                // The try before may have ended it halfway.
                Err(Error::NotFound { .. } | Error::Status { status: 400 | 416, .. })
                    if has_failed =>
                {
                    return Err(Error::UploadLost { what: call.what, host: server.host() });
                }
                Err(e) => {
                    tries.failed(&server, e)?;
                    has_failed = true;
                    // The answer may have been lost after the work was done.
                    let head = self.upload_call(Method::HEAD, &format!("blobs/{digest}"));
                    if server.head(&head, tries.deadline).await.is_ok() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Puts a document; returns the headers of the answer.
    pub(super) async fn put_document(&self, put: Put<'_>) -> Result<HeaderMap, Error> {
        let call = self
            .manifest_call(Method::PUT, put.name, "pull,push")
            .header(CONTENT_TYPE, put.media_type)
            .with_body(Bytes::from(put.data));
        let mut tries = self.push_tries(&call.what, 0)?;
        loop {
            let server = tries.next().await?;
            match server.send(&call, tries.deadline).await {
                Ok((response, _)) => {
                    server.worked();
                    return Ok(response.headers().clone());
                }
                Err(e) => tries.failed(&server, e)?,
            }
        }
    }

    /// Puts a document, and lists it under the tag of its subject where the registry keeps no
    /// list itself ("Pushing Manifests with Subject").
    pub(super) async fn put_with_subject(
        &self,
        put: Put<'_>,
        digest: &Digest,
    ) -> Result<(), Error> {
        let listed = listed(&put, digest);
        let headers = self.put_document(put).await?;
        let Some((subject, entry)) = listed.filter(|_| !headers.contains_key("oci-subject")) else {
            return Ok(());
        };
        let tag = referrers_tag(&subject);
        let mut index = match self.fetch_document(&tag, None).await {
            Ok(document) => serde_json::from_slice(&document.data).unwrap_or(Value::Null),
            Err(Error::NotFound { .. }) => Value::Null,
            Err(e) => return Err(e),
        };
        if !index["manifests"].is_array() {
            index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
        }
        let Some(entries) = index["manifests"].as_array_mut() else { return Ok(()) };
        if entries.iter().any(|old| old["digest"] == entry["digest"]) {
            return Ok(());
        }
        entries.push(entry);
        let data = index.to_string().into_bytes();
        self.put_document(Put { name: &tag, media_type: OCI_INDEX, data }).await.map(drop)
    }

    fn upload_call(&self, method: Method, below: &str) -> Call {
        let repository = self.reference.repository();
        let scope = format!("repository:{repository}:pull,push");
        let what = format!("{}/{repository}", self.reference.host());
        Call::new(method, format!("{repository}/{below}"), scope, what)
    }

    /// Tries on the first server that may be pushed to: content goes to one place.
    fn push_tries(&self, what: &str, len: u64) -> Result<Tries, Error> {
        let mut servers = self.servers_for(|spec| spec.push);
        servers.truncate(1);
        if servers.is_empty() {
            let (host, action) = (self.reference.host().to_owned(), "take content");
            return Err(Error::NoServer { host, action });
        }
        let (timing, traffic) = (self.shared.timing, self.shared.traffic.clone());
        Ok(Tries::new(servers, what, len, timing, traffic))
    }

    fn upload_tries(&self, upload: &Upload, len: u64) -> Tries {
        let servers = vec![upload.server.clone()];
        let what = self.reference.to_string();
        Tries::new(servers, &what, len, self.shared.timing, self.shared.traffic.clone())
    }
}

/// How many bytes of an upload there are: `Range: 0-LAST`. Distribution says `0-0` of none too.
fn progress(response: &Response) -> u64 {
    let range = response.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let last = range.and_then(|range| range.rsplit_once('-')?.1.trim().parse::<u64>().ok());
    last.filter(|last| *last > 0).map_or(0, |last| last.saturating_add(1))
}

/// Where an upload goes on.
fn next_location(response: &Response, url: &Url, call: &Call) -> Result<Url, Error> {
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    location.and_then(|location| url.join(location).ok()).ok_or_else(|| Error::BadAnswer {
        what: call.what.clone(),
        host: url.host_str().unwrap_or_default().to_owned(),
        reason: "it does not say where the upload goes on".to_owned(),
    })
}

/// The subject of a document, and what the list of referrers of that says of the document; `None`
/// without a subject.
fn listed(put: &Put<'_>, digest: &Digest) -> Option<(Digest, Value)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        subject: Option<Descriptor>,
        #[serde(default)]
        artifact_type: Option<String>,
        #[serde(default)]
        config: Option<Descriptor>,
        #[serde(default)]
        annotations: Option<Value>,
    }
    let fields: Fields = serde_json::from_slice(&put.data).ok()?;
    let artifact_type =
        fields.artifact_type.or_else(|| fields.config.map(|config| config.media_type));
    let mut entry = json!({
        "mediaType": put.media_type,
        "digest": digest,
        "size": put.data.len(),
    });
    if let Some(artifact_type) = artifact_type {
        entry["artifactType"] = json!(artifact_type);
    }
    if let Some(annotations) = fields.annotations.filter(Value::is_object) {
        entry["annotations"] = annotations;
    }
    Some((fields.subject?.digest, entry))
}
