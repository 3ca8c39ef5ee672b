//! The JSON table of contents that eStargz and both variants of zstd:chunked share.
//!
//! Source: stargz-snapshotter, `docs/estargz.md`; containers/storage, `pkg/chunked/internal/minimal`
//! for the members of zstd:chunked. Members that are not named here say nothing that is needed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::archive::{
    Device, Entry, EntryKind, FileType, Metadata, TarFault, Timestamp, Xattr, check_xattr,
};

use super::{EntryFault, LazyError};

/// The longest table of contents in bytes, as JSON. containers/storage's limit too.
pub const MAX_TOC_JSON: u64 = 150 << 20;
/// The versions of the JSON that are known: 1 with a tar-split or none, 2 with canonical headers.
const VERSIONS: std::ops::RangeInclusive<i64> = 1..=2;

/// A table of contents as it stands.
#[derive(Debug, Deserialize)]
pub(super) struct JsonToc {
    version: i64,
    #[serde(default)]
    entries: Option<Vec<JsonEntry>>,
}

/// An entry as it stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsonEntry {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) size: i64,
    #[serde(default)]
    modtime: Option<String>,
    #[serde(default)]
    link_name: String,
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
    xattrs: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) digest: String,
    #[serde(default)]
    pub(super) offset: i64,
    #[serde(default)]
    pub(super) inner_offset: i64,
    #[serde(default)]
    pub(super) chunk_offset: i64,
    #[serde(default)]
    pub(super) chunk_size: i64,
    #[serde(default)]
    pub(super) chunk_digest: String,
    #[serde(default)]
    pub(super) chunk_type: String,
}

/// The entries of the table of contents in `json`.
pub(super) fn parse(json: &[u8]) -> Result<Vec<JsonEntry>, LazyError> {
    if json.len() as u64 > MAX_TOC_JSON {
        return Err(LazyError::TooLarge(json.len() as u64));
    }
    let toc: JsonToc = serde_json::from_slice(json)?;
    if !VERSIONS.contains(&toc.version) {
        return Err(LazyError::Version(toc.version));
    }
    Ok(toc.entries.unwrap_or_default())
}

impl JsonEntry {
    pub(super) fn is_regular(&self) -> bool {
        self.kind == "reg"
    }

    pub(super) fn is_chunk(&self) -> bool {
        self.kind == "chunk"
    }

    /// Says that `fault` is of this entry.
    pub(super) fn broken(&self, fault: EntryFault) -> LazyError {
        LazyError::Entry { entry: self.name.clone(), fault }
    }

    /// The member of an archive that this describes; its data are not yet placed.
    pub(super) fn member(&self) -> Result<Entry, EntryFault> {
        let target = || self.link_name.clone().into_bytes();
        let (kind, file_type) = match self.kind.as_str() {
            "reg" => (EntryKind::Regular, FileType::Regular),
            "dir" => (EntryKind::Directory, FileType::Directory),
            "symlink" => (EntryKind::Symlink(target()), FileType::Symlink),
            "hardlink" => (EntryKind::HardLink(target()), FileType::Regular),
            "char" => (EntryKind::CharDevice, FileType::CharDevice),
            "block" => (EntryKind::BlockDevice, FileType::BlockDevice),
            "fifo" => (EntryKind::Fifo, FileType::Fifo),
            other => return Err(EntryFault::Type(other.to_owned())),
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
            path: self.name.clone().into_bytes(),
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
        let xattrs = self.xattrs.iter().flatten().map(|(name, value)| {
            let broken = |len| EntryFault::Xattr(TarFault::Xattr { name: name.clone(), len });
            let value = STANDARD.decode(value).map_err(|_| broken(value.len()))?;
            let xattr = Xattr { name: name.clone().into_bytes(), value };
            if check_xattr(&xattr) { Ok(xattr) } else { Err(broken(xattr.value.len())) }
        });
        xattrs.collect()
    }
}

fn unsigned32(what: &'static str, value: i64) -> Result<u32, EntryFault> {
    u32::try_from(value).map_err(|_| EntryFault::Range(what))
}

/// The time that `text` is by RFC 3339. Go's zero time, of the year 1, stands for none.
pub(super) fn time(text: &str) -> Result<Timestamp, EntryFault> {
    if text.is_empty() || text == "0001-01-01T00:00:00Z" {
        return Ok(Timestamp::default());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| EntryFault::Time(text.to_owned()))?;
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
        assert_eq!(parse(br#"{"version":1,"entries":null}"#).unwrap().len(), 0);
        assert!(matches!(parse(br#"{"version":3,"entries":[]}"#), Err(LazyError::Version(3))));
        for bad in ["", "[]", "{}", r#"{"version":1,"entries":[{"name":"x"}]}"#] {
            assert!(matches!(parse(bad.as_bytes()), Err(LazyError::Json(_))), "{bad}");
        }
    }
}
