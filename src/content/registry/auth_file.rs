//! The files in which docker and podman keep credentials, as a pure function of their bytes.
//!
//! Source: docker's `config.json` (docker login, "Credential stores" and "Credential helpers") and
//! `containers-auth.json(5)`, which adds keys of single repositories and their parents.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::content::null_is_default;

use super::Credential;

/// The largest file that is read, in bytes.
pub const MAX_AUTH_FILE: u64 = 1 << 20;
/// What docker keeps credentials of its hub under.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The names of docker's hub.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// The padding of base64 is left out by some writers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with a file of credentials. No text holds a value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFileError {
    /// It is no JSON of the right shape.
    #[error("it is no JSON of the right shape at line {0}")]
    Json(usize),
    /// It is larger than [`MAX_AUTH_FILE`].
    #[error("it has {0} bytes, more than {MAX_AUTH_FILE}")]
    TooLarge(u64),
    /// A user name and password are not encoded as they should be.
    #[error("the user name and password for {0:?} are not in base64, or have no colon")]
    Encoding(String),
    /// A helper has a name that is none of a program.
    #[error("{0:?} is no name of a credential helper")]
    Helper(String),
}

/// A parsed file of credentials.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthFile {
    #[serde(default, deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, deserialize_with = "null_is_default")]
    creds_store: String,
    #[serde(default, deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "null_is_default")]
    auth: String,
    #[serde(deserialize_with = "null_is_default")]
    username: String,
    #[serde(deserialize_with = "null_is_default")]
    password: String,
    #[serde(deserialize_with = "null_is_default")]
    identitytoken: String,
}

/// What a file says of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The credential itself.
    Credential(Credential),
    /// The program `docker-credential-NAME` has it.
    Helper {
        /// The program's name without `docker-credential-`.
        name: String,
        /// What it keeps the credential under.
        key: String,
    },
}

impl fmt::Debug for AuthFile {
    /// Never shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFile").field("auths", &self.auths.keys()).finish_non_exhaustive()
    }
}

impl AuthFile {
    /// The file that `bytes` are.
    ///
    /// # Errors
    ///
    /// [`AuthFileError::TooLarge`] and [`AuthFileError::Json`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AuthFileError> {
        if bytes.len() as u64 > MAX_AUTH_FILE {
            return Err(AuthFileError::TooLarge(bytes.len() as u64));
        }
        // Not the parser's own words: they quote what they did not expect.
        serde_json::from_slice(bytes).map_err(|e| AuthFileError::Json(e.line()))
    }

    /// What the file says of `repository` of the registry `host`: a helper of that registry, else
    /// the entry of the repository or of its nearest parent, else the store for all registries.
    ///
    /// # Errors
    ///
    /// [`AuthFileError::Encoding`] and [`AuthFileError::Helper`].
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Kept>, AuthFileError> {
        let keys = keys(host, repository);
        let helpers = keys.iter().filter_map(|key| Some((key, self.cred_helpers.get(key)?)));
        if let Some((key, name)) = helpers.into_iter().find(|(_, name)| !name.is_empty()) {
            return helper(name, key).map(Some);
        }
        let exact = keys.iter().filter_map(|key| self.auths.get_key_value(key));
        let alike = self.auths.iter().filter(|(key, _)| is_same_registry(host_of_key(key), host));
        for (key, entry) in exact.chain(alike) {
            if let Some(credential) = entry.credential(key)? {
                return Ok(Some(Kept::Credential(credential)));
            }
        }
        if self.creds_store.is_empty() {
            return Ok(None);
        }
        let key = if is_same_registry(host, DOCKER_HUB[0]) { DOCKER_HUB_KEY } else { host };
        helper(&self.creds_store, key).map(Some)
    }
}

impl Entry {
    /// What it holds; `None` for an empty one, which says that the store has it.
    fn credential(&self, key: &str) -> Result<Option<Credential>, AuthFileError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(self.identitytoken.clone())));
        }
        if !self.auth.is_empty() {
            let broken = || AuthFileError::Encoding(key.to_owned());
            let decoded = BASE64.decode(&self.auth).map_err(|_| broken())?;
            let decoded = String::from_utf8(decoded).map_err(|_| broken())?;
            let (username, password) = decoded.split_once(':').ok_or_else(broken)?;
            // Old versions of docker padded with NUL.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Password { username: username.to_owned(), password }));
        }
        let (username, password) = (self.username.clone(), self.password.clone());
        let is_empty = username.is_empty() || password.is_empty();
        Ok((!is_empty).then_some(Credential::Password { username, password }))
    }
}

/// The keys under which something of `repository` may be kept, the best first.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{host}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(host.to_owned());
    if is_same_registry(host, DOCKER_HUB[0]) {
        keys.extend([DOCKER_HUB_KEY, "docker.io", "index.docker.io"].map(str::to_owned));
    }
    keys
}

/// The registry that a key without a repository is about; a key with one is given back whole.
fn host_of_key(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    match (bare, key.split_once('/')) {
        // An address: its path says the version of the protocol.
        (Some(bare), _) => bare.split('/').next().unwrap_or(bare),
        (None, Some((host, "" | "v1" | "v1/" | "v2" | "v2/"))) => host,
        (None, _) => key,
    }
}

fn is_same_registry(a: &str, b: &str) -> bool {
    a == b || (DOCKER_HUB.contains(&a) && DOCKER_HUB.contains(&b))
}

fn helper(name: &str, key: &str) -> Result<Kept, AuthFileError> {
    // What is run is a program of the search path, not one of a folder that a file names.
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match is_name {
        true => Ok(Kept::Helper { name: name.to_owned(), key: key.to_owned() }),
        false => Err(AuthFileError::Helper(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(json: &str, host: &str, repository: &str) -> Option<Kept> {
        AuthFile::parse(json.as_bytes()).unwrap().find(host, repository).unwrap()
    }

    fn password(username: &str, password: &str) -> Option<Kept> {
        let (username, password) = (username.to_owned(), password.to_owned());
        Some(Kept::Credential(Credential::Password { username, password }))
    }

    fn helper(name: &str, key: &str) -> Option<Kept> {
        Some(Kept::Helper { name: name.to_owned(), key: key.to_owned() })
    }

    #[test]
    fn credentials_are_found_under_every_spelling_of_a_registry() {
        for key in ["r.example:5000", "https://r.example:5000", "http://r.example:5000/v1/"] {
            let json = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}}}}"#);
            assert_eq!(find(&json, "r.example:5000", "app"), password("u", "p"), "{key}");
            assert_eq!(find(&json, "r.example", "app"), None, "{key}");
        }
        for key in
            ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
        {
            let json = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}}}}"#);
            assert_eq!(find(&json, "docker.io", "library/debian"), password("u", "p"), "{key}");
        }
    }

    #[test]
    fn the_nearest_parent_of_a_repository_counts() {
        let json = r#"{"auths":{"r.example/team/app":{"auth":"YTph"},
            "r.example/team":{"auth":"Yjpi"},"r.example":{"auth":"YzpjAAA="}}}"#;
        assert_eq!(find(json, "r.example", "team/app"), password("a", "a"));
        assert_eq!(find(json, "r.example", "team/application"), password("b", "b"));
        assert_eq!(find(json, "r.example", "other"), password("c", "c"));
        let one = r#"{"auths":{"r.example/team":{"auth":"Yjpi"}}}"#;
        assert_eq!(find(one, "r.example", "other"), None);
    }

    #[test]
    fn every_form_of_an_entry_is_understood() {
        for (entry, expected) in [
            (r#"{"auth":"dTpwOng"}"#, password("u", "p:x")),
            (r#"{"username":"u","password":"p","auth":null}"#, password("u", "p")),
            (
                r#"{"identitytoken":"t","auth":"dTpw"}"#,
                Some(Kept::Credential(Credential::IdentityToken("t".into()))),
            ),
            (r#"{"email":"x@y"}"#, None),
            ("{}", None),
        ] {
            let json = format!(r#"{{"auths":{{"r.example":{entry}}},"HttpHeaders":{{}}}}"#);
            assert_eq!(find(&json, "r.example", "app"), expected, "{entry}");
        }
        assert_eq!(find(r#"{"auths":null,"credHelpers":null,"credsStore":null}"#, "r", "a"), None);
    }

    #[test]
    fn helpers_come_before_entries_and_the_store_after() {
        let json = r#"{"auths":{"a":{"auth":"dTpw"},"b":{"auth":"dTpw"},"c":{}},
            "credHelpers":{"a":"one"},"credsStore":"two"}"#;
        assert_eq!(find(json, "a", "app"), helper("one", "a"));
        assert_eq!(find(json, "b", "app"), password("u", "p"));
        assert_eq!(find(json, "c", "app"), helper("two", "c"));
        assert_eq!(find(json, "docker.io", "app"), helper("two", DOCKER_HUB_KEY));
    }

    #[test]
    fn what_is_broken_is_said_without_its_values() {
        for json in [
            r#"{"auths":{"r":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"credHelpers":{"r":"../hunter"}}"#,
        ] {
            let error = AuthFile::parse(json.as_bytes()).unwrap().find("r", "a").unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for json in ["", "5", r#"{"auths":"hunter2"}"#, r#"{"auths":{"r":{"auth":5}}}"#] {
            let error = AuthFile::parse(json.as_bytes()).unwrap_err();
            assert!(matches!(error, AuthFileError::Json(_)), "{json}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let file = AuthFile::parse(br#"{"auths":{"r":{"auth":"hunter2"}}}"#).unwrap();
        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
