use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::diff::{ApplyOptions, Target, apply};

use super::spec::SHARED_MEMORY;
use super::{Blob, Error, LeftOut, Spec};

/// The files, rather than folders, that engines mount into containers.
const FILES: [&str; 6] = [
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/run/.containerenv",
    "/var/run/.containerenv",
    "/dev/termination-log",
];

/// Makes files and folders below the folder `into`, which is made, for the bind mounts of `spec`
/// whose sources `exists` says are not here. CRIU gives back no process of a container whose mounts
/// are not all there; what was in them is not in a checkpoint, but for shared memory, which is
/// `shared_memory`. Returns the specification with them, and what they stand in for.
///
/// # Errors
///
/// [`Error::Io`]; those of applying `shared_memory`.
pub(super) fn stand_in(
    spec: &Spec,
    exists: &dyn Fn(&Path) -> bool,
    into: &Path,
    shared_memory: Option<&Blob>,
) -> Result<(Spec, Vec<LeftOut>), Error> {
    let missing = spec.missing_mounts(exists);
    let mut sources: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut replaced = Vec::new();
    if !missing.is_empty() {
        fs::DirBuilder::new().mode(0o711).create(into).map_err(Error::io(into))?;
    }
    for (destination, source) in missing {
        let path = into.join(sources.len().to_string());
        if FILES.contains(&destination.as_str()) {
            fs::write(&path, content(&destination, spec)).map_err(Error::io(&path))?;
        } else {
            fs::create_dir(&path).map_err(Error::io(&path))?;
        }
        if destination == SHARED_MEMORY {
            fill(&path, shared_memory)?;
        }
        sources.insert(destination.clone(), path);
        replaced.push(LeftOut::Replaced { destination, source });
    }
    Ok((spec.with_sources(&sources), replaced))
}

/// What the file on `destination` says on this machine.
fn content(destination: &str, spec: &Spec) -> Vec<u8> {
    let name = spec.hostname().unwrap_or("localhost");
    match destination {
        "/etc/hostname" => format!("{name}\n").into_bytes(),
        "/etc/hosts" => format!("127.0.0.1 localhost {name}\n::1 localhost {name}\n").into_bytes(),
        // Where there is none here, there is no resolver to tell of.
        "/etc/resolv.conf" => fs::read(destination).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Makes the folder `path` shared memory, with what was in it.
fn fill(path: &Path, content: Option<&Blob>) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).map_err(Error::io(path))?;
    match content {
        Some(blob) => {
            let name = blob.name();
            let failed = |source| Error::Changes { name, source: Box::new(source) };
            let target = Target::Folder(path.to_owned());
            blob.read(|stream| apply(stream, &target, &ApplyOptions::default()).map_err(failed))
                .map(drop)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(destinations: &[&str]) -> Spec {
        let mounts: Vec<_> = destinations
            .iter()
            .map(|at| json!({"destination": at, "type": "bind", "source": format!("/gone{at}")}))
            .collect();
        let spec = json!({"hostname": "web", "process": {"args": ["x"]}, "mounts": mounts});
        Spec::new(spec).unwrap()
    }

    #[test]
    fn files_and_folders_stand_in_for_mounts_that_are_not_here() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("mounts");
        let spec = spec(&["/etc/hosts", "/data", "/dev/shm", "/run/.containerenv"]);
        let here = |path: &Path| path.starts_with(dir.path());
        let (new, replaced) = stand_in(&spec, &here, &into, None).unwrap();
        assert!(new.missing_mounts(&here).is_empty());
        let hosts = fs::read_to_string(into.join("0")).unwrap();
        assert!(hosts.contains("127.0.0.1 localhost web"), "{hosts}");
        assert!(into.join("1").is_dir() && into.join("3").is_file());
        let mode = fs::metadata(into.join("2")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        assert_eq!(replaced.len(), 4);
        let text = replaced[1].to_string();
        assert!(text.contains("/data: /gone/data is not on this machine"), "{text}");
    }

    #[test]
    fn nothing_is_made_where_all_is_here() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("mounts");
        let (new, replaced) = stand_in(&spec(&["/data"]), &|_| true, &into, None).unwrap();
        assert_eq!((new, replaced.len(), into.exists()), (spec(&["/data"]), 0, false));
    }
}
