//! Tokens (distribution `docs/spec/auth`), fetched when a registry asks for one and kept until they
//! end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use url::Url;

use super::answer::{failure_of, host_of, within};
use super::body::read_document;
use super::headers::Challenge;
use super::transport::Transport;
use super::{Credential, Credentials, Error, Timing};

/// The longest answer of a token server, in bytes.
const MAX_TOKEN: usize = 1 << 20;
/// How long a token is good for where its server does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// How long looking up credentials may take, helper programs included.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(60);

/// Why a server does not let us in that was told who we are.
pub(super) const PASSWORD_REFUSED: &str = "it refuses our user name and password";

/// Who we are to one server.
pub(super) struct Auth {
    /// The registry, as credentials are kept under.
    registry: String,
    credentials: Arc<dyn Credentials>,
    tokens: Mutex<HashMap<String, Token>>,
    /// Held by the one that fetches a token, so that many readers fetch one.
    fetching: tokio::sync::Mutex<()>,
}

/// What goes into the header `Authorization`.
#[derive(Clone)]
struct Token {
    header: HeaderValue,
    /// `None`: never.
    ends: Option<Instant>,
}

impl Auth {
    pub(super) fn new(registry: String, credentials: Arc<dyn Credentials>) -> Self {
        let (tokens, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { registry, credentials, tokens, fetching }
    }

    /// The header for `scope`, if there is one that is still good.
    pub(super) fn header(&self, scope: &str) -> Option<HeaderValue> {
        let token = self.tokens.lock().get(scope).cloned()?;
        token.ends.is_none_or(|end| Instant::now() < end).then_some(token.header)
    }

    /// Gets a new header for the scope after `refused`, or none at all, was not good enough.
    pub(super) async fn renew(
        &self,
        ask: &Ask<'_>,
        challenges: &[Challenge],
        refused: Option<&HeaderValue>,
    ) -> Result<(), Error> {
        let _one = self.fetching.lock().await;
        // Another reader may have been here while we waited.
        if self.header(ask.scope).is_some_and(|now| Some(&now) != refused) {
            return Ok(());
        }
        self.tokens.lock().remove(ask.scope);
        let credential = self.credential(repository_of(ask.scope)).await;
        let of = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        let token = match (of("bearer"), of("basic"), credential) {
            (Some(bearer), _, credential) => {
                // Many images need no credential: a broken configuration is only told.
                let credential = credential.unwrap_or_else(|reason| {
                    tracing::warn!(registry = self.registry, reason, "no credentials");
                    None
                });
                ask.token(bearer, credential).await?
            }
            (None, Some(_), Ok(Some(Credential::Password { username, password }))) => {
                Token { header: basic(&username, &password)?, ends: None }
            }
            (None, Some(_), Ok(_)) => {
                return Err(ask.refused("it needs a user name and password, and there are none"));
            }
            (None, Some(_), Err(reason)) => return Err(ask.refused(&reason)),
            (None, None, _) => return Err(ask.refused("it asks for no known kind of credential")),
        };
        if Some(&token.header) == refused {
            return Err(ask.refused(PASSWORD_REFUSED));
        }
        self.tokens.lock().insert(ask.scope.to_owned(), token);
        Ok(())
    }

    async fn credential(&self, repository: &str) -> Result<Option<Credential>, String> {
        let (credentials, registry) = (self.credentials.clone(), self.registry.clone());
        let repository = repository.to_owned();
        let run = move || credentials.credential(&registry, &repository);
        let run = tokio::task::spawn_blocking(run);
        match tokio::time::timeout(LOOK_UP_DEADLINE, run).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("looking up credentials failed".to_owned()),
            Err(_) => Err("the credential helper does not answer".to_owned()),
        }
    }
}

/// The repository of a scope: `repository:NAME:ACTIONS`.
fn repository_of(scope: &str) -> &str {
    let repository = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'));
    repository.map_or("", |(name, _)| name)
}

/// One request for a token.
pub(super) struct Ask<'a> {
    pub(super) transport: &'a Transport,
    /// The server that wants a token.
    pub(super) server: &'a Url,
    /// What the token is to allow.
    pub(super) scope: &'a str,
    /// What is to be fetched with it, for errors.
    pub(super) what: &'a str,
    pub(super) timing: &'a Timing,
    pub(super) deadline: Instant,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// In seconds.
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Ask<'_> {
    async fn token(
        &self,
        bearer: &Challenge,
        credential: Option<Credential>,
    ) -> Result<Token, Error> {
        let realm = bearer.param("realm").and_then(|realm| self.server.join(realm).ok());
        let realm = realm.filter(|url| matches!(url.scheme(), "http" | "https"));
        let realm = realm.ok_or_else(|| self.refused("it names no token server"))?;
        if credential.is_some() && realm.scheme() == "http" && self.server.scheme() == "https" {
            return Err(self.refused("its token server wants the password without TLS"));
        }
        let service = bearer.param("service").unwrap_or_default();
        let scope = bearer.param("scope").filter(|s| !s.is_empty()).unwrap_or(self.scope);
        let start = Instant::now();
        let answer = match credential {
            Some(Credential::IdentityToken(token)) => {
                let form = [("grant_type", "refresh_token"), ("refresh_token", &token)];
                self.post(&realm, service, scope, &form).await?
            }
            Some(Credential::Password { username, password }) => {
                let header = basic(&username, &password)?;
                match self.get(&realm, service, scope, Some(header)).await {
                    // Some servers know the newer way only.
                    Err(Error::Status { status: 404 | 405, .. }) => {
                        let form = [
                            ("grant_type", "password"),
                            ("username", &username),
                            ("password", &password),
                        ];
                        self.post(&realm, service, scope, &form).await?
                    }
                    other => other?,
                }
            }
            None => self.get(&realm, service, scope, None).await?,
        };
        let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token);
        let token = token.ok_or_else(|| self.refused("its token server gives no token"))?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
        let header = secret(&format!("Bearer {token}"))
            .ok_or_else(|| self.refused("its token server gives a broken token"))?;
        // Ends a little early, so that no request leaves with a token that ends on the way.
        Ok(Token { header, ends: start.checked_add(life.mul_f64(0.9)) })
    }

    async fn get(
        &self,
        realm: &Url,
        service: &str,
        scope: &str,
        header: Option<HeaderValue>,
    ) -> Result<Answer, Error> {
        let mut url = realm.clone();
        url.query_pairs_mut().append_pair("service", service).append_pair("scope", scope);
        let mut request = self.transport.client(&url)?.get(url.clone());
        let is_named = header.is_some();
        if let Some(header) = header {
            request = request.header(reqwest::header::AUTHORIZATION, header);
        }
        self.answer(&url, request, is_named).await
    }

    async fn post(
        &self,
        realm: &Url,
        service: &str,
        scope: &str,
        form: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let mut all = vec![("service", service), ("scope", scope), ("client_id", "stratafs")];
        all.extend(form);
        let request = self.transport.client(realm)?.post(realm.clone()).form(&all);
        self.answer(realm, request, true).await
    }

    /// What the token server answers to `request`, which says who we are if it `is_named`.
    async fn answer(
        &self,
        url: &Url,
        request: reqwest::RequestBuilder,
        is_named: bool,
    ) -> Result<Answer, Error> {
        let host = host_of(url);
        let what = format!("a token for {}", self.what);
        let limit = self.timing.response;
        let response = within(limit, self.deadline, &what, &host, request.send()).await?;
        let status = response.status().as_u16();
        if matches!(status, 400 | 401 | 403) {
            return Err(self.refused(&match is_named {
                true => format!("its token server {host} refuses our credentials ({status})"),
                false => format!(
                    "its token server {host} wants credentials, and there are none ({status})"
                ),
            }));
        }
        if status != 200 {
            return Err(failure_of(response, &what, &host, self.timing, self.deadline).await);
        }
        let body = read_document(response, &what, &host, MAX_TOKEN, self.timing, self.deadline);
        // The answer holds the token, so it is not told what is wrong with it.
        serde_json::from_slice(&body.await?)
            .map_err(|_| self.refused("its token server gives a broken answer"))
    }

    /// The error for what the server does not let us at, for that reason.
    pub(super) fn refused(&self, reason: &str) -> Error {
        Error::Unauthorized {
            what: self.what.to_owned(),
            host: host_of(self.server),
            reason: reason.to_owned(),
        }
    }
}

/// Whether `header` is a user name and password.
pub(super) fn is_password(header: &HeaderValue) -> bool {
    header.as_bytes().starts_with(b"Basic ")
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, Error> {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    secret(&format!("Basic {encoded}")).ok_or(Error::Stopped)
}

/// A header that is never shown in logs.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}
