//! containerd's `TestDiffTar` (`pkg/archive/tar_test.go`): which entries a layer has, in which order.

use std::fs;
use std::io::Read;

use stratafs::diff::{CompareOptions, compare_folders};

use super::tree::{Op, change, copy};

use Op::{Chmod, CreateDir, CreateFile, CreateSocket, Link, Remove, RemoveAll};

/// The entries of the layer between `a` and `a` after `b`, a word for the type, then what matters.
fn entries(a: &[Op], b: &[Op]) -> Vec<String> {
    let [lower, upper] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    change(lower.path(), a);
    copy(lower.path(), upper.path());
    change(upper.path(), b);
    list(&layer(lower.path(), upper.path(), &CompareOptions::default()))
}

fn layer(lower: &std::path::Path, upper: &std::path::Path, options: &CompareOptions) -> Vec<u8> {
    let mut out = Vec::new();
    compare_folders(Some(lower), upper, options, &mut out).unwrap();
    out
}

fn list(archive: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
        let mode = entry.header().mode().unwrap();
        let entry_type = entry.header().entry_type();
        lines.push(if entry_type.is_dir() {
            format!("dir {path} {mode:o}")
        } else if entry_type.is_hard_link() {
            let target = entry.link_name_bytes().unwrap().to_vec();
            format!("link {path} {}", String::from_utf8(target).unwrap())
        } else if path.contains(".wh.") {
            let header = entry.header();
            assert_eq!((mode, header.size().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            format!("whiteout {}", path.replace(".wh.", ""))
        } else {
            assert!(entry_type.is_file());
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            format!("file {path} {mode:o} {content}")
        });
    }
    lines
}

#[test]
fn empty_diff() {
    assert!(entries(&[CreateDir("/etc/", 0o755)], &[]).is_empty());
}

#[test]
fn parent_inclusion() {
    assert_eq!(
        entries(
            &[CreateDir("/d1/", 0o755), CreateDir("/d2/", 0o770)],
            &[CreateDir("/d1/d", 0o700), CreateFile("/d2/f", "ok", 0o644)],
        ),
        ["dir d1/ 755", "dir d1/d/ 700", "dir d2/ 770", "file d2/f 644 ok"]
    );
}

#[test]
fn hardlink_parent_inclusion() {
    let file = |path| CreateFile(path, "link me", 0o644);
    let dir = |path| CreateDir(path, 0o755);
    assert_eq!(
        entries(
            &[
                dir("/d1/"),
                file("/d1/f1"),
                dir("/d2/"),
                file("/d2/f1"),
                dir("/d3/"),
                dir("/d4/"),
                file("/d4/f1"),
                dir("/d5/"),
                file("/d5/f1"),
                dir("/d6/"),
                Link("/d1/f1", "/d6/l1"),
                Link("/d5/f1", "/d6/l2"),
            ],
            &[
                Link("/d1/f1", "/d2/l1"),
                Link("/d4/f1", "/d3/l1"),
                Remove("/d6/l1"),
                Remove("/d6/l2"),
            ],
        ),
        [
            "dir d2/ 755",
            "file d2/l1 644 link me",
            // d1/f1 and its parent come after the new link.
            "dir d1/ 755",
            "link d1/f1 d2/l1",
            "dir d3/ 755",
            "file d3/l1 644 link me",
            "dir d4/ 755",
            "link d4/f1 d3/l1",
            "dir d6/ 755",
            "whiteout d6/l1",
            "whiteout d6/l2",
        ]
    );
}

#[test]
fn update_directory_permission() {
    assert_eq!(
        entries(
            &[CreateDir("/d1/", 0o755), CreateDir("/d2/", 0o770)],
            &[Chmod("/d1", 0o777), CreateDir("/d1/d", 0o700), CreateFile("/d2/f", "ok", 0o644),],
        ),
        ["dir d1/ 777", "dir d1/d/ 700", "dir d2/ 770", "file d2/f 644 ok"]
    );
}

#[test]
fn hardlink_updated_parent() {
    let file = |path| CreateFile(path, "link me", 0o644);
    let dir = |path| CreateDir(path, 0o755);
    assert_eq!(
        entries(
            &[
                dir("/d1/"),
                file("/d1/f1"),
                dir("/d2/"),
                file("/d2/f1"),
                dir("/d3/"),
                file("/d3/f1"),
                dir("/d4/"),
            ],
            &[
                Chmod("/d1", 0o777),
                Link("/d1/f1", "/d2/l1"),
                Chmod("/d4", 0o777),
                Link("/d3/f1", "/d4/l1"),
            ],
        ),
        [
            "dir d1/ 777",
            "dir d2/ 755",
            "file d2/l1 644 link me",
            // The parent of d1/f1 has changed and been told already.
            "link d1/f1 d2/l1",
            "dir d4/ 777",
            "file d4/l1 644 link me",
            "dir d3/ 755",
            "link d3/f1 d4/l1",
        ]
    );
}

#[test]
fn whiteout_includes_parents() {
    let content = |path| CreateFile(path, "content", 0o644);
    let dir = |path| CreateDir(path, 0o755);
    assert_eq!(
        entries(
            &[
                dir("/d1/"),
                content("/d1/f1"),
                dir("/d2/"),
                content("/d2/f1"),
                content("/d2/f2"),
                dir("/d3/"),
                content("/d3/f1"),
                dir("/d4/"),
                content("/d4/f1"),
                dir("/d5/"),
                content("/d5/f1"),
            ],
            &[
                Remove("/d1/f1"),
                Remove("/d2/f1"),
                Chmod("/d2/f2", 0o777),
                Remove("/d3/f1"),
                content("/d3/f2"),
                Remove("/d4/f1"),
                content("/d4/f0"),
                RemoveAll("/d5"),
            ],
        ),
        [
            "dir d1/ 755",
            "whiteout d1/f1",
            "dir d2/ 755",
            "whiteout d2/f1",
            "file d2/f2 777 content",
            "dir d3/ 755",
            "whiteout d3/f1",
            "file d3/f2 644 content",
            "dir d4/ 755",
            "file d4/f0 644 content",
            "whiteout d4/f1",
            "whiteout d5",
        ]
    );
}

#[test]
fn whiteout_parent_removal() {
    assert_eq!(
        entries(
            &[
                CreateDir("/d1/", 0o755),
                CreateDir("/d2/", 0o755),
                CreateFile("/d2/f1", "content", 0o644),
            ],
            &[RemoveAll("/d1"), RemoveAll("/d2"), CreateDir("/d3/", 0o755)],
        ),
        ["whiteout d1", "whiteout d2", "dir d3/ 755"]
    );
}

#[test]
fn ignore_sockets() {
    assert_eq!(
        entries(
            &[CreateFile("/f1", "content", 0o644)],
            &[
                CreateFile("/f2", "content", 0o644),
                CreateSocket("/s0"),
                CreateFile("/f3", "content", 0o644),
            ],
        ),
        ["file f2 644 content", "file f3 644 content"]
    );
}

/// `TestSourceDateEpoch`: no time is later, whiteouts stay at 0, and the bytes are the same each
/// time.
#[test]
fn source_date_epoch() {
    let epoch = 1_234_567_890;
    let options = CompareOptions { source_date_epoch: Some(epoch), ..CompareOptions::default() };
    let archives = [(), ()].map(|()| {
        let [lower, upper] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        change(lower.path(), &[CreateFile("/gone", "", 0o644)]);
        change(upper.path(), &[CreateDir("/d", 0o755), CreateFile("/d/new", "x", 0o644)]);
        fs::write(upper.path().join("old"), "x").unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        fs::File::open(upper.path().join("old")).unwrap().set_modified(old).unwrap();
        layer(lower.path(), upper.path(), &options)
    });
    assert_eq!(archives[0], archives[1]);
    let times: Vec<(String, u64)> = tar::Archive::new(&archives[0][..])
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .map(|e| (e.path().unwrap().display().to_string(), e.header().mtime().unwrap()))
        .collect();
    let epoch = u64::try_from(epoch).unwrap();
    let expected = [("d/", epoch), ("d/new", epoch), (".wh.gone", 0), ("old", 1000)];
    assert_eq!(times, expected.map(|(path, time)| (path.to_owned(), time)));
}

#[test]
fn names_that_mean_whiteouts_are_refused() {
    let [lower, upper] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    change(upper.path(), &[CreateFile("/.wh.f", "", 0o644)]);
    let mut out = Vec::new();
    let refused =
        compare_folders(Some(lower.path()), upper.path(), &CompareOptions::default(), &mut out);
    assert!(matches!(refused, Err(stratafs::diff::Error::ReservedName { .. })));
}

/// A file of a terabyte without much in it does not make a layer of a terabyte.
#[test]
fn large_holes_are_not_written() {
    let [lower, upper] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let file = fs::File::create(upper.path().join("lastlog")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"user", 1 << 39).unwrap();
    let archive = layer(lower.path(), upper.path(), &CompareOptions::default());
    assert!(archive.len() < 1 << 20);
    let made = tempfile::tempdir().unwrap();
    let target = stratafs::diff::Target::Folder(made.path().into());
    super::fixture::apply_bytes(archive, &target).unwrap();
    let made = fs::File::open(made.path().join("lastlog")).unwrap();
    let mut user = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&made, &mut user, 1 << 39).unwrap();
    assert_eq!((&user, made.metadata().unwrap().len()), (b"user", 1 << 40));
}
