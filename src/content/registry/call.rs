use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below the server's base, without a slash in front.
    pub(super) path: String,
    /// The whole address, where a server has given it; then the path does not count.
    pub(super) address: Option<Url>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// What a token for it has to allow.
    pub(super) scope: String,
    /// For errors.
    pub(super) what: String,
}

impl Call {
    pub(super) fn new(method: Method, path: String, scope: String, what: String) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { method, path, address: None, query, headers, body: None, scope, what }
    }

    pub(super) fn at(mut self, address: Url) -> Self {
        self.address = Some(address);
        self
    }

    pub(super) fn with_body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // What cannot be a header is none of ours: media types and ranges always can.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}
