use std::collections::HashMap;

use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};

use crate::archive::LayerPath;
use crate::io::ReadAt;

/// The most members that an archive may have.
pub const MAX_MEMBERS: usize = 1 << 18;
/// The most links that are followed from one member (as Linux does for symbolic links).
const MAX_LINKS: usize = 40;
/// How much is read for one header, in bytes; longer headers take another read.
const HEADER_READ: usize = 4096;

/// Where the members of a tar archive lie in it, found by reading its headers only.
#[derive(Debug, Default)]
pub struct Members(HashMap<LayerPath, Member>);

#[derive(Debug, Clone)]
enum Member {
    /// These bytes of the archive.
    File { offset: u64, len: u64 },
    /// Another member's.
    Link(LayerPath),
    /// A file with holes, whose bytes are not in one piece.
    Sparse,
    /// A folder, a device...
    Other,
}

impl Members {
    /// Walks the headers of `archive`. Names that climb out of the archive are left out; of
    /// members with one name the last counts.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong with the archive: compressed, no tar, cut short, or more
    /// than [`MAX_MEMBERS`] members.
    pub fn read(archive: &dyn ReadAt) -> Result<Self, String> {
        refuse_compressed(archive)?;
        let mut members = HashMap::new();
        let mut walk = Headers::new(archive);
        while let Some((path, member)) = walk.next()? {
            if members.len() == MAX_MEMBERS {
                return Err(format!("it has more than {MAX_MEMBERS} members"));
            }
            if let Some(path) = path {
                members.insert(path, member);
            }
        }
        Ok(Self(members))
    }

    /// Whether there is a member of this name, of whatever type.
    pub fn contains(&self, path: &str) -> bool {
        LayerPath::parse(path.as_bytes()).is_ok_and(|path| self.0.contains_key(&path))
    }

    /// The offset and length in the archive of the file `path`, links followed; `None` where there
    /// is no such file.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong: a loop of links, or a sparse member.
    pub fn file(&self, path: &str) -> Result<Option<(u64, u64)>, String> {
        let Ok(mut at) = LayerPath::parse(path.as_bytes()) else { return Ok(None) };
        for _ in 0..=MAX_LINKS {
            match self.0.get(&at) {
                Some(Member::File { offset, len }) => return Ok(Some((*offset, *len))),
                Some(Member::Link(target)) => at = target.clone(),
                Some(Member::Sparse) => {
                    return Err(format!(
                        "member {path} is stored with holes and cannot be read in place: write \
                         the archive without sparse files"
                    ));
                }
                Some(Member::Other) | None => return Ok(None),
            }
        }
        Err(format!("member {path} is a link that leads in a circle"))
    }
}

/// The headers of an archive, one after another.
struct Headers<'a> {
    archive: &'a dyn ReadAt,
    parser: Parser,
    offset: u64,
    buf: Vec<u8>,
}

impl<'a> Headers<'a> {
    fn new(archive: &'a dyn ReadAt) -> Self {
        let mut parser = Parser::new(Limits::default());
        parser.set_allow_empty_path(true);
        parser.set_ignore_pax_errors(true);
        Self { archive, parser, offset: 0, buf: Vec::new() }
    }

    /// The next member, its name unless that is no path; `None` at the end.
    fn next(&mut self) -> Result<Option<(Option<LayerPath>, Member)>, String> {
        let mut want = HEADER_READ;
        loop {
            let n = self.fill(want)?;
            let at = self.offset;
            // Writers may leave out the zero blocks at the end.
            if self.buf[..n].iter().all(|&b| b == 0) && n < want {
                return Ok(None);
            }
            let event = self.parser.parse(&self.buf[..n]);
            match event.map_err(|e| format!("not a tar archive at byte {at}: {e}"))? {
                ParseEvent::NeedData { min_bytes } if n < want || min_bytes <= n => {
                    return Err(format!("it is cut short: a header at byte {at} is not whole"));
                }
                ParseEvent::NeedData { min_bytes } => want = min_bytes.max(HEADER_READ),
                ParseEvent::GlobalExtensions { consumed, .. } => {
                    self.offset += consumed as u64;
                    want = HEADER_READ;
                }
                ParseEvent::End { .. } => return Ok(None),
                ParseEvent::Entry { consumed, entry } => {
                    let found = member(&entry, at + consumed as u64);
                    let size = entry.size;
                    self.offset = past(at, consumed, size, self.archive.size())?;
                    return Ok(Some(found));
                }
                ParseEvent::SparseEntry { consumed, entry, .. } => {
                    let path = LayerPath::parse(&entry.path).ok();
                    let size = entry.size;
                    self.offset = past(at, consumed, size, self.archive.size())?;
                    return Ok(Some((path, Member::Sparse)));
                }
            }
        }
    }

    /// Reads up to `want` bytes from the offset.
    fn fill(&mut self, want: usize) -> Result<usize, String> {
        self.buf.resize(want, 0);
        self.archive
            .read_at(&mut self.buf, self.offset)
            .map_err(|e| format!("at byte {}: {e}", self.offset))
    }
}

/// Where the header after this one is.
fn past(header: u64, consumed: usize, size: u64, archive: u64) -> Result<u64, String> {
    let data = header.checked_add(consumed as u64);
    let end = data.and_then(|data| data.checked_add(size)).filter(|&end| end <= archive);
    let end = end.ok_or_else(|| {
        format!("it is cut short: the member at byte {header} says it has {size} bytes")
    })?;
    Ok(end.next_multiple_of(512))
}

fn member(entry: &ParsedEntry<'_>, offset: u64) -> (Option<LayerPath>, Member) {
    let path = LayerPath::parse(&entry.path).ok();
    let target = entry.link_target.as_deref().unwrap_or_default();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest holds no content")]
    let member = match entry.entry_type {
        EntryType::Regular | EntryType::Continuous => Member::File { offset, len: entry.size },
        EntryType::Link => link(LayerPath::parse(target).ok()),
        EntryType::Symlink if target.starts_with(b"/") => link(LayerPath::parse(target).ok()),
        EntryType::Symlink => {
            let folder = path.as_ref().and_then(LayerPath::parent).unwrap_or_default();
            link(folder.join(target).ok())
        }
        _ => Member::Other,
    };
    (path, member)
}

fn link(target: Option<LayerPath>) -> Member {
    target.map_or(Member::Other, Member::Link)
}

/// Says what to do about an archive that is compressed as a whole.
fn refuse_compressed(archive: &dyn ReadAt) -> Result<(), String> {
    const MAGICS: [(&[u8], &str, &str); 6] = [
        (&[0x1f, 0x8b], "gzip", "gzip -d"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "zstd -d"),
        (b"\xfd7zXZ\0", "xz", "xz -d"),
        (b"BZh", "bzip2", "bzip2 -d"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4", "lz4 -d"),
        (b"PK\x03\x04", "zip", "unzip"),
    ];
    let mut head = [0; 8];
    let n = archive.read_at(&mut head, 0).map_err(|e| e.to_string())?;
    for (magic, name, command) in MAGICS {
        if head[..n].starts_with(magic) {
            return Err(format!(
                "the archive is compressed with {name}, so nothing in it can be read in place: \
                 decompress it first ({command} FILE)"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
