//! Deletes removed folders, in a thread of its own.
//!
//! Containers may have left anything: trees deeper than any path, mounts inside, files that cannot
//! be deleted. Nothing that is mounted is entered, no lock is held, the number of open folders is
//! bounded; what cannot be deleted stays in the trash for the next time.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::folders::Folders;
use crate::sys::Dir;

/// How many folders are held open; folders below are moved to the top of the trash first.
const MAX_OPEN: usize = 64;

/// A folder whose entries are being deleted.
struct Level {
    dir: Dir,
    name: Box<[u8]>,
    rest: Vec<Box<[u8]>>,
}

/// Deletes all that is in the trash until `stop` says so.
///
/// Several callers, in several processes, may do so at once.
pub(super) fn empty(folders: &Folders, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let trash = folders.trash();
    let (mut stayed, mut moved) = (0, 0);
    loop {
        let names = trash.names()?;
        // What stays is seen again each time around.
        if names.len() <= stayed || stop() {
            folders.reserve().restore();
            return Ok(());
        }
        stayed = 0;
        for name in names {
            if let Err(e) = delete(trash, &name, &mut moved, stop) {
                stayed += 1;
                report(&name, &e);
            }
            if stop() {
                break;
            }
        }
    }
}

/// Deletes `name` of `trash`, and all of it that can be where some cannot.
fn delete(trash: &Dir, name: &[u8], moved: &mut u64, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let mut first_error = None;
    let mut levels: Vec<Level> = delete_file(trash, name)?.into_iter().collect();
    while let Some(level) = levels.last_mut() {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let step = match level.rest.pop() {
            Some(child) => match delete_file(&level.dir, &child) {
                Ok(Some(_)) if levels.len() >= MAX_OPEN => move_up(trash, &levels, &child, moved),
                Ok(below) => {
                    levels.extend(below);
                    Ok(())
                }
                Err(e) => Err(e),
            },
            None => {
                let Some(done) = levels.pop() else { break };
                let above = levels.last().map_or(trash, |level| &level.dir);
                gone(above.remove_dir(&done.name))
            }
        };
        if let Err(e) = step {
            first_error.get_or_insert(e);
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Something that is mounted inside is the business of whoever mounted it.
fn report(name: &[u8], error: &io::Error) {
    let name = String::from_utf8_lossy(name);
    match error.raw_os_error() {
        Some(libc::EXDEV | libc::EBUSY) => {
            tracing::debug!(%name, %error, "a mount keeps a removed snapshot from being deleted");
        }
        // It was stopped, or another deleted it at the same time.
        _ if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound) => {}
        _ => tracing::warn!(%name, %error, "a removed snapshot cannot be deleted yet"),
    }
}

/// What is gone already need not be deleted.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Deletes the file `name`, or opens the folder of that name; `None` where there is nothing left.
fn delete_file(dir: &Dir, name: &[u8]) -> io::Result<Option<Level>> {
    match dir.remove_file(name) {
        Ok(()) => return Ok(None),
        Err(e) => match e.raw_os_error() {
            Some(libc::ENOENT) => return Ok(None),
            Some(libc::EISDIR) => {}
            _ => return Err(e),
        },
    }
    let opened = match dir.open_dir_of_same_mount(name) {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            dir.set_child_mode(name, 0o700)?;
            dir.open_dir_of_same_mount(name)
        }
        other => other,
    };
    match opened {
        Ok(child) => {
            let rest = child.names()?;
            Ok(Some(Level { dir: child, name: name.into(), rest }))
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Moves the folder `child` of the lowest level to the top of the trash, where its turn comes.
fn move_up(trash: &Dir, levels: &[Level], child: &[u8], moved: &mut u64) -> io::Result<()> {
    let Some(lowest) = levels.last() else { return Ok(()) };
    loop {
        *moved += 1;
        let name = format!("deep.{}.{moved}", std::process::id());
        match lowest.dir.rename_to_new(child, trash, name.as_bytes()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return gone(other),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    work: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

/// The thread that empties the trash whenever it is told to.
#[derive(Debug)]
pub(super) struct Collector {
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Collector {
    pub(super) fn start(folders: Arc<Folders>) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let theirs = Arc::clone(&signal);
        let run = move || theirs.run(&folders);
        let thread = std::thread::Builder::new().name("snapshot-trash".to_owned()).spawn(run)?;
        Ok(Self { signal, thread: Mutex::new(Some(thread)) })
    }

    /// Says that there is something in the trash.
    pub(super) fn wake(&self) {
        self.signal.state.lock().work = true;
        self.signal.changed.notify_one();
    }

    /// Ends the thread, after the file that it is deleting.
    pub(super) fn stop(&self) {
        self.signal.state.lock().stop = true;
        self.signal.changed.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that deletes removed snapshots panicked");
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Signal {
    fn run(&self, folders: &Folders) {
        loop {
            let mut state = self.state.lock();
            while !state.work && !state.stop {
                self.changed.wait(&mut state);
            }
            if state.stop {
                return;
            }
            state.work = false;
            drop(state);
            if let Err(e) = empty(folders, &|| self.state.lock().stop) {
                tracing::warn!(error = %e, "the trash of removed snapshots cannot be listed");
            }
        }
    }
}
