use std::fmt;
use std::io;

use crate::error::{Classify, Kind};

/// A failed run: the error, and what the user can do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A failure of `kind` that says `text`.
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None, code: 1 }
    }

    /// The same with advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The kind of the error.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The exit code of the program.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// What the user can do, where the failure did not bring advice of its own.
    pub(crate) fn advice(&self) -> Option<String> {
        if self.hint.is_some() {
            return self.hint.clone();
        }
        let text = match self.kind {
            Kind::PermissionDenied => "run it as root, or give folders of your own by --root",
            Kind::DataLoss => {
                "the image is damaged: copy it again from where it came, checking digests"
            }
            Kind::ResourceExhausted => {
                "free some space in the state root, or give another by --root"
            }
            Kind::Unavailable | Kind::DeadlineExceeded => "try again when the source is back",
            Kind::Unauthenticated => {
                "log in to that registry: docker login HOST, or podman login HOST"
            }
            Kind::NotFound
            | Kind::AlreadyExists
            | Kind::InvalidArgument
            | Kind::FailedPrecondition
            | Kind::Aborted
            | Kind::Canceled
            | Kind::OutOfRange
            | Kind::NotImplemented
            | Kind::Internal => return None,
        };
        Some(text.to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::new(e.kind(), chain_text(&e))
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::new(Kind::of_io(&e), e.to_string())
    }
}

/// The error with those of its causes that its own text does not hold already.
fn chain_text(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let next = e.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = e.source();
    }
    text
}
