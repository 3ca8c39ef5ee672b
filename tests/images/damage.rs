//! Blobs that change after they were indexed: an error for who reads them, and only as long.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use rstest::rstest;

use super::layout::{Archive, Layer, Layout};
use super::program::Stratafs;
use crate::fixture::noise;

const SIZE: usize = 3 << 20;

#[rstest]
fn a_read_of_damaged_bytes_fails_and_the_mount_stays_usable(
    #[values(Layer::plain, Layer::gzip, Layer::zstd)] compress: fn(&[u8]) -> Layer,
) {
    let bad = compress(&Archive::new().file("bad", &noise(SIZE)).finish());
    let good = compress(&Archive::new().file("good", &noise(SIZE / 2)).finish());
    let layout = Layout::of(&[bad.clone(), good]);
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &[]);
    let blob = fs::OpenOptions::new().write(true).open(layout.blob(&bad.digest())).unwrap();
    let middle = bad.blob.len() / 2;
    blob.write_all_at(&[0xa5; 4096], middle as u64).unwrap();

    for _ in 0..2 {
        let error = fs::read(target.join("bad")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    }
    assert_eq!(fs::metadata(target.join("bad")).unwrap().len(), SIZE as u64);
    assert_eq!(fs::read(target.join("good")).unwrap(), noise(SIZE / 2));
    let log = stratafs.log();
    assert!(log.contains(&bad.diff_id), "no {} in the log: {log}", bad.diff_id);

    // No error is remembered.
    blob.write_all_at(&bad.blob[middle..middle + 4096], middle as u64).unwrap();
    assert_eq!(fs::read(target.join("bad")).unwrap(), noise(SIZE));
}

#[test]
fn bytes_beside_the_damage_are_served() {
    let bad = Layer::gzip(&Archive::new().file("bad", &noise(SIZE)).finish());
    let layout = Layout::of(std::slice::from_ref(&bad));
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &[]);
    let blob = fs::OpenOptions::new().write(true).open(layout.blob(&bad.digest())).unwrap();
    blob.write_all_at(&[0xa5; 64], bad.blob.len() as u64 - 3000).unwrap();
    let mut file = fs::File::open(target.join("bad")).unwrap();
    let mut start = vec![0; 4096];
    file.read_exact(&mut start).unwrap();
    assert_eq!(start, noise(SIZE)[..4096]);
    file.seek(SeekFrom::End(-4096)).unwrap();
    assert!(file.read_exact(&mut start).is_err());
}

#[test]
fn a_blob_that_was_cut_off_is_an_error_and_not_a_short_file() {
    let bad = Layer::plain(&Archive::new().file("bad", &noise(SIZE)).finish());
    let layout = Layout::of(std::slice::from_ref(&bad));
    let stratafs = Stratafs::new();
    let target = stratafs.mount(&layout.image(), &[]);
    let blob = fs::OpenOptions::new().write(true).open(layout.blob(&bad.digest())).unwrap();
    blob.set_len(SIZE as u64 / 2).unwrap();
    let error = fs::read(target.join("bad")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
}
