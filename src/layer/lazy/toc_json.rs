//! The JSON table of contents that eStargz and both variants of zstd:chunked share.
//!
//! Source: stargz-snapshotter, `docs/estargz.md`; containers/storage, `pkg/chunked/internal/minimal`
//! for the members of zstd:chunked. Members that are not named here say nothing that is needed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::archive::{
    Device, Entry, EntryKind, FileType, Metadata, TarFault, Timestamp, Xattr, check_xattr,
};

use super::{EntryFault, LazyError};

/// The longest table of contents in bytes, as JSON. containers/storage's limit too.
pub const MAX_TOC_JSON: u64 = 150 << 20;
/// The versions of the JSON that are known: 1 with a tar-split or none, 2 with canonical headers.
const VERSIONS: std::ops::RangeInclusive<i64> = 1..=2;

/// The most extended attributes of one entry: the kernel's list of their names holds no more.
const MAX_XATTRS: usize = u16::MAX as usize;
/// The most characters of a name or a word that errors repeat.
const MAX_SHOWN: usize = 256;

/// An entry as it stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonEntry<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) size: i64,
    #[serde(default)]
    modtime: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    link_name: Cow<'a, str>,
    #[serde(default)]
    mode: i64,
    #[serde(default)]
    uid: i64,
    #[serde(default)]
    gid: i64,
    #[serde(default)]
    dev_major: i64,
    #[serde(default)]
    dev_minor: i64,
    #[serde(default)]
    xattrs: Option<Xattrs>,
    #[serde(default, borrow)]
    pub(super) digest: Cow<'a, str>,
    #[serde(default)]
    pub(super) offset: i64,
    #[serde(default)]
    pub(super) inner_offset: i64,
    #[serde(default)]
    pub(super) chunk_offset: i64,
    #[serde(default)]
    pub(super) chunk_size: i64,
    #[serde(default, borrow)]
    pub(super) chunk_digest: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(super) chunk_type: Cow<'a, str>,
}

/// Extended attributes by name, of which there are at most [`MAX_XATTRS`].
#[derive(Debug, Default)]
struct Xattrs(BTreeMap<String, String>);

/// Who takes the entries.
type Take<'t> = dyn FnMut(&JsonEntry<'_>) -> Result<(), LazyError> + 't;

/// Gives the entries of the table of contents in `json` to `take`, one after the other: none is kept.
///
/// # Errors
///
/// [`LazyError::TooLarge`], [`LazyError::Json`], [`LazyError::Version`], and those of `take`, after
/// which nothing more is read.
pub(super) fn parse(json: &[u8], take: &mut Take<'_>) -> Result<(), LazyError> {
    if json.len() as u64 > MAX_TOC_JSON {
        return Err(LazyError::TooLarge(json.len() as u64));
    }
    let mut failed = None;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let visitor = TocVisitor { take, failed: &mut failed };
    let version = deserializer.deserialize_map(visitor).and_then(|version| {
        deserializer.end()?;
        Ok(version)
    });
    match (failed, version) {
        (Some(error), _) => Err(error),
        (None, version) => match version? {
            version if VERSIONS.contains(&version) => Ok(()),
            version => Err(LazyError::Version(version)),
        },
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Version,
    Entries,
    #[serde(other)]
    Other,
}

/// The outermost object; its value is the version.
struct TocVisitor<'t, 'f> {
    take: &'t mut Take<'f>,
    failed: &'t mut Option<LazyError>,
}

impl<'de> Visitor<'de> for TocVisitor<'_, '_> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<i64, A::Error> {
        let (mut version, mut has_entries) = (None, false);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Version if version.is_some() => {
                    return Err(de::Error::duplicate_field("version"));
                }
                Field::Version => version = Some(map.next_value()?),
                Field::Entries if has_entries => {
                    return Err(de::Error::duplicate_field("entries"));
                }
                Field::Entries => {
                    has_entries = true;
                    map.next_value_seed(Entries { take: self.take, failed: self.failed })?;
                }
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        version.ok_or_else(|| de::Error::missing_field("version"))
    }
}

/// The list of entries, or `null`.
struct Entries<'t, 'f> {
    take: &'t mut Take<'f>,
    failed: &'t mut Option<LazyError>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<JsonEntry<'de>>()? {
            if let Err(error) = (self.take)(&entry) {
                *self.failed = Some(error);
                return Err(de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Xattrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(XattrsVisitor)
    }
}

struct XattrsVisitor;

impl<'de> Visitor<'de> for XattrsVisitor {
    type Value = Xattrs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("extended attributes by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Xattrs, A::Error> {
        let mut xattrs = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            xattrs.insert(name, value);
            if xattrs.len() > MAX_XATTRS {
                return Err(de::Error::custom("an entry has too many extended attributes"));
            }
        }
        Ok(Xattrs(xattrs))
    }
}

impl JsonEntry<'_> {
    pub(super) fn is_regular(&self) -> bool {
        self.kind == "reg"
    }

    pub(super) fn is_chunk(&self) -> bool {
        self.kind == "chunk"
    }

    /// Says that `fault` is of this entry.
    pub(super) fn broken(&self, fault: EntryFault) -> LazyError {
        LazyError::Entry { entry: self.short_name(), fault }
    }

    /// Its name, for errors.
    pub(super) fn short_name(&self) -> String {
        short(&self.name)
    }

    /// The member of an archive that this describes; its data are not yet placed.
    pub(super) fn member(&self) -> Result<Entry, EntryFault> {
        let target = || self.link_name.as_bytes().to_vec();
        let (kind, file_type) = match &*self.kind {
            "reg" => (EntryKind::Regular, FileType::Regular),
            "dir" => (EntryKind::Directory, FileType::Directory),
            "symlink" => (EntryKind::Symlink(target()), FileType::Symlink),
            "hardlink" => (EntryKind::HardLink(target()), FileType::Regular),
            "char" => (EntryKind::CharDevice, FileType::CharDevice),
            "block" => (EntryKind::BlockDevice, FileType::BlockDevice),
            "fifo" => (EntryKind::Fifo, FileType::Fifo),
            other => return Err(EntryFault::Type(short(other))),
        };
        // JSON cannot hold other bytes than UTF-8, and writers put this character in their place.
        if self.name.contains('\u{fffd}') || self.link_name.contains('\u{fffd}') {
            return Err(EntryFault::LostName);
        }
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        let device = if is_device { self.device()? } else { Device::default() };
        #[expect(clippy::cast_sign_loss, reason = "masked")]
        let mode = (self.mode & 0o7777) as u16;
        let metadata = Metadata {
            file_type,
            mode,
            uid: unsigned32("uid", self.uid)?,
            gid: unsigned32("gid", self.gid)?,
            mtime: self.modtime.as_deref().map_or(Ok(Timestamp::default()), time)?,
            device,
            xattrs: self.xattrs()?,
        };
        let is_file = file_type == FileType::Regular && kind == EntryKind::Regular;
        let size = u64::try_from(self.size).map_err(|_| EntryFault::Range("size"))?;
        Ok(Entry {
            offset: u64::try_from(self.offset).unwrap_or(0),
            path: self.name.as_bytes().to_vec(),
            kind,
            metadata,
            size: if is_file { size } else { 0 },
            runs: Vec::new(),
        })
    }

    fn device(&self) -> Result<Device, EntryFault> {
        let major = unsigned32("device major number", self.dev_major)?;
        Ok(Device { major, minor: unsigned32("device minor number", self.dev_minor)? })
    }

    fn xattrs(&self) -> Result<Vec<Xattr>, EntryFault> {
        let all = self.xattrs.iter().flat_map(|Xattrs(all)| all);
        let xattrs = all.map(|(name, value)| {
            let broken = |len| EntryFault::Xattr(TarFault::Xattr { name: short(name), len });
            let value = STANDARD.decode(value).map_err(|_| broken(value.len()))?;
            let xattr = Xattr { name: name.clone().into_bytes(), value };
            if check_xattr(&xattr) { Ok(xattr) } else { Err(broken(xattr.value.len())) }
        });
        xattrs.collect()
    }
}

/// So much of `text` as an error may repeat.
fn short(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

fn unsigned32(what: &'static str, value: i64) -> Result<u32, EntryFault> {
    u32::try_from(value).map_err(|_| EntryFault::Range(what))
}

/// The time that `text` is by RFC 3339. Go's zero time, of the year 1, stands for none.
pub(super) fn time(text: &str) -> Result<Timestamp, EntryFault> {
    if text.is_empty() || text == "0001-01-01T00:00:00Z" {
        return Ok(Timestamp::default());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| EntryFault::Time(short(text)))?;
    let (secs, nanos) = (time.as_second(), time.subsec_nanosecond());
    // jiff counts both from 1970 on; here the nanoseconds always go forward.
    let (secs, nanos) = if nanos < 0 { (secs - 1, nanos + 1_000_000_000) } else { (secs, nanos) };
    Ok(Timestamp { secs, nanos: nanos.unsigned_abs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_rfc_3339() {
        for (text, secs, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000, 123_456_789),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000, 0),
            ("1969-12-31T23:59:54.75Z", -6, 750_000_000),
            ("0001-01-01T00:00:00Z", 0, 0),
            ("", 0, 0),
        ] {
            assert_eq!(time(text), Ok(Timestamp { secs, nanos }), "{text}");
        }
        for text in ["yesterday", "2023-11-14", "2023-13-14T22:13:20Z"] {
            assert_eq!(time(text), Err(EntryFault::Time(text.to_owned())));
        }
    }

    #[test]
    fn the_shape_of_the_json_is_checked() {
        let parse = |json: &str| {
            let mut names = Vec::new();
            parse(json.as_bytes(), &mut |entry| {
                names.push(entry.short_name());
                Ok(())
            })
            .map(|()| names)
        };
        assert_eq!(parse(r#"{"version":1,"entries":null}"#).unwrap(), [""; 0]);
        assert_eq!(parse(r#"{"version":1}"#).unwrap(), [""; 0]);
        let other = r#"{"x":[{}],"entries":[{"name":"\u0061","type":"dir","y":null}],"version":2}"#;
        assert_eq!(parse(other).unwrap(), ["a"]);
        assert!(matches!(parse(r#"{"version":3,"entries":[]}"#), Err(LazyError::Version(3))));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"version":1,"entries":[{"name":"x"}]}"#,
            r#"{"version":1,"entries":{}}"#,
            r#"{"version":1,"version":1}"#,
            r#"{"version":1,"entries":[],"entries":[]}"#,
            r#"{"version":1} {}"#,
        ] {
            assert!(matches!(parse(bad), Err(LazyError::Json(_))), "{bad}");
        }
    }

    #[test]
    fn an_entry_has_no_more_attributes_than_a_file_can_have() {
        let of = |count: usize| {
            let xattrs: Vec<_> = (0..count).map(|n| format!(r#""user.{n}":"""#)).collect();
            let entry = format!(r#"{{"name":"f","type":"reg","xattrs":{{{}}}}}"#, xattrs.join(","));
            let json = format!(r#"{{"version":1,"entries":[{entry}]}}"#);
            let mut found = 0;
            parse(json.as_bytes(), &mut |entry| {
                found = entry.member().unwrap().metadata.xattrs.len();
                Ok(())
            })
            .map(|()| found)
        };
        assert_eq!(of(MAX_XATTRS).unwrap(), MAX_XATTRS);
        assert!(matches!(of(MAX_XATTRS + 1), Err(LazyError::Json(_))));
    }
}
