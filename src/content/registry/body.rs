//! Bodies of answers, read with a deadline and a bound.

use std::time::Instant;

use bytes::Bytes;
use reqwest::Response;

use super::answer::within;
use super::{Error, Timing};

/// A body and what is needed to name it in errors.
pub(super) struct Body {
    response: Response,
    what: String,
    host: String,
    timing: Timing,
    deadline: Instant,
}

impl Body {
    pub(super) fn new(
        response: Response,
        what: &str,
        host: &str,
        timing: &Timing,
        deadline: Instant,
    ) -> Self {
        let (what, host) = (what.to_owned(), host.to_owned());
        Self { response, what, host, timing: *timing, deadline }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = self.response.chunk();
        within(self.timing.stall, self.deadline, &self.what, &self.host, piece).await
    }

    /// Adds to `data` until it has `len` bytes. What came before an error stays in it.
    pub(super) async fn fill(&mut self, data: &mut Vec<u8>, len: usize) -> Result<(), Error> {
        while data.len() < len {
            match self.next().await? {
                Some(piece) => {
                    let want = piece.len().min(len - data.len());
                    data.extend_from_slice(&piece[..want]);
                }
                None => return Err(self.cut_short(len - data.len())),
            }
        }
        Ok(())
    }

    /// The error for a body that ends `missing` bytes too early.
    pub(super) fn cut_short(&self, missing: usize) -> Error {
        let reason = format!("the body ends {missing} bytes too early");
        Error::Unreachable { what: self.what.clone(), host: self.host.clone(), reason }
    }
}

/// A whole body of up to `limit` bytes.
pub(super) async fn read_document(
    response: Response,
    what: &str,
    host: &str,
    limit: usize,
    timing: &Timing,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let mut body = Body::new(response, what, host, timing, deadline);
    let mut data = Vec::new();
    while let Some(piece) = body.next().await? {
        if data.len() + piece.len() > limit {
            let reason = format!("it sends more than {limit} bytes");
            let (what, host) = (what.to_owned(), host.to_owned());
            return Err(Error::BadAnswer { what, host, reason });
        }
        data.extend_from_slice(&piece);
    }
    Ok(data)
}
