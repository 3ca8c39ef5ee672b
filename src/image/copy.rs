use std::collections::HashSet;
use std::io::Read;
use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;

use crate::content::{self, Descriptor, Ingester, Provider, Writer};
use crate::error::{Classify, Kind};
use crate::io::Cursor;

use super::media_type::{Class, classify};
use super::{Cancel, Error, Handler, Step, children, dispatch, handlers};

/// How much is copied between two looks at the cancel token, in bytes.
const COPY_CHUNK: usize = 1 << 20;

/// How often one blob is begun, where what is there of it is lost or wrong.
const TRIES: usize = 3;

/// How far the copy of one blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The store had it already.
    Exists,
    /// So many of its bytes are there.
    Bytes(u64),
    /// It is in the store, checked.
    Done,
}

/// Is told how far each blob is, from several threads.
pub type Observer<'a> = &'a (dyn Fn(&Descriptor, Progress) + Sync);

/// A handler that copies each descriptor's content from `from` to `to` and gives no children.
pub fn fetch_handler<'a>(
    from: &'a dyn Provider,
    to: &'a dyn Ingester,
    observer: Observer<'a>,
) -> impl Handler + 'a {
    move |descriptor: &Descriptor, cancel: &Cancel| {
        fetch(from, to, descriptor, observer, cancel).map(|()| Step::none())
    }
}

/// Copies all that `root` leads to. `filter` wraps the handler that gives the children, to leave
/// some out. Blobs go `limit` at a time, and manifests and indexes after all that is below them, so
/// that the store never has one whose content is missing.
///
/// # Errors
///
/// What reading, parsing, checking and writing gives; [`Error::Cancelled`].
pub fn copy<'a>(
    from: &'a dyn Provider,
    to: &'a dyn Ingester,
    root: &Descriptor,
    filter: impl FnOnce(Box<dyn Handler + 'a>) -> Box<dyn Handler + 'a>,
    limit: NonZeroUsize,
    observer: Observer<'a>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let documents = Mutex::new(Vec::new());
    let collect_or_fetch = |descriptor: &Descriptor, cancel: &Cancel| {
        match classify(&descriptor.media_type) {
            Class::Manifest | Class::Index => documents.lock().push(descriptor.clone()),
            Class::Config
            | Class::Layer
            | Class::Attestation
            | Class::Checkpoint
            | Class::Schema1
            | Class::Unknown => fetch(from, to, descriptor, observer, cancel)?,
        }
        Ok(Step::none())
    };
    let graph = filter(Box::new(super::children_handler(from)));
    let all = handlers(vec![Box::new(collect_or_fetch), graph]);
    dispatch(&all, limit, std::slice::from_ref(root), cancel)?;
    drop(all);
    let documents = parents_last(from, documents.into_inner(), cancel)?;
    for document in &documents {
        fetch(from, to, document, observer, cancel)?;
    }
    Ok(())
}

/// Orders documents so that each comes after those that it names.
fn parents_last(
    from: &dyn Provider,
    documents: Vec<Descriptor>,
    cancel: &Cancel,
) -> Result<Vec<Descriptor>, Error> {
    let mut left: Vec<(Descriptor, Vec<Descriptor>)> = Vec::new();
    for document in documents {
        cancel.check()?;
        let below = children(from, &document)?;
        left.push((document, below));
    }
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waiting: HashSet<_> = left.iter().map(|(d, _)| d.digest.clone()).collect();
        let (ready, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(_, below)| below.iter().all(|child| !waiting.contains(&child.digest)));
        // Digests make no cycles; were there one, its members go in any order.
        let (ready, rest) = if ready.is_empty() { (rest, Vec::new()) } else { (ready, rest) };
        ordered.extend(ready.into_iter().map(|(document, _)| document));
        left = rest;
    }
    Ok(ordered)
}

/// Copies the content of one descriptor.
fn fetch(
    from: &dyn Provider,
    to: &dyn Ingester,
    descriptor: &Descriptor,
    observer: Observer<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    cancel.check()?;
    if to.contains(descriptor)? {
        observer(descriptor, Progress::Exists);
        return Ok(());
    }
    for tries_left in (0..TRIES).rev() {
        let mut writer = to.resume(descriptor)?;
        let resumed = writer.written() > 0;
        if let Err(e) = transfer(from, to, descriptor, &mut *writer, observer, cancel) {
            match writer.is_lost() && tries_left > 0 {
                true => continue,
                false => return Err(e),
            }
        }
        match writer.commit(descriptor.size, &descriptor.digest) {
            // What an earlier run left may be what is wrong.
            Err(e) if tries_left > 0 && is_worth_another_try(&e, resumed) => {}
            other => {
                other?;
                break;
            }
        }
    }
    observer(descriptor, Progress::Done);
    Ok(())
}

/// Whether a store that does not take content may do so when it is sent anew.
fn is_worth_another_try(error: &content::Error, resumed: bool) -> bool {
    match error.kind() {
        Kind::Aborted => true,
        Kind::DataLoss | Kind::FailedPrecondition | Kind::NotFound => resumed,
        Kind::AlreadyExists
        | Kind::InvalidArgument
        | Kind::Unavailable
        | Kind::DeadlineExceeded
        | Kind::Canceled
        | Kind::Unauthenticated
        | Kind::PermissionDenied
        | Kind::ResourceExhausted
        | Kind::OutOfRange
        | Kind::NotImplemented
        | Kind::Internal => false,
    }
}

/// Writes what is missing.
fn transfer(
    from: &dyn Provider,
    to: &dyn Ingester,
    descriptor: &Descriptor,
    writer: &mut dyn Writer,
    observer: Observer<'_>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let digest = &descriptor.digest;
    let failed = |store: &str| content::Error::io(format!("{digest} in {store}"));
    if let Some(data) = embedded(descriptor) {
        let rest = data.get(usize::try_from(writer.written()).unwrap_or(usize::MAX)..);
        writer.write_all(rest.unwrap_or_default()).map_err(failed(to.name()))?;
        return Ok(());
    }
    let mut reader = Cursor::at(from.open_sequential(descriptor)?, writer.written());
    let mut buf = vec![0; COPY_CHUNK.min(usize::try_from(descriptor.size).unwrap_or(COPY_CHUNK))];
    observer(descriptor, Progress::Bytes(writer.written()));
    while writer.written() < descriptor.size {
        cancel.check()?;
        let n = reader.read(&mut buf).map_err(failed(from.name()))?;
        if n == 0 {
            break;
        }
        writer.write_all(&buf[..n]).map_err(failed(to.name()))?;
        observer(descriptor, Progress::Bytes(writer.written()));
    }
    Ok(())
}

/// The content in the descriptor itself, where it is there in its right size. It is checked like
/// any other when it is committed.
fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let data = STANDARD.decode(descriptor.data.as_deref()?).ok()?;
    (data.len() as u64 == descriptor.size).then_some(data)
}
