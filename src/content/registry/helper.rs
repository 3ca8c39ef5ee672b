//! Credential helpers: programs that keep credentials (docker, "Credential helper protocol").

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Credential;

/// How long a helper may take.
pub(super) const HELPER_DEADLINE: Duration = Duration::from_secs(30);
/// The longest answer in bytes.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-NAME` for what it keeps under `key`; `None` where it has nothing.
///
/// # Errors
///
/// A text that names the helper, and nothing that it printed.
pub(super) fn ask(name: &str, key: &str, limit: Duration) -> Result<Option<Credential>, String> {
    let program = format!("docker-credential-{name}");
    let failed = |what: &str| format!("credential helper {program:?} {what}");
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| failed(&format!("cannot be run: {}", e.kind())))?;
    let end = Instant::now() + limit;
    let answer = talk(&mut child, key, limit);
    let status = end_of(&mut child, end).map_err(|e| failed(&format!("is lost: {}", e.kind())))?;
    let answer = answer.ok_or_else(|| failed("does not answer"))?;
    if status.success() {
        return parse(&answer).ok_or_else(|| failed("answers wrongly")).map(Some);
    }
    // So helpers say that they have nothing, on standard output.
    match String::from_utf8_lossy(&answer).contains("credentials not found") {
        true => Ok(None),
        false => Err(failed("fails")),
    }
}

/// Writes `key` and reads the answer, all of it, within `limit`.
fn talk(child: &mut Child, key: &str, limit: Duration) -> Option<Vec<u8>> {
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    let key = key.to_owned();
    let (send, receive) = mpsc::channel();
    let reader = move || {
        // One that does not read its input may know the answer all the same.
        let _written = stdin.write_all(key.as_bytes());
        drop(stdin);
        let mut answer = Vec::new();
        let read = stdout.take(MAX_ANSWER).read_to_end(&mut answer);
        // Whoever waited may have given up.
        let _received = send.send(read.map(|_| answer));
    };
    thread::Builder::new().name("credentials".into()).spawn(reader).ok()?;
    receive.recv_timeout(limit).ok()?.ok()
}

/// How it ended; at `end` it is made to.
fn end_of(child: &mut Child, end: Instant) -> io::Result<ExitStatus> {
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()
}

fn parse(answer: &[u8]) -> Option<Credential> {
    let Answer { username, secret } = serde_json::from_slice(answer).ok()?;
    Some(match username.as_str() {
        // So helpers mark tokens that buy other tokens.
        "<token>" => Credential::IdentityToken(secret),
        _ => Credential::Password { username, password: secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_passwords_or_tokens() {
        let answer = br#"{"ServerURL":"r","Username":"u","Secret":"s"}"#;
        let expected = Credential::Password { username: "u".into(), password: "s".into() };
        assert_eq!(parse(answer), Some(expected));
        let answer = br#"{"Username":"<token>","Secret":"s"}"#;
        assert_eq!(parse(answer), Some(Credential::IdentityToken("s".into())));
        assert_eq!(parse(b"{}"), None);
    }

    #[test]
    fn a_helper_that_is_not_there_is_said_by_name() {
        let error = ask("of-nobody", "r.example", Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("docker-credential-of-nobody"), "{error}");
    }
}
