use super::Codec;

/// How many bytes of a blob's start [`sniff`] looks at.
pub const SNIFF_LEN: usize = 4;

/// The codec that a blob's first [`SNIFF_LEN`] bytes tell; whatever has no known magic is plain.
///
/// gzip is told by its magic and its one method (RFC 1952, section 2.3.1), zstd by the magic of a
/// frame or of a skippable frame (RFC 8878, section 3.1), as containerd does.
pub fn sniff(start: &[u8]) -> Codec {
    const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    match start {
        [a, b, c, ..] if [*a, *b, *c] == GZIP => Codec::Gzip,
        [a, b, c, d, ..] if [*a, *b, *c, *d] == ZSTD => Codec::Zstd,
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Codec::Zstd,
        _ => Codec::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_told_by_their_magic() {
        assert_eq!(sniff(&[0x1f, 0x8b, 8, 0]), Codec::Gzip);
        assert_eq!(sniff(&[0x28, 0xb5, 0x2f, 0xfd]), Codec::Zstd);
        assert_eq!(sniff(&[0x50, 0x2a, 0x4d, 0x18]), Codec::Zstd);
        assert_eq!(sniff(&[0x5f, 0x2a, 0x4d, 0x18]), Codec::Zstd);
        for plain in [&b""[..], b"\x1f\x8b", b"\x1f\x8b\x07\0", b"\x60\x2a\x4d\x18", b"etc/"] {
            assert_eq!(sniff(plain), Codec::Plain, "{plain:x?}");
        }
    }
}
