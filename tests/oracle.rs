//! Compares two folders whole, with the kernel's calls and nothing of the library under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use sha2::{Digest as _, Sha256};

/// What is at one path. Fields that mean nothing for a kind of file are left at their default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Type and permission bits.
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    mtime: (i64, u64),
    /// Of everything but folders, whose size and link count are the filesystem's own affair.
    size: u64,
    links: u64,
    device: u64,
    /// All paths of the same inode, this one among them; empty when it is alone.
    link_set: Vec<PathBuf>,
    target: Vec<u8>,
    /// SHA-256.
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A folder and everything below it, by path relative to it.
pub type Snapshot = BTreeMap<PathBuf, Seen>;

/// Walks `root` whole, reading every file.
pub fn snapshot(root: &Path) -> Snapshot {
    walk(root, Walk::default())
}

/// As [`snapshot`], of a writable overlay, where a directory may list another inode number than the
/// file has (kernel, `Documentation/filesystems/overlayfs.rst`, "Inode properties").
pub fn snapshot_of_overlay(root: &Path) -> Snapshot {
    walk(root, Walk { lists_other_numbers: true, ..Walk::default() })
}

fn walk(root: &Path, mut walk: Walk) -> Snapshot {
    let dir = open(CWD, root.as_os_str().as_bytes(), OFlags::DIRECTORY);
    let stat = rustix::fs::fstat(&dir).unwrap();
    walk.add(PathBuf::new(), &stat, format!("/proc/self/fd/{}/.", dir.as_raw_fd()));
    walk.folder(&dir, Path::new(""));
    for paths in walk.inodes.into_values().filter(|paths| paths.len() > 1) {
        for path in &paths {
            walk.seen.get_mut(path).unwrap().link_set = paths.clone();
        }
    }
    walk.seen
}

fn open(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> OwnedFd {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .unwrap_or_else(|e| panic!("open {}: {e}", String::from_utf8_lossy(name)))
}

#[derive(Default)]
struct Walk {
    seen: Snapshot,
    inodes: BTreeMap<u64, Vec<PathBuf>>,
    lists_other_numbers: bool,
}

impl Walk {
    fn folder(&mut self, dir: &OwnedFd, at: &Path) {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push((name, entry.file_type(), entry.ino()));
            }
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(names.windows(2).all(|w| w[0].0 != w[1].0), "a name twice in {at:?}");
        for (name, listed_type, listed_ino) in names {
            let path = at.join(std::ffi::OsStr::from_bytes(&name));
            let stat = rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            let file_type = FileType::from_raw_mode(stat.st_mode);
            if listed_type != FileType::Unknown {
                assert_eq!(listed_type, file_type, "d_type of {path:?}");
                let same = listed_ino == stat.st_ino || self.lists_other_numbers;
                assert!(same, "d_ino of {path:?} is {listed_ino}, not {}", stat.st_ino);
            }
            let mut place = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
            place.extend_from_slice(&name);
            self.add(path.clone(), &stat, std::ffi::OsStr::from_bytes(&place));
            let seen = self.seen.get_mut(&path).unwrap();
            match file_type {
                FileType::RegularFile => {
                    seen.content =
                        hash(&path, open(dir.as_fd(), &name, OFlags::NONBLOCK), stat.st_size)
                }
                FileType::Symlink => {
                    seen.target =
                        rustix::fs::readlinkat(dir, &*name, Vec::new()).unwrap().into_bytes();
                }
                FileType::Directory => {
                    self.folder(&open(dir.as_fd(), &name, OFlags::DIRECTORY), &path);
                }
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => {}
            }
        }
    }

    fn add(&mut self, path: PathBuf, stat: &Stat, place: impl AsRef<Path>) {
        let mut seen = Seen {
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            device: stat.st_rdev,
            xattrs: xattrs(place.as_ref()),
            ..Seen::default()
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            seen.size = u64::try_from(stat.st_size).unwrap();
            seen.links = stat.st_nlink;
            self.inodes.entry(stat.st_ino).or_default().push(path.clone());
        }
        self.seen.insert(path, seen);
    }
}

fn hash(path: &Path, file: OwnedFd, size: i64) -> Vec<u8> {
    let (mut file, mut hasher, mut total) = (File::from(file), Sha256::new(), 0);
    let mut buf = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buf).unwrap_or_else(|e| panic!("read {path:?}: {e}"));
        if n == 0 {
            break;
        }
        hasher.update(&buf[..n]);
        total += n as u64;
    }
    assert_eq!(total, u64::try_from(size).unwrap(), "bytes of {path:?}");
    hasher.finalize().to_vec()
}

fn xattrs(place: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(place, &mut names[..]).unwrap();
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let len = rustix::fs::lgetxattr(place, name, &mut value[..]).unwrap();
        value.truncate(len);
        value
    };
    let names = names[..len].split(|&b| b == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// What differs between the two, a line a path; empty when nothing does.
pub fn differences(expected: &Snapshot, actual: &Snapshot) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    let line = |path: &PathBuf| match (expected.get(path), actual.get(path)) {
        (Some(e), Some(a)) if e == a => None,
        (Some(e), Some(a)) => Some(format!("{}: {}", show(path), fields(e, a))),
        (Some(_), None) => Some(format!("{}: is missing", show(path))),
        (None, _) => Some(format!("{}: should not be there", show(path))),
    };
    paths.into_iter().filter_map(line).collect()
}

fn show(path: &Path) -> String {
    let text = format!("{path:?}");
    if text.len() <= 200 {
        text
    } else {
        format!(
            "...{}",
            &text.chars().rev().take(150).collect::<Vec<_>>().iter().rev().collect::<String>()
        )
    }
}

fn fields(expected: &Seen, actual: &Seen) -> String {
    let mut out = String::new();
    let mut field = |name: &str, e: String, a: String| {
        if e != a {
            write!(out, "{name} is {a:.300}, not {e:.300}; ").unwrap();
        }
    };
    field("mode", format!("{:o}", expected.mode), format!("{:o}", actual.mode));
    field("owner", format!("{:?}", expected.owner), format!("{:?}", actual.owner));
    field("mtime", format!("{:?}", expected.mtime), format!("{:?}", actual.mtime));
    field("size", expected.size.to_string(), actual.size.to_string());
    field("links", expected.links.to_string(), actual.links.to_string());
    field("device", expected.device.to_string(), actual.device.to_string());
    field("link set", format!("{:?}", expected.link_set), format!("{:?}", actual.link_set));
    field(
        "target",
        expected.target.escape_ascii().to_string(),
        actual.target.escape_ascii().to_string(),
    );
    field("content", hex::encode(&expected.content), hex::encode(&actual.content));
    field("xattrs", xattr_text(expected), xattr_text(actual));
    out
}

fn xattr_text(seen: &Seen) -> String {
    let pair = |(name, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}={}", name.escape_ascii(), value.escape_ascii())
    };
    seen.xattrs.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Drops the attributes by which overlayfs keeps its own books, which a merged tree never shows.
pub fn without_overlay_xattrs(mut snapshot: Snapshot) -> Snapshot {
    for seen in snapshot.values_mut() {
        seen.xattrs.retain(|name, _| {
            !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        });
    }
    snapshot
}

/// Without what is less than a second of the times.
pub fn without_parts_of_seconds(mut snapshot: Snapshot) -> Snapshot {
    snapshot.values_mut().for_each(|seen| seen.mtime.1 = 0);
    snapshot
}

/// Drops link counts, which overlayfs does not bring down when a layer hides one name of a lower
/// file; which names are one file stays compared.
pub fn without_link_counts(mut snapshot: Snapshot) -> Snapshot {
    snapshot.values_mut().for_each(|seen| seen.links = 0);
    snapshot
}

/// Drops which names are one file.
pub fn without_link_sets(mut snapshot: Snapshot) -> Snapshot {
    snapshot.values_mut().for_each(|seen| seen.link_set.clear());
    snapshot
}

/// Drops the folder itself, and keeps what is below it.
pub fn without_root(mut snapshot: Snapshot) -> Snapshot {
    snapshot.remove(Path::new(""));
    snapshot
}

/// Panics with all that differs between two folders' snapshots (at most 40 lines of it).
pub fn assert_same(expected: &Snapshot, actual: &Snapshot) {
    let all = differences(expected, actual);
    let shown = all.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n  ");
    assert!(all.is_empty(), "{} of {} paths differ:\n  {shown}", all.len(), expected.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "content").unwrap();
        fs::hard_link(at("file"), at("twin")).unwrap();
        symlink("file", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/alone"), "x").unwrap();
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        for name in ["file", "folder/alone", "folder", ""] {
            File::open(at(name)).unwrap().set_times(time).unwrap();
        }
        dir
    }

    /// What a change to one of two equal folders is told as.
    fn told(change: impl FnOnce(&Path)) -> String {
        let (a, b) = (sample(), sample());
        // Symbolic links' times are those of their making: take them from one.
        let (mut before, mut after) = (snapshot(a.path()), snapshot(b.path()));
        let link = Path::new("link");
        before.get_mut(link).unwrap().mtime = after[link].mtime;
        assert_same(&before, &after);
        change(b.path());
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::open(b.path()).unwrap().set_times(time).unwrap();
        after = snapshot(b.path());
        differences(&before, &after).join("\n")
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let mode = |p: &Path| {
            fs::set_permissions(p.join("folder"), PermissionsExt::from_mode(0o700)).unwrap()
        };
        assert!(told(mode).contains("mode is 40700"));
        let own = |p: &Path| std::os::unix::fs::lchown(p.join("link"), Some(1), Some(2)).unwrap();
        assert!(told(own).contains("\"link\": owner is (1, 2)"));
        let write = |p: &Path| fs::write(p.join("folder/alone"), "y").unwrap();
        assert!(told(write).contains("content is"));
        assert!(told(write).contains("mtime is"));
        assert!(!told(write).contains("size is"));
        let remove = |p: &Path| fs::remove_file(p.join("folder/alone")).unwrap();
        assert!(told(remove).contains("\"folder/alone\": is missing"));
        let add = |p: &Path| fs::write(p.join("new"), "").unwrap();
        assert_eq!(told(add), "\"new\": should not be there");
        let xattr = |p: &Path| {
            rustix::fs::lsetxattr(
                p.join("link"),
                "trusted.x",
                b"\n",
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
        };
        assert_eq!(told(xattr), "\"link\": xattrs is trusted.x=\\n, not ; ");
    }

    #[test]
    fn a_copy_is_no_hard_link() {
        let unlinked = told(|p| {
            fs::remove_file(p.join("twin")).unwrap();
            fs::write(p.join("twin"), "content").unwrap();
        });
        assert!(
            unlinked.contains("\"twin\": ") && unlinked.contains("link set is [], not"),
            "{unlinked}"
        );
        assert!(unlinked.contains("\"file\": links is 1, not 2"), "{unlinked}");
    }
}
