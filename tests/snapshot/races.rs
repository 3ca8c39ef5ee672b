//! Several threads and processes on one state root.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use stratafs::error::{Classify, Kind as ErrorKind};
use stratafs::snapshot::{Backend, Labels, NoLayers, Options, Owner, Snapshotter};

use super::child;

const PROCESSES: usize = 4;
const KEYS: usize = 20;

fn open(root: &Path) -> Arc<Backend> {
    Backend::open(root, Arc::new(NoLayers), Options::default()).unwrap()
}

/// Prepares all keys, from two threads, and prints those that it won.
#[test]
#[ignore = "started by another test"]
fn prepare_all() {
    let snapshotter = open(Path::new(&child::told()[0])).snapshotter(Owner::Containerd);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for key in 0..KEYS {
                    let key = format!("key-{key}");
                    match snapshotter.prepare(&key, None, &Labels::new()) {
                        Ok(_) => println!("\nwon {key}"),
                        Err(e) => assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}"),
                    }
                }
            });
        }
    });
    println!("\ndone");
}

#[test]
fn one_of_many_processes_wins_each_key() {
    let root = tempfile::tempdir().unwrap();
    let children: Vec<_> =
        (0..PROCESSES).map(|_| child::spawn("races::prepare_all", root.path(), &[])).collect();
    let mut won = Vec::new();
    for mut child in children {
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(printed.lines().any(|line| line == "done"), "{printed}");
        won.extend(printed.lines().filter_map(|l| l.strip_prefix("won ")).map(str::to_owned));
    }
    won.sort();
    let mut keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key}")).collect();
    keys.sort();
    assert_eq!(won, keys);
    let snapshotter = open(root.path()).snapshotter(Owner::Containerd);
    for key in keys {
        let mounts = snapshotter.mounts(&key).unwrap();
        assert!(Path::new(&mounts[0].source).is_dir());
    }
    assert_eq!(std::fs::read_dir(root.path().join("snapshots")).unwrap().count(), KEYS);
}

#[test]
fn one_of_many_commits_of_a_name_wins() {
    let root = tempfile::tempdir().unwrap();
    let snapshotter = open(root.path()).snapshotter(Owner::Containerd);
    for round in 0..5 {
        let name = format!("name-{round}");
        let keys: Vec<String> = (0..4).map(|thread| format!("{name}-{thread}")).collect();
        for key in &keys {
            snapshotter.prepare(key, None, &Labels::new()).unwrap();
        }
        let won = std::thread::scope(|scope| {
            let commits: Vec<_> = keys
                .iter()
                .map(|key| scope.spawn(|| snapshotter.commit(&name, key, None, &Labels::new())))
                .collect();
            commits
                .into_iter()
                .map(|c| c.join().unwrap())
                .filter(|result| match result {
                    Ok(()) => true,
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}");
                        false
                    }
                })
                .count()
        });
        assert_eq!(won, 1);
    }
}

/// A key that one thread removes and prepares again and again is committed by another, or not, but
/// never half.
#[test]
fn a_commit_takes_the_snapshot_that_it_counted() {
    let root = tempfile::tempdir().unwrap();
    let snapshotter = open(root.path()).snapshotter(Owner::Containerd);
    let labels = Labels::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40 {
                let mounts = snapshotter.prepare("key", None, &labels);
                if let Ok(mounts) = mounts {
                    // One inode more than in the round before, so usage tells the rounds apart.
                    for file in 0..round {
                        let path = Path::new(&mounts[0].source).join(file.to_string());
                        std::fs::write(path, "").unwrap();
                    }
                }
                let _ = snapshotter.remove("key");
            }
        });
        scope.spawn(|| {
            for round in 0..40 {
                let name = format!("name-{round}");
                match snapshotter.commit(&name, "key", None, &labels) {
                    Ok(()) => {
                        let kept = snapshotter.usage(&name).unwrap().inodes;
                        assert!(kept <= 40);
                    }
                    Err(e) => {
                        assert!(matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Aborted), "{e}")
                    }
                }
            }
        });
    });
    let rows = std::fs::read_dir(root.path().join("snapshots")).unwrap().count();
    let mut seen = 0;
    snapshotter
        .walk(&stratafs::snapshot::Filter::all(), &mut |_| {
            seen += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(rows, seen);
}
