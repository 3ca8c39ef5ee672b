//! Entries in any order, and any tar archive, as a layer: its TOC keeps all invariants, merges, and
//! survives being written and read.

use stratafs::archive::{
    Device, Entry, EntryKind, Event, FileType, Metadata, TarParser, Timestamp,
};
use stratafs::compress::{Codec, SpanDigest, SpanTable};
use stratafs::layer::{Toc, TocBuilder, TocError};

use super::promises;

/// Takes `data` for a script of entries, or with a first byte of 0xff for a tar archive.
pub fn run(data: &[u8]) {
    let toc = match data.split_first() {
        Some((0xff, tar)) => from_tar(tar),
        _ => from_script(data),
    };
    if let Some(toc) = toc {
        check(toc);
    }
}

fn from_tar(tar: &[u8]) -> Option<Toc> {
    let mut builder = TocBuilder::new();
    let mut parser = TarParser::new();
    let mut sink = |event: Event<'_>| match event {
        Event::Entry(entry) => builder.add(entry).map_err(|_| Stop),
        Event::Data { .. } | Event::End => Ok(()),
    };
    parser.push(tar, &mut sink).and_then(|()| parser.finish(&mut sink)).ok()?;
    Some(builder.finish())
}

struct Stop;

impl From<stratafs::archive::TarError> for Stop {
    fn from(_: stratafs::archive::TarError) -> Self {
        Stop
    }
}

/// One line a member: a byte that says the kind, the path, and after a tab the target.
fn from_script(script: &[u8]) -> Option<Toc> {
    let mut builder = TocBuilder::new();
    for line in script.split(|&b| b == b'\n') {
        let Some((kind, rest)) = line.split_first() else { continue };
        let mut parts = rest.splitn(2, |&b| b == b'\t');
        let path = parts.next().unwrap_or_default().to_vec();
        let target = parts.next().unwrap_or_default().to_vec();
        add(&mut builder, *kind, path, target).ok()?;
    }
    Some(builder.finish())
}

fn add(builder: &mut TocBuilder, kind: u8, path: Vec<u8>, target: Vec<u8>) -> Result<(), TocError> {
    let (kind, file_type) = match kind % 5 {
        0 => (EntryKind::Regular, FileType::Regular),
        1 => (EntryKind::Directory, FileType::Directory),
        2 => (EntryKind::Symlink(target), FileType::Symlink),
        3 => (EntryKind::HardLink(target), FileType::Regular),
        _ => (EntryKind::Fifo, FileType::Fifo),
    };
    let metadata = Metadata {
        file_type,
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: Timestamp { secs: -1, nanos: 5 },
        device: Device::default(),
        xattrs: Vec::new(),
    };
    builder.add(Entry { offset: 0, path, kind, metadata, size: 0, runs: Vec::new() })
}

fn check(toc: Toc) {
    let table = SpanTable {
        codec: Codec::Plain,
        blob_size: 0,
        size: 0,
        points: Vec::new(),
        spans: Vec::new(),
        windows_size: 0,
        span_digest: SpanDigest::Blake3,
    };
    promises::layer(toc, table, Vec::new());
}
