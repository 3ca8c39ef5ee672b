//! `snapshot`: the snapshotter at the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::Kind as ErrorKind;
use crate::rootfs::Records;
use crate::snapshot::{
    Backend, Filter, Info, Kind, Labels, Mount, OverlaySnapshotter, Owner, Snapshotter, mounter,
};

use super::advice::explain;
use super::args::SnapshotVerb;
use super::chains::Chains;
use super::failure::Failure;
use super::output::{Output, human_size};
use super::wire::Wire;

/// Runs a verb of `snapshot`.
pub(crate) fn run(wire: &Wire, verb: &SnapshotVerb, out: Output) -> Result<(), Failure> {
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    match verb {
        SnapshotVerb::Ls { filters } => ls(&snapshots, filters, out),
        SnapshotVerb::Stat { key } => {
            let info = snapshots.stat(key).map_err(explain)?;
            out.show(&Shown::of(&info), |shown| shown.text())
        }
        SnapshotVerb::Prepare(new) => {
            let labels = labels(&new.labels)?;
            let mounts = snapshots.prepare(&new.key, new.parent.as_deref(), &labels);
            show_mounts(&mounts.map_err(explain)?, out)
        }
        SnapshotVerb::View(new) => {
            let labels = labels(&new.labels)?;
            let mounts = snapshots.view(&new.key, new.parent.as_deref(), &labels);
            show_mounts(&mounts.map_err(explain)?, out)
        }
        SnapshotVerb::Mounts { key } => show_mounts(&snapshots.mounts(key).map_err(explain)?, out),
        SnapshotVerb::Mount { key, target } => mount(&snapshots, key, target, out),
        SnapshotVerb::Commit { name, key, labels: given } => {
            let labels = labels(given)?;
            snapshots.commit(name, key, None, &labels).map_err(explain)?;
            let info = snapshots.stat(name).map_err(explain)?;
            out.show(&Shown::of(&info), |_| String::new())
        }
        SnapshotVerb::Rm { keys } => rm(&snapshots, keys, out),
        SnapshotVerb::Usage { keys } => usage(&snapshots, keys, out),
        SnapshotVerb::Label { key, labels } => label(&snapshots, key, labels, out),
        SnapshotVerb::Tree => tree(&snapshots, out),
        SnapshotVerb::Gc => gc(wire, &backend, &snapshots, out),
    }
}

fn labels(given: &[String]) -> Result<Labels, Failure> {
    given
        .iter()
        .map(|label| match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::new(
                ErrorKind::InvalidArgument,
                format!("label {label:?} is not KEY=VALUE"),
            )
            .hint("KEY=VALUE sets a label, KEY= removes it")),
        })
        .collect()
}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    kind: &'static str,
    parent: Option<String>,
    labels: BTreeMap<String, String>,
    created: String,
    updated: String,
}

impl Shown {
    fn of(info: &Info) -> Self {
        Self {
            name: info.name.clone(),
            kind: info.kind.name(),
            parent: info.parent.clone(),
            labels: info.labels.clone(),
            created: time(info.created),
            updated: time(info.updated),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _infallible = writeln!(text, "{name:>8}: {value}");
        };
        line("name", &self.name);
        line("kind", self.kind);
        line("parent", self.parent.as_deref().unwrap_or("none"));
        line("created", &self.created);
        line("updated", &self.updated);
        for (key, value) in &self.labels {
            line("label", &format!("{key}={value}"));
        }
        text
    }
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

fn all(snapshots: &OverlaySnapshotter, filter: &Filter) -> Result<Vec<Info>, Failure> {
    let mut infos = Vec::new();
    snapshots.walk(filter, &mut |info| {
        infos.push(info);
        ControlFlow::Continue(())
    })?;
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

fn ls(snapshots: &OverlaySnapshotter, filters: &[String], out: Output) -> Result<(), Failure> {
    let filter = Filter::parse(filters).map_err(|e| explain(e.into()))?;
    let shown: Vec<Shown> = all(snapshots, &filter)?.iter().map(Shown::of).collect();
    out.show(&shown, |shown| {
        let width = shown.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        shown
            .iter()
            .map(|s| {
                let parent = s.parent.as_deref().unwrap_or("");
                format!("{:width$}  {:9}  {parent}\n", s.name, s.kind)
            })
            .collect()
    })
}

#[derive(Debug, Serialize)]
struct MountShown<'a> {
    #[serde(rename = "type")]
    fs_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    target: &'a str,
    options: &'a [String],
}

fn show_mounts(mounts: &[Mount], out: Output) -> Result<(), Failure> {
    let shown: Vec<MountShown<'_>> = mounts
        .iter()
        .map(|m| MountShown {
            fs_type: &m.fs_type,
            source: &m.source,
            target: &m.target,
            options: &m.options,
        })
        .collect();
    out.show(&shown, |shown| {
        let line = |m: &MountShown<'_>| {
            format!("mount -t {} {} -o {} TARGET\n", m.fs_type, m.source, m.options.join(","))
        };
        shown.iter().map(line).collect()
    })
}

#[derive(Debug, Serialize)]
struct MountedShown<'a> {
    key: &'a str,
    target: String,
}

fn mount(
    snapshots: &OverlaySnapshotter,
    key: &str,
    target: &Path,
    out: Output,
) -> Result<(), Failure> {
    let target = target.canonicalize().map_err(|e| {
        Failure::new(ErrorKind::of_io(&e), format!("{}: {e}", target.display()))
            .hint("snapshots are mounted on folders that exist: make it first")
    })?;
    let mounts = snapshots.mounts(key).map_err(explain)?;
    mounter::mount(&mounts, &target).map_err(explain)?;
    let shown = MountedShown { key, target: target.display().to_string() };
    out.show(&shown, |_| String::new())
}

#[derive(Debug, Serialize)]
struct Removed<'a> {
    removed: &'a [String],
}

fn rm(snapshots: &OverlaySnapshotter, keys: &[String], out: Output) -> Result<(), Failure> {
    for key in keys {
        snapshots.remove(key).map_err(explain)?;
    }
    snapshots.cleanup().map_err(explain)?;
    out.show(&Removed { removed: keys }, |_| String::new())
}

#[derive(Debug, Serialize)]
struct UsageShown {
    name: String,
    size: u64,
    inodes: u64,
}

fn usage(snapshots: &OverlaySnapshotter, keys: &[String], out: Output) -> Result<(), Failure> {
    let everything = Filter::default();
    let keys: Vec<String> = if keys.is_empty() {
        all(snapshots, &everything)?.into_iter().map(|info| info.name).collect()
    } else {
        keys.to_vec()
    };
    let mut shown = Vec::new();
    for name in keys {
        let usage = snapshots.usage(&name).map_err(explain)?;
        shown.push(UsageShown { name, size: usage.size, inodes: usage.inodes });
    }
    out.show(&shown, |shown| {
        shown
            .iter()
            .map(|u| format!("{:>12} {:>8} {}\n", human_size(u.size), u.inodes, u.name))
            .collect()
    })
}

fn label(
    snapshots: &OverlaySnapshotter,
    key: &str,
    given: &[String],
    out: Output,
) -> Result<(), Failure> {
    let labels = labels(given)?;
    let paths: Vec<String> = labels.keys().map(|name| format!("labels.{name}")).collect();
    let info = snapshots.update(key, &labels, &paths).map_err(explain)?;
    out.show(&Shown::of(&info), |shown| shown.text())
}

#[derive(Debug, Serialize)]
struct Branch {
    name: String,
    kind: &'static str,
    size: u64,
    children: Vec<Branch>,
}

/// Draws the snapshots, each above what it stands on.
fn tree(snapshots: &OverlaySnapshotter, out: Output) -> Result<(), Failure> {
    let infos = all(snapshots, &Filter::default())?;
    let mut sizes = BTreeMap::new();
    for info in &infos {
        sizes.insert(info.name.clone(), snapshots.usage(&info.name)?.size);
    }
    let mut roots: Vec<Branch> = Vec::new();
    // Children first, without recursion: chains are as long as images have layers.
    let mut done: BTreeMap<Option<String>, Vec<Branch>> = BTreeMap::new();
    for info in by_depth(&infos) {
        let children = done.remove(&Some(info.name.clone())).unwrap_or_default();
        let size = sizes.get(&info.name).copied().unwrap_or(0);
        let branch = Branch { name: info.name.clone(), kind: info.kind.name(), size, children };
        match &info.parent {
            Some(parent) => done.entry(Some(parent.clone())).or_default().push(branch),
            None => roots.push(branch),
        }
    }
    roots.sort_by(|a, b| a.name.cmp(&b.name));
    out.show(&roots, |roots| {
        let mut text = String::new();
        roots.iter().for_each(|root| draw(root, "", "", &mut text));
        text
    })
}

/// The snapshots, those with the longest line of parents first.
fn by_depth(infos: &[Info]) -> Vec<&Info> {
    let parents: BTreeMap<&str, Option<&str>> =
        infos.iter().map(|i| (i.name.as_str(), i.parent.as_deref())).collect();
    let depth = |info: &Info| {
        std::iter::successors(info.parent.as_deref(), |name| parents.get(name).copied().flatten())
            .count()
    };
    let mut sorted: Vec<&Info> = infos.iter().collect();
    sorted.sort_by_cached_key(|info| std::cmp::Reverse(depth(info)));
    sorted
}

fn draw(branch: &Branch, first: &str, indent: &str, text: &mut String) {
    let size = human_size(branch.size);
    let kind = if branch.kind == Kind::Committed.name() { "" } else { branch.kind };
    let _infallible = writeln!(text, "{first}{} {size} {kind}", branch.name);
    for (i, child) in branch.children.iter().enumerate() {
        let last = i + 1 == branch.children.len();
        let (elbow, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw(child, &format!("{indent}{elbow}"), &format!("{indent}{below}"), text);
    }
}

#[derive(Debug, Serialize)]
struct Collected {
    trees: usize,
    indexes: usize,
    cached_layers: usize,
}

/// What the mounts of images need.
pub(super) fn mounted(wire: &Wire) -> Result<BTreeSet<Digest>, Failure> {
    let mut digests = BTreeSet::new();
    for record in Records::open(&wire.config().run_root)?.list()? {
        let chain = record.is_served().then(|| record.chain_id.parse()).transpose()?;
        if let Some(chain) = chain {
            digests.extend(wire.store()?.digests_of(&chain)?);
        }
    }
    Ok(digests)
}

fn gc(
    wire: &Wire,
    backend: &Backend,
    snapshots: &OverlaySnapshotter,
    out: Output,
) -> Result<(), Failure> {
    let mounted = mounted(wire)?;
    let collected = backend.collect(&|digest| mounted.contains(digest))?;
    snapshots.cleanup()?;
    let shown = Collected {
        trees: collected.trees,
        indexes: collected.indexes,
        cached_layers: collected.cached,
    };
    out.show(&shown, |c| {
        format!(
            "deleted {} trees, {} indexes and the cached data of {} layers\n",
            c.trees, c.indexes, c.cached_layers
        )
    })
}
