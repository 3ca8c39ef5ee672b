//! What answers say, and how they fail.

use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::{self, HeaderMap};
use serde::Deserialize;
use url::Url;

use super::body::read_document;
use super::{Error, Timing};

/// How much of an error's body is read, in bytes.
const MAX_ERROR: usize = 64 << 10;
/// The longest part of a registry's own words in an error, in characters.
const MAX_DETAIL: usize = 200;

/// Where an answer sends us, if it does.
pub(super) fn redirect_target(response: &Response, from: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let target = from.join(location).ok()?;
    matches!(target.scheme(), "http" | "https").then_some(target)
}

/// Waits for `future` until its own limit and the deadline of all.
pub(super) async fn within<T>(
    limit: Duration,
    deadline: Instant,
    what: &str,
    host: &str,
    future: impl Future<Output = reqwest::Result<T>>,
) -> Result<T, Error> {
    let limit = limit.min(deadline.saturating_duration_since(Instant::now()));
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        // A certificate that is not good does not become so.
        Ok(Err(e)) if causes(&e).any(|cause| cause.is::<rustls::Error>()) => {
            Err(Error::Tls { host: host.to_owned(), reason: root_cause(&e) })
        }
        Ok(Err(e)) => Err(Error::Unreachable {
            what: what.to_owned(),
            host: host.to_owned(),
            reason: root_cause(&e),
        }),
        Err(_) => Err(Error::Silent {
            what: what.to_owned(),
            host: host.to_owned(),
            seconds: limit.as_secs(),
        }),
    }
}

/// An error and what caused it, outermost first.
fn causes<'a>(
    error: &'a reqwest::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: &'a (dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |at| {
        // An error of the system passes over what it holds when it is asked for its source.
        let held = at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        held.map(|held| held as &(dyn std::error::Error + 'static)).or_else(|| at.source())
    })
}

/// The innermost cause, which never names an address; the outer ones do, with its query.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    match causes(error).filter(|cause| !cause.is::<reqwest::Error>()).last() {
        Some(cause) => cause.to_string(),
        None if error.is_timeout() => "timed out".to_owned(),
        None => "request failed".to_owned(),
    }
}

/// Host and port of an address, and nothing else of it.
pub(super) fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "a server without a name".to_owned(),
    }
}

/// The error for an answer without success.
pub(super) async fn failure_of(
    response: Response,
    what: &str,
    host: &str,
    timing: &Timing,
    deadline: Instant,
) -> Error {
    let status = response.status().as_u16();
    let (what, host) = (what.to_owned(), host.to_owned());
    if status == 404 {
        return Error::NotFound { what, host };
    }
    let after = retry_after(response.headers());
    let body = read_document(response, &what, &host, MAX_ERROR, timing, deadline).await;
    let detail = detail_of(&body.unwrap_or_default());
    if status == 401 {
        let reason = match detail.is_empty() {
            true => "it answers 401 to the token that it asked for".to_owned(),
            false => detail,
        };
        return Error::Unauthorized { what, host, reason };
    }
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    Error::Status { what, host, status, detail, after }
}

/// How long a server asks to wait; a date is not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What a registry says about an error (OCI distribution specification, "Error Codes").
fn detail_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let Some(first) = errors.into_iter().next() else { return String::new() };
    let text = match (first.code.is_empty(), first.message.is_empty()) {
        (false, false) => format!("{}: {}", first.code, first.message),
        (false, true) => first.code,
        (true, _) => first.message,
    };
    // Other people's words do not get to control a terminal.
    text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_cut_and_cleaned() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m access"}]}"#;
        assert_eq!(detail_of(body), "DENIED: no[31m access");
        assert_eq!(detail_of(br#"{"errors":[]}"#), "");
        assert_eq!(detail_of(b"<html>"), "");
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(1000));
        assert_eq!(detail_of(long.as_bytes()).len(), MAX_DETAIL);
    }

    #[test]
    fn a_host_is_all_that_is_told_of_an_address() {
        let url = Url::parse("https://user:hunter2@s.example:8443/x?sig=hunter2#h").unwrap();
        assert_eq!(host_of(&url), "s.example:8443");
    }
}
