use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};

use super::Error;

/// How many threads drive the connections of one client.
const THREADS: usize = 2;

/// The threads on which a client's requests run, behind an interface without async.
///
/// A caller waits on a channel, so it may be any thread, one of another runtime too.
#[derive(Debug, Default)]
pub(super) struct Driver(OnceLock<Result<Runtime, Error>>);

impl Driver {
    /// The threads, which begin when they are first needed.
    fn runtime(&self) -> Result<&Runtime, Error> {
        let begin = || {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(THREADS).thread_name("registry").enable_all();
            builder.build().map_err(Error::io("threads for the registry client"))
        };
        self.0.get_or_init(begin).as_ref().map_err(Clone::clone)
    }

    /// Runs `task` to its end and waits for that. Every task ends by itself: it has a deadline.
    pub(super) fn run<T, F>(&self, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        // A task that panics, or a runtime that stops, drops the sender.
        self.start(task)?.recv().unwrap_or(Err(Error::Stopped))
    }

    /// Starts `task`; its outcome can be received.
    pub(super) fn start<T, F>(&self, task: F) -> Result<mpsc::Receiver<Result<T, Error>>, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime()?.spawn(async move {
            // Nobody receives where the caller is gone.
            let _ = sender.send(task.await);
        });
        Ok(receiver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(Ok(runtime)) = self.0.take() {
            // Not waited for, as this may be a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}
