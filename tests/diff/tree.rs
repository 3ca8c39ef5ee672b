//! Small file trees made by operations with the names of continuity's `fstest`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// Something done to a tree; paths are below its root.
#[derive(Debug, Clone)]
pub enum Op {
    CreateFile(&'static str, &'static str, u32),
    CreateDir(&'static str, u32),
    Symlink(&'static str, &'static str),
    Link(&'static str, &'static str),
    Remove(&'static str),
    RemoveAll(&'static str),
    Rename(&'static str, &'static str),
    Chmod(&'static str, u32),
    CreateSocket(&'static str),
}

/// Does `ops` to the tree at `root`, one after the other.
pub fn change(root: &Path, ops: &[Op]) {
    for op in ops {
        do_one(root, op);
    }
}

fn do_one(root: &Path, op: &Op) {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    match op {
        Op::CreateFile(path, content, bits) => {
            fs::write(at(path), content).unwrap();
            mode(&at(path), *bits);
        }
        Op::CreateDir(path, bits) => {
            fs::create_dir_all(at(path)).unwrap();
            mode(&at(path), *bits);
        }
        Op::Symlink(target, path) => std::os::unix::fs::symlink(target, at(path)).unwrap(),
        Op::Link(old, new) => fs::hard_link(at(old), at(new)).unwrap(),
        Op::Remove(path) if at(path).is_dir() => fs::remove_dir(at(path)).unwrap(),
        Op::Remove(path) => fs::remove_file(at(path)).unwrap(),
        Op::RemoveAll(path) => fs::remove_dir_all(at(path)).unwrap(),
        Op::Rename(old, new) => fs::rename(at(old), at(new)).unwrap(),
        Op::Chmod(path, bits) => mode(&at(path), *bits),
        Op::CreateSocket(path) => {
            drop(std::os::unix::net::UnixListener::bind(at(path)).unwrap());
        }
    }
}

/// Copies the tree at `from` to the folder `to` with everything that a layer keeps, by `cp`.
pub fn copy(from: &Path, to: &Path) {
    // A mount that is nowhere is reached through a descriptor of this process.
    let own = format!("/proc/{}/", std::process::id());
    let inside = format!("{}/.", from.to_str().unwrap()).replace("/proc/self/", &own);
    let status = std::process::Command::new("cp").arg("-a").arg(inside).arg(to).status().unwrap();
    assert!(status.success());
}

/// Sets the time of everything in the tree, so that two trees can be compared.
pub fn set_times(root: &Path, secs: i64) {
    let time = Timespec { tv_sec: secs, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for path in walk(root) {
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// All paths of the tree, children before their folder, the root last.
pub fn walk(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if fs::symlink_metadata(root).unwrap().is_dir() {
        for entry in fs::read_dir(root).unwrap() {
            all.extend(walk(&entry.unwrap().path()));
        }
    }
    all.push(root.to_owned());
    all
}

/// The path `path` inside of `root`, links followed as after `chroot`.
pub fn root_path(root: &Path, path: &str) -> PathBuf {
    let mut done = PathBuf::new();
    let mut left: Vec<Vec<u8>> = vec![path.into()];
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part.contains(&b'/') {
            if part.starts_with(b"/") {
                done = PathBuf::new();
            }
            left.extend(part.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
            continue;
        }
        match &*part {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let next = done.join(std::ffi::OsStr::from_bytes(&part));
        match fs::read_link(root.join(&next)) {
            Ok(target) => {
                links += 1;
                assert!(links < 40);
                left.push([target.as_os_str().as_bytes(), b"/"].concat());
            }
            Err(_) => done = next,
        }
    }
    root.join(done)
}

/// Whether the two paths, links followed inside of `root`, are one inode.
pub fn same_file(root: &Path, a: &str, b: &str) -> bool {
    let id = |path| {
        let metadata = fs::metadata(root_path(root, path)).unwrap();
        (metadata.dev(), metadata.ino())
    };
    id(a) == id(b)
}
