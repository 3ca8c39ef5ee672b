use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::ReadAt;

/// A local file as a positioned reader; its size is taken once, when it is opened.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    size: u64,
}

impl FileReader {
    /// Opens the file at `path`, without waiting for a writer where it is a fifo.
    ///
    /// # Errors
    ///
    /// Those of `open` and `fstat`, with the path in the text; `InvalidInput` for what is not a
    /// regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let context = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        Self::new(open.map_err(context)?).map_err(context)
    }

    /// A reader of an open regular file.
    ///
    /// # Errors
    ///
    /// Those of `fstat`; `InvalidInput` for what is not a regular file.
    pub fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, size: meta.len() })
    }
}

impl ReadAt for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // Offsets beyond 2^63 are an error for the system, but only the end for a reader.
        let left = self.size.saturating_sub(offset);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..len];
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}
