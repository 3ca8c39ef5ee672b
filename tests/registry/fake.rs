//! A registry over HTTP that does what a test tells it to, right or wrong.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use futures_util::stream;
use stratafs::digest::Digest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What goes wrong with one request for content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status.
    Status(u16),
    /// Status 429, to come back after so many seconds.
    Throttle(u64),
    /// The connection breaks before an answer.
    Reset,
    /// The body breaks after so many bytes.
    Cut(usize),
    /// The body breaks after so many bytes, and all tokens have ended.
    Expire(usize),
    /// The answer begins this late.
    Late(Duration),
    /// The body stops for this long after so many bytes.
    Stall(usize, Duration),
    /// The body comes a byte at a time, so many bytes, with this pause.
    Drip(usize, Duration),
    /// The range is another than was asked for, and says so.
    OtherRange,
    /// The range says another size of the whole.
    OtherTotal,
    /// Status 206 without saying which range it is.
    NoContentRange,
    /// One bit of the body is wrong.
    Flip,
}

/// What a request said.
#[derive(Debug, Clone)]
pub struct Logged {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

impl Logged {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[derive(Default)]
pub struct Inside {
    pub blobs: HashMap<String, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    /// For requests for content, in order; then all is well.
    pub faults: VecDeque<Fault>,
    /// For every request for content.
    pub always: Option<Fault>,
    pub log: Vec<Logged>,
    pub ignores_ranges: bool,
    /// Whether there is a list of referrers.
    pub referrers: bool,
    /// Where blobs are really kept.
    pub storage: Option<String>,
    /// The signature that storage takes now.
    pub signature: u32,
    /// What storage answers where the signature is another.
    pub ended: u16,
    pub auth: Option<AuthMode>,
    /// Tokens that are good.
    pub tokens: HashSet<String>,
    pub issued: u32,
    /// How long tokens are said to be good for, in seconds.
    pub token_life: u64,
    pub uploads: HashMap<String, Vec<u8>>,
    /// The how manyth request from now with a part of an upload breaks, and the upload is lost.
    pub loses_upload_at: Option<u32>,
    begun: u32,
}

/// How the registry wants to be told who asks.
#[derive(Clone)]
pub enum AuthMode {
    /// A token from its own server, for anyone.
    Token,
    /// A token for this user.
    TokenFor(&'static str, &'static str),
    /// A token for whoever has this identity token, by POST.
    TokenForIdentity(&'static str),
    /// The user name and password themselves.
    Basic(&'static str, &'static str),
}

/// A running registry; it ends when it is dropped.
pub struct Fake {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    down: Arc<AtomicBool>,
    _stop: oneshot::Sender<()>,
}

impl Fake {
    pub fn start() -> Self {
        let inside =
            Arc::new(Mutex::new(Inside { token_life: 300, ended: 403, ..Inside::default() }));
        let down = Arc::new(AtomicBool::new(false));
        let (started, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let state = (inside.clone(), down.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(listener.local_addr().unwrap()).unwrap();
                let listener = Flaky { listener, down: state.1.clone() };
                let app = Router::new().fallback(answer).with_state(state);
                tokio::select! {
                    _ = axum::serve(listener, app) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().unwrap();
        Self { address, inside, down, _stop: stop }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Breaks every connection until it is called again with `false`.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub fn add_blob(&self, content: &[u8]) {
        self.inside().blobs.insert(Digest::sha256(content).to_string(), content.to_vec());
    }

    pub fn add_manifest(&self, tag: &str, media_type: &str, content: &[u8]) {
        let value = (media_type.to_owned(), content.to_vec());
        let mut inside = self.inside();
        inside.manifests.insert(tag.to_owned(), value.clone());
        inside.manifests.insert(Digest::sha256(content).to_string(), value);
    }

    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inside().faults.extend(faults);
    }

    /// The requests for content so far.
    pub fn requests(&self) -> Vec<Logged> {
        let about_content = |l: &&Logged| {
            l.path.contains("/blobs/")
                || l.path.contains("/manifests/")
                || l.path.starts_with("/storage/")
        };
        self.inside().log.iter().filter(about_content).cloned().collect()
    }
}

/// Drops what it accepts while the registry is down.
struct Flaky {
    listener: TcpListener,
    down: Arc<AtomicBool>,
}

impl axum::serve::Listener for Flaky {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Ok((stream, address)) = self.listener.accept().await
                && !self.down.load(Ordering::SeqCst)
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

type Shared = (Arc<Mutex<Inside>>, Arc<AtomicBool>);

async fn answer(State((inside, down)): State<Shared>, request: Request) -> Response {
    if down.load(Ordering::SeqCst) {
        break_connection();
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap_or_default();
    let logged = Logged {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
    };
    let (fault, response) = {
        let mut inside = inside.lock().unwrap();
        inside.log.push(logged.clone());
        if logged.path == "/token" {
            return inside.token(&logged, &body);
        }
        if let Some(challenge) = inside.challenge(&logged) {
            return challenge;
        }
        if inside.loses_upload(&logged) {
            drop(inside);
            break_connection();
        }
        let fault = inside.faults.pop_front().or_else(|| inside.always.clone());
        if matches!(fault, Some(Fault::Expire(_))) {
            inside.tokens.clear();
        }
        (fault, inside.route(&logged, &body))
    };
    match fault {
        Some(fault) => spoil(fault, response).await,
        None => response,
    }
}

/// Ends the connection without an answer: the server's task dies, quietly.
fn break_connection() -> ! {
    std::panic::resume_unwind(Box::new("connection broken on purpose"))
}

impl Inside {
    fn route(&mut self, request: &Logged, body: &Bytes) -> Response {
        if let Some(digest) = request.path.strip_prefix("/storage/") {
            if request.query != format!("sig={}", self.signature) {
                return StatusCode::from_u16(self.ended).unwrap().into_response();
            }
            return self.content(digest, request);
        }
        let Some(rest) = request.path.strip_prefix("/v2/app/") else {
            return StatusCode::NOT_FOUND.into_response();
        };
        match (rest.split_once('/'), request.method.as_str()) {
            (Some(("blobs", "uploads/")), "POST") => self.begin_upload(),
            (Some(("blobs", upload)), _) if upload.starts_with("uploads/") => {
                self.upload(&upload["uploads/".len()..], request, body)
            }
            (Some(("blobs", digest)), _) => match self.storage.clone() {
                Some(storage) if self.blobs.contains_key(digest) => {
                    let to = format!("http://{storage}/storage/{digest}?sig={}", self.signature);
                    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
                }
                _ => self.content(digest, request),
            },
            (Some(("manifests", name)), "PUT") => self.put_manifest(name, request, body),
            (Some(("manifests", name)), _) => self.manifest(name),
            (Some(("referrers", digest)), _) if self.referrers => self.list_referrers(digest),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn manifest(&self, name: &str) -> Response {
        let Some((media_type, data)) = self.manifests.get(name) else {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return (StatusCode::NOT_FOUND, body).into_response();
        };
        let digest = Digest::sha256(data).to_string();
        let headers =
            [(header::CONTENT_TYPE, media_type.as_str()), (header::ETAG, digest.as_str())];
        let mut response = (headers, data.clone()).into_response();
        let digest = digest.parse().unwrap();
        response.headers_mut().insert("docker-content-digest", digest);
        response
    }

    fn put_manifest(&mut self, name: &str, request: &Logged, body: &Bytes) -> Response {
        let document: serde_json::Value = serde_json::from_slice(body).unwrap();
        let below =
            document["layers"].as_array().into_iter().flatten().chain([&document["config"]]);
        for digest in below.filter_map(|d| d["digest"].as_str()) {
            if !self.blobs.contains_key(digest) {
                return (StatusCode::BAD_REQUEST, "blob unknown").into_response();
            }
        }
        let media_type = request.header("content-type").unwrap().to_owned();
        let digest = Digest::sha256(body).to_string();
        for name in [name, &digest] {
            self.manifests.insert(name.to_owned(), (media_type.clone(), body.to_vec()));
        }
        let mut response = StatusCode::CREATED.into_response();
        if let Some(subject) = document["subject"]["digest"].as_str().filter(|_| self.referrers) {
            response.headers_mut().insert("oci-subject", subject.parse().unwrap());
        }
        response
    }

    fn list_referrers(&self, digest: &str) -> Response {
        let mut list = Vec::new();
        for (name, (media_type, data)) in &self.manifests {
            let document: serde_json::Value = serde_json::from_slice(data).unwrap();
            if name.starts_with("sha256:") && document["subject"]["digest"] == digest {
                list.push(serde_json::json!({"mediaType": media_type, "digest": name,
                    "size": data.len(), "artifactType": document["artifactType"]}));
            }
        }
        let index = serde_json::json!({"schemaVersion": 2, "manifests": list});
        let media_type = "application/vnd.oci.image.index.v1+json";
        ([(header::CONTENT_TYPE, media_type)], index.to_string()).into_response()
    }

    fn content(&self, digest: &str, request: &Logged) -> Response {
        let Some(data) = self.blobs.get(digest) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let range = request.header("range").filter(|_| !self.ignores_ranges);
        let Some(range) = range else { return data.clone().into_response() };
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        if first >= data.len() {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let last = last.min(data.len() - 1);
        let content_range = format!("bytes {first}-{last}/{}", data.len());
        let part = data[first..=last].to_vec();
        let headers = [(header::CONTENT_RANGE, content_range)];
        (StatusCode::PARTIAL_CONTENT, headers, part).into_response()
    }

    /// Whether the upload that the request is a part of is lost by it.
    fn loses_upload(&mut self, request: &Logged) -> bool {
        let Some((_, id)) = request.path.split_once("/blobs/uploads/u") else { return false };
        let Some(left) = self.loses_upload_at.filter(|_| request.method != Method::GET) else {
            return false;
        };
        self.loses_upload_at = left.checked_sub(1).filter(|left| *left > 0);
        if self.loses_upload_at.is_none() {
            self.uploads.remove(&format!("u{id}"));
        }
        self.loses_upload_at.is_none()
    }

    fn begin_upload(&mut self) -> Response {
        self.begun += 1;
        let id = format!("u{}", self.begun);
        self.uploads.insert(id.clone(), Vec::new());
        let location = format!("/v2/app/blobs/uploads/{id}?state=0");
        (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
    }

    fn upload(&mut self, id: &str, request: &Logged, body: &Bytes) -> Response {
        let location = format!("/v2/app/blobs/uploads/{id}?state=1");
        let Some(data) = self.uploads.get_mut(id) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        match request.method.as_str() {
            "PATCH" => {
                let start = request.header("content-range").unwrap().split_once('-').unwrap().0;
                if start.parse() != Ok(data.len()) {
                    return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                }
                data.extend_from_slice(body);
                (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
            }
            "GET" => {
                let mut response =
                    (StatusCode::NO_CONTENT, [(header::LOCATION, location)]).into_response();
                if let Some(last) = data.len().checked_sub(1) {
                    let range = format!("0-{last}").parse().unwrap();
                    response.headers_mut().insert(header::RANGE, range);
                }
                response
            }
            _ => {
                let mut data = self.uploads.remove(id).unwrap();
                data.extend_from_slice(body);
                let digest = Digest::sha256(&data).to_string();
                let query = url::form_urlencoded::parse(request.query.as_bytes());
                let said: HashMap<_, _> = query.into_owned().collect();
                if said["digest"] != digest {
                    return StatusCode::BAD_REQUEST.into_response();
                }
                self.blobs.insert(digest, data);
                StatusCode::CREATED.into_response()
            }
        }
    }

    /// The refusal for a request that does not say well enough who it is from.
    fn challenge(&self, request: &Logged) -> Option<Response> {
        let mode = self.auth.as_ref().filter(|_| request.path.starts_with("/v2/"))?;
        let said = request.header("authorization");
        let host = request.header("host").unwrap();
        let (good, challenge) = match mode {
            AuthMode::Basic(name, password) => (
                said == Some(basic(name, password).as_str()),
                "Basic realm=\"registry\"".to_owned(),
            ),
            AuthMode::Token | AuthMode::TokenFor(..) | AuthMode::TokenForIdentity(_) => {
                let token = said.and_then(|said| said.strip_prefix("Bearer "));
                let scope = "repository:app:pull,push";
                (
                    token.is_some_and(|token| self.tokens.contains(token)),
                    format!(
                        "Bearer realm=\"http://{host}/token\",service=\"fake\",scope=\"{scope}\""
                    ),
                )
            }
        };
        if good {
            return None;
        }
        let headers = [(header::WWW_AUTHENTICATE, challenge)];
        Some((StatusCode::UNAUTHORIZED, headers).into_response())
    }

    fn token(&mut self, request: &Logged, body: &Bytes) -> Response {
        let said = request.header("authorization");
        let form: HashMap<_, _> = url::form_urlencoded::parse(body).into_owned().collect();
        let good = match &self.auth {
            Some(AuthMode::TokenFor(name, password)) => {
                said == Some(basic(name, password).as_str())
            }
            Some(AuthMode::TokenForIdentity(token)) => {
                form.get("grant_type").map(String::as_str) == Some("refresh_token")
                    && form.get("refresh_token").map(String::as_str) == Some(token)
            }
            _ => true,
        };
        if !good {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        self.issued += 1;
        let token = format!("secret-token-{}", self.issued);
        self.tokens.insert(token.clone());
        let answer = serde_json::json!({"token": token, "expires_in": self.token_life});
        answer.to_string().into_response()
    }
}

fn basic(name: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    format!("Basic {encoded}")
}

/// Makes a right answer wrong.
async fn spoil(fault: Fault, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let data = to_bytes(body, usize::MAX).await.unwrap();
    let length = data.len();
    let content_range = |parts: &mut axum::http::response::Parts, value: String| {
        if parts.headers.contains_key(header::CONTENT_RANGE) {
            parts.headers.insert(header::CONTENT_RANGE, value.parse().unwrap());
        }
    };
    let whole = Body::from(data.clone());
    let body = match fault {
        Fault::Status(status) => {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        Fault::Throttle(seconds) => {
            let headers = [(header::RETRY_AFTER, seconds.to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, headers).into_response();
        }
        Fault::Reset => break_connection(),
        Fault::Late(pause) => {
            tokio::time::sleep(pause).await;
            whole
        }
        Fault::Cut(at) | Fault::Expire(at) => {
            let part = Ok(data.slice(..at.min(length)));
            let broken = Err(io::Error::other("cut on purpose"));
            Body::from_stream(stream::unfold(vec![broken, part], |mut left| async move {
                if left.len() == 1 {
                    // So that what came before is on its way.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                left.pop().map(|next| (next, left))
            }))
        }
        Fault::Stall(at, pause) => {
            let (before, after) = (data.slice(..at.min(length)), data.slice(at.min(length)..));
            Body::from_stream(stream::unfold(vec![after, before], move |mut left| async move {
                let part = left.pop()?;
                if left.is_empty() {
                    tokio::time::sleep(pause).await;
                }
                Some((Ok::<_, io::Error>(part), left))
            }))
        }
        Fault::Drip(count, pause) => Body::from_stream(stream::unfold(0, move |at| {
            let data = data.clone();
            async move {
                if at >= data.len() {
                    return None;
                }
                let end = if at < count { at + 1 } else { data.len() };
                tokio::time::sleep(pause).await;
                Some((Ok::<_, io::Error>(data.slice(at..end)), end))
            }
        })),
        Fault::OtherRange => {
            let said = parts.headers.get(header::CONTENT_RANGE).map(|v| v.to_str().unwrap());
            let total = said.and_then(|said| said.split_once('/')).map_or("*", |(_, total)| total);
            let other = format!("bytes 1-{length}/{total}");
            content_range(&mut parts, other);
            whole
        }
        Fault::OtherTotal => {
            content_range(&mut parts, format!("bytes 0-{}/{}", length - 1, 1_u64 << 40));
            whole
        }
        Fault::NoContentRange => {
            parts.headers.remove(header::CONTENT_RANGE);
            whole
        }
        Fault::Flip => {
            let mut data = data.to_vec();
            data[length / 2] ^= 1;
            Body::from(data)
        }
    };
    parts.headers.insert(header::CONTENT_LENGTH, length.into());
    Response::from_parts(parts, body)
}
