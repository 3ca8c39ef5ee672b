//! Sparse files: the four ways in which GNU tar writes their maps.
//!
//! | format | map | data |
//! |---|---|---|
//! | old GNU, type `S` | header block and extension blocks after it | stored size |
//! | PAX 0.0 | repeated records `GNU.sparse.offset` and `GNU.sparse.numbytes` | stored size |
//! | PAX 0.1 | one record `GNU.sparse.map` | stored size |
//! | PAX 1.0 | decimal lines in front of the data, padded to a block | stored size less the map |
//!
//! Source: GNU tar manual, "Storing Sparse Files".

use super::header::number;
use super::pax::decimal;
use super::{DataRun, MAX_RUNS, SparseFault};

/// A run of data in the file, as maps have it: file offset and length.
pub(super) type Run = (i64, i64);

/// The `GNU.sparse.*` records of an extended header.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    major: Option<i64>,
    minor: Option<i64>,
    pub(super) name: Option<Vec<u8>>,
    size: Option<i64>,
    real_size: Option<i64>,
    blocks: Option<i64>,
    numbers: Vec<i64>,
    has_map: bool,
}

/// Where the map of a PAX sparse file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PaxMap {
    /// In the records.
    Records(Vec<Run>),
    /// In front of the data.
    InData,
}

impl PaxSparse {
    /// Takes the record `GNU.sparse.NAME`; `None` where its value is malformed.
    pub(super) fn apply(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" if !value.is_empty() && !value.contains(&0) => self.name = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"realsize" => self.real_size = Some(decimal(value)?),
            b"numblocks" => self.blocks = Some(decimal(value)?),
            b"offset" | b"numbytes" => {
                let is_length = self.numbers.len() % 2 == 1;
                if is_length != (name == b"numbytes") {
                    return None;
                }
                self.has_map = true;
                self.numbers.push(decimal(value)?);
            }
            b"map" => {
                self.has_map = true;
                self.numbers.clear();
                for part in value.split(|&b| b == b',').filter(|_| !value.is_empty()) {
                    self.numbers.push(decimal(part)?);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The size of the file, holes included, where the records say it.
    pub(super) fn logical_size(&self) -> Option<i64> {
        self.size.or(self.real_size)
    }

    /// Where the map is; `None` where the member is not sparse.
    pub(super) fn map(&mut self) -> Result<Option<PaxMap>, SparseFault> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) => return Ok(Some(PaxMap::InData)),
            (None, None) if !self.has_map && self.blocks.is_none() => return Ok(None),
            (None, None) | (Some(0), Some(0 | 1)) => {}
            _ => return Err(SparseFault::Version),
        }
        let numbers = std::mem::take(&mut self.numbers);
        let runs = pairs(&numbers)?;
        let announced = self.blocks.unwrap_or(runs.len() as i64);
        if announced != runs.len() as i64 {
            return Err(SparseFault::Map);
        }
        Ok(Some(PaxMap::Records(runs)))
    }
}

fn pairs(numbers: &[i64]) -> Result<Vec<Run>, SparseFault> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SparseFault::Map);
    }
    if pairs.len() > MAX_RUNS {
        return Err(SparseFault::TooManyRuns);
    }
    Ok(pairs.iter().map(|&[offset, len]| (offset, len)).collect())
}

/// Adds the descriptors of a header or extension block of an old GNU sparse map to `runs`.
pub(super) fn add_gnu_descriptors(table: &[u8], runs: &mut Vec<Run>) -> Result<(), SparseFault> {
    for descriptor in table.as_chunks::<24>().0 {
        let (offset, len) = descriptor.split_at(12);
        if offset[0] == 0 {
            break;
        }
        if runs.len() >= MAX_RUNS {
            return Err(SparseFault::TooManyRuns);
        }
        let offset = number(offset).ok_or(SparseFault::Map)?;
        runs.push((offset, number(len).ok_or(SparseFault::Map)?));
    }
    Ok(())
}

/// The map of PAX 1.0, read line by line from the blocks in front of the data.
#[derive(Debug, Default)]
pub(super) struct MapLines {
    line: Vec<u8>,
    count: Option<usize>,
    numbers: Vec<i64>,
}

impl MapLines {
    /// Reads one block of the map; gives the runs once it is complete.
    pub(super) fn push(&mut self, block: &[u8]) -> Result<Option<Vec<Run>>, SparseFault> {
        for &byte in block {
            if byte != b'\n' {
                // No number of 64 bits is longer.
                if self.line.len() >= 20 {
                    return Err(SparseFault::Map);
                }
                self.line.push(byte);
                continue;
            }
            let value = decimal(&self.line).ok_or(SparseFault::Map)?;
            self.line.clear();
            match self.count {
                None => self.count = Some(checked_count(value)?),
                Some(_) => self.numbers.push(value),
            }
            if self.count.is_some_and(|count| self.numbers.len() == 2 * count) {
                return pairs(&self.numbers).map(Some);
            }
        }
        Ok(None)
    }
}

fn checked_count(value: i64) -> Result<usize, SparseFault> {
    let count = usize::try_from(value).map_err(|_| SparseFault::Map)?;
    if count > MAX_RUNS { Err(SparseFault::TooManyRuns) } else { Ok(count) }
}

/// The data of a sparse file of `size` bytes, `stored` of which start at `stream_offset`.
///
/// Neighbours become one run. Runs of no bytes, which end many maps, are dropped.
pub(super) fn data_runs(
    map: &[Run],
    size: u64,
    stored: u64,
    mut stream_offset: u64,
) -> Result<Vec<DataRun>, SparseFault> {
    let mut runs: Vec<DataRun> = Vec::new();
    let (mut end, mut left) = (0_u64, stored);
    for &(offset, len) in map {
        let file_offset = u64::try_from(offset).map_err(|_| SparseFault::Order)?;
        let len = u64::try_from(len).map_err(|_| SparseFault::Order)?;
        let run_end = file_offset.checked_add(len).ok_or(SparseFault::Order)?;
        if file_offset < end || run_end > size {
            return Err(SparseFault::Order);
        }
        left = left.checked_sub(len).ok_or(SparseFault::Coverage)?;
        match runs.last_mut() {
            Some(last) if file_offset == last.file_offset + last.len => last.len += len,
            _ if len > 0 => runs.push(DataRun { file_offset, len, stream_offset }),
            _ => {}
        }
        stream_offset += len;
        end = run_end;
    }
    if left == 0 { Ok(runs) } else { Err(SparseFault::Coverage) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(file_offset: u64, len: u64, stream_offset: u64) -> DataRun {
        DataRun { file_offset, len, stream_offset }
    }

    #[test]
    fn neighbours_join_and_empty_runs_vanish() {
        let runs = data_runs(&[(0, 5), (5, 5), (20, 0), (30, 2), (40, 0)], 40, 12, 1000).unwrap();
        assert_eq!(runs, [run(0, 10, 1000), run(30, 2, 1010)]);
        assert_eq!(data_runs(&[(7, 0)], 7, 0, 0).unwrap(), []);
        assert_eq!(data_runs(&[(5, 0), (5, 2)], 9, 2, 0).unwrap(), [run(5, 2, 0)]);
        let runs = data_runs(&[(0, 5), (20, 0), (20, 5)], 25, 10, 0).unwrap();
        assert_eq!(runs, [run(0, 5, 0), run(20, 5, 5)]);
    }

    #[test]
    fn maps_that_lie_are_refused() {
        use SparseFault::{Coverage, Order};
        for (map, size, stored, fault) in [
            (&[(5, 5), (0, 5)][..], 10, 10, Order),
            (&[(0, 5), (4, 5)], 10, 10, Order),
            (&[(0, 11)], 10, 11, Order),
            (&[(-1, 1)], 10, 1, Order),
            (&[(1, -1)], 10, 1, Order),
            (&[(i64::MAX, i64::MAX)], i64::MAX as u64, 1, Order),
            (&[(0, 5)], 10, 6, Coverage),
            (&[(0, 5)], 10, 4, Coverage),
        ] {
            assert_eq!(data_runs(map, size, stored, 0), Err(fault), "{map:?}");
        }
    }

    #[test]
    fn a_map_in_the_data_may_be_cut_anywhere() {
        let text = b"2\n1024\n512\n4096\n1\n\0\0\0";
        for cut in 0..text.len() {
            let mut lines = MapLines::default();
            let first = lines.push(&text[..cut]).unwrap();
            let runs = first.or_else(|| lines.push(&text[cut..]).unwrap());
            assert_eq!(runs.unwrap(), [(1024, 512), (4096, 1)]);
        }
        assert_eq!(MapLines::default().push(b"0\n").unwrap().unwrap(), []);
    }

    #[test]
    fn bombs_in_maps_are_refused() {
        assert_eq!(MapLines::default().push(b"99999999999\n"), Err(SparseFault::TooManyRuns));
        assert_eq!(MapLines::default().push(&[b'1'; 30]), Err(SparseFault::Map));
        assert_eq!(MapLines::default().push(b"x\n"), Err(SparseFault::Map));
        assert_eq!(MapLines::default().push(b"-1\n"), Err(SparseFault::Map));
    }

    #[test]
    fn unknown_versions_are_refused() {
        let mut sparse = PaxSparse::default();
        sparse.apply(b"major", b"2").unwrap();
        sparse.apply(b"minor", b"0").unwrap();
        assert_eq!(sparse.map(), Err(SparseFault::Version));
    }
}
