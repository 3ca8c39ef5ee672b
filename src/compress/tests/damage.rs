//! Broken blobs and tables: an error, never a panic, never other bytes.

use proptest::prelude::*;

use crate::error::{Classify, Kind};

use super::shapes::{SHAPES, Shape, gzip, pack};
use super::*;

/// The bytes that a scan gives before it ends, and its outcome.
fn try_scan(blob: &Vec<u8>, limit: u64) -> (Vec<u8>, Result<Scan, ScanError<Infallible>>) {
    let mut out = Vec::new();
    let options = ScanOptions { limit, ..options(SPAN_SIZE_MIN) };
    let scan = scan(blob, &options, &mut |_| (), &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    });
    (out, scan)
}

#[test]
fn a_blob_that_is_cut_off_is_an_error() {
    let data = mixed(150_000, 11);
    for shape in [Shape::Gzip(6), Shape::Gzip(0), Shape::Bgzf, Shape::Zstd, Shape::Dressed] {
        let blob = pack(shape, &data);
        // Inside of the last member that holds data.
        for cut in [5, 11, 100, 20_000, gzip(&data, 9).len() / 2] {
            let (out, scan) = try_scan(&blob[..cut].to_vec(), 1 << 30);
            let error = scan.expect_err("it is cut off");
            assert_eq!(error.kind(), Kind::DataLoss, "{shape:?} {cut}: {error}");
            assert!(data.starts_with(&out), "{shape:?} {cut}");
        }
    }
}

#[test]
fn a_member_without_its_whole_trailer_is_cut_off() {
    let blob = gzip(b"some bytes", 6);
    for lost in 1..=8 {
        let (_, scan) = try_scan(&blob[..blob.len() - lost].to_vec(), 1 << 30);
        let error = scan.unwrap_err();
        let cut_off = matches!(error, ScanError::Decode { source: DecodeError::Truncated, .. });
        assert!(cut_off, "{error}");
    }
}

#[test]
fn a_member_that_is_not_what_its_trailer_says_is_an_error() {
    let data = mixed(300_000, 13);
    // Small and large members, one of no bytes, one of zeros, so that trailers are anywhere in spans.
    let parts = [&data[..10], &data[10..200_000], b"", &data[200_000..], &[0; 100_000]];
    let members: Vec<Vec<u8>> = parts.iter().map(|part| gzip(part, 6)).collect();
    let blob = members.concat();
    assert!(try_scan(&blob, 1 << 30).1.is_ok());
    let mut end = 0;
    for member in &members {
        end += member.len();
        for back in 1..=8 {
            let mut wrong = blob.clone();
            wrong[end - back] ^= 0x10;
            let fault =
                if back > 4 { DecodeError::MemberChecksum } else { DecodeError::MemberLength };
            match try_scan(&wrong, 1 << 30).1 {
                Err(ScanError::Decode { source, .. }) => assert_eq!(source, fault, "{end} {back}"),
                other => panic!("{end} {back}: {other:?}"),
            }
        }
    }
}

#[test]
fn garbage_after_the_last_member_is_an_error() {
    let data = mixed(1_000, 12);
    for tail in [&b"x"[..], b"\0\0\0x", b"\x1f\x8b", b"\x1fx"] {
        let mut blob = gzip(&data, 6);
        blob.extend(tail);
        assert_eq!(try_scan(&blob, 1 << 30).1.unwrap_err().kind(), Kind::DataLoss);
        let mut blob = ::zstd::bulk::compress(&data, 3).unwrap();
        blob.extend(tail);
        assert_eq!(try_scan(&blob, 1 << 30).1.unwrap_err().kind(), Kind::DataLoss);
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let bomb = vec![0; 20 << 20];
    for shape in [Shape::Gzip(9), Shape::Zstd, Shape::Members(1 << 20), Shape::Plain] {
        let blob = pack(shape, &bomb);
        let (out, scan) = try_scan(&blob, 1 << 20);
        assert!(matches!(scan, Err(ScanError::TooLarge { limit: 0x10_0000 })), "{shape:?}");
        assert!(out.len() <= 1 << 20);
        assert!(try_scan(&blob, 20 << 20).1.is_ok(), "{shape:?}: the limit itself is allowed");
    }
}

#[test]
fn a_zstd_frame_that_wants_too_large_a_window_is_refused() {
    // A frame header with a window of 2^41 bytes (RFC 8878, section 3.1.1.1.2).
    let blob = b"\x28\xb5\x2f\xfd\x00\xf8\x01\0\0".to_vec();
    let (_, scan) = try_scan(&blob, 1 << 30);
    assert_eq!(scan.unwrap_err().kind(), Kind::DataLoss);
}

#[test]
fn a_scan_ends_with_the_error_of_its_receiver() {
    let blob = gzip(&mixed(3 << 20, 13), 6);
    let mut seen = 0;
    let scan = scan(&blob, &options(SPAN_SIZE_MIN), &mut |_| (), &mut |bytes| {
        seen += bytes.len();
        if seen > 100_000 { Err("enough") } else { Ok(()) }
    });
    assert!(matches!(scan, Err(ScanError::Sink("enough"))));
    assert!(seen < 300_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_scan_of_a_changed_blob_fails_or_gives_another_digest(
        shape in proptest::sample::select(&SHAPES[..]), place: prop::sample::Index, bit in 0..8_u32,
    ) {
        let data = mixed(70_000, 14);
        let mut blob = pack(shape, &data);
        let good = Digest::sha256(&blob);
        let place = place.index(blob.len());
        blob[place] ^= 1 << bit;
        if let (out, Ok(scan)) = try_scan(&blob, 1 << 20) {
            prop_assert_ne!(scan.blob_digest, good);
            prop_assert_eq!(scan.diff_id.digest(), &Digest::sha256(&out));
        }
    }

    #[test]
    fn spans_of_a_changed_blob_are_right_or_an_error(
        shape in proptest::sample::select(&SHAPES[..]),
        places in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let data = mixed(150_000, 15);
        let mut blob = pack(shape, &data);
        let (scan, _) = index(&blob, SPAN_SIZE_MIN);
        for (place, change) in places {
            let place = place.index(blob.len());
            blob[place] ^= change;
        }
        if let Some(cut) = cut {
            let cut = cut.index(blob.len());
            blob.truncate(cut);
        }
        check_spans_are_right_or_fail(&scan, blob, &data);
    }

    #[test]
    fn spans_over_changed_windows_are_right_or_an_error(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let data = mixed(300_000, 18);
        let blob = gzip(&data, 6);
        let (mut scan, _) = index(&blob, SPAN_SIZE_MIN);
        for (place, value) in places {
            let place = place.index(scan.windows.len());
            scan.windows[place] = value;
        }
        if let Some(cut) = cut {
            let cut = cut.index(scan.windows.len());
            scan.windows.truncate(cut);
        }
        check_spans_are_right_or_fail(&scan, blob, &data);
    }

    #[test]
    fn any_bytes_are_a_table_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        if let Ok(table) = SpanTable::decode(&bytes) {
            let encoded = table.encode();
            prop_assert_eq!(SpanTable::decode(&encoded).unwrap(), table);
        }
    }

    #[test]
    fn a_changed_table_is_an_error_or_reads_right_bytes_or_none(
        shape in proptest::sample::select(&SHAPES[..]),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let data = mixed(100_000, 16);
        let blob = pack(shape, &data);
        let (scan, _) = index(&blob, SPAN_SIZE_MIN);
        let mut bytes = scan.table.encode();
        for (place, value) in places {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            let cut = cut.index(bytes.len());
            bytes.truncate(cut);
        }
        if let Ok(table) = SpanTable::decode(&bytes) {
            let right = |n: u32, bytes: &[u8]| {
                *blake3::hash(bytes).as_bytes() == table.spans[n as usize].digest
            };
            let spans = BlobSpans::new(table.clone(), Arc::new(scan.windows), blob);
            for number in (0..).zip(&table.spans).map(|(n, _)| n) {
                let _ = spans.read_span(number, &mut |n, bytes| assert!(right(n, bytes)));
            }
        }
    }
}

fn check_spans_are_right_or_fail(scan: &Scan, blob: Vec<u8>, data: &[u8]) {
    let (table, spans) = (&scan.table, spans(scan, blob));
    for number in (0..).zip(&table.spans).map(|(n, _)| n) {
        let read = spans.read_span(number, &mut |n, bytes| {
            let start = usize::try_from(table.spans[n as usize].out_offset).unwrap();
            assert!(bytes == &data[start..start + bytes.len()]);
        });
        if let Err(e) = read {
            let expected = matches!(e.kind(), Kind::DataLoss);
            assert!(expected, "{e}");
        }
    }
}

#[test]
fn a_span_that_the_table_does_not_have_is_an_error() {
    let blob = gzip(b"bytes", 6);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    let spans = BlobSpans::new(scan.table, Arc::new(scan.windows), blob);
    let error = spans.read_span(1, &mut |_, _| panic!()).unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfRange);
}

#[test]
fn a_changed_byte_of_a_plain_blob_names_both_digests() {
    let mut blob = mixed(100_000, 17);
    let (scan, _) = index(&blob, SPAN_SIZE_MIN);
    blob[50_000] ^= 1;
    let spans = BlobSpans::new(scan.table, Arc::new(scan.windows), blob);
    spans.read_span(0, &mut |_, _| ()).unwrap();
    let error = spans.read_span(1, &mut |_, _| panic!()).unwrap_err();
    assert!(matches!(error, SpanError::Mismatch { span: 1, .. }));
    assert_eq!(error.to_string().matches("blake3:").count(), 2);
}
