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
    for (magic, command) in [(&b"\x1f\x8b\x08"[..], "gzip -d"), (b"\x28\xb5\x2f\xfd", "zstd -d")] {
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
