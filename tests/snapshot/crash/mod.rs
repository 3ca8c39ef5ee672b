//! Processes that are killed in the middle of changes: what they had finished is kept, what they
//! had begun is done or undone, nothing else is there.
//!
//! A child says each step before it takes it and how it went after it. Whoever killed it does the
//! same steps to a model; of the last step of each of its threads nobody knows whether it was
//! done, so the store may be in either state.

mod state;
mod step;
mod walker;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use stratafs::digest::ChainId;
use stratafs::snapshot::{Backend, LayerError, LayerMounter, Options, Owner, Snapshotter};

use self::state::State;
use self::step::{Step, decode};
use self::walker::{Random, Walker};
use super::child;
use super::model::Model;

/// How many processes the random test kills.
const KILLS: &str = "STRATAFS_TEST_KILLS";
const THREADS: usize = 2;

/// Chains that are folders on disk, each with a marker.
struct FolderLayers(PathBuf);

impl LayerMounter for FolderLayers {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let path = self.0.join(chain.digest().hex());
        fs::create_dir_all(&path).unwrap();
        Ok(path)
    }

    fn unmount(&self, _: &ChainId) -> Result<(), LayerError> {
        Ok(())
    }
}

fn open(root: &Path) -> Arc<Backend> {
    let layers = Arc::new(FolderLayers(root.join("shown")));
    Backend::open(root, layers, Options::default()).unwrap()
}

/// Takes random steps from several threads until it is killed.
#[test]
#[ignore = "started by another test"]
fn random_steps() {
    let told = child::told();
    let (root, name, seed) = (Path::new(&told[0]), &told[1], told[2].parse::<u64>().unwrap());
    let backend = open(root);
    let snapshotter = backend.snapshotter(Owner::Containerd);
    let found = Model::of(&snapshotter);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let prefix = format!("{name}{thread}-");
            let model = State { model: found.clone(), ..State::default() }.part(&prefix);
            let mut walker = Walker {
                snapshotter: &snapshotter,
                backend: &backend,
                root,
                prefix,
                state: model,
                random: Random(seed ^ (thread as u64) << 32),
                count: 0,
            };
            scope.spawn(move || {
                loop {
                    let step = walker.random_step();
                    walker.take(&step);
                }
            });
        }
    });
}

/// Takes one step of each kind.
#[test]
#[ignore = "started by another test"]
fn fixed_steps() {
    let told = child::told();
    let root = Path::new(&told[0]);
    let backend = open(root);
    let mut walker = Walker {
        snapshotter: &backend.snapshotter(Owner::Containerd),
        backend: &backend,
        root,
        prefix: "f-".to_owned(),
        state: State::default(),
        random: Random(0),
        count: 0,
    };
    for words in [
        "prepare f-a  1",
        "write f-a m1 ",
        "commit f-a f-c 2",
        "prepare f-b f-c 3",
        "write f-b m2 ",
        "view f-v f-c 4",
        "update f-b  5",
        "lazy f-l  m3",
        "prepare f-d f-l 6",
        "commit f-b f-e 7",
        "remove f-v  ",
        "remove f-e  ",
        "remove f-d  ",
        "remove f-l  ",
        "cleanup   ",
    ] {
        walker.take(&decode(words));
    }
    println!("\ndone");
}

/// Brings `before` to what a killed child has said, and panics unless `found` is that, with the
/// last step of each of its threads done or not.
fn settle(before: &State, said: &str, found: &State) -> State {
    let mut steps: BTreeMap<String, (State, Option<Step>)> = BTreeMap::new();
    let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (Some(prefix), Some(sign), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if !matches!(sign, ">" | "<") {
            continue;
        }
        let (state, pending) =
            steps.entry(prefix.to_owned()).or_insert_with(|| (before.part(prefix), None));
        if sign == ">" {
            *pending = Some(decode(rest));
        } else if let Some(step) = pending.take() {
            assert_eq!(format!("{:?}", state.apply(&step)), rest, "{step:?}");
        }
    }
    let mut after = before.clone();
    for (prefix, (undone, pending)) in steps {
        let mut done = undone.clone();
        let _ = pending.as_ref().map(|step| done.apply(step));
        let part = found.part(&prefix);
        assert!(
            part == undone || part == done,
            "killed in {pending:?}: found {part:#?}, expected {undone:#?} or {done:#?}"
        );
        after.model.0.retain(|key, _| !key.starts_with(&prefix));
        after.markers.retain(|key, _| !key.starts_with(&prefix));
        after.model.0.extend(part.model.0);
        after.markers.extend(part.markers);
    }
    assert_eq!(&after, found, "something that no child touched has changed");
    after
}

/// Kills `child` after it has said something and then `delay`, and returns all that it said.
fn kill(mut child: Child, delay: Duration) -> String {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains(" > ") {
        assert!(output.read_line(&mut said).unwrap() > 0, "the child ended: {said}");
    }
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    });
    std::thread::sleep(delay);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    said.push_str(&reader.join().unwrap());
    assert!(running, "the child ended by itself: {said}");
    said
}

/// Opens the store again, which sweeps, and settles what the children said.
fn check(root: &Path, before: &State, said: &str) -> State {
    let backend = open(root);
    let after = settle(before, said, &State::found(root));
    backend.snapshotter(Owner::Containerd).cleanup().unwrap();
    assert_eq!(fs::read_dir(root.join("trash")).unwrap().count(), 0);
    assert_eq!(State::found(root), after, "a cleanup changes nothing that is there");
    after
}

#[test]
fn processes_killed_at_random_leave_all_or_nothing_of_a_step() {
    let kills: usize = std::env::var(KILLS).map_or(25, |kills| kills.parse().unwrap());
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let seed = (u64::from(std::process::id()) << 32) ^ u64::from(now.subsec_nanos());
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut state = State::default();
    let mut said_in_all = 0;
    for _ in 0..kills.div_ceil(2) {
        // Two at once: what one leaves must not be in the way of the other.
        let children = ["x", "y"].map(|name| {
            let words = [name.to_owned(), random.below(usize::MAX).to_string()];
            child::spawn("crash::random_steps", root.path(), &words)
        });
        let mut said = String::new();
        for child in children {
            let delay = Duration::from_micros(random.below(40_000) as u64);
            said.push_str(&kill(child, delay));
            // A line that was cut off is no line.
            said.truncate(said.rfind('\n').map_or(0, |end| end + 1));
        }
        said_in_all += said.matches(" < ").count();
        state = check(root.path(), &state, &said);
    }
    assert!(said_in_all > kills, "the children did next to nothing");
}

/// The calls by which something changes on disk.
const CALLS: &str = "mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,unlink,unlinkat,\
                     rmdir,fsync,fdatasync,syncfs,pwrite64,ftruncate,fchmod,fchown,utimensat,write";

/// A process killed as it enters each of the system calls in turn; each fifth unless all of
/// [`KILLS`] are wanted.
#[test]
fn a_process_killed_at_any_call_leaves_all_or_nothing_of_a_step() {
    let kills: usize = std::env::var(KILLS).map_or(25, |kills| kills.parse().unwrap());
    let stride = if kills < 500 { 5 } else { 1 };
    for call in (1..).step_by(stride) {
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("trace={CALLS}"))
            .arg("-e")
            .arg(format!("inject={CALLS}:signal=KILL:when={call}"))
            .arg(std::env::current_exe().unwrap());
        let mut child = child::spawn_by(strace, "crash::fixed_steps", root.path(), &[]);
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        if said.ends_with("\ndone\n") || said.contains("\ndone\n") {
            assert!(call > 100, "only {call} calls: are they traced?");
            return;
        }
        check(root.path(), &State::default(), &said);
    }
}
