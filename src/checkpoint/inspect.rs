use std::cmp::Reverse;

use crate::archive::{EntryKind, Event, LayerPath, Whiteout, whiteout_of};

use super::archive::read_tar;
use super::{Blob, Checkpoint, Error, MAX_ARCHIVE, Process};

/// The most changed files that are listed.
const MAX_CHANGED: usize = 1 << 20;

/// What is to be seen in a checkpoint without restoring it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The files that were written or changed, the largest first.
    pub changed: Vec<Changed>,
    /// What was deleted; a folder that was emptied of all that its image has ends in a slash.
    pub deleted: Vec<String>,
    /// The processes, parents first, where there is a memory image.
    pub processes: Vec<Process>,
}

/// A file that a container wrote or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Where it is, from the root.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Reads through the rw layer and the memory image of `checkpoint`.
///
/// # Errors
///
/// Those of reading them, with their digests checked.
pub fn inspect(checkpoint: &Checkpoint) -> Result<Inspection, Error> {
    let mut inspection = Inspection::default();
    if let Some(changes) = &checkpoint.changes {
        if let Some(layer) = &changes.layer {
            list(layer, &mut inspection)?;
        }
        inspection.deleted.extend(changes.deleted.iter().map(ToString::to_string));
    }
    inspection.changed.sort_by(|a, b| (Reverse(a.size), &a.path).cmp(&(Reverse(b.size), &b.path)));
    inspection.deleted.sort();
    if let Some(memory) = &checkpoint.memory {
        inspection.processes = memory.processes()?;
    }
    Ok(inspection)
}

fn list(layer: &Blob, into: &mut Inspection) -> Result<(), Error> {
    let name = layer.name();
    layer.read(|stream| {
        read_tar(stream, &name, MAX_ARCHIVE, &mut |event| {
            let Event::Entry(entry) = event else { return Ok(()) };
            let bad = |problem: String| Error::Member {
                archive: name.clone(),
                member: String::from_utf8_lossy(&entry.path).into_owned(),
                problem,
            };
            let path = LayerPath::parse(&entry.path).map_err(|e| bad(e.to_string()))?;
            if into.changed.len() + into.deleted.len() == MAX_CHANGED {
                let limit = MAX_CHANGED as u64;
                return Err(Error::TooMuch { what: name.clone(), limit, unit: "files" });
            }
            let folder = path.parent().unwrap_or_default();
            match path.file_name().and_then(whiteout_of) {
                Some(Whiteout::Opaque) => into.deleted.push(format!("{}/", folder)),
                Some(Whiteout::Name(name)) => {
                    let hidden = folder.join(name).map_err(|e| bad(e.to_string()))?;
                    into.deleted.push(hidden.to_string());
                }
                Some(Whiteout::Invalid) => return Err(bad("is an invalid whiteout".to_owned())),
                Some(Whiteout::Aufs) => {}
                // Folders are there for what is in them.
                None if entry.kind == EntryKind::Directory => {}
                None => into.changed.push(Changed { path: path.to_string(), size: entry.size }),
            }
            Ok(())
        })
    })
}
