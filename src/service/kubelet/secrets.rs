//! Secrets of pods, by the repository that they were used for; in memory alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use prost::Message;
use tonic::codegen::Bytes;

use crate::content::registry::{Credential, Credentials, Reference};

/// How many secrets are kept; the one that was kept first goes.
const MAX_SECRETS: usize = 4096;

/// A registry and a repository in it.
type Place = (String, String);

/// What `PullImage` is asked with, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    auth: Option<AuthConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct AuthConfig {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
    /// Name and password, as docker writes them.
    #[prost(string, tag = "3")]
    auth: String,
    #[prost(string, tag = "4")]
    server_address: String,
    #[prost(string, tag = "5")]
    identity_token: String,
}

impl fmt::Debug for AuthConfig {
    /// Never shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthConfig { .. }")
    }
}

/// The secret of one repository.
pub(super) struct Secret {
    place: Place,
    credential: Credential,
}

/// What was kept before a secret.
pub(super) struct Before {
    place: Place,
    credential: Option<Credential>,
}

impl Secret {
    /// What the request of a pull has; `None` where it has none, or none that is understood.
    pub(super) fn of_pull(request: &Bytes) -> Option<Self> {
        let request = PullImageRequest::decode(super::message(request)?).ok()?;
        let reference: Reference = request.image?.image.parse().ok()?;
        let credential = credential(&request.auth?, reference.host())?;
        let place = (reference.host().to_owned(), reference.repository().to_owned());
        Some(Self { place, credential })
    }
}

/// As containerd's CRI plugin understands it (`ParseAuth`).
fn credential(auth: &AuthConfig, host: &str) -> Option<Credential> {
    let server = auth.server_address.as_str();
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let server = server.split('/').next().unwrap_or_default();
    let is_docker = host == "docker.io" && server.ends_with(".docker.io");
    if !server.is_empty() && server != host && !is_docker {
        return None;
    }
    let password = |username: &str, password: &str| Credential::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    };
    if !auth.username.is_empty() {
        return Some(password(&auth.username, &auth.password));
    }
    if !auth.identity_token.is_empty() {
        return Some(Credential::IdentityToken(auth.identity_token.clone()));
    }
    let text = String::from_utf8(STANDARD.decode(&auth.auth).ok()?).ok()?;
    let (username, rest) = text.split_once(':')?;
    Some(password(username, rest.trim_end_matches('\0')))
}

/// The secrets that pods pull with, before any other credentials.
pub struct PullSecrets {
    kept: Mutex<Kept>,
    others: Arc<dyn Credentials>,
}

#[derive(Default)]
struct Kept {
    secrets: HashMap<Place, (u64, Credential)>,
    /// Counts what was ever kept.
    turn: u64,
}

impl PullSecrets {
    /// No secrets yet; `others` is asked for what there is none for.
    pub fn new(others: Arc<dyn Credentials>) -> Self {
        Self { kept: Mutex::default(), others }
    }

    pub(super) fn keep(&self, secret: Secret) -> Before {
        let Secret { place, credential } = secret;
        let mut kept = self.kept.lock();
        kept.turn += 1;
        let turn = kept.turn;
        let before = kept.secrets.insert(place.clone(), (turn, credential));
        if kept.secrets.len() > MAX_SECRETS {
            let first = kept.secrets.iter().min_by_key(|(_, (turn, _))| *turn);
            if let Some(first) = first.map(|(place, _)| place.clone()) {
                kept.secrets.remove(&first);
            }
        }
        Before { place, credential: before.map(|(_, credential)| credential) }
    }

    pub(super) fn put_back(&self, before: Before) {
        let Before { place, credential } = before;
        match credential {
            Some(credential) => drop(self.keep(Secret { place, credential })),
            None => drop(self.kept.lock().secrets.remove(&place)),
        }
    }
}

impl Credentials for PullSecrets {
    fn credential(&self, host: &str, repository: &str) -> Result<Option<Credential>, String> {
        let place = (host.to_owned(), repository.to_owned());
        let kept = self.kept.lock().secrets.get(&place).map(|(_, credential)| credential.clone());
        match kept {
            Some(credential) => Ok(Some(credential)),
            None => self.others.credential(host, repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::registry::Anonymous;

    fn request(image: &str, auth: AuthConfig) -> Bytes {
        let image = Some(ImageSpec { image: image.to_owned() });
        let message = PullImageRequest { image, auth: Some(auth) }.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0], &length[..], &message].concat().into()
    }

    fn named(username: &str, password: &str) -> AuthConfig {
        let (username, password) = (username.to_owned(), password.to_owned());
        AuthConfig { username, password, ..AuthConfig::default() }
    }

    fn password(username: &str, password: &str) -> Option<Credential> {
        let (username, password) = (username.to_owned(), password.to_owned());
        Some(Credential::Password { username, password })
    }

    #[test]
    fn a_secret_is_for_its_repository_alone() {
        let secrets = PullSecrets::new(Arc::new(Anonymous));
        let pull = request("registry.test/app:v1", named("u", "p"));
        secrets.keep(Secret::of_pull(&pull).unwrap());
        let of = |host, repository| secrets.credential(host, repository).unwrap();
        assert_eq!(of("registry.test", "app"), password("u", "p"));
        assert_eq!(of("registry.test", "other"), None);
        assert_eq!(of("mirror.test", "app"), None);
        // A pull that failed leaves what was there before.
        let wrong = request("registry.test/app:v1", named("u", "wrong"));
        secrets.put_back(secrets.keep(Secret::of_pull(&wrong).unwrap()));
        assert_eq!(of("registry.test", "app"), password("u", "p"));
        let new = request("registry.test/new", named("u", "wrong"));
        secrets.put_back(secrets.keep(Secret::of_pull(&new).unwrap()));
        assert_eq!(of("registry.test", "new"), None);
    }

    #[test]
    fn every_form_of_secret_is_understood() {
        let auth = |auth: AuthConfig| Secret::of_pull(&request("debian", auth));
        let found = |config| auth(config).map(|secret| secret.credential);
        let docker = AuthConfig { auth: STANDARD.encode("u:p:q\0"), ..AuthConfig::default() };
        assert_eq!(found(docker), password("u", "p:q"));
        let token = AuthConfig { identity_token: "t".to_owned(), ..AuthConfig::default() };
        assert_eq!(found(token), Some(Credential::IdentityToken("t".to_owned())));
        for (server, is_taken) in [
            ("https://index.docker.io/v1/", true),
            ("docker.io", true),
            ("registry.test", false),
            ("notdocker.io", false),
        ] {
            let config = AuthConfig { server_address: server.to_owned(), ..named("u", "p") };
            assert_eq!(found(config).is_some(), is_taken, "{server}");
        }
        assert_eq!(found(AuthConfig::default()), None);
        assert_eq!(found(AuthConfig { auth: "%".to_owned(), ..AuthConfig::default() }), None);
    }

    #[test]
    fn requests_that_are_none_have_no_secret() {
        let good = request("registry.test/app", named("u", "p"));
        for end in 0..good.len() {
            assert!(Secret::of_pull(&good.slice(..end)).is_none(), "{end}");
        }
        let mut compressed = good.to_vec();
        compressed[0] = 1;
        assert!(Secret::of_pull(&compressed.into()).is_none());
        assert!(Secret::of_pull(&request("../../etc", named("u", "p"))).is_none());
    }

    #[test]
    fn secrets_are_bounded_and_never_shown() {
        let secrets = PullSecrets::new(Arc::new(Anonymous));
        for n in 0..MAX_SECRETS + 10 {
            let pull = request(&format!("registry.test/app{n}"), named("u", "p"));
            secrets.keep(Secret::of_pull(&pull).unwrap());
        }
        assert_eq!(secrets.kept.lock().secrets.len(), MAX_SECRETS);
        assert_eq!(secrets.credential("registry.test", "app0").unwrap(), None);
        assert!(!format!("{:?}", named("u", "hunter2")).contains("hunter2"));
    }
}
