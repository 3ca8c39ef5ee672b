use std::io;

use crate::archive::{Event, TarParser};
use crate::compress::{SPAN_SIZE, Scan, ScanError, ScanOptions, scan};
use crate::digest::{DiffId, Digest, Hasher};
use crate::io::ReadAt;

use super::{BuildError, EntryError, Identity, LayerIndex, Origin, Toc, TocBuilder};

/// The most uncompressed bytes of a layer where nothing else is configured: 256 GiB.
pub const LAYER_SIZE_LIMIT: u64 = 256 << 30;

/// The length of the pieces in which a blob is hashed, in bytes.
const PIECE: usize = 1 << 20;

/// What the manifest and the configuration of an image say of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The digest of the uncompressed layer.
    pub diff_id: DiffId,
    /// The media type of the blob. What it says of compression counts for nothing: that is told
    /// from the blob's first bytes.
    pub media_type: String,
}

/// How to build an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// About how many uncompressed bytes a span has.
    pub span_size: u32,
    /// How many uncompressed bytes the layer may have.
    pub limit: u64,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self { span_size: SPAN_SIZE, limit: LAYER_SIZE_LIMIT }
    }
}

/// Reads `blob` once and gives the index of the layer in it, if it is the one that is `expected`.
///
/// `progress` is given the number of blob bytes that are done, `tee` the uncompressed bytes in order,
/// before anything is known to be right about them.
///
/// # Errors
///
/// See [`BuildError`]. Of a blob that has another digest than expected, just this is said, whatever else
/// is wrong with it; finding that out takes a second pass over a broken one.
pub fn build_index(
    blob: &dyn ReadAt,
    expected: &Expected,
    options: &BuildOptions,
    progress: &mut dyn FnMut(u64),
    tee: &mut dyn FnMut(&[u8]),
) -> Result<LayerIndex, BuildError> {
    let digest = &expected.digest;
    let (size, found) = (expected.size, blob.size());
    if size != found {
        return Err(BuildError::Size { digest: digest.clone(), expected: size, found });
    }
    if expected.media_type.ends_with("+encrypted") {
        let media_type = expected.media_type.clone();
        return Err(BuildError::Encrypted { digest: digest.clone(), media_type });
    }
    let (scan, toc) = scan_layer(blob, expected, options, progress, tee)
        .map_err(|e| explain(blob, expected, e))?;
    if scan.blob_digest != *digest {
        return Err(BuildError::Digest { expected: digest.clone(), found: scan.blob_digest });
    }
    if scan.diff_id != expected.diff_id {
        let expected = expected.diff_id.clone();
        return Err(BuildError::DiffId { digest: digest.clone(), expected, found: scan.diff_id });
    }
    let identity = Identity {
        digest: scan.blob_digest,
        diff_id: scan.diff_id,
        media_type: expected.media_type.clone(),
        origin: Origin::Scan,
    };
    Ok(LayerIndex { identity, toc, table: scan.table, windows: scan.windows, apart: None })
}

fn scan_layer(
    blob: &dyn ReadAt,
    expected: &Expected,
    options: &BuildOptions,
    progress: &mut dyn FnMut(u64),
    tee: &mut dyn FnMut(&[u8]),
) -> Result<(Scan, Toc), ScanError<EntryError>> {
    let scan_options = ScanOptions {
        span_size: options.span_size,
        limit: options.limit,
        blob_algorithm: expected.digest.algorithm(),
        diff_algorithm: expected.diff_id.digest().algorithm(),
    };
    let (mut parser, mut builder) = (TarParser::new(), TocBuilder::new());
    let mut take = |event: Event<'_>| match event {
        Event::Entry(entry) => builder.add(entry).map_err(EntryError::Toc),
        Event::Data { .. } | Event::End => Ok(()),
    };
    let scan = scan(blob, &scan_options, progress, &mut |bytes| {
        tee(bytes);
        parser.push(bytes, &mut take)
    })?;
    parser.finish(&mut take).map_err(ScanError::Sink)?;
    Ok((scan, builder.finish()))
}

/// The cause of `error`: most often a broken blob is not the one that was asked for.
fn explain(blob: &dyn ReadAt, expected: &Expected, error: ScanError<EntryError>) -> BuildError {
    let digest = expected.digest.clone();
    if matches!(error, ScanError::Decode { .. } | ScanError::Sink(_)) {
        match digest_of(blob, &digest) {
            Ok(found) if found != digest => return BuildError::Digest { expected: digest, found },
            Ok(_) => {}
            Err((offset, source)) => {
                return BuildError::Scan { digest, source: ScanError::Read { offset, source } };
            }
        }
    }
    BuildError::Scan { digest, source: error }
}

/// The digest of `blob` by the algorithm of `like`.
fn digest_of(blob: &dyn ReadAt, like: &Digest) -> Result<Digest, (u64, io::Error)> {
    let mut hasher = Hasher::new(like.algorithm());
    let (mut piece, mut offset) = (vec![0; PIECE], 0);
    loop {
        let n = blob.read_at(&mut piece, offset).map_err(|e| (offset, e))?;
        hasher.update(&piece[..n]);
        offset += n as u64;
        if n < piece.len() {
            return Ok(hasher.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::archive::TarFault;
    use crate::archive::testing::TarWriter;
    use crate::compress::{BlobSpans, Codec, SpanSource};
    use crate::layer::{Target, TocFault};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar() -> Vec<u8> {
        let data: Vec<u8> = (0..400_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        TarWriter::new().node(b'5', b"d/", b"").file(b"d/f", &data).file(b"e", b"end").end()
    }

    fn expected(blob: &[u8], tar: &[u8]) -> Expected {
        Expected {
            digest: Digest::sha256(blob),
            size: blob.len() as u64,
            diff_id: DiffId::new(Digest::sha256(tar)),
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        }
    }

    fn build(blob: &[u8], expected: &Expected) -> Result<LayerIndex, BuildError> {
        build_index(&blob.to_vec(), expected, &BuildOptions::default(), &mut |_| {}, &mut |_| {})
    }

    #[test]
    fn extents_lead_to_the_content_whatever_the_compression() {
        let tar = tar();
        let zstd = zstd::bulk::compress(&tar, 1).unwrap();
        let blobs = [(tar.clone(), Codec::Plain), (gzip(&tar), Codec::Gzip), (zstd, Codec::Zstd)];
        for (blob, codec) in blobs {
            let index = build(&blob, &expected(&blob, &tar)).unwrap();
            assert_eq!((index.table.codec, index.table.size), (codec, tar.len() as u64));
            assert_eq!(index.toc.names.len(), 3);
            let Target::Inode(inode) = index.toc.names[1].target else { panic!("{index:?}") };
            let extent = index.toc.inodes[inode as usize].extents[0];
            let offset = extent.layer_offset + extent.len - 1;
            let span = index.table.find(offset).unwrap();
            let start = index.table.spans[span as usize].out_offset;
            let at = usize::try_from(offset - start).unwrap();
            let source = BlobSpans::new(
                index.table.clone(),
                std::sync::Arc::new(index.windows.clone()),
                blob,
            );
            let mut last = None;
            source.read_span(span, &mut |_, bytes| last = bytes.get(at).copied()).unwrap();
            assert_eq!(last, Some(tar[usize::try_from(offset).unwrap()]));
        }
    }

    #[test]
    fn bytes_after_the_archive_count_for_the_diff_id() {
        let tar = [tar(), vec![0; 9000], b"junk".to_vec()].concat();
        let blob = gzip(&tar);
        assert_eq!(build(&blob, &expected(&blob, &tar)).unwrap().table.size, tar.len() as u64);
    }

    #[test]
    fn an_empty_layer_has_an_index() {
        for tar in [Vec::new(), TarWriter::new().end()] {
            let index = build(&tar, &expected(&tar, &tar)).unwrap();
            assert_eq!(index.toc, Toc::default());
        }
    }

    #[test]
    fn other_digests_are_refused_with_both() {
        let tar = tar();
        let blob = gzip(&tar);
        let right = expected(&blob, &tar);
        let other = Digest::sha256(b"other");
        let wrong = Expected { digest: other.clone(), ..right.clone() };
        let error = build(&blob, &wrong).unwrap_err().to_string();
        assert!(error.contains(&other.to_string()), "{error}");
        assert!(error.contains(&right.digest.to_string()), "{error}");
        let wrong = Expected { diff_id: DiffId::new(other.clone()), ..right.clone() };
        let error = build(&blob, &wrong).unwrap_err().to_string();
        assert!(error.contains(&other.to_string()), "{error}");
        assert!(error.contains(&right.diff_id.to_string()), "{error}");
        let wrong = Expected { size: 5, ..right };
        assert!(matches!(build(&blob, &wrong), Err(BuildError::Size { expected: 5, .. })));
    }

    #[test]
    fn a_broken_blob_is_first_of_all_another_blob() {
        let tar = tar();
        let blob = gzip(&tar);
        let right = expected(&blob, &tar);
        for at in [0, 5, 100, blob.len() / 2, blob.len() - 3] {
            let mut broken = blob.clone();
            broken[at] ^= 0x55;
            assert!(matches!(build(&broken, &right), Err(BuildError::Digest { .. })), "{at}");
        }
    }

    #[test]
    fn broken_layers_of_the_right_digest_say_what_is_wrong() {
        let whole = tar();
        let cut = &whole[..whole.len() / 2];
        let source = |blob: &[u8]| match build(blob, &expected(blob, cut)) {
            Err(BuildError::Scan { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        let truncated = source(&gzip(cut));
        assert!(matches!(
            truncated,
            ScanError::Sink(EntryError::Tar(ref e)) if e.fault == TarFault::Truncated && e.entry == "d/f"
        ));
        let half = gzip(&whole);
        assert!(matches!(source(&half[..half.len() / 2]), ScanError::Decode { .. }));
        let climbing = TarWriter::new().file(b"../x", b"").end();
        assert!(matches!(
            source(&climbing),
            ScanError::Sink(EntryError::Toc(ref e)) if matches!(e.fault, TocFault::Path(_))
        ));
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let tar = vec![0; 1 << 20];
        let blob = gzip(&tar);
        let options = BuildOptions { limit: 1 << 16, ..BuildOptions::default() };
        let result = build_index(&blob, &expected(&blob, &tar), &options, &mut |_| {}, &mut |_| {});
        let Err(BuildError::Scan { source: ScanError::TooLarge { limit }, .. }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(limit, 1 << 16);
    }

    #[test]
    fn encrypted_layers_are_refused_by_name() {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".to_owned();
        let wrong = Expected { media_type, ..expected(b"x", b"x") };
        assert!(matches!(build(b"x", &wrong), Err(BuildError::Encrypted { .. })));
    }

    #[test]
    fn progress_reaches_the_size_of_the_blob() {
        let tar = tar();
        let blob = gzip(&tar);
        let mut seen = Vec::new();
        let expected = expected(&blob, &tar);
        let options = BuildOptions::default();
        build_index(&blob, &expected, &options, &mut |done| seen.push(done), &mut |_| {}).unwrap();
        assert!(seen.is_sorted());
        assert_eq!(seen.last(), Some(&(blob.len() as u64)));
    }
}
