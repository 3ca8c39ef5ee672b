//! What a program is started with, fetched before it is: the file itself, its interpreter, the
//! libraries that these ask for, and so on.
//!
//! The dynamic linker opens one library after the other and waits for the start of each. What it
//! will open is known as soon as the program is: so all of it is fetched at once, while the
//! container is still being set up.
//!
//! | of a file | is fetched |
//! |---|---|
//! | any, its two ends | at once: they say what else is needed |
//! | any, what the dynamic linker goes through | at once |
//! | a program, a library that a program names: its code | at once, or when nothing is left to look into |
//! | a library that a program opens while it runs: its code | if it is short |
//! | a library that only libraries name: its code | never: few of its functions are called |
//!
//! # Invariants
//!
//! - Nobody waits for the thread that looks, and it opens no more than [`FILES_MAX`] files. What it
//!   cannot read or understand is left to whoever needs it.
//! - It only expects and reads: names from files are looked up in the tree of the chain alone, and
//!   what is found there decides nothing but what is fetched.

mod elf;

pub use elf::{DYNAMIC_MAX, Elf, HEAD_LEN, NAME_MAX, NEEDED_MAX, Needs};

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::archive::FileType;
use crate::content::cache::CachedLayer;
use crate::fs::FileStarts;
use crate::io::ReadAt;
use crate::tree::{Node, ROOT, Tree};

use super::Chain;

/// The most files that are looked into for one start.
const FILES_MAX: usize = 512;
/// The most words of a command that are looked up.
const WORDS_MAX: usize = 64;
/// The most files that wait to be looked into.
const MESSAGES_MAX: usize = 1024;
/// How long a start takes at most.
const START: Duration = Duration::from_secs(30);
/// Stack of the thread: a decoder runs on it.
const STACK: usize = 512 << 10;
/// The most names that are gone through to find the folder of a file.
const NAMES_MAX: usize = 1 << 18;
/// The most of a segment that is fetched, in bytes.
const LINKED_MAX: u64 = 4 << 20;
/// A file of up to so many bytes is fetched whole.
const WHOLE_MAX: u64 = 512 << 10;
/// What is fetched of the start and of the end of a longer one, in bytes: there is what says what
/// else is to be fetched, and the dynamic linker looks there.
const END_LEN: u64 = 64 << 10;
/// The longest code of a program, or of a library that one names, that is fetched, in bytes.
const CODE_MAX: u64 = 4 << 20;
/// The longest code of a library that is opened by a program that runs, likewise.
const OPENED_CODE_MAX: u64 = 1 << 20;
/// Up to so many bytes of code are fetched at once, more when nothing is left to look into.
const SOON_MAX: u64 = 2 << 20;
/// Where programs are where the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where libraries are, after the folders that files name themselves (ld.so(8)).
const LIBRARIES: [&str; 10] = [
    "/usr/local/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib64",
];

/// What nearly every program is started by and with, where an image has it.
const ALWAYS: [&str; 8] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/lib/libc.so.6",
];

/// The thread that looks into what is started, for as long as a start takes.
pub(super) struct Programs(SyncSender<Message>);

enum Message {
    /// The first bytes of this file are read.
    File(u32),
    /// These words could name programs, which are looked for in these folders.
    Words(Vec<String>, Vec<String>),
}

impl Programs {
    /// Tells the thread of files whose start is read.
    pub(super) fn file_starts(&self) -> FileStarts {
        let sender = self.0.clone();
        // What is too much, or too late, is no loss but of time.
        Arc::new(move |ino| drop(sender.try_send(Message::File(ino))))
    }
}

impl Chain {
    /// Begins to look into what is started, where no trace says what a start reads.
    pub(super) fn watch_programs(&self) {
        let mut cached = self.layers.iter().filter_map(|layer| layer.cached.as_ref());
        if !self.is_far() || cached.any(|layer| layer.has_trace()) {
            return;
        }
        let search = Search {
            tree: self.tree.clone(),
            layers: self.layers.iter().map(super::Layer::unnoticed).collect(),
            cached: self.layers.iter().map(|layer| layer.cached.clone()).collect(),
            seen: HashSet::new(),
            looked_into: HashSet::new(),
            found: VecDeque::new(),
            late: VecDeque::new(),
        };
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        let thread = std::thread::Builder::new().name("programs".into()).stack_size(STACK);
        match thread.spawn(move || search.run(&messages)) {
            Ok(_) => drop(self.programs.set(Programs(sender))),
            Err(error) => tracing::debug!(%error, "programs are not looked into"),
        }
    }

    /// Says that `command` is about to be started in the environment `env` (`NAME=VALUE`): what
    /// its programs are started with is fetched. A word that names a program counts as one, so
    /// that those in the command line of a shell do too. Nothing is waited for; nothing is done
    /// but in a start, see [`Chain::start`].
    pub fn expect_programs(&self, command: &[String], env: &[String]) {
        let Some(Programs(sender)) = self.programs.get() else { return };
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
        let folders = path.unwrap_or(PATH).split(':').map(str::to_owned).collect();
        let _ended = sender.try_send(Message::Words(words(command), folders));
    }
}

impl super::Layer {
    /// Its content for one whose reads are no sign of what else is read.
    fn unnoticed(&self) -> Arc<dyn ReadAt> {
        self.cached.as_ref().map_or_else(|| self.reader.clone(), |cached| cached.unnoticed())
    }
}

/// The words of `command` that could name programs.
fn words(command: &[String]) -> Vec<String> {
    let is_end = |c: char| c.is_whitespace() || "\"'`;|&(){}<>$".contains(c);
    let all = command.iter().flat_map(|arg| arg.split(is_end));
    let is_name = |word: &&str| !word.is_empty() && !word.starts_with('-') && word.len() < 256;
    let mut words: Vec<String> = Vec::new();
    for word in all.filter(is_name).take(WORDS_MAX) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// The files of one start.
struct Search {
    tree: Arc<Tree>,
    layers: Vec<Arc<dyn ReadAt>>,
    cached: Vec<Option<Arc<CachedLayer>>>,
    /// Those whose start is fetched.
    seen: HashSet<u32>,
    looked_into: HashSet<u32>,
    /// Those to look into.
    found: VecDeque<Found>,
    /// Parts of files that are fetched once nothing is left to look into.
    late: VecDeque<(u32, Range<u64>)>,
}

/// A file that was found.
struct Found {
    ino: u32,
    /// The folder that it is in, where that is known.
    folder: Option<String>,
    /// The longest code of it that is fetched, in bytes; that of programs goes by themselves.
    code_max: u64,
}

impl Search {
    fn run(mut self, messages: &Receiver<Message>) {
        let end = Instant::now() + START;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = match self.found.is_empty() && self.late.is_empty() {
                true => messages.recv_timeout(left).map_err(|_| ()),
                false => messages.try_recv().map_err(drop),
            };
            match message {
                Ok(Message::File(ino)) => {
                    // What was not found before is opened by a program that runs.
                    self.found.push_back(Found { ino, folder: None, code_max: OPENED_CODE_MAX });
                }
                Ok(Message::Words(words, folders)) => {
                    words.iter().for_each(|word| self.program(word, &folders));
                    for path in ALWAYS {
                        self.take(path, false, CODE_MAX);
                    }
                }
                Err(()) => {
                    if let Some(file) = self.found.pop_front() {
                        self.look_into(&file);
                    } else if let Some((ino, part)) = self.late.pop_front() {
                        self.expect(ino, part);
                    } else {
                        return;
                    }
                }
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// Takes the program that `word` names.
    fn program(&mut self, word: &str, folders: &[String]) {
        if word.contains('/') {
            self.take(word, true, CODE_MAX);
        } else {
            let mut folders = folders.iter();
            folders.any(|folder| self.take(&format!("{folder}/{word}"), true, CODE_MAX));
        }
    }

    /// Has both ends of the file `path` fetched, and it looked into, if that was not done. Says
    /// whether there is such a file.
    fn take(&mut self, path: &str, is_program: bool, code_max: u64) -> bool {
        let place = self.tree.resolve(path.as_bytes(), true).ok();
        let found = place.and_then(|place| Some((place.ino, self.tree.node(place.ino).ok()?)));
        let is_fit = |node: &Node| {
            node.file_type == FileType::Regular && (!is_program || node.mode & 0o111 != 0)
        };
        let Some((ino, node)) = found.filter(|(_, node)| is_fit(node)) else { return false };
        if self.seen.len() < FILES_MAX && self.seen.insert(ino) {
            self.leave(ino);
            if node.size <= WHOLE_MAX {
                self.expect(ino, 0..node.size);
            } else {
                self.expect(ino, 0..END_LEN);
                self.expect(ino, node.size - END_LEN..node.size);
            }
            let folder = path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            self.found.push_back(Found { ino, folder, code_max });
        }
        true
    }

    /// Has nothing of a file guessed: what is wanted of it is known here.
    fn leave(&self, ino: u32) {
        let first = self.tree.extents(ino, 0).ok().and_then(|mut extents| extents.next()?.ok());
        let Some(extent) = first else { return };
        if let Some(Some(layer)) = self.cached.get(usize::from(extent.layer)) {
            layer.leave(extent.layer_offset..extent.layer_offset.saturating_add(extent.len));
        }
    }

    /// Has part of a file fetched.
    fn expect(&self, ino: u32, part: Range<u64>) {
        let Ok(extents) = self.tree.extents(ino, part.start) else { return };
        for extent in extents.filter_map(Result::ok).take_while(|e| e.file_offset < part.end) {
            let Some(layer) = self.layers.get(usize::from(extent.layer)) else { return };
            let (from, to) = (part.start.max(extent.file_offset), part.end.min(extent.end()));
            if from < to {
                layer.expect(extent.layer_offset + (from - extent.file_offset), to - from);
            }
        }
    }

    /// Has fetched what `file` is started with.
    fn look_into(&mut self, file: &Found) {
        if self.looked_into.len() >= FILES_MAX || !self.looked_into.insert(file.ino) {
            return;
        }
        let Some(head) = self.read(file.ino, 0..HEAD_LEN as u64) else { return };
        if let Some(interpreter) = elf::script_interpreter(&head) {
            self.take(&String::from_utf8_lossy(interpreter), true, CODE_MAX);
            return;
        }
        let Some(elf) = Elf::parse(&head) else { return };
        if let Some(path) = elf.interpreter.clone().and_then(|place| self.name(file.ino, place)) {
            self.take(&path, true, CODE_MAX);
        }
        // Of what a program names, and of itself.
        let code_max = if elf.interpreter.is_some() { CODE_MAX } else { 0 };
        if self.tree.node(file.ino).is_ok_and(|node| node.size > WHOLE_MAX) {
            for part in &elf.linked {
                let most = part.start.saturating_add(LINKED_MAX);
                self.expect(file.ino, part.start..part.end.min(most));
            }
            let most = code_max.max(file.code_max);
            match elf.code.clone().map(|code| (code.end - code.start, code)) {
                Some((len, code)) if len <= most.min(SOON_MAX) => self.expect(file.ino, code),
                Some((len, code)) if len <= most => self.late.push_back((file.ino, code)),
                Some(_) | None => {}
            }
        }
        let Some(dynamic) = elf.dynamic.clone() else { return };
        let Some(dynamic) = self.read(file.ino, dynamic) else { return };
        let needs = elf.needs(&dynamic);
        let own = needs.folders.and_then(|place| self.name(file.ino, place)).unwrap_or_default();
        let origin = match &file.folder {
            Some(folder) => folder.clone(),
            None if own.contains("ORIGIN") => self.folder_of(file.ino).unwrap_or_default(),
            None => String::new(),
        };
        let own = own.split(':').filter(|folder| !folder.is_empty());
        let own: Vec<String> = own
            .map(|folder| folder.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", &origin))
            .collect();
        for name in needs.libraries {
            let Some(name) = self.name(file.ino, name) else { continue };
            if name.contains('/') {
                self.take(&name, false, code_max);
                continue;
            }
            let mut folders = own.iter().map(String::as_str).chain(LIBRARIES);
            folders.any(|folder| self.take(&format!("{folder}/{name}"), false, code_max));
        }
    }

    /// The path of a folder that has a file in it.
    fn folder_of(&self, ino: u32) -> Option<String> {
        let mut folders = VecDeque::from([(ROOT, String::new())]);
        let mut names = 0;
        while let Some((folder, path)) = folders.pop_front() {
            for child in self.tree.children(folder, 0).ok()? {
                let child = child.ok()?;
                names += 1;
                if child.ino == ino || names > NAMES_MAX {
                    return (child.ino == ino).then_some(path);
                }
                if child.file_type == FileType::Directory {
                    let name = String::from_utf8_lossy(child.name);
                    folders.push_back((child.ino, format!("{path}/{name}")));
                }
            }
        }
        None
    }

    /// The text in a file that ends at its first 0.
    fn name(&self, ino: u32, place: Range<u64>) -> Option<String> {
        let bytes = self.read(ino, place)?;
        let text = bytes.split(|byte| *byte == 0).next()?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// The bytes at `place` of a file, as far as it goes and they are in one extent.
    fn read(&self, ino: u32, place: Range<u64>) -> Option<Vec<u8>> {
        let mut extents = self.tree.extents(ino, place.start).ok()?;
        let extent = extents.find_map(|e| e.ok().filter(|e| e.end() > place.start))?;
        let skip = place.start.checked_sub(extent.file_offset)?;
        let len = place.end.min(extent.end()).checked_sub(place.start)?;
        let mut bytes = vec![0; usize::try_from(len.min(DYNAMIC_MAX)).ok()?];
        let layer = self.layers.get(usize::from(extent.layer))?;
        layer.read_exact_at(&mut bytes, extent.layer_offset.checked_add(skip)?).ok()?;
        Some(bytes)
    }
}
