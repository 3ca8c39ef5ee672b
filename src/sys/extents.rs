use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Where the first `size` bytes of a file have data; the rest are holes (lseek(2), `SEEK_DATA`).
///
/// Moves the position of the file. A filesystem that knows no holes has one extent.
///
/// # Errors
///
/// Those of lseek(2).
pub fn data_extents(file: impl AsFd, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data from here on.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(e) => return Err(e.into()),
        };
        let end = match rustix::fs::seek(&file, SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::INVAL | Errno::NXIO) => size,
            Err(e) => return Err(e.into()),
        };
        // A file that is being cut meanwhile must not keep this going.
        if start >= size || end <= start {
            break;
        }
        extents.push(start..end.min(size));
        at = end;
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_are_no_data() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(data_extents(&file, 0).unwrap(), []);
        file.set_len(10 << 20).unwrap();
        assert_eq!(data_extents(&file, 10 << 20).unwrap(), []);
        file.write_all_at(b"x", 5 << 20).unwrap();
        let extents = data_extents(&file, 10 << 20).unwrap();
        assert_eq!(extents.len(), 1);
        let data = &extents[0];
        assert!(data.contains(&(5 << 20)) && data.end - data.start <= 1 << 20, "{data:?}");
        let cut = data_extents(&file, (5 << 20) + 1).unwrap();
        assert_eq!(cut[0].end, (5 << 20) + 1);
    }
}
