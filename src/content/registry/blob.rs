use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::header;
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::content::Descriptor;
use crate::io::ReadAt;

use super::answer::host_of;
use super::body::Body;
use super::call::Call;
use super::client::Shared;
use super::endpoint::Endpoint;
use super::headers::ContentRange;
use super::spool::Spool;
use super::tries::Tries;
use super::{Error, Reference};

/// A blob of a registry, read by ranges.
///
/// Where the registry redirects to, a storage host most often, is kept and asked directly until it
/// says no. A registry that ignores ranges is noticed; the blob is then fetched whole, once, into
/// an unnamed file.
pub(super) struct Blob {
    shared: Arc<Shared>,
    servers: Vec<Arc<Endpoint>>,
    pub(super) descriptor: Descriptor,
    scope: String,
    path: String,
    what: String,
    /// Where each server redirects to, by its name.
    redirects: Mutex<HashMap<String, Url>>,
    spool: Mutex<Option<Arc<Spool>>>,
}

impl Blob {
    pub(super) fn new(
        shared: Arc<Shared>,
        servers: Vec<Arc<Endpoint>>,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Self {
        let repository = reference.repository();
        Self {
            shared,
            servers,
            scope: format!("repository:{repository}:pull"),
            path: format!("{repository}/blobs/{}", descriptor.digest),
            what: format!("{} of {}/{repository}", descriptor.digest, reference.host()),
            descriptor: descriptor.clone(),
            redirects: Mutex::default(),
            spool: Mutex::default(),
        }
    }

    /// The request for the whole blob.
    pub(super) fn call(&self) -> Call {
        Call::new(Method::GET, self.path.clone(), self.scope.clone(), self.what.clone())
    }

    /// Tries for `len` bytes of the blob.
    pub(super) fn tries(&self, len: u64) -> Tries {
        let (timing, traffic) = (self.shared.timing, self.shared.traffic.clone());
        Tries::new(self.servers.clone(), &self.what, len, timing, traffic)
    }

    /// The registry's own name, for errors.
    pub(super) fn host(&self) -> String {
        self.servers.last().map(|server| server.host()).unwrap_or_default()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The `len` bytes from `offset`, which lie inside the blob.
    pub(super) async fn range(self: Arc<Self>, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut data = Vec::with_capacity(len);
        if !self.servers.iter().all(|server| server.ignores_ranges()) {
            match self.ranges(offset, len, &mut data).await {
                Err(Error::RangeIgnored { .. }) => data.clear(),
                outcome => return outcome.map(|()| data),
            }
        }
        self.spool()?.read(offset, len).await
    }

    /// Fills `data` by range requests. What one try brought is not asked for again.
    async fn ranges(&self, offset: u64, len: usize, data: &mut Vec<u8>) -> Result<(), Error> {
        let mut tries = self.tries(len as u64);
        while data.len() < len {
            let server = tries.next().await?;
            match self.try_range(&server, offset, len, data, &tries).await {
                Ok(()) => server.worked(),
                Err(e) => tries.failed(&server, e)?,
            }
        }
        Ok(())
    }

    async fn try_range(
        &self,
        server: &Endpoint,
        offset: u64,
        len: usize,
        data: &mut Vec<u8>,
        tries: &Tries,
    ) -> Result<(), Error> {
        let (first, last) = (offset + data.len() as u64, offset + len as u64 - 1);
        let call = self.call().header(header::RANGE, &format!("bytes={first}-{last}"));
        let deadline = tries.deadline;
        let (response, url) = self.ask(server, &call, deadline).await?;
        let host = host_of(&url);
        let got = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.check_range(&response, &host, first, last)?,
            StatusCode::OK if first == 0 && len as u64 == self.descriptor.size => last,
            StatusCode::OK => {
                server.set_ignores_ranges();
                return Err(Error::RangeIgnored { what: self.what.clone(), host });
            }
            status => return Err(self.bad(&host, format!("status {}", status.as_u16()))),
        };
        let want = data.len() + usize::try_from(got - first + 1).unwrap_or(usize::MAX);
        let before = data.len();
        let mut body = Body::new(response, &self.what, &host, &self.shared.timing, deadline);
        let outcome = body.fill(data, want.min(len)).await;
        self.shared.traffic.count_bytes((data.len() - before) as u64);
        outcome
    }

    /// Sends the call to where the server redirected before, or else to the server.
    async fn ask(
        &self,
        server: &Endpoint,
        call: &Call,
        deadline: std::time::Instant,
    ) -> Result<(Response, Url), Error> {
        let key = server.host();
        let known = self.redirects.lock().get(&key).cloned();
        if let Some(url) = known {
            if let Some(response) = server.send_to(&url, call, deadline).await {
                return Ok((response, url));
            }
            // Signed addresses end: 401, 403, 400 and 404 are all seen.
            self.redirects.lock().remove(&key);
        }
        let outcome = server.send(call, deadline).await;
        let (response, url) = outcome.map_err(|e| self.not_satisfiable(e))?;
        if !server.is_own(&url) {
            self.redirects.lock().insert(key, url.clone());
        }
        Ok((response, url))
    }

    /// A range beyond the end, of a blob that is shorter than its descriptor says.
    fn not_satisfiable(&self, error: Error) -> Error {
        if let Error::Status { status: 416, host, .. } = &error {
            let reason = "it has no such range: the blob is shorter than it should be";
            return self.bad(host, reason.to_owned());
        }
        error
    }

    /// The last byte that an answer holds.
    fn check_range(
        &self,
        response: &Response,
        host: &str,
        first: u64,
        last: u64,
    ) -> Result<u64, Error> {
        let header = response.headers().get(header::CONTENT_RANGE);
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(range) = ContentRange::parse(header) else {
            return Err(self.bad(host, "status 206 without a Content-Range".to_owned()));
        };
        if let Some(found) = range.total.filter(|total| *total != self.descriptor.size) {
            return Err(Error::SizeMismatch {
                digest: self.descriptor.digest.clone(),
                host: host.to_owned(),
                expected: self.descriptor.size,
                found,
            });
        }
        if range.first != first || range.last > last {
            let reason =
                format!("bytes {first}-{last} were asked for, {}-{} came", range.first, range.last);
            return Err(self.bad(host, reason));
        }
        Ok(range.last)
    }

    fn bad(&self, host: &str, reason: String) -> Error {
        Error::BadAnswer { what: self.what.clone(), host: host.to_owned(), reason }
    }

    /// The download of the whole, begun where there is none or the last one failed.
    fn spool(self: &Arc<Self>) -> Result<Arc<Spool>, Error> {
        let mut spool = self.spool.lock();
        if let Some(spool) = spool.as_ref().filter(|spool| !spool.has_failed()) {
            return Ok(spool.clone());
        }
        Ok(spool.insert(Spool::start(self.clone())?).clone())
    }
}

/// The face of a blob without async.
pub(super) struct BlobReader(pub(super) Arc<Blob>);

impl ReadAt for BlobReader {
    fn size(&self) -> u64 {
        self.0.descriptor.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.size().saturating_sub(offset);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        let data = self.0.shared.driver.run(self.0.clone().range(offset, len))?;
        buf[..len].copy_from_slice(&data);
        Ok(len)
    }
}
