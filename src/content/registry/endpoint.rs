//! One server: its address, its connections, who we are to it, and how it has been doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use url::Url;

use super::answer::{failure_of, host_of, redirect_target, within};
use super::auth::{Ask, Auth, PASSWORD_REFUSED, is_password};
use super::body::read_document;
use super::call::Call;
use super::headers::Challenge;
use super::hosts::HostSpec;
use super::traffic::Traffic;
use super::transport::{TlsFiles, Transport};
use super::{Credentials, Error, Timing};

/// The most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;

/// One server that answers for a registry.
pub(super) struct Endpoint {
    pub(super) spec: HostSpec,
    /// The registry that it answers for.
    registry: String,
    headers: HeaderMap,
    transport: Transport,
    auth: Auth,
    timing: Timing,
    traffic: Arc<Traffic>,
    health: Mutex<Health>,
    /// It has sent a whole blob for a range of it.
    ignores_ranges: AtomicBool,
}

#[derive(Debug, Default)]
struct Health {
    shunned_until: Option<Instant>,
    shun: Duration,
}

impl Endpoint {
    pub(super) fn new(
        spec: HostSpec,
        registry: &str,
        credentials: Arc<dyn Credentials>,
        timing: Timing,
        traffic: Arc<Traffic>,
    ) -> Result<Self, Error> {
        let host = host_of(&spec.base);
        let mut headers = HeaderMap::new();
        for (name, value) in &spec.headers {
            let bad = || Error::Tls { host: host.clone(), reason: format!("header {name:?}") };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let tls = TlsFiles {
            ca: spec.ca.clone(),
            client: spec.client.clone(),
            skip_verify: spec.skip_verify,
        };
        // A mirror has credentials of its own.
        let account = if spec.mirror { host.clone() } else { registry.to_owned() };
        Ok(Self {
            registry: registry.to_owned(),
            headers,
            transport: Transport::new(host, tls, timing),
            auth: Auth::new(account, credentials),
            timing,
            traffic,
            health: Mutex::default(),
            ignores_ranges: AtomicBool::new(false),
            spec,
        })
    }

    /// The server's name, for errors.
    pub(super) fn host(&self) -> String {
        host_of(&self.spec.base)
    }

    pub(super) fn ignores_ranges(&self) -> bool {
        self.ignores_ranges.load(Ordering::Relaxed)
    }

    pub(super) fn set_ignores_ranges(&self) {
        if !self.ignores_ranges.swap(true, Ordering::Relaxed) {
            let host = self.host();
            tracing::warn!(host, "registry ignores ranges: its layers are fetched whole");
        }
    }

    /// Whether the server failed a short while ago.
    pub(super) fn is_shunned(&self) -> bool {
        self.health.lock().shunned_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn worked(&self) {
        *self.health.lock() = Health::default();
    }

    pub(super) fn failed(&self, error: &Error) {
        let mut health = self.health.lock();
        if health.shunned_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        health.shun = (health.shun * 2).clamp(self.timing.first_shun, self.timing.max_shun);
        health.shunned_until = Instant::now().checked_add(health.shun);
        let seconds = health.shun.as_secs();
        drop(health);
        tracing::warn!(%error, "registry server fails; others are asked first for {seconds} s");
    }

    /// Sends a call, proves who we are where that is asked for, and follows redirects. Returns the
    /// answer, which has a status of success, and the address that gave it.
    pub(super) async fn send(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<(Response, Url), Error> {
        let mut url = self.url(call);
        for _ in 0..=MAX_REDIRECTS {
            let response = if self.is_own(&url) {
                self.send_as_us(&url, call, deadline).await?
            } else {
                // Whoever we are redirected to is not told who we are.
                self.send_bare(&url, call, deadline, None).await?
            };
            match redirect_target(&response, &url) {
                Some(target) => url = target,
                None if response.status().is_success() => return Ok((response, url)),
                None => {
                    let host = host_of(&url);
                    return Err(
                        failure_of(response, &call.what, &host, &self.timing, deadline).await
                    );
                }
            }
        }
        let reason = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(Error::BadAnswer { what: call.what.clone(), host: self.host(), reason })
    }

    /// The headers of an answer that says that something is there: success, or a redirect, which
    /// is not followed, since signed addresses are for one method.
    pub(super) async fn head(&self, call: &Call, deadline: Instant) -> Result<HeaderMap, Error> {
        let url = self.url(call);
        let response = self.send_as_us(&url, call, deadline).await?;
        if response.status().is_success() || redirect_target(&response, &url).is_some() {
            return Ok(response.headers().clone());
        }
        let host = host_of(&url);
        Err(failure_of(response, &call.what, &host, &self.timing, deadline).await)
    }

    /// Sends a call to an address that an earlier redirect led to. `None`: that address is of no
    /// use any more.
    pub(super) async fn send_to(
        &self,
        url: &Url,
        call: &Call,
        deadline: Instant,
    ) -> Option<Response> {
        match self.send_bare(url, call, deadline, None).await {
            Ok(response) if response.status().is_success() => Some(response),
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether `url` belongs to the server itself.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.spec.base.origin()
    }

    fn url(&self, call: &Call) -> Url {
        if let Some(address) = &call.address {
            return address.clone();
        }
        let mut url = self.spec.base.clone();
        url.set_path(&format!("{}/{}", url.path(), call.path));
        if self.spec.mirror {
            url.query_pairs_mut().append_pair("ns", &self.registry);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    /// Sends a call with our credentials, and once more with new ones where they are refused.
    async fn send_as_us(
        &self,
        url: &Url,
        call: &Call,
        deadline: Instant,
    ) -> Result<Response, Error> {
        let used = self.auth.header(&call.scope);
        let response = self.send_bare(url, call, deadline, used.as_ref()).await?;
        let challenges: Vec<_> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(Challenge::parse_all)
            .collect();
        let refused = match response.status() {
            StatusCode::UNAUTHORIZED => true,
            // How some registries say that a token has ended.
            StatusCode::FORBIDDEN => used.is_some() && !challenges.is_empty(),
            _ => false,
        };
        if !refused {
            return Ok(response);
        }
        drop(response);
        let ask = Ask {
            transport: &self.transport,
            server: &self.spec.base,
            scope: &call.scope,
            what: &call.what,
            timing: &self.timing,
            deadline,
        };
        self.traffic.count_token();
        self.auth.renew(&ask, &challenges, used.as_ref()).await?;
        let header = self.auth.header(&call.scope);
        let response = self.send_bare(url, call, deadline, header.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && header.as_ref().is_some_and(is_password)
        {
            return Err(ask.refused(PASSWORD_REFUSED));
        }
        Ok(response)
    }

    async fn send_bare(
        &self,
        url: &Url,
        call: &Call,
        deadline: Instant,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let mut request = self.transport.client(url)?.request(call.method.clone(), url.clone());
        request = request.headers(call.headers.clone());
        // A range of a compressed body would be of no use.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if self.is_own(url) {
            request = request.headers(self.headers.clone());
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        self.traffic.count_request();
        let host = host_of(url);
        // A body on its way out takes its time.
        let extra = call.body.as_ref().map_or(0, |body| body.len() as u64);
        let limit = self.timing.response + Duration::from_secs(extra / self.timing.min_rate.max(1));
        tracing::trace!(method = %call.method, host, path = url.path(), "registry request");
        within(limit, deadline, &call.what, &host, request.send()).await
    }

    /// A whole answer of up to `limit` bytes.
    pub(super) async fn document(
        &self,
        response: Response,
        what: &str,
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        let data =
            read_document(response, what, &self.host(), limit, &self.timing, deadline).await?;
        self.traffic.count_bytes(data.len() as u64);
        Ok(data)
    }
}
