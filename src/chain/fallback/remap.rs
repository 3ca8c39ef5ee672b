//! From the address space of one table of contents of a layer to that of another one of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::archive::FileType;
use crate::layer::{Extent, Inode, Target, Toc};

/// The most pieces that are looked at: as many as a layer has extents, and hard links besides.
const MAX_PIECES: usize = 1 << 23;

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From there on in the other address space.
    At(u64),
    /// Nowhere: they are zeros.
    Hole,
    /// Nobody knows: no file of the layer has them, or several that differ.
    Unknown,
}

/// What is known of a piece by one file. Bytes of one move lie in the same order in both spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    /// By so much, modulo 2^64.
    By(u64),
    ToHole,
    ToNowhere,
}

/// Bytes of the first address space that move alike.
#[derive(Debug, Clone, Copy)]
struct Segment {
    from: u64,
    end: u64,
    by: Move,
}

/// Where bytes are that another table of contents has elsewhere.
#[derive(Debug)]
pub(super) struct Remap {
    /// Sorted, not overlapping.
    segments: Vec<Segment>,
    strangers: usize,
}

impl Remap {
    /// From where `shown` says that the content of files is to where `found` says the content of the
    /// same files is.
    pub(super) fn between(shown: &Toc, found: &Toc) -> Self {
        let by_path: HashMap<_, u32> =
            found.names.iter().filter_map(|n| Some((&n.path, inode_of(&n.target)?))).collect();
        let (mut pieces, mut pairs, mut strangers) = (Vec::new(), HashSet::new(), 0);
        for name in &shown.names {
            let Some(number) = inode_of(&name.target) else { continue };
            let inode = &shown.inodes[number as usize];
            if inode.extents.is_empty() {
                continue;
            }
            let other = by_path.get(&name.path).copied();
            let same = other.map(|other| &found.inodes[other as usize]);
            let same = same.filter(|same| is_file(same) && same.size == inode.size);
            strangers += usize::from(same.is_none());
            if pairs.insert((number, other.filter(|_| same.is_some()))) {
                inode.extents.iter().for_each(|extent| add(extent, same, &mut pieces));
            }
            if pieces.len() > MAX_PIECES {
                return Self { segments: Vec::new(), strangers };
            }
        }
        Self { segments: disjoint(&pieces), strangers }
    }

    /// How many files with content `shown` has and `found` has not, or in another size.
    pub(super) fn strangers(&self) -> usize {
        self.strangers
    }

    /// Where the byte at `offset` is, and how many from there on lie in order.
    pub(super) fn find(&self, offset: u64) -> (Place, u64) {
        let next = self.segments.partition_point(|segment| segment.end <= offset);
        match self.segments.get(next) {
            None => (Place::Unknown, u64::MAX - offset),
            Some(segment) if segment.from > offset => (Place::Unknown, segment.from - offset),
            Some(segment) => {
                let place = match segment.by {
                    Move::By(by) => Place::At(offset.wrapping_add(by)),
                    Move::ToHole => Place::Hole,
                    Move::ToNowhere => Place::Unknown,
                };
                (place, segment.end - offset)
            }
        }
    }
}

fn inode_of(target: &Target) -> Option<u32> {
    match target {
        Target::Inode(inode) => Some(*inode),
        Target::Lower(_) => None,
    }
}

fn is_file(inode: &Inode) -> bool {
    inode.metadata.file_type == FileType::Regular
}

/// Adds what `same`, the other description of its file, says of `extent`.
fn add(extent: &Extent, same: Option<&Inode>, pieces: &mut Vec<Segment>) {
    let Some(end) = extent.file_offset.checked_add(extent.len) else { return };
    let mut at = extent.file_offset;
    let mut push = |from: u64, end: u64, by: Move| {
        let start = extent.layer_offset.checked_add(from - extent.file_offset);
        let stop = extent.layer_offset.checked_add(end - extent.file_offset);
        if let Some((from, end)) = start.zip(stop).filter(|(from, end)| from < end) {
            pieces.push(Segment { from, end, by });
        }
    };
    let Some(same) = same else { return push(at, end, Move::ToNowhere) };
    let first = same.extents.partition_point(|e| e.file_offset.saturating_add(e.len) <= at);
    for other in same.extents[first..].iter().take_while(|e| e.file_offset < end) {
        let (from, to) = (other.file_offset.max(at), other.file_offset.saturating_add(other.len));
        let to = to.min(end);
        push(at, from, Move::ToHole);
        let there = other.layer_offset.wrapping_add(from - other.file_offset);
        let here = extent.layer_offset.wrapping_add(from - extent.file_offset);
        push(from, to, Move::By(there.wrapping_sub(here)));
        at = to;
    }
    push(at, end, Move::ToHole);
}

/// The same without overlaps: where pieces that move differently lie over one another, nobody knows.
fn disjoint(pieces: &[Segment]) -> Vec<Segment> {
    let starts = pieces.iter().map(|piece| (piece.from, true, piece.by));
    let ends = pieces.iter().map(|piece| (piece.end, false, piece.by));
    let mut events: Vec<_> = starts.chain(ends).collect();
    events.sort_unstable();
    let mut active: BTreeMap<Move, usize> = BTreeMap::new();
    let mut segments: Vec<Segment> = Vec::new();
    let mut from = 0;
    for (at, is_start, by) in events {
        let mut moves = active.keys();
        let known = match (moves.next(), moves.next()) {
            (None, _) => None,
            (Some(one), None) => Some(*one),
            (Some(_), Some(_)) => Some(Move::ToNowhere),
        };
        if let Some(by) = known.filter(|_| from < at) {
            match segments.last_mut() {
                Some(last) if last.end == from && last.by == by => last.end = at,
                _ => segments.push(Segment { from, end: at, by }),
            }
        }
        from = at;
        let count = active.entry(by).or_default();
        *count = if is_start { *count + 1 } else { *count - 1 };
        if *count == 0 {
            active.remove(&by);
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::{LayerPath, Metadata};
    use crate::layer::Name;

    /// A file: its size, and where pieces of it are, each as where it begins in the file, its length
    /// and its place.
    type File = (u64, Vec<(u64, u64, u64)>);

    /// A layer of files with numbers for names; `None` for those that it does not have.
    fn toc(files: &[Option<File>]) -> Toc {
        let mut toc = Toc::default();
        for (number, file) in files.iter().enumerate() {
            let Some((size, pieces)) = file else { continue };
            let extent = |&(file_offset, len, layer_offset): &(u64, u64, u64)| Extent {
                file_offset,
                len,
                layer_offset,
            };
            let metadata =
                Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
            let target = Target::Inode(u32::try_from(toc.inodes.len()).unwrap());
            toc.inodes.push(Inode {
                metadata,
                size: *size,
                extents: pieces.iter().map(extent).collect(),
                link_target: Vec::new(),
            });
            let path = LayerPath::parse(format!("{number:04}").as_bytes()).unwrap();
            toc.names.push(Name { path, target });
        }
        toc
    }

    /// Where a byte of a file is, if it is anywhere; looked for piece by piece.
    fn byte(file: &File, at: u64) -> Option<u64> {
        let holds = |(start, len, _): &&(u64, u64, u64)| (*start..start + len).contains(&at);
        file.1.iter().find(holds).map(|(start, _, place)| place + at - start)
    }

    /// What all files say of where the byte at `offset` is; a place is `None` for a hole.
    fn model(shown: &[Option<File>], found: &[Option<File>], offset: u64) -> Place {
        let mut said = Vec::new();
        for (file, same) in shown.iter().zip(found) {
            let Some(file) = file else { continue };
            for at in (0..file.0).filter(|&at| byte(file, at) == Some(offset)) {
                said.push(match same {
                    Some(same) if same.0 == file.0 => match byte(same, at) {
                        Some(there) => Place::At(there),
                        None => Place::Hole,
                    },
                    _ => Place::Unknown,
                });
            }
        }
        said.dedup();
        if said.len() == 1 { said[0] } else { Place::Unknown }
    }

    fn file() -> impl Strategy<Value = Option<File>> {
        let piece = (0..3_u64, 1..5_u64, 0..40_u64);
        let pieces = prop::collection::vec(piece, 0..4);
        prop::option::weighted(0.9, (pieces, 0..3_u64)).prop_map(|file| {
            let (gaps, rest) = file?;
            let mut end = 0;
            let place = |(gap, len, place): (u64, u64, u64)| {
                let start = end + gap;
                end = start + len;
                (start, len, place)
            };
            let pieces: Vec<_> = gaps.into_iter().map(place).collect();
            Some((end + rest, pieces))
        })
    }

    proptest! {
        #[test]
        fn every_byte_is_where_the_files_say(
            shown in prop::collection::vec(file(), 0..5),
            found in prop::collection::vec(file(), 5),
            same in prop::collection::vec(any::<bool>(), 5),
        ) {
            // Sizes are mostly the same.
            let fit = |((found, shown), same): ((&Option<File>, &Option<File>), &bool)| {
                let (mut found, shown) = (found.clone()?, shown.clone());
                if let (true, Some(shown)) = (same, shown) {
                    found.1.retain(|(start, len, _)| start + len <= shown.0);
                    found.0 = shown.0;
                }
                Some(found)
            };
            let found: Vec<_> = found.iter().zip(&shown).zip(&same).map(fit).collect();
            let remap = Remap::between(&toc(&shown), &toc(&found));
            for offset in 0..60 {
                let (place, len) = remap.find(offset);
                prop_assert_eq!(place, model(&shown, &found, offset), "{}", offset);
                for next in 1..len.min(60) {
                    let there = match place {
                        Place::At(at) => Place::At(at + next),
                        Place::Hole | Place::Unknown => place,
                    };
                    prop_assert_eq!(there, model(&shown, &found, offset + next), "{}", offset);
                }
            }
        }
    }

    #[test]
    fn files_that_the_layer_has_not_are_counted() {
        let one = Some((4, vec![(0, 4, 0)]));
        let other = Some((5, vec![(0, 5, 10)]));
        let remap = Remap::between(&toc(&[one.clone(), one.clone(), one]), &toc(&[other, None]));
        assert_eq!((remap.strangers(), remap.find(0).0), (3, Place::Unknown));
    }
}
