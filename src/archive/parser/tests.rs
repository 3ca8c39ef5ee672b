#![expect(clippy::cast_possible_truncation, reason = "test archives are small")]

use super::super::testing::TarWriter;
use super::super::{Device, EntryKind, FileType, Timestamp, Xattr};
use super::*;

/// A member and the data that came with it, holes filled.
#[derive(Debug, PartialEq)]
struct Member {
    entry: Entry,
    data: Vec<u8>,
}

/// Parses `archive`, pushed in pieces of `step` bytes.
fn parse_by(archive: &[u8], step: usize) -> Result<Vec<Member>, TarError> {
    let (mut members, mut ends) = (Vec::new(), 0);
    let mut sink = |event: Event<'_>| {
        match event {
            Event::Entry(entry) => {
                let data = vec![0; entry.size.min(1 << 20) as usize];
                members.push(Member { entry, data });
            }
            Event::Data { file_offset, bytes } => {
                let at = file_offset as usize;
                let member: &mut Member = members.last_mut().unwrap();
                member.data[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Event::End => ends += 1,
        }
        Ok(())
    };
    let mut parser = TarParser::new();
    for piece in archive.chunks(step) {
        parser.push(piece, &mut sink)?;
    }
    parser.finish(&mut sink)?;
    assert_eq!(parser.offset(), archive.len() as u64, "all bytes are taken");
    assert_eq!(ends, 1);
    Ok(members)
}

/// As [`parse_by`], with the same result whatever the pieces, and runs that point at the data.
fn try_parse(archive: &[u8]) -> Result<Vec<Member>, TarFault> {
    let whole = parse_by(archive, usize::MAX);
    for step in [1, 7, 511, 512, 513] {
        assert_eq!(parse_by(archive, step).is_ok(), whole.is_ok());
        assert!(whole.as_ref().is_err() || parse_by(archive, step) == whole, "pieces of {step}");
    }
    for member in whole.iter().flatten() {
        for run in &member.entry.runs {
            let (file, stream) = (run.file_offset as usize, run.stream_offset as usize);
            let len = run.len as usize;
            assert_eq!(member.data[file..file + len], archive[stream..stream + len]);
        }
    }
    whole.map_err(|error| error.fault)
}

fn parse(archive: &[u8]) -> Vec<Member> {
    try_parse(archive).unwrap()
}

fn fault(archive: &[u8]) -> TarFault {
    try_parse(archive).unwrap_err()
}

fn only(archive: &[u8]) -> Member {
    let mut members = parse(archive);
    assert_eq!(members.len(), 1);
    members.remove(0)
}

fn set(field: std::ops::Range<usize>, value: &[u8]) -> impl FnOnce(&mut [u8]) {
    let value = value.to_vec();
    move |block| block[field].copy_from_slice(&value)
}

#[test]
fn members_of_every_type() {
    let dev = |block: &mut [u8]| {
        block[329..337].copy_from_slice(b"0000010\0");
        block[337..345].copy_from_slice(b"0000003\0");
    };
    let members = parse(
        &TarWriter::new()
            .file(b"f", b"hello")
            .node(b'5', b"d/", b"")
            .node(b'2', b"s", b"../target")
            .node(b'1', b"h", b"./f")
            .header(b'3', b"c", 0, dev)
            .header(b'4', b"b", 0, dev)
            .node(b'6', b"p", b"")
            .file(b"", b"")
            .end(),
    );
    let kinds: Vec<_> = members.iter().map(|m| m.entry.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            EntryKind::Regular,
            EntryKind::Directory,
            EntryKind::Symlink(b"../target".to_vec()),
            EntryKind::HardLink(b"./f".to_vec()),
            EntryKind::CharDevice,
            EntryKind::BlockDevice,
            EntryKind::Fifo,
            EntryKind::Regular,
        ]
    );
    let first = &members[0];
    assert_eq!((&first.entry.path[..], &first.data[..]), (&b"f"[..], &b"hello"[..]));
    assert_eq!(first.entry.runs, [DataRun { file_offset: 0, len: 5, stream_offset: 512 }]);
    let meta = &first.entry.metadata;
    assert_eq!((meta.file_type, meta.mode, meta.uid, meta.gid), (FileType::Regular, 0o644, 1, 2));
    assert_eq!(meta.mtime, Timestamp { secs: 3, nanos: 0 });
    assert_eq!(members[1].entry.offset, 1024);
    assert_eq!(members[4].entry.metadata.device, Device { major: 8, minor: 3 });
    assert_eq!(members[7].entry.path, b"");
}

#[test]
fn modes_keep_setuid_and_drop_type_bits() {
    let edit = set(100..108, b"0104755\0");
    assert_eq!(
        only(&TarWriter::new().header(b'0', b"f", 0, edit).end()).entry.metadata.mode,
        0o4755
    );
}

#[test]
fn prefixes_of_ustar_star_and_old_go() {
    let prefix = |block: &mut [u8]| block[345..348].copy_from_slice(b"usr");
    let name = |tar: TarWriter| only(&tar.end()).entry.path;
    assert_eq!(name(TarWriter::new().header(b'0', b"a", 0, prefix)), b"usr/a");
    let star = |block: &mut [u8]| {
        block[345..476].fill(b'p');
        block[476..488].copy_from_slice(b"00000000007\0");
        block[508..512].copy_from_slice(b"tar\0");
    };
    assert_eq!(name(TarWriter::new().header(b'0', b"a", 0, star)).len(), 133);
    let gnu = |block: &mut [u8]| block[257..265].copy_from_slice(b"ustar  \0");
    let misplaced = |block: &mut [u8]| (gnu(block), prefix(block)).1;
    assert_eq!(name(TarWriter::new().header(b'0', b"a", 0, misplaced)), b"usr/a");
    let times = |block: &mut [u8]| {
        gnu(block);
        block[345..357].copy_from_slice(b"00000000007\0");
        block[357..369].copy_from_slice(b"00000000007\0");
    };
    assert_eq!(name(TarWriter::new().header(b'0', b"a", 0, times)), b"a");
    let v7 = |block: &mut [u8]| (block[257..265].fill(0), prefix(block)).1;
    assert_eq!(name(TarWriter::new().header(0, b"a", 0, v7)), b"a");
}

#[test]
fn v7_tells_directories_by_a_trailing_slash() {
    let v7 = |block: &mut [u8]| block[257..265].fill(0);
    let kind =
        |flag, name: &[u8]| only(&TarWriter::new().header(flag, name, 0, v7).end()).entry.kind;
    assert_eq!(kind(0, b"d/"), EntryKind::Directory);
    assert_eq!(kind(0, b"d"), EntryKind::Regular);
    assert_eq!(kind(b'0', b"d/"), EntryKind::Regular);
    assert_eq!(kind(b'7', b"d"), EntryKind::Regular);
}

#[test]
fn pax_records_override_the_header() {
    let value = b"\x01\0\nxyz\n";
    let member = only(
        &TarWriter::new()
            .pax(&[
                ("path", b"long/\xff\xfename"),
                ("size", b"5"),
                ("uid", b"4294967294"),
                ("gid", b"2097152"),
                ("mtime", b"-5.25"),
                ("atime", b"1"),
                ("SCHILY.xattr.security.capability", value),
                ("SCHILY.xattr.user.empty", b""),
                ("comment", b"\0 anything"),
            ])
            .header(b'0', b"short", 0, |_| {})
            .data(b"hello")
            .end(),
    );
    assert_eq!(
        (&member.entry.path[..], &member.data[..]),
        (&b"long/\xff\xfename"[..], &b"hello"[..])
    );
    let meta = member.entry.metadata;
    assert_eq!((meta.uid, meta.gid), (4_294_967_294, 2_097_152));
    assert_eq!(meta.mtime, Timestamp { secs: -6, nanos: 750_000_000 });
    let xattr = |name: &[u8], value: &[u8]| Xattr { name: name.into(), value: value.into() };
    assert_eq!(meta.xattrs, [xattr(b"security.capability", value), xattr(b"user.empty", b"")]);
}

#[test]
fn pax_records_hold_for_one_member() {
    let archive = TarWriter::new()
        .pax(&[("path", b"a"), ("linkpath", b"target")])
        .node(b'2', b"x", b"y")
        .node(b'2', b"b", b"other")
        .end();
    let members = parse(&archive);
    assert_eq!(members[0].entry.path, b"a");
    assert_eq!(members[0].entry.kind, EntryKind::Symlink(b"target".to_vec()));
    assert_eq!(members[1].entry.path, b"b");
    assert_eq!(members[1].entry.kind, EntryKind::Symlink(b"other".to_vec()));
}

#[test]
fn global_headers_are_passed_over() {
    let archive = TarWriter::new()
        .extension(b'g', b"12 path=no\nX")
        .extension(b'g', &vec![b'x'; 3 << 20])
        .file(b"f", b"data")
        .end();
    assert_eq!(only(&archive).entry.path, b"f");
}

#[test]
fn gnu_long_names_and_links() {
    let long = b"n/".repeat(2000);
    let link = b"l".repeat(4000);
    let archive = TarWriter::new()
        .extension(b'K', &[&link[..], b"\0"].concat())
        .extension(b'L', &[&long[..], b"\0junk"].concat())
        .node(b'2', b"n", b"l")
        .end();
    let member = only(&archive);
    assert_eq!(member.entry.path, long);
    assert_eq!(member.entry.kind, EntryKind::Symlink(link));
    let empty = TarWriter::new().extension(b'L', b"").file(b"f", b"x").end();
    assert_eq!(only(&empty).entry.path, b"f");
}

#[test]
fn a_size_record_counts_for_the_member_and_not_for_a_long_name_between() {
    let archive = TarWriter::new()
        .pax(&[("size", b"600")])
        .extension(b'L', b"name\0")
        .header(b'0', b"n", 0, |_| {})
        .data(&[b'x'; 600])
        .file(b"after", b"")
        .end();
    let members = parse(&archive);
    assert_eq!(members[0].entry.path, b"name");
    assert_eq!(members[0].data, [b'x'; 600]);
    assert_eq!(members[1].entry.path, b"after");
}

#[test]
fn base256_numbers() {
    let edit = |block: &mut [u8]| {
        block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        block[136..148].copy_from_slice(&[0xff; 12]);
        block[136..148][11] = 0xfe;
    };
    let meta = only(&TarWriter::new().header(b'0', b"f", 0, edit).end()).entry.metadata;
    assert_eq!((meta.uid, meta.mtime), (0x7fff_ffff, Timestamp { secs: -2, nanos: 0 }));
}

#[test]
fn members_without_data_have_none_whatever_their_size_says() {
    let mut archive = TarWriter::new();
    for flag in *b"123456" {
        archive = archive.header(flag, b"x", 5000, |block| block[157] = b't');
    }
    let members = parse(&archive.file(b"f", b"data").end());
    assert_eq!(members.len(), 7);
    assert_eq!(members[6].data, b"data");
    assert!(members[..6].iter().all(|m| m.entry.size == 0 && m.entry.runs.is_empty()));
}

fn gnu_sparse(block: &mut [u8], real_size: u64, runs: &[(u64, u64)], more: bool) {
    block[257..265].copy_from_slice(b"ustar  \0");
    block[345..512].fill(0);
    descriptors(&mut block[386..482], runs);
    block[482] = u8::from(more);
    block[483..495].copy_from_slice(format!("{real_size:011o}\0").as_bytes());
}

fn descriptors(table: &mut [u8], runs: &[(u64, u64)]) {
    for (slot, (offset, len)) in table.chunks_mut(24).zip(runs) {
        slot.copy_from_slice(format!("{offset:011o}\0{len:011o}\0").as_bytes());
    }
}

#[test]
fn old_gnu_sparse_files() {
    let runs: Vec<_> = (0..30).map(|i| (i * 1000, 10)).collect();
    let mut more = [[0; 512]; 2];
    descriptors(&mut more[0][..504], &runs[4..25]);
    more[0][504] = 1;
    descriptors(&mut more[1][..504], &runs[25..]);
    let data: Vec<u8> = (0..300_u32).map(|i| i as u8).collect();
    let archive = TarWriter::new()
        .header(b'S', b"s", 300, |block| gnu_sparse(block, 40_000, &runs[..4], true))
        .data(&more.concat())
        .data(&data)
        .file(b"after", b"x")
        .end();
    let members = parse(&archive);
    assert_eq!((members[0].entry.size, members[0].entry.runs.len()), (40_000, 30));
    assert_eq!(members[0].entry.runs[0].stream_offset, 3 * 512);
    assert_eq!(members[0].data[29_000..29_010], data[290..]);
    assert_eq!(members[1].data, b"x");
}

#[test]
fn pax_sparse_files_of_every_version() {
    let data = [&b"A".repeat(512)[..], &b"B".repeat(100)].concat();
    let mut whole = vec![0; 5000];
    whole[1024..1536].fill(b'A');
    whole[4096..4196].fill(b'B');
    let v00 = TarWriter::new().pax(&[
        ("GNU.sparse.size", b"5000"),
        ("GNU.sparse.numblocks", b"3"),
        ("GNU.sparse.offset", b"1024"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.offset", b"4096"),
        ("GNU.sparse.numbytes", b"100"),
        ("GNU.sparse.offset", b"5000"),
        ("GNU.sparse.numbytes", b"0"),
    ]);
    let v01 = TarWriter::new().pax(&[
        ("GNU.sparse.size", b"5000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.map", b"1024,512,4096,100"),
    ]);
    let name: &[u8] = b"GNUSparseFile.1/s";
    for (tar, name) in [(v00, &b"s"[..]), (v01, name)] {
        let archive = tar.file(name, &data).file(b"after", b"x").end();
        let members = parse(&archive);
        assert_eq!((&members[0].entry.path[..], &members[0].data), (&b"s"[..], &whole));
        assert_eq!(members[1].data, b"x");
    }
    let mut stored = b"2\n1024\n512\n4096\n100\n".to_vec();
    stored.resize(512, 0);
    stored.extend(&data);
    let v10 = TarWriter::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"5000"),
        ])
        .file(name, &stored)
        .file(b"after", b"x")
        .end();
    let members = parse(&v10);
    assert_eq!((&members[0].entry.path[..], &members[0].data), (&b"s"[..], &whole));
    assert_eq!(members[0].entry.runs[0].stream_offset, 4 * 512);
}

#[test]
fn sparse_files_that_lie_are_refused() {
    use SparseFault::{Coverage, Map, NotRegular, Order, Version};
    let pax = |records: &[(&str, &[u8])], flag, stored: &[u8]| {
        let tar = TarWriter::new().pax(records);
        fault(&tar.header(flag, b"s", stored.len() as u64, |_| {}).data(stored).end())
    };
    let one: (&str, &[u8]) = ("GNU.sparse.major", b"1");
    let zero: (&str, &[u8]) = ("GNU.sparse.minor", b"0");
    let map = |map: &'static [u8]| ("GNU.sparse.map", map);
    for (records, flag, stored, expected) in [
        (&[map(b"0,5,3,5")][..], b'0', &b"0123456789"[..], Order),
        (&[map(b"0,5")], b'0', b"0123456789", Coverage),
        (&[map(b"0,5,6")], b'0', b"0123456789", Map),
        (&[map(b"0,10"), ("GNU.sparse.numblocks", b"2")], b'0', b"0123456789", Map),
        (&[map(b"0,10")], b'5', b"", NotRegular),
        (&[one, ("GNU.sparse.minor", b"1")], b'0', b"0\n", Version),
        (&[one, zero], b'0', &[b'x'; 512], Map),
        (&[one, zero], b'0', b"", Coverage),
        (&[one, zero], b'0', b"3\n1\n2\n", Coverage),
    ] {
        assert_eq!(pax(records, flag, stored), TarFault::Sparse(expected), "{records:?}");
    }
    let v7 = TarWriter::new().header(b'S', b"s", 0, |_| {}).end();
    assert_eq!(fault(&v7), TarFault::Sparse(Version));
}

#[test]
fn the_end_may_be_missing_and_may_be_followed_by_anything() {
    let whole = TarWriter::new().file(b"f", b"hello").end();
    for len in [512 + 5, 512 + 100, 1024, 1536, 2048] {
        assert_eq!(only(&whole[..len]).data, b"hello", "{len}");
    }
    let junk = [&whole[..], b"trailing junk, not a block", &[0; 2000], &whole].concat();
    assert_eq!(only(&junk).data, b"hello");
    assert_eq!(parse(b""), []);
}

#[test]
fn truncated_archives_are_refused_and_name_the_member() {
    let whole = TarWriter::new()
        .extension(b'L', &b"n".repeat(600))
        .file(b"short", &[b'x'; 700])
        .file(b"f", b"hello")
        .end();
    let complete = |len: usize| {
        let data_end = 512 + 1024 + 512 + 700;
        let boundaries = [0, 512 + 1024, 512 + 1024 + 512 + 1024, whole.len() - 512];
        let padding = data_end..data_end + 324;
        let last = whole.len() - 1024 - 507..=whole.len() - 1024;
        let long_name = 512 + 600..512 + 1024;
        boundaries.contains(&len)
            || padding.contains(&len)
            || last.contains(&len)
            || long_name.contains(&len)
    };
    for len in 0..whole.len() {
        let result = parse_by(&whole[..len], usize::MAX);
        let cause = result.as_ref().map(|_| ()).map_err(|e| e.fault.clone());
        let expected = if complete(len) { Ok(()) } else { Err(TarFault::Truncated) };
        assert_eq!(cause, expected, "{len}");
    }
    let error = parse_by(&whole[..2100], usize::MAX).unwrap_err();
    assert_eq!((error.entry, error.offset), ("n".repeat(600), 2100));
}

#[test]
fn broken_archives_are_refused() {
    let tar = TarWriter::new;
    let bad_sum = {
        let mut archive = tar().file(b"f", b"x").end();
        archive[5] = b'!';
        archive
    };
    assert_eq!(fault(&bad_sum), TarFault::Checksum);
    assert_eq!(fault(&[b'x'; 512]), TarFault::Checksum);
    let lone = [tar().file(b"a", b"x").end(), tar().file(b"b", b"x").end()].concat();
    assert_eq!(fault(&[&lone[..1024 + 512], &lone[2048..]].concat()), TarFault::LoneZeroBlock);
    assert_eq!(fault(&tar().node(b'V', b"label", b"").end()), TarFault::UnknownType(b'V'));
    assert_eq!(fault(&tar().node(b'Z', b"x", b"").end()), TarFault::UnknownType(b'Z'));
    let huge = tar().extension(b'x', &vec![b'0'; (1 << 20) + 1]).file(b"f", b"").end();
    assert_eq!(fault(&huge), TarFault::ExtensionTooLarge((1 << 20) + 1));
    assert_eq!(fault(&tar().extension(b'x', b"nonsense").end()), TarFault::PaxRecord);
    let mode = set(100..108, b"rw-r--r-");
    assert_eq!(fault(&tar().header(b'0', b"f", 0, mode).end()), TarFault::BadNumber("mode"));
}

#[test]
fn numbers_out_of_range_are_refused() {
    let range = |field, value| TarFault::OutOfRange { field, value };
    let tar = TarWriter::new;
    let header = |field: std::ops::Range<usize>, value: &[u8]| {
        fault(&tar().header(b'3', b"f", 0, set(field, value)).end())
    };
    let minus_one = [0xff; 12];
    let big = [0x80, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(header(329..337, &big), range("device major number", 1 << 32));
    assert_eq!(header(337..345, &minus_one[..8]), range("device minor number", -1));
    assert_eq!(header(108..116, &minus_one[..8]), range("uid", -1));
    let pax = |key: &str, value: &[u8]| fault(&tar().pax(&[(key, value)]).file(b"f", b"").end());
    assert_eq!(pax("uid", b"4294967296"), range("uid", 1 << 32));
    assert_eq!(pax("gid", b"-1"), range("gid", -1));
    assert_eq!(pax("size", b"-1"), range("size", -1));
    assert_eq!(pax("size", b"9223372036854775807"), range("size", i64::MAX));
    assert_eq!(pax("size", b"9223372036854775808"), TarFault::PaxValue("size".into()));
    let mut huge = [0; 12];
    (huge[0], huge[4]) = (0x80, 0x80);
    let file = fault(&tar().header(b'0', b"f", 0, set(124..136, &huge)).end());
    assert_eq!(file, TarFault::BadNumber("size"));
    let minus = fault(&tar().header(b'0', b"f", 0, set(124..136, &minus_one)).end());
    assert_eq!(minus, range("size", -1));
}

#[test]
fn errors_name_the_member_and_the_offset() {
    let archive = TarWriter::new().file(b"good", b"x").node(b'Z', b"dir/bad", b"").end();
    let error = parse_by(&archive, 100).unwrap_err();
    assert_eq!(error.to_string(), "tar member \"dir/bad\" at offset 1024: unknown member type 'Z'");
}

#[test]
fn a_parser_that_failed_takes_nothing_more() {
    let mut parser = TarParser::new();
    let mut sink = |_: Event<'_>| Ok::<(), TarError>(());
    assert!(parser.push(&[b'x'; 600], &mut sink).is_err());
    assert_eq!(parser.push(&[0; 1024], &mut sink).unwrap_err().fault, TarFault::GivenUp);
    assert_eq!(parser.finish(&mut sink).unwrap_err().fault, TarFault::GivenUp);
}
