//! `index.json` and `oci-layout`: what a layout holds, by name.

use std::fs::{File, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::io::AtomicFile;

use super::super::{Descriptor, Error, null_is_default};
use super::Layout;

/// The annotation that names a descriptor in a layout (OCI image specification, `annotations.md`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// How long a writer waits for the lock on `index.json`.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two tries for the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Checks the content of the file `oci-layout`.
pub(crate) fn parse_marker(json: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Marker {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let marker: Marker =
        serde_json::from_slice(json).map_err(|e| format!("file oci-layout is broken: {e}"))?;
    match marker.version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(format!("image layout version {:?} is not supported", marker.version)),
    }
}

/// The descriptors in `index.json`.
pub(crate) fn parse_index(json: &[u8]) -> Result<Vec<Descriptor>, String> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default, deserialize_with = "null_is_default")]
        manifests: Vec<Descriptor>,
    }
    let index: Index =
        serde_json::from_slice(json).map_err(|e| format!("index.json is broken: {e}"))?;
    Ok(index.manifests)
}

pub(super) fn write_marker(folder: &Path) -> Result<(), Error> {
    replace(folder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

pub(super) fn write_empty_index(folder: &Path) -> Result<(), Error> {
    replace(folder, "index.json", empty_index().to_string().as_bytes())
}

fn empty_index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    })
}

pub(super) fn set_root(
    layout: &Layout,
    descriptor: &Descriptor,
    name: Option<&str>,
) -> Result<(), Error> {
    let _lock = lock(layout)?;
    let bad = |reason: String| Error::BadStore { store: layout.name.clone(), reason };
    let broken = |e: serde_json::Error| bad(format!("index.json is broken: {e}"));
    // As a value, so that whatever else is in there stays.
    let mut index = match layout.document("index.json")? {
        Some(json) => serde_json::from_slice(&json).map_err(broken)?,
        None => empty_index(),
    };
    let mut entry = descriptor.clone();
    entry.annotations.remove(REF_NAME);
    if let Some(name) = name {
        entry.annotations.insert(REF_NAME.to_owned(), name.to_owned());
    }
    let fields = index.as_object_mut().ok_or_else(|| bad("index.json is no object".into()))?;
    let entries = fields.entry("manifests").or_insert(Value::Null);
    if entries.is_null() {
        *entries = json!([]);
    }
    let entries =
        entries.as_array_mut().ok_or_else(|| bad("index.json has no list of manifests".into()))?;
    let name_of = |e: &Value| e["annotations"][REF_NAME].as_str().map(str::to_owned);
    let digest = entry.digest.to_string();
    entries.retain(|old| match name {
        Some(name) => name_of(old).as_deref() != Some(name),
        None => old["digest"] != digest || name_of(old).is_some(),
    });
    entries.push(serde_json::to_value(&entry).map_err(broken)?);
    replace(layout.path(), "index.json", index.to_string().as_bytes())
}

/// Takes the lock of the layout; dropping the file gives it back.
fn lock(layout: &Layout) -> Result<File, Error> {
    let path = layout.path().join("oci-layout");
    let file = File::open(&path).map_err(Error::io(path.display()))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_DEADLINE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                let seconds = LOCK_DEADLINE.as_secs();
                return Err(Error::Locked { store: layout.name.clone(), seconds });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(path.display())(e)),
        }
    }
}

/// Replaces a file of the layout at once and durably.
fn replace(folder: &Path, file: &str, data: &[u8]) -> Result<(), Error> {
    let path = folder.join(file);
    let write = || {
        let mut new = AtomicFile::create(&path)?;
        new.file().write_all(data)?;
        new.file().set_permissions(Permissions::from_mode(0o644))?;
        new.commit()
    };
    write().map_err(Error::io(path.display()))
}
