use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::auth_file::{AuthFile, AuthFileError, Kept, MAX_AUTH_FILE};
use super::helper::{self, HELPER_DEADLINE};

/// What a registry is told about the user.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that buys other tokens.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    /// Never shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Password { .. } => "Password { .. }",
            Credential::IdentityToken(_) => "IdentityToken(..)",
        })
    }
}

/// Where credentials come from.
pub trait Credentials: Send + Sync {
    /// The credential for `repository` of the registry `host`; `None` where there is none. May run a
    /// program.
    ///
    /// # Errors
    ///
    /// A text without secrets that says why the user's configuration cannot be used.
    fn credential(&self, host: &str, repository: &str) -> Result<Option<Credential>, String>;
}

/// No credentials for anyone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn credential(&self, _: &str, _: &str) -> Result<Option<Credential>, String> {
        Ok(None)
    }
}

/// The files and helper programs of docker (`config.json`) and podman (`auth.json`), read again
/// whenever they are asked: credentials change while a daemon runs.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles {
    /// The files, the best first; those that are not there have nothing.
    pub files: Vec<PathBuf>,
}

impl Credentials for AuthFiles {
    fn credential(&self, host: &str, repository: &str) -> Result<Option<Credential>, String> {
        let mut failed = None;
        for path in &self.files {
            match look_up(path, host, repository) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                // Another file may do.
                Err(reason) => failed = failed.or(Some(format!("{}: {reason}", path.display()))),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

fn look_up(path: &Path, host: &str, repository: &str) -> Result<Option<Credential>, String> {
    let Some(bytes) = read(path).map_err(|e| e.kind().to_string())? else { return Ok(None) };
    let say = |e: AuthFileError| e.to_string();
    let file = AuthFile::parse(&bytes).map_err(say)?;
    match file.find(host, repository).map_err(say)? {
        None => Ok(None),
        Some(Kept::Credential(credential)) => Ok(Some(credential)),
        Some(Kept::Helper { name, key }) => helper::ask(&name, &key, HELPER_DEADLINE),
    }
}

/// The content of the file; one byte more than allowed of one that is too large.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let is_file = match fs::metadata(path) {
        Ok(metadata) => metadata.is_file(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            false
        }
        Err(e) => return Err(e),
    };
    if !is_file {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_AUTH_FILE + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let password = Credential::Password { username: "u".into(), password: "hunter2".into() };
        let token = Credential::IdentityToken("hunter2".into());
        assert!(!format!("{password:?}{token:?}").contains("hunter2"));
    }

    #[test]
    fn the_first_file_that_knows_a_registry_counts() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["none", "broken", "docker", "podman"].map(|name| dir.path().join(name));
        fs::write(&files[1], "{").unwrap();
        fs::write(&files[2], r#"{"auths":{"a":{"auth":"dTpw"}}}"#).unwrap();
        fs::write(&files[3], r#"{"auths":{"a":{"auth":"eDp5"},"b":{"auth":"eDp5"}}}"#).unwrap();
        let all = AuthFiles { files: files.to_vec() };
        let username = |host| match all.credential(host, "app") {
            Ok(Some(Credential::Password { username, .. })) => username,
            other => panic!("{other:?}"),
        };
        assert_eq!((username("a"), username("b")), ("u".to_owned(), "x".to_owned()));
        // Nobody knows it: then it matters that a file is broken.
        let error = all.credential("c", "app").unwrap_err();
        assert!(error.contains("broken"), "{error}");
        let good = AuthFiles { files: vec![files[0].clone(), files[2].clone()] };
        assert_eq!(good.credential("c", "app"), Ok(None));
    }
}
