//! Says how a stack of folders is mounted; touches no file.

use super::store::{Level, Stack};
use super::{Error, Kind, Mount, folders::Folders};

/// The most lower folders of one overlayfs (`OVL_MAX_STACK` in the kernel's
/// `fs/overlayfs/params.h`).
pub(super) const MAX_LOWERS: usize = 500;

/// Those of `parents`, top first, that are looked at: down to the first lazy one.
pub(super) fn lowers(parents: &[Level]) -> &[Level] {
    let local = parents.iter().take_while(|level| level.chain.is_none()).count();
    &parents[..parents.len().min(local + 1)]
}

/// How `stack`, known as `key`, is mounted.
///
/// Without a parent it is the folder itself, so nothing that is written has to be told from what
/// is below. A view of a single folder is that folder, read-only. All else is overlayfs.
pub(super) fn mounts(folders: &Folders, key: &str, stack: &Stack) -> Result<Vec<Mount>, Error> {
    let lowers = lowers(&stack.parents);
    if lowers.len() > MAX_LOWERS {
        let layers = lowers.len();
        return Err(Error::TooManyLayers { key: key.to_owned(), layers, max: MAX_LOWERS });
    }
    Ok(vec![match (stack.kind, lowers) {
        (Kind::View, [only]) => bind(folders.fs(only.id), "ro"),
        (Kind::View | Kind::Committed, []) => bind(folders.fs(stack.id), "ro"),
        (Kind::Active, []) => bind(folders.fs(stack.id), "rw"),
        (Kind::View | Kind::Committed, lowers) => overlay(folders, None, lowers),
        (Kind::Active, lowers) => overlay(folders, Some(stack), lowers),
    }])
}

fn bind(source: String, access: &str) -> Mount {
    Mount {
        fs_type: "bind".to_owned(),
        source,
        target: String::new(),
        options: vec![access.to_owned(), "rbind".to_owned()],
    }
}

/// An overlay of `lowers`, writable where there is an `upper`.
///
/// The paths are short and have one folder in common, all `lowers` of 128 layers fit in the page
/// that `mount(2)` has for options once containerd's mount code has changed to that folder.
fn overlay(folders: &Folders, upper: Option<&Stack>, lowers: &[Level]) -> Mount {
    let mut options = features(upper.is_some(), folders.user_namespace());
    if let Some(upper) = upper {
        options.push(format!("workdir={}", escape(&folders.work(upper.id), false)));
        options.push(format!("upperdir={}", escape(&folders.fs(upper.id), false)));
    }
    let paths: Vec<String> =
        lowers.iter().map(|level| escape(&folders.fs(level.id), true)).collect();
    options.push(format!("lowerdir={}", paths.join(":")));
    Mount {
        fs_type: "overlay".to_owned(),
        source: "overlay".to_owned(),
        target: String::new(),
        options,
    }
}

/// What overlayfs must do whatever the host's module parameters say.
///
/// `index=off`: an upper folder may be mounted again over a lower one that was recreated.
/// `metacopy=off`: a committed folder holds the content of its files. `redirect_dir`: a folder of a
/// lower layer can be renamed, which otherwise fails with `EXDEV`; committed folders that hold such
/// marks are followed. In a user namespace the marks are `user.overlay.*` and the last two are not
/// to be had (kernel, `Documentation/filesystems/overlayfs.rst`).
fn features(writable: bool, user_namespace: bool) -> Vec<String> {
    let features: &[&str] = match (user_namespace, writable) {
        (true, _) => &["index=off", "userxattr"],
        (false, true) => &["index=off", "metacopy=off", "redirect_dir=on"],
        (false, false) => &["index=off", "metacopy=off", "redirect_dir=follow"],
    };
    features.iter().map(|&option| option.to_owned()).collect()
}

/// Escapes `path` for an option of overlayfs, where a backslash keeps the next character from
/// separating (`ovl_next_opt` and `ovl_unescape` in the kernel's `fs/overlayfs/params.c`): commas
/// separate options, colons the folders of one.
fn escape(path: &str, one_of_several: bool) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '\\' | ',') || (c == ':' && one_of_several) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
