//! The attributes that overlayfs keeps its books in (kernel,
//! `Documentation/filesystems/overlayfs.rst` and `fs/overlayfs/overlayfs.h`).

use crate::archive::LayerPath;
use crate::sys::XattrTarget;

use super::Error;

const TRUSTED: &str = "trusted.overlay.";
const USER: &str = "user.overlay.";

/// Whether `name` is an attribute of overlayfs itself, in either namespace: no layer may carry one.
pub(super) fn is_overlay_attribute(name: &[u8]) -> bool {
    [TRUSTED, USER].iter().any(|namespace| name.starts_with(namespace.as_bytes()))
}

/// Which attributes an overlay takes for its own. Those of the other namespace are the business of
/// whoever may write files, and mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    /// `trusted.overlay.`, which only an administrator can set.
    Trusted,
    /// `user.overlay.`, of mounts with the option `userxattr`.
    User,
}

/// Where a folder that was renamed has its lower part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// Under another name in the same folder.
    Name(Box<[u8]>),
    /// At this path from the root.
    Path(Vec<Box<[u8]>>),
}

impl Namespace {
    pub(super) fn of(user_xattrs: bool) -> Self {
        if user_xattrs { Self::User } else { Self::Trusted }
    }

    /// The whole name of an attribute.
    fn name(self, attribute: &str) -> String {
        let namespace = match self {
            Self::Trusted => TRUSTED,
            Self::User => USER,
        };
        format!("{namespace}{attribute}")
    }

    fn get(
        self,
        target: XattrTarget<'_>,
        attribute: &str,
        path: &LayerPath,
    ) -> Result<Option<Vec<u8>>, Error> {
        let value = target.get(self.name(attribute).as_bytes());
        value.map_err(Error::io("read attributes of", path))
    }

    /// Whether the folder says that it hides the one below.
    pub(super) fn is_opaque(
        self,
        target: XattrTarget<'_>,
        path: &LayerPath,
    ) -> Result<bool, Error> {
        Ok(self.get(target, "opaque", path)?.as_deref() == Some(b"y"))
    }

    /// Makes a folder hide the one below.
    pub(super) fn make_opaque(
        self,
        target: XattrTarget<'_>,
        path: &LayerPath,
    ) -> Result<(), Error> {
        let set = target.set(self.name("opaque").as_bytes(), b"y");
        set.map_err(Error::io("make opaque", path))
    }

    /// Where the lower part of the folder is, if it was renamed.
    pub(super) fn redirect(
        self,
        target: XattrTarget<'_>,
        path: &LayerPath,
    ) -> Result<Option<Redirect>, Error> {
        let Some(value) = self.get(target, "redirect", path)? else { return Ok(None) };
        match parse_redirect(&value) {
            Some(redirect) => Ok(Some(redirect)),
            None => Err(self.unusable("redirect", path)),
        }
    }

    /// Refuses what only the mounted overlay can explain.
    pub(super) fn refuse(
        self,
        target: XattrTarget<'_>,
        attribute: &str,
        path: &LayerPath,
    ) -> Result<(), Error> {
        match self.get(target, attribute, path)? {
            None => Ok(()),
            Some(_) => Err(self.unusable(attribute, path)),
        }
    }

    fn unusable(self, attribute: &str, path: &LayerPath) -> Error {
        Error::Overlay { path: path.to_string(), attribute: self.name(attribute) }
    }
}

/// As `ovl_get_redirect_xattr` in the kernel; and a name that leads elsewhere is none.
fn parse_redirect(value: &[u8]) -> Option<Redirect> {
    let name = |part: &[u8]| {
        let is_name = !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
        is_name.then(|| part.into())
    };
    match value.strip_prefix(b"/") {
        Some(path) => {
            let parts = path.split(|&b| b == b'/').map(name).collect::<Option<_>>();
            parts.map(Redirect::Path)
        }
        None if value.contains(&b'/') => None,
        None => name(value).map(Redirect::Name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_names_or_paths_from_the_root() {
        let path =
            |parts: &[&[u8]]| Some(Redirect::Path(parts.iter().map(|&part| part.into()).collect()));
        assert_eq!(parse_redirect(b"a b"), Some(Redirect::Name(b"a b".as_slice().into())));
        assert_eq!(parse_redirect(b"/a"), path(&[b"a"]));
        assert_eq!(parse_redirect(b"/a/b"), path(&[b"a", b"b"]));
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"/a/", b"//a", b"/a/../b", b"/..", b"\0"]
        {
            assert_eq!(parse_redirect(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn attributes_of_either_namespace_are_overlayfs_own() {
        assert!(is_overlay_attribute(b"trusted.overlay.opaque"));
        assert!(is_overlay_attribute(b"user.overlay.redirect"));
        assert!(!is_overlay_attribute(b"user.overlayed"));
        assert!(!is_overlay_attribute(b"trusted.other"));
    }
}
