//! PAX extended headers: their records and what those say of a member.
//!
//! Source: POSIX.1-2017 `pax`, "pax Extended Header"; `SCHILY.xattr.*` of star, whose values are
//! raw bytes; `LIBARCHIVE.xattr.*` of libarchive, whose names are URL-encoded and values base64;
//! `GNU.sparse.*` of GNU tar, "Storing Sparse Files".

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::sparse::PaxSparse;
use super::{TarFault, Timestamp, Xattr};

/// The longest name of an extended attribute (`XATTR_NAME_MAX` of Linux).
const MAX_XATTR_NAME: usize = 255;
/// The longest value of an extended attribute (`XATTR_SIZE_MAX` of Linux).
const MAX_XATTR_VALUE: usize = 65_536;

const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an extended header says of the member after it; `None` leaves the header block's word.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<i64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: PaxSparse,
}

impl Pax {
    /// Reads the records of an extended header.
    pub(super) fn parse(records: &[u8]) -> Result<Self, TarFault> {
        let mut pax = Self::default();
        let mut xattrs = XattrRecords::default();
        for record in Records(records) {
            let (key, value) = record?;
            if !xattrs.take(key, value)? {
                pax.apply(key, value)?;
            }
        }
        pax.xattrs = xattrs.finish()?;
        Ok(pax)
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarFault> {
        if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.apply(name, value).ok_or_else(|| bad_value(key));
        }
        let known = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime");
        // An empty value takes an earlier one back.
        if !known || value.is_empty() {
            return Ok(());
        }
        let parsed = match key {
            b"path" => no_nul(value).map(|path| self.path = Some(path)),
            b"linkpath" => no_nul(value).map(|path| self.link_path = Some(path)),
            b"size" => decimal(value).map(|n| self.size = Some(n)),
            b"uid" => decimal(value).map(|n| self.uid = Some(n)),
            b"gid" => decimal(value).map(|n| self.gid = Some(n)),
            _ => timestamp(value).map(|t| self.mtime = Some(t)),
        };
        parsed.ok_or_else(|| bad_value(key))
    }
}

/// The extended attributes that the records of an extended header say, sorted.
pub(crate) fn xattrs_of(records: &[(&[u8], &[u8])]) -> Result<Vec<Xattr>, TarFault> {
    let mut xattrs = XattrRecords::default();
    for (key, value) in records {
        xattrs.take(key, value)?;
    }
    xattrs.finish()
}

/// The records of extended attributes, by name.
#[derive(Default)]
struct XattrRecords {
    schily: BTreeMap<Vec<u8>, Vec<u8>>,
    libarchive: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl XattrRecords {
    /// Takes a record; says whether it is one of these.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<bool, TarFault> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.schily.insert(name.to_vec(), value.to_vec());
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = LENIENT_BASE64.decode(value).map_err(|_| bad_value(key))?;
            self.libarchive.insert(url_decoded(name), value);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<Vec<Xattr>, TarFault> {
        // libarchive writes both forms; the raw one needs no decoding.
        for (name, value) in self.libarchive {
            self.schily.entry(name).or_insert(value);
        }
        self.schily.into_iter().map(|(name, value)| checked(Xattr { name, value })).collect()
    }
}

fn bad_value(key: &[u8]) -> TarFault {
    TarFault::PaxValue(String::from_utf8_lossy(key).into_owned())
}

fn no_nul(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

/// A decimal number with an optional sign.
pub(super) fn decimal(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Seconds with an optional fraction, of which nine digits count.
fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let dot = value.iter().position(|&b| b == b'.');
    let (whole, fraction) = dot.map_or((value, &b""[..]), |at| (&value[..at], &value[at + 1..]));
    let secs = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = digits.fold(0_u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    if nanos > 0 && whole.starts_with(b"-") {
        return Some(Timestamp { secs: secs.checked_sub(1)?, nanos: 1_000_000_000 - nanos });
    }
    Some(Timestamp { secs, nanos })
}

/// Whether Linux allows the name and the value.
pub(crate) fn check_xattr(xattr: &Xattr) -> bool {
    (1..=MAX_XATTR_NAME).contains(&xattr.name.len())
        && !xattr.name.contains(&0)
        && xattr.value.len() <= MAX_XATTR_VALUE
}

fn checked(xattr: Xattr) -> Result<Xattr, TarFault> {
    if check_xattr(&xattr) {
        return Ok(xattr);
    }
    let name = String::from_utf8_lossy(&xattr.name).into_owned();
    Err(TarFault::Xattr { name, len: xattr.value.len() })
}

/// `%XX` escapes resolved; a broken one stays as it is.
fn url_decoded(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%');
        match escaped.and_then(|digits| hex::decode(digits).ok()) {
            Some(bytes) => {
                decoded.extend(bytes);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

/// The records of an extended header, `LENGTH KEY=VALUE\n` each; the length counts the whole record.
struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn split_first(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let space = self.0.iter().take(20).position(|&b| b == b' ')?;
        let len = usize::try_from(decimal(&self.0[..space])?).ok()?;
        let (record, rest) = self.0.split_at_checked(len)?;
        let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = body.iter().position(|&b| b == b'=')?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return None;
        }
        self.0 = rest;
        Some((key, value))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), TarFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.split_first();
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or(TarFault::PaxRecord))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::pax_record as record;
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds_and_sign() {
        for (text, secs, nanos) in [
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("1700000000.1234567899", 1_700_000_000, 123_456_789),
            ("1.5", 1, 500_000_000),
            ("7", 7, 0),
            ("7.", 7, 0),
            ("-5.5", -6, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("-5", -5, 0),
        ] {
            assert_eq!(timestamp(text.as_bytes()), Some(Timestamp { secs, nanos }), "{text}");
        }
        for text in ["", ".5", "1.5x", "1.-5", "9223372036854775808", "-9223372036854775808.5"] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn xattr_values_are_any_bytes() {
        let value = b"\x01\0\n2 a=b\n\0";
        let pax = Pax::parse(&record(b"SCHILY.xattr.security.capability", value)).unwrap();
        assert_eq!(pax.xattrs[0].name, b"security.capability");
        assert_eq!(pax.xattrs[0].value, value);
    }

    #[test]
    fn libarchive_xattrs_are_decoded_and_yield_to_raw_ones() {
        let records = [
            record(b"LIBARCHIVE.xattr.user.a%20b%zz", b"AAH/"),
            record(b"LIBARCHIVE.xattr.user.c", b"YQ"),
            record(b"SCHILY.xattr.user.c", b"raw"),
        ];
        let pax = Pax::parse(&records.concat()).unwrap();
        let named: Vec<_> = pax.xattrs.iter().map(|x| (&x.name[..], &x.value[..])).collect();
        assert_eq!(named, [(&b"user.a b%zz"[..], &b"\0\x01\xff"[..]), (b"user.c", b"raw")]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"99 a=b\n",
            b"6 a=b ",
            b"6 aabb\n",
            b"5 =b\n",
            b"-6 a=b\n",
            b"0 a=b\n",
            b"aaaa",
            b"6 a=b\n\0",
        ] {
            assert_eq!(Pax::parse(bad).unwrap_err(), TarFault::PaxRecord, "{bad:?}");
        }
        for (key, value) in
            [("size", "x"), ("mtime", "1,5"), ("uid", "1.5"), ("path", "a\0b"), ("size", "9e9")]
        {
            let records = record(key.as_bytes(), value.as_bytes());
            assert_eq!(Pax::parse(&records).unwrap_err(), TarFault::PaxValue(key.into()));
        }
        let long = record(b"SCHILY.xattr.user.a", &vec![0; MAX_XATTR_VALUE + 1]);
        assert!(matches!(Pax::parse(&long), Err(TarFault::Xattr { len: 65_537, .. })));
    }

    #[test]
    fn empty_values_leave_the_header_its_word() {
        let pax = Pax::parse(&[record(b"path", b""), record(b"mtime", b"")].concat()).unwrap();
        assert_eq!((pax.path, pax.mtime), (None, None));
    }
}
