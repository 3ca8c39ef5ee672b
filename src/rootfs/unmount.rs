//! Unmounting from any process, by the record of a mount.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Error, Lower, Record, Records, forget, overlay};
use crate::fuse;
use crate::sys::{holder_elsewhere, mount_at};

/// How long the process that serves a mount may take to end after it was unmounted.
const END: Duration = Duration::from_secs(30);
/// How long it takes most; then it is looked for what keeps it.
const SOON: Duration = Duration::from_millis(500);

/// Unmounts what is mounted on `target`, whoever serves it, and waits for that process to end.
///
/// Another mount namespace (a container that was started meanwhile, a shell under `unshare -m`) may
/// have a copy of the mount, which goes on; its server ends with it and is not waited for. Processes
/// of such namespaces are returned, one for each server that goes on.
///
/// # Errors
///
/// [`Error::NotMounted`]; [`Error::Mount`] where it is in use and not `lazy`;
/// [`Error::StillServed`].
pub fn unmount(run_root: &Path, target: &Path, lazy: bool) -> Result<Vec<Holder>, Error> {
    let records = Records::open(run_root)?;
    let target = resolved(target);
    let found = records.find(&target)?;
    if found.is_empty() {
        return Err(Error::NotMounted { target });
    }
    let mut holders = Vec::new();
    for record in found {
        holders.extend(unmount_record(&records, record, lazy)?);
    }
    Ok(holders)
}

/// Who keeps a mount in use that is unmounted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process that serves it.
    pub server: u32,
    /// A process of the mount namespace that has a copy of it.
    pub process: u32,
}

fn unmount_record(
    records: &Records,
    mut record: Record,
    lazy: bool,
) -> Result<Option<Holder>, Error> {
    let devices = devices_of(&record);
    if record.fuse != record.target && !record.unmounted {
        unmount_target(&record, lazy)?;
        // Its server may end long after another has mounted there.
        record.unmounted = true;
        records.save(&record)?;
    }
    if let Some(erofs) = &record.erofs {
        Lower::unmount(erofs)?;
    }
    match fuse::unmount(&record.fuse) {
        // A folder that is gone was unmounted, and removed, before.
        Ok(()) | Err(fuse::Error::NotMounted { .. }) => {}
        Err(_) if !record.fuse.exists() => {}
        Err(e) => return Err(e.into()),
    }
    let holder = if lazy { None } else { wait_for_end(&record, &devices)? };
    forget(records, &record)?;
    Ok(holder)
}

/// The filesystems that the mount is made of.
fn devices_of(record: &Record) -> Vec<(u32, u32)> {
    let places = [record.erofs.as_ref(), Some(&record.fuse)].into_iter().flatten();
    let found = places.filter_map(|place| mount_at(place).ok().flatten());
    record.device.into_iter().chain(found.map(|entry| entry.device)).collect()
}

/// Waits until the server of `record` has ended; or finds out for whom it goes on.
fn wait_for_end(record: &Record, devices: &[(u32, u32)]) -> Result<Option<Holder>, Error> {
    let begun = Instant::now();
    let mut look_again = begun + SOON;
    while record.is_served() {
        if Instant::now() > look_again {
            if let Some(process) = holder_elsewhere(devices) {
                return Ok(Some(Holder { server: record.pid, process }));
            }
            look_again = Instant::now() + SOON;
        }
        if begun.elapsed() > END {
            return Err(Error::StillServed { target: record.target.clone(), pid: record.pid });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

/// Unmounts what the record says was mounted on the target, and never what another has mounted
/// there since.
pub(super) fn unmount_target(record: &Record, lazy: bool) -> Result<(), Error> {
    let target = &record.target;
    let on_top = mount_at(target).map_err(|e| Error::io(target, e))?;
    match (on_top, record.device) {
        (Some(entry), Some(device)) if entry.device != device => Ok(()),
        (_, _) => overlay::unmount(target, lazy),
    }
}

/// The absolute path of a mount point that may be dead, so that it cannot be looked at itself.
fn resolved(target: &Path) -> PathBuf {
    if let Ok(path) = target.canonicalize() {
        return path;
    }
    let absolute = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
    match (absolute.parent().map(Path::canonicalize), absolute.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => absolute,
    }
}
