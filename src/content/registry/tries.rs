use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::error::Remedy;
use super::traffic::Traffic;
use super::{Error, Timing};

/// How often an answer that breaks the protocol is put up with.
const MAX_BAD_ANSWERS: usize = 3;

/// The tries of one task: all servers in turn, the ones that work first, then a pause, then all
/// again, until one gives what is wanted, none ever will, or the deadline comes.
pub(super) struct Tries {
    servers: Vec<Arc<Endpoint>>,
    round: Vec<Arc<Endpoint>>,
    rounds: u32,
    pause: Pause,
    /// How the last try ended.
    last: Option<Error>,
    /// What the registry itself, no mirror, says for good.
    verdict: Option<Error>,
    bad_answers: usize,
    timing: Timing,
    traffic: Arc<Traffic>,
    what: String,
    started: Instant,
    pub(super) deadline: Instant,
}

/// Whether another round may help.
#[derive(Clone, Copy)]
enum Pause {
    /// All servers said no for good.
    Useless,
    /// After at least this time.
    AtLeast(Duration),
}

impl Tries {
    /// Tries for `what`, a transfer of `len` bytes.
    pub(super) fn new(
        servers: Vec<Arc<Endpoint>>,
        what: &str,
        len: u64,
        timing: Timing,
        traffic: Arc<Traffic>,
    ) -> Self {
        let started = Instant::now();
        let budget = timing.budget(len);
        Self {
            round: in_turn(&servers),
            servers,
            rounds: 0,
            pause: Pause::Useless,
            last: None,
            verdict: None,
            bad_answers: 0,
            timing,
            traffic,
            what: what.to_owned(),
            started,
            // A year, where the sum is beyond what the clock can say.
            deadline: started
                .checked_add(budget)
                .unwrap_or(started + Duration::from_secs(31_536_000)),
        }
    }

    /// The server to ask next, after a pause where all were asked.
    ///
    /// # Errors
    ///
    /// How the tries ended.
    pub(super) async fn next(&mut self) -> Result<Arc<Endpoint>, Error> {
        if let Some(server) = self.round.pop() {
            return Ok(server);
        }
        if let Some(verdict) = self.verdict.take() {
            return Err(verdict);
        }
        let last = self.last.clone().unwrap_or(Error::Stopped);
        let Pause::AtLeast(least) = self.pause else { return Err(last) };
        self.rounds += 1;
        let pause = self.timing.pause(self.rounds).max(least);
        if Instant::now() + pause >= self.deadline {
            let seconds = self.started.elapsed().as_secs();
            let last = Box::new(last);
            return Err(Error::Deadline { what: self.what.clone(), seconds, last });
        }
        tokio::time::sleep(pause).await;
        self.traffic.count_retry();
        self.pause = Pause::Useless;
        self.round = in_turn(&self.servers);
        self.round.pop().ok_or(Error::Stopped)
    }

    /// Notes that `server` failed.
    ///
    /// # Errors
    ///
    /// `error`, where no further try can help.
    pub(super) fn failed(&mut self, server: &Endpoint, error: Error) -> Result<(), Error> {
        tracing::debug!(%error, "registry request failed");
        let mut remedy = error.remedy();
        if remedy == Remedy::Again {
            self.bad_answers += 1;
            let more = self.bad_answers < MAX_BAD_ANSWERS;
            remedy = if more { Remedy::Later(None) } else { Remedy::Elsewhere };
        }
        match remedy {
            Remedy::None => return Err(error),
            Remedy::Elsewhere if !server.spec.mirror => self.verdict = Some(error),
            Remedy::Elsewhere => {
                self.last.get_or_insert(error);
            }
            Remedy::Later(after) => {
                server.failed(&error);
                let least = match self.pause {
                    Pause::AtLeast(least) => least,
                    Pause::Useless => Duration::ZERO,
                };
                self.pause = Pause::AtLeast(after.unwrap_or_default().max(least));
                self.last = Some(error);
            }
            Remedy::Again => {}
        }
        Ok(())
    }
}

/// The servers in the order of asking, the first one last.
fn in_turn(servers: &[Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
    let mut order = servers.to_vec();
    // Stable: the configured order among those that work.
    order.sort_by_key(|server| server.is_shunned());
    order.reverse();
    order
}
