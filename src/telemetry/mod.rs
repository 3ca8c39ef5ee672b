//! Logs: one `tracing` subscriber for the program, on standard error. Measures: plain counters,
//! which know of no exporter.

mod histogram;

pub use histogram::{Histogram, LATENCY_BOUNDS};

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("log level {0:?}: expected error, warn, info, debug or trace, or tracing's directives")]
pub struct BadFilter(String);

impl crate::error::Classify for BadFilter {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

/// Sends log lines at or above `filter` to standard error. A second call changes nothing.
///
/// # Errors
///
/// [`BadFilter`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), BadFilter> {
    // fuser warns at every unmount from outside, which is how mounts here end.
    let env_filter = EnvFilter::try_new(format!("fuser=error,{filter}"))
        .map_err(|_| BadFilter(filter.to_owned()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _already_set = match format {
        LogFormat::Text => builder.with_target(false).try_init().is_err(),
        LogFormat::Json => builder.json().try_init().is_err(),
    };
    Ok(())
}
