//! Times the calls of the snapshotter on one state root: `snapshot_rates ROOT [COUNT [nosync]]`.
//!
//! Prints one line a call: its name, how often it was made, and the seconds of all together.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for measurements")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use stratafs::snapshot::{Backend, Filter, Labels, NoLayers, Options, Owner, Snapshotter};

fn time(name: &str, count: usize, call: impl FnMut(usize)) {
    let start = Instant::now();
    (0..count).for_each(call);
    println!("{name} {count} {:.6}", start.elapsed().as_secs_f64());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap();
    let count = arguments.next().map_or(1000, |count| count.parse().unwrap());
    let sync_on_commit = arguments.next().is_none_or(|word| word != "nosync");
    let options = Options { sync_on_commit, ..Options::default() };
    let backend = Backend::open(Path::new(&root), Arc::new(NoLayers), options).unwrap();
    let snapshotter = backend.snapshotter(Owner::CommandLine);
    // As many as CRI gives an image's layer.
    let labels: Labels =
        (0..5).map(|n| (format!("containerd.io/snapshot/label-{n}"), "v".repeat(80))).collect();

    snapshotter.prepare("base-key", None, &labels).unwrap();
    snapshotter.commit("base", "base-key", None, &labels).unwrap();
    let key = |n: usize| format!("key-{n}");
    let name = |n: usize| format!("name-{n}");
    time("prepare", count, |n| drop(snapshotter.prepare(&key(n), Some("base"), &labels).unwrap()));
    time("mounts", count, |n| drop(snapshotter.mounts(&key(n)).unwrap()));
    time("usage", count, |n| {
        snapshotter.usage(&key(n)).unwrap();
    });
    time("commit", count, |n| snapshotter.commit(&name(n), &key(n), None, &labels).unwrap());
    time("stat", count, |n| drop(snapshotter.stat(&name(n)).unwrap()));
    let sent = r#"labels."containerd.io/snapshot.ref"==sha256:5ae9,parent=="""#;
    for (call, filter) in [("walk", ""), ("walk-filter", sent)] {
        let filter = Filter::parse(&[filter]).unwrap();
        time(call, 20, |_| snapshotter.walk(&filter, &mut |_| ControlFlow::Continue(())).unwrap());
    }
    time("remove", count, |n| snapshotter.remove(&name(n)).unwrap());
    time("cleanup", 1, |_| snapshotter.cleanup().unwrap());
}
