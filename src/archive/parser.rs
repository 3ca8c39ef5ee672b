use super::draft::{Draft, MoreMap, Pending};
use super::header::{BLOCK, Header, gnu_sparse_extension, text};
use super::pax::Pax;
use super::sparse::{self, MapLines};
use super::{DataRun, Entry, Event, SparseFault, TarError, TarFault};

/// The largest extension header (PAX records, GNU long name or link), in bytes. Go's limit too.
pub const MAX_EXTENSION: u64 = 1 << 20;
/// The most runs of data of one sparse file.
pub const MAX_RUNS: usize = 1 << 18;

/// A push parser of tar archives: bytes in, as they come, and [`Event`]s out.
///
/// It understands v7, ustar, PAX, GNU and star archives and does no I/O. What it holds at any time
/// is at most three extension headers ([`MAX_EXTENSION`]) and one sparse map ([`MAX_RUNS`]); data
/// are never copied. Accepted and refused is what Go's `archive/tar` accepts and refuses, since it
/// decides which layers exist; beyond it, old GNU sparse files are read whole.
///
/// After an error the parser takes nothing any more.
#[derive(Debug)]
pub struct TarParser {
    /// Where in the stream the next byte is.
    offset: u64,
    block: [u8; BLOCK],
    filled: usize,
    state: State,
    pending: Pending,
    /// The member that is being read, and where the last header or map block was, for errors.
    name: Vec<u8>,
    last_block: u64,
}

#[derive(Debug)]
enum State {
    /// A header block is next.
    Header,
    /// A zero block was read: only a second one may follow.
    SecondZeroBlock,
    /// The content of an extension header is next.
    Extension {
        flag: u8,
        left: usize,
        content: Vec<u8>,
    },
    /// Blocks of a sparse map are next.
    GnuMap(Box<Draft>),
    PaxMap(Box<Draft>, MapLines),
    /// Data are next: of run `at`, `into` bytes are done.
    Data {
        runs: Vec<DataRun>,
        at: usize,
        into: u64,
    },
    /// Bytes that mean nothing are next: padding, global headers.
    Skip {
        left: u64,
        needed: bool,
    },
    /// The archive is over.
    End,
    Failed,
}

impl Default for TarParser {
    fn default() -> Self {
        Self {
            offset: 0,
            block: [0; BLOCK],
            filled: 0,
            state: State::Header,
            pending: Pending::default(),
            name: Vec::new(),
            last_block: 0,
        }
    }
}

impl TarParser {
    /// A parser at the start of an archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of the stream were taken so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes of the stream, any number of them, and gives what they complete.
    ///
    /// # Errors
    ///
    /// [`TarError`] where the archive is broken; whatever `sink` answers, after which the parser
    /// must not be used any more.
    pub fn push<E: From<TarError>>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let (taken, event) = self.step(bytes).map_err(|fault| self.give_up(fault))?;
            self.offset += taken as u64;
            bytes = &bytes[taken..];
            if let Some(event) = event {
                sink(event)?;
            }
        }
        Ok(())
    }

    /// Says that the stream is over. Missing end blocks and missing padding are accepted.
    ///
    /// # Errors
    ///
    /// [`TarFault::Truncated`] where the stream stops inside of a member; what `sink` answers.
    pub fn finish<E: From<TarError>>(
        &mut self,
        sink: &mut dyn FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let complete = match self.state {
            State::End => return Ok(()),
            State::Header | State::SecondZeroBlock => self.filled == 0,
            State::Skip { needed, .. } => !needed,
            State::Failed => return Err(self.give_up(TarFault::GivenUp).into()),
            State::Extension { .. } | State::GnuMap(_) | State::PaxMap(..) | State::Data { .. } => {
                false
            }
        };
        if !complete {
            return Err(self.give_up(TarFault::Truncated).into());
        }
        self.state = State::End;
        sink(Event::End)
    }

    fn give_up(&mut self, fault: TarFault) -> TarError {
        self.state = State::Failed;
        let entry = String::from_utf8_lossy(&self.name).into_owned();
        let offset = if fault == TarFault::Truncated { self.offset } else { self.last_block };
        TarError { entry, offset, fault }
    }

    /// Takes a first part of `bytes`, which is not empty.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, Option<Event<'a>>), TarFault> {
        match &mut self.state {
            State::Header | State::SecondZeroBlock | State::GnuMap(_) | State::PaxMap(..) => {
                let taken = bytes.len().min(BLOCK - self.filled);
                self.block[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                if self.filled < BLOCK {
                    return Ok((taken, None));
                }
                self.filled = 0;
                let event = self.on_block(self.offset + taken as u64)?;
                Ok((taken, event))
            }
            State::Extension { left, content, .. } => {
                let taken = bytes.len().min(*left);
                content.extend_from_slice(&bytes[..taken]);
                *left -= taken;
                if *left == 0 {
                    self.on_extension(self.offset + taken as u64)?;
                }
                Ok((taken, None))
            }
            State::Data { runs, at, into } => {
                let run = runs[*at];
                let left = run.len - *into;
                let taken = usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len()));
                let file_offset = run.file_offset + *into;
                *into += taken as u64;
                if *into == run.len {
                    (*at, *into) = (*at + 1, 0);
                }
                if *at == runs.len() {
                    self.state = skip(padding(self.offset + taken as u64), false);
                }
                Ok((taken, Some(Event::Data { file_offset, bytes: &bytes[..taken] })))
            }
            State::Skip { left, .. } => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Header;
                }
                Ok((taken, None))
            }
            State::End => Ok((bytes.len(), None)),
            State::Failed => Err(TarFault::GivenUp),
        }
    }

    /// Acts on a full block, which ends at `end` of the stream.
    fn on_block(&mut self, end: u64) -> Result<Option<Event<'static>>, TarFault> {
        self.last_block = end - BLOCK as u64;
        let is_zero = self.block.iter().all(|&b| b == 0);
        match std::mem::replace(&mut self.state, State::Failed) {
            State::SecondZeroBlock if is_zero => {
                self.state = State::End;
                Ok(Some(Event::End))
            }
            State::SecondZeroBlock => Err(TarFault::LoneZeroBlock),
            State::Header if is_zero => {
                self.name.clear();
                self.state = State::SecondZeroBlock;
                Ok(None)
            }
            State::Header => self.on_header(end),
            State::GnuMap(mut draft) => {
                let (table, extended) = gnu_sparse_extension(&self.block);
                let runs = draft.map.get_or_insert_default();
                sparse::add_gnu_descriptors(table, runs).map_err(TarFault::Sparse)?;
                if extended {
                    self.state = State::GnuMap(draft);
                    return Ok(None);
                }
                self.begin_data(*draft, end)
            }
            State::PaxMap(draft, lines) => self.on_pax_map(draft, lines, end),
            State::Extension { .. }
            | State::Data { .. }
            | State::Skip { .. }
            | State::End
            | State::Failed => Err(TarFault::GivenUp),
        }
    }

    fn on_pax_map(
        &mut self,
        mut draft: Box<Draft>,
        mut lines: MapLines,
        end: u64,
    ) -> Result<Option<Event<'static>>, TarFault> {
        let coverage = TarFault::Sparse(SparseFault::Coverage);
        draft.stored = draft.stored.checked_sub(BLOCK as u64).ok_or(coverage)?;
        draft.map = lines.push(&self.block).map_err(TarFault::Sparse)?;
        if draft.map.is_none() {
            self.state = State::PaxMap(draft, lines);
            return Ok(None);
        }
        self.begin_data(*draft, end)
    }

    fn on_header(&mut self, end: u64) -> Result<Option<Event<'static>>, TarFault> {
        let header = Header::new(&self.block)?;
        self.name.clear();
        self.name.extend_from_slice(&header.path());
        let flag = header.type_flag();
        if matches!(flag, b'x' | b'L' | b'K' | b'g') {
            let value = header.size()?;
            let size =
                u64::try_from(value).map_err(|_| TarFault::OutOfRange { field: "size", value })?;
            return self.begin_extension(flag, size, end).map(|()| None);
        }
        let pending = std::mem::take(&mut self.pending);
        let draft = Draft::new(&header, pending, end - BLOCK as u64)?;
        self.name.clone_from(&draft.entry.path);
        match draft.more {
            MoreMap::No => return self.begin_data(draft, end),
            MoreMap::GnuBlocks => self.state = State::GnuMap(Box::new(draft)),
            MoreMap::InData => {
                self.state = State::PaxMap(Box::new(draft), MapLines::default());
            }
        }
        Ok(None)
    }

    fn begin_extension(&mut self, flag: u8, size: u64, at: u64) -> Result<(), TarFault> {
        if flag == b'g' {
            // containerd and Docker ignore global headers. As with them, one ends what the
            // extension headers before it began.
            self.pending = Pending::default();
            let padded = size.checked_next_multiple_of(BLOCK as u64);
            let value = size.cast_signed();
            let left = padded.ok_or(TarFault::OutOfRange { field: "size", value })?;
            self.state = skip(left, true);
            return Ok(());
        }
        let fits = usize::try_from(size).ok().filter(|_| size <= MAX_EXTENSION);
        let left = fits.ok_or(TarFault::ExtensionTooLarge(size))?;
        self.state = State::Extension { flag, left, content: Vec::new() };
        if left == 0 {
            return self.on_extension(at);
        }
        Ok(())
    }

    /// Acts on a complete extension header, whose content ends at `end` of the stream.
    fn on_extension(&mut self, end: u64) -> Result<(), TarFault> {
        let done = std::mem::replace(&mut self.state, skip(padding(end), false));
        let State::Extension { flag, content, .. } = done else {
            return Err(TarFault::GivenUp);
        };
        let name = || Some(text(&content).to_vec()).filter(|name| !name.is_empty());
        match flag {
            b'x' => self.pending.pax = Some(Pax::parse(&content)?),
            b'L' => self.pending.long_name = name(),
            _ => self.pending.long_link = name(),
        }
        Ok(())
    }

    /// Gives the finished member and goes on to its data, which start at `data` of the stream.
    fn begin_data(&mut self, draft: Draft, data: u64) -> Result<Option<Event<'static>>, TarFault> {
        let out_of_range =
            TarFault::OutOfRange { field: "size", value: draft.stored.cast_signed() };
        let data_end = data.checked_add(draft.stored).filter(|&end| end <= i64::MAX as u64);
        data_end.ok_or(out_of_range)?;
        let entry: Entry = draft.finish(data)?;
        self.state = if entry.runs.is_empty() {
            State::Header
        } else {
            State::Data { runs: entry.runs.clone(), at: 0, into: 0 }
        };
        Ok(Some(Event::Entry(entry)))
    }
}

/// The state that passes over `left` bytes; they may be missing unless they are `needed`.
fn skip(left: u64, needed: bool) -> State {
    if left == 0 { State::Header } else { State::Skip { left, needed } }
}

/// How many bytes are missing from `offset` to the next block.
fn padding(offset: u64) -> u64 {
    offset.next_multiple_of(BLOCK as u64) - offset
}

#[cfg(test)]
mod tests;
