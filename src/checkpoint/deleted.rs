use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::archive::{LayerPath, PathError};
use crate::sys::Dir;

/// The most deleted files of one checkpoint.
const MAX_DELETED: usize = 1 << 20;

/// Why a `deleted.files` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeletedError {
    /// It is no JSON list of texts.
    #[error("it is no JSON list of paths: {0}")]
    Json(String),
    /// It has more paths than a checkpoint may have.
    #[error("it has {0} paths, more than {MAX_DELETED}")]
    TooMany(usize),
    /// A path leads out of the container.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path has `..` in it.
    #[error("path {0:?} has .. in it")]
    DotDot(String),
    /// A path is that of the root.
    #[error("path {0:?} is the root itself")]
    Root(String),
}

/// Parses `deleted.files`: a JSON list of absolute paths in the container (podman's and CRI-O's
/// package `crutils`). Podman writes `null` where there are none.
///
/// # Errors
///
/// See [`DeletedError`].
pub fn parse_deleted(json: &[u8]) -> Result<Vec<LayerPath>, DeletedError> {
    let texts: Option<Vec<String>> =
        serde_json::from_slice(json).map_err(|e| DeletedError::Json(e.to_string()))?;
    let texts = texts.unwrap_or_default();
    if texts.len() > MAX_DELETED {
        return Err(DeletedError::TooMany(texts.len()));
    }
    texts
        .into_iter()
        .map(|text| {
            // A path that goes up may name what the engine did not mean, even inside of the root.
            if text.split('/').any(|part| part == "..") {
                return Err(DeletedError::DotDot(text));
            }
            match LayerPath::parse(text.as_bytes())? {
                path if path.is_root() => Err(DeletedError::Root(text)),
                path => Ok(path),
            }
        })
        .collect()
}

/// Deletes `paths` below `root`; what is not there is passed over. No link is followed out of
/// `root`, and none at all at the end of a path.
pub(super) fn delete(root: &Path, paths: &[LayerPath]) -> Result<(), (LayerPath, io::Error)> {
    let dir = Dir::open(root).map_err(|e| (LayerPath::root(), e))?;
    for path in paths {
        delete_one(&dir, path).map_err(|e| (path.clone(), e))?;
    }
    Ok(())
}

fn delete_one(root: &Dir, path: &LayerPath) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let folder = match root.resolve(parent.as_bytes()) {
        Ok(folder) => folder,
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    match folder.child_status(name)? {
        None => Ok(()),
        // Through the open folder, so that nobody can put a link in the way.
        Some(status) if status.is_dir() => {
            let open = PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()));
            std::fs::remove_dir_all(open.join(OsStr::from_bytes(name)))
        }
        Some(_) => folder.remove_file(name),
    }
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn absolute_paths_are_taken_from_the_root() {
        let paths = parse_deleted(br#"["/etc/motd", "usr//x", "/\u00e4"]"#).unwrap();
        let texts: Vec<&[u8]> = paths.iter().map(LayerPath::as_bytes).collect();
        assert_eq!(texts, [b"etc/motd".as_slice(), b"usr/x", "ä".as_bytes()]);
        assert_eq!(parse_deleted(b"null"), Ok(Vec::new()));
    }

    #[test]
    fn paths_that_go_up_and_other_lists_are_refused() {
        let error = |json: &str| parse_deleted(json.as_bytes()).unwrap_err();
        assert!(matches!(error(r#"["/../etc/passwd"]"#), DeletedError::DotDot(_)));
        assert!(matches!(error(r#"["/a/../b"]"#), DeletedError::DotDot(_)));
        assert!(matches!(error(r#"["/"]"#), DeletedError::Root(_)));
        assert!(matches!(error(r#"["/a\u0000b"]"#), DeletedError::Path(_)));
        assert!(matches!(error(r#"{"a":1}"#), DeletedError::Json(_)));
        assert!(matches!(error("[1]"), DeletedError::Json(_)));
    }

    #[test]
    fn deleting_follows_no_link_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("full/deep")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink(&outside, root.join("full/deep/link")).unwrap();
        let list = br#"["/full", "/file", "/link/kept", "/absolute/kept", "/absolute", "/no/no"]"#;
        delete(&root, &parse_deleted(list).unwrap()).unwrap();
        assert!(outside.join("kept").exists());
        let mut left: Vec<_> =
            fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["link"]);
    }
}
