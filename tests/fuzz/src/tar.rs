//! Any bytes as a tar archive: whatever the pieces it comes in, the parser says the same.

use stratafs::archive::{Entry, Event, TarError, TarParser};

/// What came of an archive: members, and a digest of data that does not see where it was cut.
#[derive(Debug, PartialEq)]
struct Parsed {
    members: Vec<Entry>,
    /// Of each member: the bytes of data, the end of the last, and their weighted sum.
    data: Vec<(u64, u64, u64)>,
    error: Option<TarError>,
}

/// Parses `data` in pieces of `step` bytes, and again in two other ways.
pub fn run(data: &[u8]) {
    let whole = parse(data, usize::MAX);
    check(&whole, data.len() as u64);
    let odd = usize::from(data.first().copied().unwrap_or(0)) * 3 + 1;
    for step in [512, odd] {
        assert_eq!(parse(data, step), whole, "pieces of {step}");
    }
}

fn parse(data: &[u8], step: usize) -> Parsed {
    let mut parsed = Parsed { members: Vec::new(), data: Vec::new(), error: None };
    let mut ended = false;
    let mut sink = |event: Event<'_>| {
        assert!(!ended, "nothing comes after the end");
        match event {
            Event::Entry(entry) => {
                parsed.members.push(entry);
                parsed.data.push((0, 0, 0));
            }
            Event::Data { file_offset, bytes } => {
                let (count, end, sum) = parsed.data.last_mut().expect("data have an entry");
                assert!(!bytes.is_empty() && file_offset >= *end, "data come in order");
                *count += bytes.len() as u64;
                *end = file_offset + bytes.len() as u64;
                for (i, byte) in bytes.iter().enumerate() {
                    let weight = file_offset.wrapping_add(i as u64) | 1;
                    *sum = sum.wrapping_add(weight.wrapping_mul(u64::from(*byte) + 1));
                }
            }
            Event::End => ended = true,
        }
        Ok(())
    };
    let mut parser = TarParser::new();
    let pushed = data.chunks(step).try_for_each(|piece| parser.push(piece, &mut sink));
    parsed.error = pushed.and_then(|()| parser.finish(&mut sink)).err();
    parsed
}

fn check(parsed: &Parsed, stream: u64) {
    for (entry, (count, end, _)) in parsed.members.iter().zip(&parsed.data) {
        let (mut file, mut place) = (0, entry.offset + 512);
        for run in &entry.runs {
            assert!(run.len > 0 && run.file_offset >= file && run.stream_offset >= place);
            file = run.file_offset + run.len;
            place = run.stream_offset + run.len;
        }
        assert!(file <= entry.size && *end <= entry.size);
        let stored: u64 = entry.runs.iter().map(|run| run.len).sum();
        assert!(*count <= stored);
        assert!(entry.metadata.mode <= 0o7777 && entry.metadata.mtime.nanos < 1_000_000_000);
        assert!(entry.metadata.xattrs.windows(2).all(|pair| pair[0].name < pair[1].name));
        if parsed.error.is_none() {
            assert_eq!(*count, stored, "all data came");
            assert!(place <= stream);
        }
    }
}
