use std::fmt::Write as _;

use serde::Serialize;

use crate::checkpoint::{self, Keep};

use crate::cli::args::CheckpointInspectArgs;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, human_size};
use crate::cli::wire::Wire;

#[derive(Debug, Serialize)]
struct Shown {
    form: &'static str,
    image: Option<String>,
    image_digest: Option<String>,
    container: Option<String>,
    checkpointed: Option<String>,
    snapshotter: Option<String>,
    runtime: Option<String>,
    command: Vec<String>,
    members: Vec<MemberShown>,
    changed_files: usize,
    changed_bytes: u64,
    changed: Vec<FileShown>,
    deleted: Vec<String>,
    processes: Vec<ProcessShown>,
}

#[derive(Debug, Serialize)]
struct MemberShown {
    name: String,
    size: u64,
    digest: Option<String>,
}

#[derive(Debug, Serialize)]
struct FileShown {
    path: String,
    size: u64,
}

#[derive(Debug, Serialize)]
struct ProcessShown {
    pid: u32,
    parent: u32,
    threads: usize,
    name: Option<String>,
}

/// Shows the checkpoint; nothing is made of it.
pub(super) fn run(wire: &Wire, args: &CheckpointInspectArgs, out: Output) -> Result<(), Failure> {
    let checkpoint = super::open(wire, &args.reference, Keep::Described)?;
    let inspection = checkpoint::inspect(&checkpoint)?;
    let config = checkpoint.config.as_ref();
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let name = config.and_then(|c| given(&c.name).or_else(|| given(&c.id)));
    let shown = Shown {
        form: checkpoint.form.name(),
        image: checkpoint.base.name.clone(),
        image_digest: checkpoint.base.carried.as_ref().map(|(_, d)| d.digest.to_string()),
        container: name,
        checkpointed: config.and_then(|c| given(&c.checkpointed)),
        snapshotter: checkpoint.snapshotter.clone(),
        runtime: checkpoint.runtime.name.clone(),
        command: checkpoint.spec.as_ref().map(checkpoint::Spec::args).unwrap_or_default(),
        members: checkpoint
            .members
            .iter()
            .map(|m| MemberShown {
                name: m.name.clone(),
                size: m.size,
                digest: m.digest.as_ref().map(ToString::to_string),
            })
            .collect(),
        changed_files: inspection.changed.len(),
        changed_bytes: inspection.changed.iter().map(|c| c.size).sum(),
        changed: inspection
            .changed
            .into_iter()
            .take(args.files)
            .map(|c| FileShown { path: c.path, size: c.size })
            .collect(),
        deleted: inspection.deleted,
        processes: inspection
            .processes
            .into_iter()
            .map(|p| ProcessShown {
                pid: p.pid,
                parent: p.parent,
                threads: p.threads,
                name: p.name,
            })
            .collect(),
    };
    out.show(&shown, text)
}

fn text(shown: &Shown) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _infallible = writeln!(text, "{name:>12}: {value}");
    };
    let none = || "not in the checkpoint".to_owned();
    line("form", shown.form);
    line("image", &shown.image.clone().unwrap_or_else(none));
    let optional = [
        ("image digest", &shown.image_digest),
        ("container", &shown.container),
        ("checkpointed", &shown.checkpointed),
        ("snapshotter", &shown.snapshotter),
        ("runtime", &shown.runtime),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            line(name, value);
        }
    }
    let command = shown.command.join(" ");
    line("command", if command.is_empty() { "that of the image" } else { &command });
    text.push_str("\nmembers\n");
    for member in &shown.members {
        let digest = member.digest.as_deref().unwrap_or_default();
        let size = human_size(member.size);
        let _infallible = writeln!(text, "{size:>12}  {}  {digest}", member.name);
    }
    let bytes = human_size(shown.changed_bytes);
    let _infallible = writeln!(text, "\nchanged: {} files, {bytes}", shown.changed_files);
    for file in &shown.changed {
        let _infallible = writeln!(text, "{:>12}  {}", human_size(file.size), file.path);
    }
    if shown.changed.len() < shown.changed_files {
        let more = shown.changed_files - shown.changed.len();
        let _infallible = writeln!(text, "{:>12}  and {more} more (--files N)", "");
    }
    if !shown.deleted.is_empty() {
        let _infallible = writeln!(text, "\ndeleted: {}", shown.deleted.len());
        for path in &shown.deleted {
            let _infallible = writeln!(text, "{:>12}  {path}", "");
        }
    }
    if !shown.processes.is_empty() {
        text.push_str("\nprocesses\n");
        for p in &shown.processes {
            let name = p.name.as_deref().unwrap_or("?");
            let _infallible =
                writeln!(text, "{:>12}  parent {}, {} threads: {name}", p.pid, p.parent, p.threads);
        }
    }
    text
}
