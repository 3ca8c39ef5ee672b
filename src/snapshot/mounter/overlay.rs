//! Overlayfs, by the mount API and, for older kernels, by `mount(2)`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::options::{Parsed, split};
use super::{bad, set_options};
use crate::snapshot::{Error, Mount};
use crate::sys::mount::{
    self, Attributes, Context, DetachedMount, MAX_STRING, Unmount, mount_classic,
};

/// Where `mount(2)` makes what is then taken from there.
const CLASSIC_PLACE: &str = "/tmp";

/// The folders of an overlay, taken out of its options.
#[derive(Debug, Default)]
pub(super) struct OverlayFolders {
    upper: Option<String>,
    work: Option<String>,
    lowers: Vec<String>,
}

impl OverlayFolders {
    pub(super) fn of(parsed: &Parsed<'_>) -> Result<Self, Error> {
        let mut folders = Self::default();
        for (key, value) in &parsed.rest {
            let value = value.unwrap_or_default();
            match *key {
                "upperdir" => folders.upper = split(value, None).pop(),
                "workdir" => folders.work = split(value, None).pop(),
                "lowerdir" => folders.lowers = split(value, Some(':')),
                _ => {}
            }
        }
        if folders.lowers.is_empty() || folders.lowers.iter().any(String::is_empty) {
            return Err(bad("overlay", "it needs lower folders, none of them for data alone"));
        }
        Ok(folders)
    }
}

fn is_folder_option(option: &(&str, Option<&str>)) -> bool {
    matches!(option.0, "upperdir" | "workdir" | "lowerdir")
}

pub(super) fn overlay(mount: &Mount, parsed: &Parsed<'_>) -> Result<DetachedMount, Error> {
    let folders = OverlayFolders::of(parsed)?;
    match overlay_by_context(mount, parsed, &folders) {
        Err(Error::Mount { source, .. }) if lacks_parameter(&source) => {
            overlay_classic(mount, parsed, &folders)
        }
        other => other,
    }
}

/// Whether the kernel is older than `lowerdir+`.
fn lacks_parameter(error: &mount::Error) -> bool {
    error.step == "lowerdir+" && error.log.iter().any(|line| line.contains("Unknown parameter"))
}

fn overlay_by_context(
    mount: &Mount,
    parsed: &Parsed<'_>,
    folders: &OverlayFolders,
) -> Result<DetachedMount, Error> {
    let target = || PathBuf::from(folders.upper.as_ref().unwrap_or(&folders.lowers[0]));
    let failed = |source| Error::Mount { target: target(), source };
    let context = Context::open("overlay").map_err(failed)?;
    context.string("source", &mount.source).map_err(failed)?;
    for lower in &folders.lowers {
        set_folder(&context, "lowerdir+", lower)?;
    }
    for (key, folder) in [("upperdir", &folders.upper), ("workdir", &folders.work)] {
        if let Some(folder) = folder {
            set_folder(&context, key, folder)?;
        }
    }
    let others = parsed.rest.iter().filter(|option| !is_folder_option(option));
    set_options(&context, parsed, others).map_err(failed)?;
    context.create(parsed.attributes).map_err(failed)
}

/// Gives the context a folder by its path where that can be said plainly, so that others can read
/// it in `/proc/self/mountinfo`; else by a descriptor (Linux 6.13) or its name in `/proc`.
fn set_folder(context: &Context, key: &str, folder: &str) -> Result<(), Error> {
    let failed = |source| Error::Mount { target: folder.into(), source };
    if folder.len() <= MAX_STRING && !folder.contains(['\\', ',', ':']) {
        return context.string(key, folder).map_err(failed);
    }
    let fd = open_path(folder)?;
    if context.fd(key, &fd).is_ok() {
        return Ok(());
    }
    context.string(key, proc_path(&fd)).map_err(failed)
}

fn open_path(folder: &str) -> Result<File, Error> {
    let open =
        File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder);
    open.map_err(Error::io("open", Path::new(folder)))
}

fn proc_path(fd: &File) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// By `mount(2)`, at a temporary folder first: its options must fit in a page, so each folder is
/// named by its descriptor.
pub(super) fn overlay_classic(
    mount: &Mount,
    parsed: &Parsed<'_>,
    folders: &OverlayFolders,
) -> Result<DetachedMount, Error> {
    let mut open = Vec::new();
    let mut name = |folder: &String| -> Result<String, Error> {
        let fd = open_path(folder)?;
        let path = proc_path(&fd);
        open.push(fd);
        Ok(path)
    };
    let lowers = folders.lowers.iter().map(&mut name).collect::<Result<Vec<_>, _>>()?;
    let mut data = vec![format!("lowerdir={}", lowers.join(":"))];
    for (key, folder) in [("upperdir", &folders.upper), ("workdir", &folders.work)] {
        if let Some(folder) = folder {
            data.push(format!("{key}={}", name(folder)?));
        }
    }
    for (key, value) in parsed.rest.iter().filter(|option| !is_folder_option(option)) {
        data.push(value.map_or_else(|| (*key).to_owned(), |value| format!("{key}={value}")));
    }
    let place = tempfile::tempdir_in(CLASSIC_PLACE)
        .map_err(Error::io("create a folder in", Path::new(CLASSIC_PLACE)))?;
    mount_at(mount, parsed, &data.join(","), place.path())
        .map_err(Error::io("mount overlay at", place.path()))
}

fn mount_at(
    mount: &Mount,
    parsed: &Parsed<'_>,
    data: &str,
    place: &Path,
) -> io::Result<DetachedMount> {
    let read_only = parsed.attributes.contains(Attributes::MOUNT_ATTR_RDONLY);
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    mount_classic(&mount.source, place, "overlay", flags, Path::new(data))?;
    let made = DetachedMount::of_path(place, false).and_then(|made| {
        made.set_attributes(parsed.attributes, false)?;
        Ok(made)
    });
    mount::unmount(place, Unmount::Lazy)?;
    made
}
