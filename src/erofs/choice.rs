use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::probe::probe;

/// Which way trees are asked to be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As EROFS where that can be done, else by FUSE.
    #[default]
    Auto,
    /// As EROFS, or not at all.
    Erofs,
    /// By FUSE.
    Fuse,
}

/// Which way trees are shown; both show the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The kernel's EROFS has the metadata; FUSE is asked for data alone.
    Erofs,
    /// FUSE is asked for all that is not in the kernel's caches.
    #[default]
    Fuse,
}

impl Way {
    /// Its name: that of the filesystem.
    pub fn name(self) -> &'static str {
        match self {
            Way::Erofs => "erofs",
            Way::Fuse => "fuse",
        }
    }
}

/// Which way trees are shown on this machine, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Which way.
    pub way: Way,
    /// Why, in words.
    pub why: String,
}

impl Choice {
    /// Chooses for images of trees in the folder `dir`: by mounting a tiny one ([`probe`]), unless
    /// `mode` says [`Mode::Fuse`].
    ///
    /// # Errors
    ///
    /// Those of [`probe`], where `mode` is [`Mode::Erofs`].
    pub fn of(mode: Mode, dir: &Path) -> Result<Self, Error> {
        match mode {
            Mode::Fuse => Ok(Self::asked_for(Way::Fuse)),
            Mode::Erofs => probe(dir).map(|()| Self::asked_for(Way::Erofs)),
            Mode::Auto => Ok(match probe(dir) {
                Ok(()) => Self::possible(),
                Err(e) => Self::not_possible(&e),
            }),
        }
    }

    /// The way that was asked for.
    pub fn asked_for(way: Way) -> Self {
        Self { way, why: "asked for".to_owned() }
    }

    /// EROFS, because it can be.
    pub fn possible() -> Self {
        Self { way: Way::Erofs, why: "the kernel mounts it from a file".to_owned() }
    }

    /// FUSE, because EROFS failed with `error`.
    pub fn not_possible(error: &Error) -> Self {
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(e) = cause {
            why = format!("{why}: {e}");
            cause = e.source();
        }
        Self { way: Way::Fuse, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_done_by_fuse_unless_erofs_was_asked_for() {
        let none = Path::new("/does-not-exist");
        let choice = Choice::of(Mode::Auto, none).unwrap();
        assert_eq!(choice.way, Way::Fuse);
        assert!(choice.why.contains("No such file"), "{}", choice.why);
        assert_eq!(Choice::of(Mode::Fuse, none).unwrap(), Choice::asked_for(Way::Fuse));
        assert!(Choice::of(Mode::Erofs, none).is_err());
    }
}
