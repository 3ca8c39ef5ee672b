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
mod tests {
    use super::*;

    fn tar_of(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn file(builder: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, data).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, path, target).unwrap();
    }

    fn content<'a>(tar: &'a [u8], members: &Members, path: &str) -> Option<&'a [u8]> {
        let (offset, len) = members.file(path).unwrap()?;
        let start = usize::try_from(offset).unwrap();
        Some(&tar[start..start + usize::try_from(len).unwrap()])
    }

    #[test]
    fn members_are_found_where_they_lie() {
        let long = format!("deep/{}", "n".repeat(200));
        let tar = tar_of(|b| {
            file(b, "a", b"first");
            file(b, "d/b", &[7; 1000]);
            file(b, &long, b"long");
            file(b, "empty", b"");
            file(b, "a", b"again");
        });
        let members = Members::read(&tar).unwrap();
        assert_eq!(content(&tar, &members, "./a").unwrap(), b"again");
        assert_eq!(content(&tar, &members, "d/b").unwrap(), [7; 1000]);
        assert_eq!(content(&tar, &members, &long).unwrap(), b"long");
        assert_eq!(content(&tar, &members, "empty").unwrap(), b"");
        assert_eq!(content(&tar, &members, "none"), None);
    }

    #[test]
    fn links_lead_to_the_bytes_they_stand_for() {
        let tar = tar_of(|b| {
            file(b, "x/layer.tar", b"layer");
            link(b, tar::EntryType::Symlink, "y/layer.tar", "../x/layer.tar");
            link(b, tar::EntryType::Link, "z", "x/layer.tar");
            link(b, tar::EntryType::Symlink, "w", "/y/layer.tar");
            link(b, tar::EntryType::Symlink, "loop", "loop");
            link(b, tar::EntryType::Symlink, "out", "../../etc/passwd");
        });
        let members = Members::read(&tar).unwrap();
        for path in ["y/layer.tar", "z", "w"] {
            assert_eq!(content(&tar, &members, path).unwrap(), b"layer", "{path}");
        }
        assert!(members.file("loop").unwrap_err().contains("circle"));
        assert_eq!(members.file("out").unwrap(), None);
    }

    #[test]
    fn only_headers_are_read() {
        let tar = tar_of(|b| {
            file(b, "big", &vec![1; 8 << 20]);
            file(b, "small", b"s");
        });
        let counting = crate::io::CountingReader::new(tar);
        Members::read(&counting).unwrap();
        assert!(counting.bytes() < 32 << 10, "{} bytes", counting.bytes());
    }

    #[test]
    fn end_blocks_may_be_missing() {
        let whole = tar_of(|b| file(b, "a", b"data"));
        for cut in [1024, 512, 1] {
            let tar = whole[..whole.len() - cut].to_vec();
            let members = Members::read(&tar).unwrap();
            assert_eq!(content(&tar, &members, "a").unwrap(), b"data", "{cut}");
        }
    }

    #[test]
    fn compressed_archives_are_refused_with_the_way_out() {
        for (magic, command) in
            [(&b"\x1f\x8b\x08"[..], "gzip -d"), (b"\x28\xb5\x2f\xfd", "zstd -d")]
        {
            let error = Members::read(&magic.to_vec()).unwrap_err();
            assert!(error.contains(command), "{error}");
        }
    }

    #[test]
    fn what_is_no_whole_tar_is_refused() {
        assert!(Members::read(&vec![b'x'; 4096]).unwrap_err().contains("not a tar"));
        let whole = tar_of(|b| file(b, "a", &[1; 2000]));
        for len in [100, 700, 2000] {
            let error = Members::read(&whole[..len].to_vec()).unwrap_err();
            assert!(error.contains("cut short"), "{len}: {error}");
        }
        let mut huge = whole;
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(1 << 63);
        header.set_cksum();
        huge[..512].copy_from_slice(header.as_bytes());
        assert!(Members::read(&huge).unwrap_err().contains("cut short"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            flips in proptest::collection::vec((0..6000usize, proptest::num::u8::ANY), 0..20)
        ) {
            let mut tar = tar_of(|b| {
                file(b, &"p/".repeat(80), b"first");
                file(b, "d/b", &[7; 1000]);
                link(b, tar::EntryType::Symlink, "l", "d/b");
            });
            for (at, value) in flips {
                let at = at % tar.len();
                tar[at] = value;
            }
            let _ = Members::read(&tar);
        }
    }
}
