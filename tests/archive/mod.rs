//! Archives that GNU tar and Python write, read by us and by Python.

mod extracted;
mod torture;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use stratafs::archive::{Entry, EntryKind, Event, TarError, TarParser};
use stratafs::digest::{Algorithm, Hasher};

/// Runs a shell script in `dir`; a failure is the test's.
fn sh(dir: &Path, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
}

/// Runs a Python script given on its standard input in `dir`.
fn python(dir: &Path, script: &str) {
    let mut child =
        Command::new("python3").arg("-").current_dir(dir).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What Python's tarfile says of an archive, as `list.py` prints it.
fn as_python_lists(archive: &Path) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archive/list.py");
    let output = Command::new("python3").arg(script).arg(archive).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The members of an archive with their content, holes filled.
fn members(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut members: Vec<(Entry, Vec<u8>)> = Vec::new();
    let mut sink = |event: Event<'_>| {
        match event {
            Event::Entry(entry) => {
                let content = vec![0; usize::try_from(entry.size).unwrap()];
                members.push((entry, content));
            }
            Event::Data { file_offset, bytes } => {
                let at = usize::try_from(file_offset).unwrap();
                members.last_mut().unwrap().1[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Event::End => {}
        }
        Ok(())
    };
    let mut parser = TarParser::new();
    for piece in archive.chunks(10_007) {
        parser.push(piece, &mut sink)?;
    }
    parser.finish(&mut sink)?;
    Ok(members)
}

/// The same lines as [`as_python_lists`] gives, from our parser.
fn as_we_list(archive: &Path) -> Vec<String> {
    let members = members(&fs::read(archive).unwrap()).unwrap();
    members.iter().map(|(entry, content)| line(entry, content)).collect()
}

fn line(entry: &Entry, content: &[u8]) -> String {
    let meta = &entry.metadata;
    let is_device = matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let device = format!("{}:{}", meta.device.major, meta.device.minor);
    let (kind, target) = match &entry.kind {
        EntryKind::Regular => ("file", &b""[..]),
        EntryKind::Directory => ("dir", &b""[..]),
        EntryKind::Symlink(target) => ("symlink", &target[..]),
        EntryKind::HardLink(target) => ("hardlink", &target[..]),
        EntryKind::CharDevice => ("char", &b""[..]),
        EntryKind::BlockDevice => ("block", &b""[..]),
        EntryKind::Fifo => ("fifo", &b""[..]),
    };
    let path = entry.path.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
    let mtime = i128::from(meta.mtime.secs) * 1_000_000_000 + i128::from(meta.mtime.nanos);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    let xattr = |(name, value): (&[u8], &[u8])| format!("{}={}", hex(name), hex(value));
    let xattrs = meta.xattrs.iter().map(|x| xattr((&x.name, &x.value))).collect::<Vec<_>>();
    [
        kind.to_owned(),
        hex(&entry.path[..path]),
        hex(target),
        meta.mode.to_string(),
        meta.uid.to_string(),
        meta.gid.to_string(),
        mtime.to_string(),
        content.len().to_string(),
        if is_device { device } else { String::new() },
        if kind == "file" { hasher.finish().hex() } else { String::new() },
        xattrs.join(","),
    ]
    .join("\t")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares every archive in `dir`, and says how many there were.
fn compare_all(dir: &Path) -> usize {
    let mut compared = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.as_os_str().as_bytes().ends_with(b".tar") {
            let (ours, theirs) = (as_we_list(&path), as_python_lists(&path));
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "{}", path.display());
            }
            assert_eq!(ours.len(), theirs.len(), "{}", path.display());
            compared.insert(path, ours.len());
        }
    }
    assert!(compared.values().all(|&members| members > 0), "{compared:?}");
    compared.len()
}
