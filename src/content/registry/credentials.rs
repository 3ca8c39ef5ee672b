use std::fmt;

use docker_credential::{CredentialRetrievalError, DockerCredential};

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
    /// The credential for the registry `host`; `None` where there is none. May run a program.
    ///
    /// # Errors
    ///
    /// A text without secrets that says why the user's configuration cannot be used.
    fn credential(&self, host: &str) -> Result<Option<Credential>, String>;
}

/// No credentials for anyone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn credential(&self, _: &str) -> Result<Option<Credential>, String> {
        Ok(None)
    }
}

/// The files and helper programs of docker (`config.json`) and podman (`auth.json`).
#[derive(Debug, Clone, Copy, Default)]
pub struct AuthFiles;

impl Credentials for AuthFiles {
    fn credential(&self, host: &str) -> Result<Option<Credential>, String> {
        let docker_key = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
        let docker = convert(docker_credential::get_credential(docker_key));
        if let Ok(Some(_)) = docker {
            return docker;
        }
        match convert(docker_credential::get_podman_credential(host)) {
            Ok(None) => docker,
            podman => podman,
        }
    }
}

fn convert(
    outcome: Result<DockerCredential, CredentialRetrievalError>,
) -> Result<Option<Credential>, String> {
    match outcome {
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credential::IdentityToken(token))),
        // So docker marks identity tokens that a helper keeps.
        Ok(DockerCredential::UsernamePassword(username, token)) if username == "<token>" => {
            Ok(Some(Credential::IdentityToken(token)))
        }
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Some(Credential::Password { username, password }))
        }
        // A missing file reads as ConfigReadError.
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(None),
        // Helpers say so on standard output, with an exit code that says failure.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        // The output of a helper may hold anything: only its name is told.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(format!("credential helper {helper:?} failed"))
        }
        Err(
            e @ (CredentialRetrievalError::HelperCommunicationError
            | CredentialRetrievalError::MalformedHelperResponse
            | CredentialRetrievalError::CredentialDecodingError
            | CredentialRetrievalError::CredentialMismatchError),
        ) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let password = Credential::Password { username: "u".into(), password: "hunter2".into() };
        let token = Credential::IdentityToken("hunter2".into());
        assert!(!format!("{password:?}{token:?}").contains("hunter2"));
        let failure = CredentialRetrievalError::HelperFailure {
            helper: "pass".into(),
            stdout: "hunter2".into(),
            stderr: "hunter2".into(),
        };
        assert!(!convert(Err(failure)).unwrap_err().contains("hunter2"));
    }

    #[test]
    fn a_helper_that_knows_nothing_is_no_failure() {
        let failure = CredentialRetrievalError::HelperFailure {
            helper: "pass".into(),
            stdout: "credentials not found in native keychain".into(),
            stderr: String::new(),
        };
        assert_eq!(convert(Err(failure)), Ok(None));
        let token = DockerCredential::UsernamePassword("<token>".into(), "t".into());
        assert_eq!(convert(Ok(token)), Ok(Some(Credential::IdentityToken("t".into()))));
    }
}
