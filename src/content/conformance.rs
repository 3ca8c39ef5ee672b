//! What every [`Provider`] must do, as a suite to run against one (as containerd's
//! `content/testsuite`).
//!
//! The suite reads a store that holds known content and reports the first promise that is broken.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{Classify, Kind};
use crate::io::ReadAt;

use super::{Descriptor, Error, MAX_DOCUMENT, Provider};

/// Content that the store under test holds.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it is asked for by.
    pub descriptor: Descriptor,
    /// All of its bytes.
    pub content: Vec<u8>,
}

impl Known {
    /// Known content of the given bytes.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let size = content.len() as u64;
        let descriptor =
            Descriptor::new("application/octet-stream", Digest::sha256(&content), size);
        Self { descriptor, content }
    }
}

/// A promise of [`Provider`] that a store does not keep.
#[derive(Debug, thiserror::Error)]
#[error("{store}: {what}")]
pub struct Violation {
    /// The store.
    pub store: String,
    /// What it did.
    pub what: String,
}

/// How many threads read at once.
const THREADS: usize = 8;

/// Runs the whole suite against `provider`, which holds at least `known`.
///
/// # Errors
///
/// The first [`Violation`].
pub fn check(provider: &dyn Provider, known: &[Known]) -> Result<(), Violation> {
    let run = || {
        absent_is_not_found(provider)?;
        for known in known {
            wrong_size_is_refused(provider, known)?;
            let blob = open(provider, &known.descriptor)?;
            every_part_reads_as_it_is(&*blob, &known.content)?;
            documents_are_checked(provider, known)?;
        }
        parallel_reads_agree(provider, known)
    };
    run().map_err(|what| Violation { store: provider.name().to_owned(), what })
}

fn open(provider: &dyn Provider, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, String> {
    provider.open(descriptor).map_err(|e| format!("content that is there: {e}"))
}

fn absent_is_not_found(provider: &dyn Provider) -> Result<(), String> {
    let digest = Digest::sha256(b"content that no store holds");
    let descriptor = Descriptor::new("application/octet-stream", digest.clone(), 27);
    // A remote store may find out only when it reads.
    let outcome = provider.open(&descriptor).and_then(|_| provider.read(&descriptor).map(drop));
    match outcome {
        Ok(()) => Err("it has content that it cannot have".to_owned()),
        Err(e) if e.kind() != Kind::NotFound => {
            Err(format!("absent content is no NotFound but {:?}: {e}", e.kind()))
        }
        Err(e) => {
            let text = e.to_string();
            match text.contains(&digest.to_string()) && text.contains(provider.name()) {
                true => Ok(()),
                false => Err(format!("the error names not both digest and store: {text}")),
            }
        }
    }
}

fn wrong_size_is_refused(provider: &dyn Provider, known: &Known) -> Result<(), String> {
    for size in [known.descriptor.size + 1, known.descriptor.size.wrapping_sub(1)] {
        if size > MAX_DOCUMENT {
            continue;
        }
        let descriptor = Descriptor { size, ..known.descriptor.clone() };
        let outcome = provider.open(&descriptor).and_then(|_| provider.read(&descriptor).map(drop));
        let size_was = known.descriptor.size;
        match outcome {
            Err(e) if e.kind() == Kind::DataLoss => {}
            Err(e) => return Err(format!("{size} bytes asked of {size_was}: {e}")),
            Ok(()) => return Err(format!("{size} bytes asked of {size_was} were given")),
        }
    }
    Ok(())
}

fn every_part_reads_as_it_is(blob: &dyn ReadAt, content: &[u8]) -> Result<(), String> {
    let size = content.len();
    if blob.size() != size as u64 {
        return Err(format!("{size} bytes are said to be {}", blob.size()));
    }
    let lengths = [0, 1, 2, 511, 512, 4096, 65_537];
    let mut offsets: Vec<usize> = (0..=size.min(64)).collect();
    offsets.extend((0..32).map(|i| size / 32 * i + i));
    offsets.extend((0..64).map(|i| size.saturating_sub(i)));
    offsets.extend([size + 1, size + 4096]);
    for offset in offsets {
        for len in lengths {
            expect_read(blob, content, offset, len)?;
        }
    }
    for (offset, len) in [(0, size), (0, size + 1), (1, size), (size / 2, size)] {
        expect_read(blob, content, offset, len)?;
    }
    let mut buf = [0; 16];
    match blob.read_at(&mut buf, u64::MAX) {
        Ok(0) => Ok(()),
        other => Err(format!("a read at offset 2^64-1 gives {other:?}")),
    }
}

fn expect_read(blob: &dyn ReadAt, content: &[u8], offset: usize, len: usize) -> Result<(), String> {
    let start = offset.min(content.len());
    let expected = &content[start..start.saturating_add(len).min(content.len())];
    let mut buf = vec![0xa5; len];
    let read = match blob.try_read_at(&mut buf, offset as u64) {
        Ok(Some(n)) => Ok(n),
        Ok(None) => blob.read_at(&mut buf, offset as u64),
        Err(e) => Err(e),
    };
    match read {
        Ok(n) if n == expected.len() && &buf[..n] == expected => Ok(()),
        Ok(n) if n != expected.len() => {
            Err(format!("a read of {len} at {offset} of {} gives {n} bytes", content.len()))
        }
        Ok(_) => Err(format!("a read of {len} at {offset} gives other bytes than are stored")),
        Err(e) => Err(format!("a read of {len} at {offset} fails: {e}")),
    }
}

fn parallel_reads_agree(provider: &dyn Provider, known: &[Known]) -> Result<(), String> {
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..THREADS)
            .map(|seed| {
                scope.spawn(move || {
                    for known in known {
                        let blob = open(provider, &known.descriptor)?;
                        let size = known.content.len();
                        for step in 0..16 {
                            let offset = (seed * 7919 + step * 104_729) % (size + 1);
                            expect_read(&*blob, &known.content, offset, 1000 + seed)?;
                        }
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        for reader in readers {
            reader.join().map_err(|_| "a read panics".to_owned())??;
        }
        Ok(())
    })
}

fn documents_are_checked(provider: &dyn Provider, known: &Known) -> Result<(), String> {
    let outcome = provider.read(&known.descriptor);
    if known.descriptor.size > MAX_DOCUMENT {
        return match outcome {
            Err(Error::TooLarge { .. }) => Ok(()),
            other => Err(format!("a document beyond the bound gives {:?}", other.map(|d| d.len()))),
        };
    }
    match outcome {
        Ok(data) if data == known.content => Ok(()),
        Ok(data) => Err(format!("a document of other bytes, {} of them", data.len())),
        Err(e) => Err(format!("a document that is there: {e}")),
    }
}
