use std::path::PathBuf;

use super::Error;

/// What a layer is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder with the files themselves: what the layer hides is removed.
    Folder(PathBuf),
    /// The upper folder of an overlay that is not mounted: what the layer hides becomes whiteouts.
    Overlay {
        /// The upper folder.
        upper: PathBuf,
        /// The lower folders, the top one first.
        lowers: Vec<PathBuf>,
        /// Whether the overlay's own attributes are in the `user.` namespace (mount option
        /// `userxattr`).
        user_xattrs: bool,
    },
}

impl Target {
    /// The target that a mount in the words of `fstab(5)` gives, without mounting it: the source of
    /// a writable bind mount, the upper folder of an overlay (containerd's `apply_linux.go`).
    ///
    /// # Errors
    ///
    /// [`Error::Mount`] for any other mount.
    pub fn of_mount(fs_type: &str, source: &str, options: &[String]) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Mount { fs_type: fs_type.to_owned(), reason });
        let words: Vec<&str> = options.iter().flat_map(|o| split_escaped(o, b',')).collect();
        if words.contains(&"ro") {
            return refuse("it is read-only");
        }
        match fs_type {
            "bind" => Ok(Self::Folder(source.into())),
            "overlay" => {
                let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
                let Some(upper) = value("upperdir=") else {
                    return refuse("it has no upper folder");
                };
                let mut lowers: Vec<PathBuf> = words
                    .iter()
                    .filter_map(|w| w.strip_prefix("lowerdir+="))
                    .map(unescape)
                    .collect();
                if let Some(joined) = value("lowerdir=") {
                    lowers.extend(split_escaped(joined, b':').map(unescape));
                }
                let user_xattrs = words.contains(&"userxattr");
                Ok(Self::Overlay { upper: unescape(upper), lowers, user_xattrs })
            }
            _ => refuse("layers are applied to bind and overlay mounts"),
        }
    }
}

/// The parts of `text` between separators that no backslash stands before.
fn split_escaped(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let end = text.bytes().position(|b| {
            let ends = b == separator && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        let (part, after) = match end {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(part)
    })
}

/// Takes the backslashes of overlayfs options away (`ovl_unescape` in the kernel).
fn unescape(text: &str) -> PathBuf {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fs_type: &str, options: &[&str]) -> Result<Target, Error> {
        let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
        Target::of_mount(fs_type, "/src", &options)
    }

    #[test]
    fn targets_come_from_writable_mounts() {
        assert_eq!(of("bind", &["rbind", "rw"]).unwrap(), Target::Folder("/src".into()));
        let overlay = |lowers: &[&str], user_xattrs| Target::Overlay {
            upper: "/u,p".into(),
            lowers: lowers.iter().map(Into::into).collect(),
            user_xattrs,
        };
        let joined = of("overlay", &["workdir=/w", r"upperdir=/u\,p", r"lowerdir=/a\:b:/c"]);
        assert_eq!(joined.unwrap(), overlay(&["/a:b", "/c"], false));
        let fragments =
            of("overlay", &[r"upperdir=/u\,p,lowerdir+=/a", "lowerdir+=/c", "userxattr"]);
        assert_eq!(fragments.unwrap(), overlay(&["/a", "/c"], true));
        assert!(of("bind", &["rbind", "ro"]).is_err());
        assert!(of("overlay", &["lowerdir=/a:/b"]).is_err());
        assert!(of("tmpfs", &[]).is_err());
    }
}
