use std::fmt;

/// The longest path in a layer, in bytes (`PATH_MAX`).
pub const MAX_PATH: usize = 4096;
/// The longest name of one file, in bytes (`NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// Why a name in an archive is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It leads out of the root by `..`.
    #[error("path {0:?} climbs out of the root")]
    Climbs(String),
    /// It holds a NUL byte.
    #[error("path {0:?} holds a NUL byte")]
    Nul(String),
    /// The whole is longer than [`MAX_PATH`].
    #[error("path of {0} bytes is longer than {MAX_PATH}")]
    TooLong(usize),
    /// One component is longer than [`MAX_NAME`].
    #[error("path {0:?} has a name longer than {MAX_NAME} bytes")]
    NameTooLong(String),
}

impl crate::error::Classify for PathError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::InvalidArgument
    }
}

/// A validated path inside a layer: components joined by single slashes, none of them empty, `.`
/// or `..`, none with a NUL byte. The root is the empty path. Bytes, not text.
///
/// The order is that of the component lists, so that a folder comes right before all that is in it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct LayerPath(Box<[u8]>);

impl LayerPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path that `raw` names: leading `/` and `./` are dropped and `a/../b` is `b`.
    ///
    /// # Errors
    ///
    /// See [`PathError`]; a path that climbs out of the root is refused.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        Self::clean(raw, false)
    }

    /// As [`LayerPath::parse`], but `..` at the root stays at the root, as in a chroot.
    ///
    /// # Errors
    ///
    /// See [`PathError`], all but [`PathError::Climbs`].
    pub fn parse_clamped(raw: &[u8]) -> Result<Self, PathError> {
        Self::clean(raw, true)
    }

    /// The path of `bytes`, which a valid path gave or valid names joined by slashes make.
    pub(crate) fn from_clean(bytes: &[u8]) -> Self {
        let path = Self(bytes.into());
        debug_assert_eq!(Self::parse(bytes).as_ref(), Ok(&path));
        path
    }

    fn clean(raw: &[u8], clamp: bool) -> Result<Self, PathError> {
        let text = || String::from_utf8_lossy(&raw[..raw.len().min(MAX_PATH)]).into_owned();
        if raw.contains(&0) {
            return Err(PathError::Nul(text()));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() && !clamp {
                        return Err(PathError::Climbs(text()));
                    }
                }
                name if name.len() > MAX_NAME => return Err(PathError::NameTooLong(text())),
                name => parts.push(name),
            }
        }
        let joined = parts.join(&b'/');
        if joined.len() > MAX_PATH {
            return Err(PathError::TooLong(joined.len()));
        }
        Ok(Self(joined.into()))
    }

    /// The path as bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// The folder that holds this; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The path of `name` in this folder.
    ///
    /// # Errors
    ///
    /// See [`PathError`]; `name` is parsed, so it may hold several components but not climb out of
    /// the root.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        Self::parse(&[self.as_bytes(), b"/", name].concat())
    }

    /// Whether `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl Ord for LayerPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // A slash sorts below every other byte: the order of component lists, without splitting.
        let key = |b: &u8| if *b == b'/' { 0 } else { *b };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for LayerPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(s: &str) -> LayerPath {
        LayerPath::parse(s.as_bytes()).unwrap()
    }

    #[test]
    fn prefixes_and_dots_are_cleaned() {
        for s in ["a/b", "/a/b", "./a/b", ".//a/./b/", "a/c/../b", "x/../a/b"] {
            assert_eq!(path(s).as_bytes(), b"a/b", "{s}");
        }
        assert!(path("./").is_root());
        assert!(path("").is_root());
    }

    #[test]
    fn climbing_out_is_refused_or_clamped() {
        for s in ["..", "../a", "a/../../b", "/.."] {
            assert!(matches!(LayerPath::parse(s.as_bytes()), Err(PathError::Climbs(_))), "{s}");
        }
        assert_eq!(LayerPath::parse_clamped(b"../../a").unwrap(), path("a"));
    }

    #[test]
    fn a_folder_sorts_right_before_its_content() {
        let mut paths = ["a-b", "a/c", "a", "a.b", "a/b/c", "b"].map(path);
        paths.sort();
        assert_eq!(paths.map(|p| p.to_string()), ["/a", "/a/b/c", "/a/c", "/a-b", "/a.b", "/b"]);
    }

    #[test]
    fn parents_and_names() {
        let p = path("a/b/c");
        assert_eq!(p.parent().unwrap(), path("a/b"));
        assert_eq!(p.file_name().unwrap(), b"c");
        assert_eq!(path("a").parent().unwrap(), LayerPath::root());
        assert_eq!(LayerPath::root().parent(), None);
        assert!(p.starts_with(&path("a")) && !path("ab").starts_with(&path("a")));
    }

    #[test]
    fn long_names_are_refused() {
        assert!(LayerPath::parse(&[b'a'; 255]).is_ok());
        assert!(LayerPath::parse(&[b'a'; 256]).is_err());
        assert!(LayerPath::parse(&b"abc/".repeat(1025)).is_err());
    }
}
