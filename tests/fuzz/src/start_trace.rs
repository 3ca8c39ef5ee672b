//! Any bytes as a start-up trace: refused, or read and written again to the same.

use stratafs::compress::StartTrace;

/// Decodes `data`, as it is and with a checksum that is right.
pub fn run(data: &[u8]) {
    check(data);
    let mut sealed = data[..data.len().saturating_sub(4)].to_vec();
    let checksum = crc32c::crc32c(&sealed).to_le_bytes();
    sealed.extend(checksum);
    check(&sealed);
}

fn check(data: &[u8]) {
    let Ok(trace) = StartTrace::decode(data) else { return };
    assert_eq!(StartTrace::decode(&trace.encode()).as_ref(), Ok(&trace));
    for read in trace.reads() {
        assert!(read.count > 0 && read.first.checked_add(read.count).is_some());
    }
}
