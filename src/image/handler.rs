use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::content::Descriptor;

use super::Error;

/// What a [`Handler`] says about a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Go on with these (containerd's plain return).
    Children(Vec<Descriptor>),
    /// Do not go below this descriptor, which is no failure (containerd's `ErrSkipDesc`).
    Skip,
    /// Leave out the handlers that come after this one, for this descriptor; the children that
    /// the ones before gave stay (containerd's `ErrStopHandler`).
    Stop,
}

impl Step {
    /// Nothing below and nothing against it.
    pub fn none() -> Self {
        Step::Children(Vec::new())
    }
}

/// Maps a descriptor to its children, and does on the way whatever it is for.
pub trait Handler: Sync {
    /// Handles one descriptor. Work that takes long looks at `cancel` now and then.
    ///
    /// # Errors
    ///
    /// Whatever ends the whole walk.
    fn handle(&self, descriptor: &Descriptor, cancel: &Cancel) -> Result<Step, Error>;
}

impl<F> Handler for F
where
    F: Fn(&Descriptor, &Cancel) -> Result<Step, Error> + Sync,
{
    fn handle(&self, descriptor: &Descriptor, cancel: &Cancel) -> Result<Step, Error> {
        self(descriptor, cancel)
    }
}

/// Runs several handlers one after another on each descriptor and joins their children.
pub fn handlers<'a>(list: Vec<Box<dyn Handler + 'a>>) -> impl Handler + 'a {
    Sequence(list)
}

struct Sequence<'a>(Vec<Box<dyn Handler + 'a>>);

impl Handler for Sequence<'_> {
    fn handle(&self, descriptor: &Descriptor, cancel: &Cancel) -> Result<Step, Error> {
        let mut all = Vec::new();
        for handler in &self.0 {
            match handler.handle(descriptor, cancel)? {
                Step::Children(children) => all.extend(children),
                Step::Skip => return Ok(Step::Skip),
                Step::Stop => break,
            }
        }
        Ok(Step::Children(all))
    }
}

/// Says to work that goes on elsewhere that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    above: Option<Arc<Cancel>>,
}

impl Cancel {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one, but not the other way round.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { own: Arc::default(), above: Some(Arc::new(self.clone())) }
    }

    /// Cancels this token and all that are below it.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::Release);
    }

    /// Whether this token, or one above it, is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.own.load(Ordering::Acquire) || self.above.as_ref().is_some_and(|a| a.is_cancelled())
    }

    /// An error once this is cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
