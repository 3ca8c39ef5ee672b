//! The mount table of this process, as the kernel tells it: asking never touches a mounted
//! filesystem, so a dead server cannot hang it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Major and minor number of the filesystem: its `st_dev`.
    pub device: (u32, u32),
    /// The folder of that filesystem which is the root of this mount.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its options, such as `ro,nosuid`.
    pub options: String,
    /// Type and subtype, such as `fuse.stratafs`.
    pub fs_type: String,
    /// Its source.
    pub source: OsString,
}

/// All mounts that this process sees, in the order of mounting.
///
/// # Errors
///
/// Those of reading `/proc/self/mountinfo`; `InvalidData` for a line that is not of its form.
pub fn mounts() -> io::Result<Vec<MountEntry>> {
    read("/proc/self/mountinfo")
}

/// A process of another mount namespace in which one of the filesystems `devices` (major and minor
/// number) is mounted; `None` where there is none that this process may look at.
pub fn holder_elsewhere(devices: &[(u32, u32)]) -> Option<u32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let mut seen: Vec<PathBuf> = namespace("self").into_iter().collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some((name, pid)) = name.to_str().and_then(|n| Some((n, n.parse().ok()?))) else {
            continue;
        };
        // A process that ended meanwhile holds nothing.
        let Some(other) = namespace(name).filter(|other| !seen.contains(other)) else { continue };
        seen.push(other);
        let table = read(&format!("/proc/{name}/mountinfo")).unwrap_or_default();
        if table.iter().any(|mount| devices.contains(&mount.device)) {
            return Some(pid);
        }
    }
    None
}

fn read(path: &str) -> io::Result<Vec<MountEntry>> {
    let text = std::fs::read(path)?;
    let broken = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {line}"))
    };
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse(line).ok_or_else(|| broken(line))).collect()
}

/// The uppermost mount at exactly `path`, which must be absolute and without links.
///
/// # Errors
///
/// As [`mounts`].
pub fn mount_at(path: &Path) -> io::Result<Option<MountEntry>> {
    Ok(mounts()?.into_iter().rev().find(|entry| entry.mount_point == path))
}

fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&b| b == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = unescape(fields.next()?).into();
    let mount_point = unescape(fields.next()?).into();
    let options = String::from_utf8_lossy(fields.next()?).into_owned();
    // Optional fields, ended by a dash.
    fields.find(|field| *field == b"-")?;
    let fs_type = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        mount_point,
        options,
        fs_type,
        source,
    })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> OsString {
    if !field.contains(&b'\\') {
        return OsStr::from_bytes(field).to_owned();
    }
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_optional_fields_and_escapes_is_parsed() {
        let line = br"41 29 0:38 / /mnt/a\040b\134c rw,nosuid shared:7 master:2 - fuse.stratafs stratafs ro,user_id=0";
        let entry = parse(line).unwrap();
        assert_eq!(entry.device, (0, 38));
        assert_eq!(entry.mount_point, Path::new("/mnt/a b\\c"));
        assert_eq!(entry.fs_type, "fuse.stratafs");
        assert_eq!(entry.source, "stratafs");
        assert_eq!(entry.options, "rw,nosuid");
    }

    #[test]
    fn broken_lines_are_refused() {
        for line in [&b""[..], b"1 2 3", b"1 2 0:1 / / rw", b"1 2 x:1 / / rw - a b c"] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mount_at(Path::new("/")).unwrap().is_some());
        assert!(mount_at(Path::new("/no/such/mount")).unwrap().is_none());
    }
}
