use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::compress::{SpanTable, StartTrace};
use crate::digest::Digest;
use crate::io::AtomicFile;

/// The largest file that is taken for a trace, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The start-up traces of layers: `DIR/<algorithm>-<hex of the blob digest>.trace`.
///
/// What is damaged or of another version counts as absent.
#[derive(Debug, Clone)]
pub struct TraceStore {
    dir: PathBuf,
}

impl TraceStore {
    /// The traces in the folder `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.trace", digest.algorithm().name(), digest.hex()))
    }

    /// The trace of the layer whose blob is `digest`.
    ///
    /// # Errors
    ///
    /// Those of reading a file that is there.
    pub fn load(&self, digest: &Digest) -> io::Result<Option<StartTrace>> {
        let path = self.path(digest);
        let read = fs::metadata(&path).and_then(|metadata| {
            if metadata.len() > MAX_FILE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            fs::read(&path)
        });
        let bytes = match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match StartTrace::decode(&bytes) {
            Ok(trace) => Ok(Some(trace)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "trace is not used");
                Ok(None)
            }
        }
    }

    /// Keeps `trace`, in place of what was there.
    ///
    /// # Errors
    ///
    /// Those of writing; what was there before is then still there.
    pub fn save(&self, digest: &Digest, trace: &StartTrace) -> io::Result<()> {
        let mut file = AtomicFile::create(&self.path(digest))?;
        file.file().write_all(&trace.encode())?;
        file.commit()
    }

    /// Adds what a start has read to what earlier ones have: layers are shared, and no two starts
    /// are the same. Writes nothing where it brings nothing new.
    ///
    /// # Errors
    ///
    /// Those of reading and writing.
    pub fn add(&self, digest: &Digest, table: &SpanTable, trace: &StartTrace) -> io::Result<()> {
        let old = self.load(digest)?.filter(|old| old.fits(table));
        let Some(old) = old else {
            return if trace.reads().is_empty() { Ok(()) } else { self.save(digest, trace) };
        };
        let known: HashSet<u32> = old.spans().map(|(span, _)| span).collect();
        let new: Vec<_> = trace.spans().filter(|(span, _)| !known.contains(span)).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.save(digest, &StartTrace::new(table, old.spans().chain(new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::cache::tests::table_of;

    #[test]
    fn traces_are_kept_added_to_and_given_up_where_they_are_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (traces, digest) = (TraceStore::new(dir.path()), Digest::sha256(b"x"));
        let table = table_of(&[10; 20]);
        let spans = |trace: StartTrace| trace.spans().map(|(span, _)| span).collect::<Vec<_>>();
        assert_eq!(traces.load(&digest).unwrap(), None);
        traces.add(&digest, &table, &StartTrace::new(&table, [])).unwrap();
        assert_eq!(traces.load(&digest).unwrap(), None);
        traces.add(&digest, &table, &StartTrace::new(&table, [(3, 1), (7, 9)])).unwrap();
        traces.add(&digest, &table, &StartTrace::new(&table, [(5, 2), (3, 8)])).unwrap();
        assert_eq!(spans(traces.load(&digest).unwrap().unwrap()), [3, 5, 7]);
        let other = table_of(&[11; 20]);
        traces.add(&digest, &other, &StartTrace::new(&other, [(9, 2)])).unwrap();
        assert_eq!(spans(traces.load(&digest).unwrap().unwrap()), [9]);
        std::fs::write(traces.path(&digest), "SFst").unwrap();
        assert_eq!(traces.load(&digest).unwrap(), None);
    }
}
