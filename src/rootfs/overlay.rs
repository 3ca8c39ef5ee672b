use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Error;

/// Shows the folder `source` at `target` as well, read-only as its filesystem is.
pub(super) fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .map_err(|e| Error::mount("bind", target, e))
}

/// Stacks the writable folder `upper` over the folder `lower` at `target`, by kernel overlayfs.
/// Its work folder is a hidden one beside `upper`. What is temporary is not synced, neither when it
/// is unmounted, where the kernel has that (kernel: overlayfs.rst, "Volatile mount").
pub(super) fn overlay(
    lower: &Path,
    upper: &Path,
    target: &Path,
    is_temporary: bool,
) -> Result<(), Error> {
    let work = work_dir(upper)?;
    for dir in [upper, &work] {
        fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
    }
    let mut options = Vec::new();
    for (name, dir) in [("lowerdir", lower), ("upperdir", upper), ("workdir", &work)] {
        options.push(format!("{name}={}", escaped(dir)?));
    }
    // With an index, node numbers would have to outlive this mount (kernel: overlayfs.rst).
    options.push("index=off".to_owned());
    let options = options.join(",");
    let mount = |options: String| {
        mount(Some("stratafs"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
    };
    let mounted = match is_temporary {
        true => match mount(format!("{options},volatile")) {
            Err(Errno::EINVAL) => mount(options),
            mounted => mounted,
        },
        false => mount(options),
    };
    mounted.map_err(|e| Error::mount("overlayfs", target, e))
}

/// The work folder of the upper folder `upper`.
fn work_dir(upper: &Path) -> Result<PathBuf, Error> {
    let bad = || Error::BadUpper { upper: upper.to_owned() };
    let name = upper.file_name().ok_or_else(bad)?.to_str().ok_or_else(bad)?;
    Ok(upper.parent().ok_or_else(bad)?.join(format!(".{name}.stratafs-work")))
}

/// A path as overlayfs wants it in its options: commas, colons and backslashes escaped.
fn escaped(path: &Path) -> Result<String, Error> {
    let text = path.to_str().ok_or_else(|| Error::BadUpper { upper: path.to_owned() })?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ',' | ':' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(out)
}

/// Unmounts what is on top at `target`. Nothing mounted there is no error.
pub(super) fn unmount(target: &Path, lazy: bool) -> Result<(), Error> {
    let flags = if lazy { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    match umount2(target, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(e) => Err(Error::mount("umount", target, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_folder_names_are_escaped() {
        assert_eq!(escaped(Path::new("/a,b:c\\d")).unwrap(), "/a\\,b\\:c\\\\d");
    }

    #[test]
    fn the_work_folder_is_beside_the_upper_one() {
        assert_eq!(work_dir(Path::new("/x/up")).unwrap(), Path::new("/x/.up.stratafs-work"));
        assert!(work_dir(Path::new("/")).is_err());
    }
}
