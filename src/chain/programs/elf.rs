//! What of a program file says which other files it is started with (System V ABI, "Program
//! Header", "Dynamic Section"). Of ELF, 64-bit little-endian files are understood; what is not is a
//! file that says nothing.

use std::ops::Range;

/// How much of the start of a file [`Elf::parse`] looks at, in bytes.
pub const HEAD_LEN: usize = 4096;
/// The longest name of a library or of an interpreter, in bytes.
pub const NAME_MAX: u64 = 4096;
/// The longest dynamic section that is read, in bytes.
pub const DYNAMIC_MAX: u64 = 64 << 10;
/// The most libraries that one file can ask for.
pub const NEEDED_MAX: usize = 256;

const HEADER_LEN: usize = 64;
const SEGMENT_LEN: usize = 56;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;
const NEEDED: u64 = 1;
const STRINGS: u64 = 5;
const STRINGS_LEN: u64 = 10;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// The segments of a program or library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// Where in the file the path of the interpreter is, its last 0 included.
    pub interpreter: Option<Range<u64>>,
    /// Where in the file the dynamic section is.
    pub dynamic: Option<Range<u64>>,
    /// Where in the file that is which the dynamic linker goes through: what is loaded, but code.
    pub linked: Vec<Range<u64>>,
    /// Where in the file its code is; the first, where it is in several places.
    pub code: Option<Range<u64>>,
    /// What is loaded: where in the file, and to which address its start.
    loads: Vec<(Range<u64>, u64)>,
}

/// What the dynamic section of a file asks for, as places of names in the file, each of at most
/// [`NAME_MAX`] bytes; a name ends at its first 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Of libraries.
    pub libraries: Vec<Range<u64>>,
    /// Of the list of folders, separated by colons, in which they are looked for first.
    pub folders: Option<Range<u64>>,
}

impl Elf {
    /// The segments of the file that starts with `head`; `None` where it is no ELF file, or one
    /// whose program headers are not within the first [`HEAD_LEN`] bytes.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(HEAD_LEN)];
        let header = head.get(..HEADER_LEN)?;
        // Magic, 64 bits, little-endian.
        if !header.starts_with(b"\x7fELF\x02\x01")
            || usize::from(u16_at(header, 54)?) != SEGMENT_LEN
        {
            return None;
        }
        let start = usize::try_from(u64_at(header, 32)?).ok()?;
        let count = usize::from(u16_at(header, 56)?);
        let table = head.get(start..start.checked_add(count * SEGMENT_LEN)?)?;
        let mut elf = Self::default();
        for segment in table.chunks_exact(SEGMENT_LEN) {
            let (kind, offset) = (u32_at(segment, 0)?, u64_at(segment, 8)?);
            let Some(end) = offset.checked_add(u64_at(segment, 32)?) else { continue };
            let (place, len) = (offset..end, end - offset);
            match kind {
                LOAD => {
                    let flags = u32_at(segment, 4)?;
                    if flags & WRITABLE != 0 || (flags & EXECUTABLE == 0 && elf.loads.is_empty()) {
                        elf.linked.push(place.clone());
                    }
                    if flags & EXECUTABLE != 0 && elf.code.is_none() {
                        elf.code = Some(place.clone());
                    }
                    elf.loads.push((place, u64_at(segment, 16)?));
                }
                DYNAMIC if len <= DYNAMIC_MAX => elf.dynamic = Some(place),
                INTERPRETER if len <= NAME_MAX => elf.interpreter = Some(place),
                _ => {}
            }
        }
        Some(elf)
    }

    /// What the dynamic section with these bytes asks for.
    pub fn needs(&self, dynamic: &[u8]) -> Needs {
        let (mut libraries, mut folders, mut strings, mut len) = (Vec::new(), None, None, u64::MAX);
        for entry in dynamic.chunks_exact(16) {
            let (Some(tag), Some(value)) = (u64_at(entry, 0), u64_at(entry, 8)) else { break };
            match tag {
                0 => break,
                NEEDED if libraries.len() < NEEDED_MAX => libraries.push(value),
                STRINGS => strings = self.place_of(value),
                STRINGS_LEN => len = value,
                RPATH if folders.is_none() => folders = Some(value),
                RUNPATH => folders = Some(value),
                _ => {}
            }
        }
        let name = |at: u64| {
            let left = len.checked_sub(at).filter(|left| *left > 0)?;
            let start = strings?.checked_add(at)?;
            Some(start..start.checked_add(left.min(NAME_MAX))?)
        };
        Needs {
            libraries: libraries.into_iter().filter_map(name).collect(),
            folders: folders.and_then(name),
        }
    }

    /// Where in the file the byte is that is loaded to `address`.
    fn place_of(&self, address: u64) -> Option<u64> {
        self.loads.iter().find_map(|(place, start)| {
            let skip = address.checked_sub(*start)?;
            (skip < place.end - place.start).then(|| place.start + skip)
        })
    }
}

/// The interpreter of the script that starts with `head`: the first word after `#!`
/// (execve(2), "Interpreter scripts").
pub(super) fn script_interpreter(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one loaded segment, at address 0x1000 more than its place.
    fn file(interpreter: &str, libraries: &[&str], folders: &str) -> Vec<u8> {
        let mut strings = vec![0];
        let mut add = |text: &str| {
            let at = strings.len() as u64;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut dynamic: Vec<(u64, u64)> =
            libraries.iter().map(|name| (NEEDED, add(name))).collect();
        dynamic.push((RUNPATH, add(folders)));
        let segments = HEADER_LEN;
        let interpreter_at = segments + 3 * SEGMENT_LEN;
        let strings_at = interpreter_at + interpreter.len() + 1;
        let dynamic_at = strings_at + strings.len();
        dynamic.push((STRINGS, strings_at as u64 + 0x1000));
        dynamic.push((STRINGS_LEN, strings.len() as u64));
        dynamic.push((0, 0));
        let end = dynamic_at + 16 * dynamic.len();
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(HEADER_LEN, 0);
        out[32..40].copy_from_slice(&(segments as u64).to_le_bytes());
        out[54..56].copy_from_slice(&56_u16.to_le_bytes());
        out[56..58].copy_from_slice(&3_u16.to_le_bytes());
        let places =
            [(LOAD, 0, end), (INTERPRETER, interpreter_at, strings_at), (DYNAMIC, dynamic_at, end)];
        for (kind, start, end) in places {
            let mut segment = [0; SEGMENT_LEN];
            segment[..4].copy_from_slice(&kind.to_le_bytes());
            segment[8..16].copy_from_slice(&(start as u64).to_le_bytes());
            segment[16..24].copy_from_slice(&(start as u64 + 0x1000).to_le_bytes());
            segment[32..40].copy_from_slice(&((end - start) as u64).to_le_bytes());
            out.extend(segment);
        }
        out.extend(interpreter.as_bytes());
        out.push(0);
        out.extend(strings);
        for (tag, value) in dynamic {
            out.extend(tag.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        out
    }

    fn text(file: &[u8], place: &Range<u64>) -> String {
        let end = usize::try_from(place.end).unwrap().min(file.len());
        let name = &file[usize::try_from(place.start).unwrap()..end];
        String::from_utf8(name.split(|b| *b == 0).next().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_program_says_what_it_is_started_with() {
        let file = file("/lib64/ld.so", &["libz.so.1", "libc.so.6"], "$ORIGIN/../lib:/opt");
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(text(&file, elf.interpreter.as_ref().unwrap()), "/lib64/ld.so");
        let dynamic = elf.dynamic.clone().unwrap();
        let dynamic = &file[usize::try_from(dynamic.start).unwrap()..];
        let needs = elf.needs(dynamic);
        let names: Vec<_> = needs.libraries.iter().map(|place| text(&file, place)).collect();
        assert_eq!(names, ["libz.so.1", "libc.so.6"]);
        assert_eq!(text(&file, needs.folders.as_ref().unwrap()), "$ORIGIN/../lib:/opt");
    }

    #[test]
    fn what_is_cut_or_of_another_kind_says_nothing() {
        let file = file("/lib64/ld.so", &["libc.so.6"], "");
        for len in 0..HEADER_LEN + 3 * SEGMENT_LEN {
            assert_eq!(Elf::parse(&file[..len]), None, "{len}");
        }
        let mut other = file.clone();
        other[4] = 1;
        assert_eq!(Elf::parse(&other), None);
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.needs(&[]), Needs { libraries: Vec::new(), folders: None });
    }

    #[test]
    fn an_address_in_no_segment_is_nowhere() {
        // The sum of place and distance has no room in 64 bits.
        let loads = vec![(u64::MAX - 8..u64::MAX, 0), (16..32, 0x1000)];
        let elf = Elf { loads, ..Elf::default() };
        assert_eq!(elf.place_of(100), None);
        assert_eq!(elf.place_of(0x1004), Some(20));
    }

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        assert_eq!(script_interpreter(b"#! /bin/sh -e\nset"), Some(&b"/bin/sh"[..]));
        assert_eq!(script_interpreter(b"#!/usr/bin/env python3"), Some(&b"/usr/bin/env"[..]));
        assert_eq!(script_interpreter(b"#!\n/bin/sh"), None);
        assert_eq!(script_interpreter(b"\x7fELF"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_at(mut head: Vec<u8>, dynamic: Vec<u8>) {
            head.splice(..0, *b"\x7fELF\x02\x01");
            head.resize(head.len().max(64), 7);
            head[54..56].copy_from_slice(&56_u16.to_le_bytes());
            head[56..58].copy_from_slice(&1_u16.to_le_bytes());
            head[32..40].copy_from_slice(&64_u64.to_le_bytes());
            if let Some(elf) = Elf::parse(&head) {
                let needs = elf.needs(&dynamic);
                let places = needs.libraries.iter().chain(&needs.folders);
                for place in places.chain(&elf.interpreter) {
                    proptest::prop_assert!(place.end - place.start <= NAME_MAX);
                }
            }
        }
    }
}
