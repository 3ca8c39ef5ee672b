//! Any bytes as a checkpoint archive: refused, or unpacked to plain files inside of its folder.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use stratafs::checkpoint::{Keep, unpack_archive};

/// What compresses to little may unpack to much.
const LARGEST: u64 = 64 << 20;

/// Unpacks `data`.
pub fn run(data: &[u8]) {
    let above = tempfile::tempdir().expect("there is room");
    let into = above.path().join("in");
    fs::create_dir(&into).expect("there is room");
    let unpacked = unpack_archive(data, "fuzzed", &into, Keep::All);
    assert_eq!(fs::read_dir(above.path()).expect("it is there").count(), 1);
    if let Ok(members) = unpacked {
        for member in members.iter().filter(|member| member.size < LARGEST) {
            let path = into.join(Path::new(std::ffi::OsStr::from_bytes(member.path.as_bytes())));
            let metadata = fs::symlink_metadata(&path).expect("a member is a file");
            assert!(metadata.is_file() && metadata.len() == member.size);
        }
    }
}
