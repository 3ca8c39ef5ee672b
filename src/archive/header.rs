//! The 512-byte header block: where its fields are and how its numbers are written.
//!
//! Sources: POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
//! Where readers differ, Go's `archive/tar` is followed: it decides what container tools accept.

use std::ops::Range;

use super::TarFault;

/// The size of a block in bytes.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const DEV_MAJOR: Range<usize> = 329..337;
const DEV_MINOR: Range<usize> = 337..345;
const USTAR_PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;
const GNU_SPARSE: Range<usize> = 386..482;
const GNU_IS_EXTENDED: usize = 482;
const GNU_REAL_SIZE: Range<usize> = 483..495;
const EXTENSION_SPARSE: Range<usize> = 0..504;
const EXTENSION_IS_EXTENDED: usize = 504;

/// Which dialect a header is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block whose checksum is right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes `block` for a header if its checksum matches.
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Self, TarFault> {
        let stored = number(&block[CHECKSUM]).ok_or(TarFault::Checksum)?;
        let sum = |bytes: &[u8]| bytes.iter().map(|&b| i64::from(b)).sum::<i64>();
        let high = |bytes: &[u8]| bytes.iter().filter(|&&b| b >= 0x80).count() as i64;
        // The checksum is taken with blanks in its own place.
        let field = &block[CHECKSUM];
        let unsigned = sum(block) - sum(field) + 8 * i64::from(b' ');
        let signed = unsigned - 256 * (high(block) - high(field));
        // Some old tars summed signed characters.
        if stored != unsigned && stored != signed {
            return Err(TarFault::Checksum);
        }
        Ok(Self(block))
    }

    fn format(&self) -> Format {
        match &self.0[MAGIC] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => match &self.0[STAR_TRAILER] {
                b"tar\0" => Format::Star,
                _ => Format::Ustar,
            },
            _ => Format::V7,
        }
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.format() == Format::Gnu
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[TYPE]
    }

    /// The path, prefix included.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        let prefix = match self.format() {
            Format::V7 => b"",
            Format::Ustar => text(&self.0[USTAR_PREFIX]),
            Format::Star => text(&self.0[STAR_PREFIX]),
            Format::Gnu => self.misplaced_prefix(),
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The prefix that Go before 1.8 wrote into GNU headers, where times belong.
    fn misplaced_prefix(&self) -> &[u8] {
        let times = [&self.0[GNU_ATIME], &self.0[GNU_CTIME]];
        if times.iter().all(|field| field[0] == 0 || number(field).is_some()) {
            return b"";
        }
        let prefix = text(&self.0[USTAR_PREFIX]);
        if prefix.is_ascii() { prefix } else { b"" }
    }

    pub(super) fn link_name(&self) -> &[u8] {
        text(&self.0[LINK_NAME])
    }

    pub(super) fn mode(&self) -> Result<i64, TarFault> {
        self.number(MODE, "mode")
    }

    pub(super) fn uid(&self) -> Result<i64, TarFault> {
        self.number(UID, "uid")
    }

    pub(super) fn gid(&self) -> Result<i64, TarFault> {
        self.number(GID, "gid")
    }

    pub(super) fn size(&self) -> Result<i64, TarFault> {
        self.number(SIZE, "size")
    }

    pub(super) fn mtime(&self) -> Result<i64, TarFault> {
        self.number(MTIME, "mtime")
    }

    /// Major and minor device number; 0:0 where the dialect has none.
    pub(super) fn device(&self) -> Result<(i64, i64), TarFault> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        Ok((
            self.number(DEV_MAJOR, "device major number")?,
            self.number(DEV_MINOR, "device minor number")?,
        ))
    }

    /// The logical size of an old GNU sparse file.
    pub(super) fn gnu_real_size(&self) -> Result<i64, TarFault> {
        self.number(GNU_REAL_SIZE, "size")
    }

    /// The first part of an old GNU sparse map, and whether more blocks of it follow.
    pub(super) fn gnu_sparse(&self) -> (&[u8], bool) {
        (&self.0[GNU_SPARSE], self.0[GNU_IS_EXTENDED] != 0)
    }

    fn number(&self, field: Range<usize>, name: &'static str) -> Result<i64, TarFault> {
        number(&self.0[field]).ok_or(TarFault::BadNumber(name))
    }
}

/// The part of an old GNU sparse map in an extension block, and whether another one follows.
pub(super) fn gnu_sparse_extension(block: &[u8; BLOCK]) -> (&[u8], bool) {
    (&block[EXTENSION_SPARSE], block[EXTENSION_IS_EXTENDED] != 0)
}

/// A text field: the bytes before the first NUL, or all.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number field: octal digits between blanks, or base-256. A blank field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return base256(field);
    }
    let blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement, big-endian, with the top bit of the first byte as the mark.
fn base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let fill: u8 = if first & 0x40 != 0 { 0xff } else { 0 };
    // Seven bits of the first byte count; the sign goes on above them.
    let mut value = i64::from(((first & 0x7f) | (fill & 0x80)).cast_signed());
    for byte in rest {
        value = value.checked_mul(256)? | i64::from(*byte);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_stand_between_blanks() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\x000644 ", Some(0o644)),
            (b"00000000", Some(0)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777\0", Some(0o77777777777)),
            (b"000064x\0", None),
            (b"0000648\0", None),
            (b"-000001\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn base256_numbers_have_a_sign() {
        let encode = |value: i128| {
            let mut field = value.to_be_bytes()[4..].to_vec();
            field[0] |= 0x80;
            field
        };
        for value in [0, 1, 0o77777777777 + 1, i64::MAX, -1, -86_400, i64::MIN] {
            assert_eq!(number(&encode(i128::from(value))), Some(value));
        }
        for value in [1 << 63, (1 << 64) + 5, -(1 << 63) - 1, 1 << 90] {
            assert_eq!(number(&encode(value)), None, "{value}");
        }
        assert_eq!(number(&[0xff; 8]), Some(-1));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x20, 0, 0]), Some(1 << 21));
    }
}
