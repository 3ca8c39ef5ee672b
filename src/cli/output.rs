use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::Kind;

use super::failure::Failure;

/// Standard output, as text or as JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Output in JSON where `json`, else in text.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, quiet: false }
    }

    /// Output that shows nothing.
    pub(crate) fn quiet() -> Self {
        Self { json: false, quiet: true }
    }

    /// Prints `value` as JSON, or what `text` makes of it.
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        if self.json {
            let mut line = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
            line.push('\n');
            return self.bytes(line.as_bytes());
        }
        self.bytes(text(value).as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        written.map_err(|e| {
            if e.kind() == io::ErrorKind::BrokenPipe {
                // Whoever reads it has read enough.
                return Failure::new(Kind::Canceled, e.to_string());
            }
            e.into()
        })
    }

    /// Whether a person reads this.
    pub(crate) fn is_terminal(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }
}

/// `bytes` for a person: `12.3 MiB`.
pub(crate) fn human_size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}
