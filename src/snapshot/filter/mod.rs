//! containerd's filter language (its `pkg/filters`): a pure parser and evaluator.
//!
//! ```text
//! selectors := selector ("," selector)*                all must match
//! selector  := fieldpath [ ("==" | "!=" | "~=") value ]
//! fieldpath := field ("." field)*
//! field     := [A-Za-z0-9_]+ | "…"                     with the escapes of Go strings
//! value     := "…" | [^\s,]+                           after ~= also /…/ or |…|
//! ```
//!
//! Of several filters any one may match; no filter, or an empty one, matches everything. `==` wants
//! the field to be there, `!=` does not, `~=` finds a regular expression anywhere in the value (an
//! absent field is an empty value). Regular expressions run in linear time; theirs is the language of
//! the `regex` crate, which takes all that containerd's RE2 takes and a little more.
//!
//! Two things are said to the caller that containerd swallows: a regular expression that does not
//! compile is an error, and so is a filter longer than [`MAX_LEN`].

mod parser;
mod quote;
mod scanner;

use std::borrow::Cow;

use regex::bytes::Regex;

use super::Info;

/// The longest filter in bytes.
pub const MAX_LEN: usize = 64 << 10;

/// The most memory in bytes that one compiled regular expression may take.
pub const MAX_REGEX: usize = 1 << 20;

/// Why a filter cannot be used, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter {input:?}: {problem} at byte {position}")]
pub struct ParseError {
    /// The filter.
    pub input: String,
    /// The byte of the filter that the problem is at.
    pub position: usize,
    /// What is wrong.
    pub problem: Problem,
}

impl crate::error::Classify for ParseError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is longer than [`MAX_LEN`].
    #[error("more than {MAX_LEN} bytes")]
    TooLong,
    /// Something else stands where a field has to.
    #[error("expected field or quoted")]
    ExpectedField,
    /// Something else stands where an operator has to.
    #[error("expected an operator (==, != or ~=)")]
    ExpectedOperator,
    /// The operator is none of the three.
    #[error("unsupported operator {0:?}")]
    UnknownOperator(String),
    /// Something else stands where a value has to.
    #[error("expected value or quoted")]
    ExpectedValue,
    /// A selector is followed by something other than a comma.
    #[error("unexpected input {0:?}")]
    Unexpected(char),
    /// `/…/` or `|…|` where only `"…"` may be.
    #[error("invalid quote encountered")]
    InvalidQuote,
    /// A quote is not closed.
    #[error("quoted literal not terminated")]
    NotTerminated,
    /// A backslash is followed by something that is no escape.
    #[error("illegal escape sequence")]
    IllegalEscape,
    /// A zero byte.
    #[error("unexpected null")]
    Null,
    /// The replacement character, which stands for text that was no UTF-8.
    #[error("rune error")]
    RuneError,
    /// The regular expression does not compile.
    #[error("bad regular expression: {0}")]
    Regex(String),
}

/// What a selector asks of its field.
#[derive(Debug, Clone)]
enum Condition {
    Present,
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    Matches(Regex),
}

#[derive(Debug, Clone)]
struct Selector {
    fieldpath: Vec<Vec<u8>>,
    condition: Condition,
}

impl Selector {
    fn matches(&self, subject: &dyn Fields) -> bool {
        let value = subject.field(&self.fieldpath);
        match &self.condition {
            Condition::Present => value.is_some(),
            Condition::Equal(wanted) => value.is_some_and(|v| v.as_bytes() == wanted),
            Condition::NotEqual(wanted) => value.unwrap_or_default().as_bytes() != wanted,
            Condition::Matches(regex) => regex.is_match(value.unwrap_or_default().as_bytes()),
        }
    }
}

/// Something whose fields a filter can look at.
pub trait Fields {
    /// The value at `path`, which is never empty; `None` where there is no such field.
    fn field(&self, path: &[Vec<u8>]) -> Option<&str>;
}

/// A set of filters of which any one may match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Disjunction of conjunctions; empty matches everything.
    any: Vec<Vec<Selector>>,
}

impl Filter {
    /// The filter that matches everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Parses filters of which any one may match.
    ///
    /// # Errors
    ///
    /// [`ParseError`] for the first that cannot be used.
    pub fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Self, ParseError> {
        let any = filters
            .iter()
            .map(|filter| parser::parse(filter.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        // One that matches everything makes the others moot.
        if any.iter().any(Vec::is_empty) {
            return Ok(Self::all());
        }
        Ok(Self { any })
    }

    /// Whether `subject` matches.
    pub fn matches(&self, subject: &dyn Fields) -> bool {
        self.any.is_empty()
            || self.any.iter().any(|selectors| selectors.iter().all(|s| s.matches(subject)))
    }
}

impl Fields for Info {
    /// `name`, `parent` (empty without one), `kind`, `labels.KEY`; in KEY the segments are joined
    /// by dots again.
    fn field(&self, path: &[Vec<u8>]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        match first.as_slice() {
            b"name" => Some(&self.name),
            b"parent" => Some(self.parent.as_deref().unwrap_or_default()),
            b"kind" => Some(self.kind.name()),
            b"labels" => {
                let key = match rest {
                    [one] => Cow::Borrowed(one),
                    many => Cow::Owned(many.join(&b'.')),
                };
                self.labels.get(std::str::from_utf8(&key).ok()?).map(String::as_str)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
