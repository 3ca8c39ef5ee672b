/// The prefix of a file that hides its namesake of the layers below (OCI image specification,
/// `layer.md`, "Whiteouts").
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The file that hides all that the layers below have in its folder (same, "Opaque Whiteout").
pub const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// What a whiteout file's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// This name of the layers below is hidden.
    Name(&'a [u8]),
    /// All that the layers below have in the folder is hidden.
    Opaque,
    /// The name after the prefix is empty, `.` or `..`: it would hide its own folder or one above.
    Invalid,
    /// Bookkeeping of AUFS (`.wh..wh.*`), which means nothing here.
    Aufs,
}

/// What the file name `name` says as a whiteout; `None` for an ordinary name.
pub fn whiteout_of(name: &[u8]) -> Option<Whiteout<'_>> {
    if name == OPAQUE_MARKER {
        return Some(Whiteout::Opaque);
    }
    match name.strip_prefix(WHITEOUT_PREFIX)? {
        b"" | b"." | b".." => Some(Whiteout::Invalid),
        rest if rest.starts_with(WHITEOUT_PREFIX) => Some(Whiteout::Aufs),
        rest => Some(Whiteout::Name(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteout_names() {
        assert_eq!(whiteout_of(b"a"), None);
        assert_eq!(whiteout_of(b".wh.a"), Some(Whiteout::Name(b"a")));
        assert_eq!(whiteout_of(b".wh..wh..opq"), Some(Whiteout::Opaque));
        assert_eq!(whiteout_of(b".wh..wh.plnk"), Some(Whiteout::Aufs));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(whiteout_of(bad), Some(Whiteout::Invalid));
        }
    }
}
