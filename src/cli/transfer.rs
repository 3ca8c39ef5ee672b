//! `pull` and `push`: whole images from one place to another.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde::Serialize;

use crate::content::Descriptor;
use crate::digest::Digest;
use crate::image::{self, Cancel};

use super::args::{PullArgs, PushArgs};
use super::failure::Failure;
use super::output::{Output, human_size};
use super::progress::Progress;
use super::wire::Wire;

/// Blobs that are copied at the same time.
const BLOBS: NonZeroUsize = NonZeroUsize::new(6).unwrap();

#[derive(Debug, Serialize)]
struct Copied {
    image: String,
    digest: String,
    /// Compressed bytes that were fetched.
    bytes: u64,
    to: Option<String>,
}

/// Brings all of an image here.
pub(crate) fn pull(wire: &Wire, args: &PullArgs, out: Output) -> Result<(), Failure> {
    if let Some(to) = &args.to {
        return copy(wire, &args.image, to, args.all_platforms, out);
    }
    let found = wire.image(&args.image)?;
    let chain = wire.chain_of(&found)?;
    chain.fetch_all(&wire.progress())?;
    let shown = Copied {
        image: args.image.clone(),
        digest: found.image.descriptor.digest.to_string(),
        bytes: wire.traffic().bytes(),
        to: None,
    };
    out.show(&shown, text)
}

/// Copies an image to a registry or layout folder.
pub(crate) fn push(wire: &Wire, args: &PushArgs, out: Output) -> Result<(), Failure> {
    copy(wire, &args.image, &args.to, args.all_platforms, out)
}

fn copy(wire: &Wire, from: &str, to: &str, all: bool, out: Output) -> Result<(), Failure> {
    let destination = wire.destination(to)?;
    let (provider, root) = if all {
        wire.open(from)?
    } else {
        let found = wire.image(from)?;
        (found.provider, found.image.descriptor)
    };
    let bars = Bars::new(wire.progress());
    let observer = |descriptor: &Descriptor, progress| bars.show(descriptor, progress);
    let cancel = Cancel::new();
    let graph = |children| children;
    image::copy(&*provider, destination.store(), &root, graph, BLOBS, &observer, &cancel)?;
    destination.name(&root)?;
    let shown = Copied {
        image: from.to_owned(),
        digest: root.digest.to_string(),
        bytes: bars.bytes(),
        to: Some(to.to_owned()),
    };
    out.show(&shown, text)
}

fn text(shown: &Copied) -> String {
    format!("{}  {} copied\n", shown.digest, human_size(shown.bytes))
}

/// One bar a blob.
struct Bars {
    progress: Progress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bars: HashMap<Digest, ProgressBar>,
    /// Where each blob began, and how far it is.
    bytes: HashMap<Digest, (u64, u64)>,
}

impl Bars {
    fn new(progress: Progress) -> Self {
        Self { progress, state: Mutex::default() }
    }

    fn show(&self, descriptor: &Descriptor, progress: image::Progress) {
        let mut state = self.state.lock();
        let State { bars, bytes } = &mut *state;
        match progress {
            image::Progress::Exists => {}
            image::Progress::Bytes(done) => {
                let digest = &descriptor.digest;
                bytes.entry(digest.clone()).or_insert((done, done)).1 = done;
                let bar = bars.entry(digest.clone());
                let new = || self.progress.bar(digest.short(), descriptor.size);
                bar.or_insert_with(new).set_position(done);
            }
            image::Progress::Done => {
                if let Some(bar) = bars.remove(&descriptor.digest) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    /// Bytes that were copied by now.
    fn bytes(&self) -> u64 {
        self.state.lock().bytes.values().map(|(begun, done)| done.saturating_sub(*begun)).sum()
    }
}
