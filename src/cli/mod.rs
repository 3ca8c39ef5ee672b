//! The command line: pure arguments, then an effective configuration, then one match to a verb.
//!
//! Nothing here decides anything that a user of the library would want decided; `wire` is the only
//! place that builds concrete types.

mod advice;
mod apply;
mod args;
mod bundle;
mod cache;
mod chains;
mod checkpoint;
mod commit;
mod compare;
mod config;
mod container;
mod destination;
mod failure;
mod files;
mod graph;
mod in_use;
mod index;
mod inspect;
mod mount;
mod output;
mod pages;
mod progress;
mod rpull;
mod run;
mod runtime;
mod serve;
mod serve_config;
mod signals;
mod snapshot;
mod status;
mod transfer;
mod unpack;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::error::Kind;
use crate::telemetry;

use args::{Args, Verb};
use config::Config;
use failure::Failure;
use output::Output;
use serve_config::ServeConfig;
use wire::Wire;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    match start(Args::parse()) {
        Ok(code) => code,
        // Whoever reads our output has read enough.
        Err(failure) if failure.kind() == Kind::Canceled => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn start(args: Args) -> Result<ExitCode, Failure> {
    let Args { mut global, verb } = args;
    let mut file = ServeConfig::default();
    // The daemon has a file that says more; what was typed counts before it.
    if let Verb::Serve(a) = &verb {
        file = ServeConfig::load(a.config.as_deref())?;
        file.fill(&mut global);
    }
    let config = Config::new(&global);
    telemetry::init(&config.log, file.log_format())?;
    run(verb, config, &file)
}

fn run(verb: Verb, config: Config, file: &ServeConfig) -> Result<ExitCode, Failure> {
    let out = Output::new(config.json);
    let wire = Wire::new(config);
    let done = match verb {
        Verb::Mount(a) if a.foreground => mount::foreground(&wire, &a),
        Verb::Mount(a) => mount::background(&wire, &a, out),
        Verb::ServeMount(a) => mount::serve(&wire, &a),
        Verb::Umount(a) => mount::umount(&wire, &a),
        Verb::Mounts => mount::list(&wire, out),
        Verb::Status(a) => status::run(&wire, &a, out),
        Verb::Pull(a) => transfer::pull(&wire, &a, out),
        Verb::Push(a) => transfer::push(&wire, &a, out),
        Verb::Cache(a) => cache::run(&wire, &a, out),
        Verb::Ls(a) => files::ls(&wire, &a, out),
        Verb::Cat(a) => files::cat(&wire, &a, out),
        Verb::Stat(a) => files::stat(&wire, &a, out),
        Verb::Tree(a) => files::tree(&wire, &a, out),
        Verb::Inspect(a) => inspect::run(&wire, &a, out),
        Verb::Index(a) => index::run(&wire, &a, out),
        Verb::Bundle(a) => bundle::run(&wire, &a, out),
        Verb::Run(a) => return run::run(&wire, &a),
        Verb::Unpack(a) => unpack::run(&wire, &a, out),
        Verb::Apply(a) => apply::run(&wire, &a, out),
        Verb::Diff(a) => compare::run(&wire, &a, out),
        Verb::Commit(a) => commit::run(&wire, &a, out),
        Verb::Snapshot(a) => snapshot::run(&wire, &a, out),
        Verb::Serve(a) => serve::run(&wire, &a, file),
        Verb::Rpull(a) => rpull::run(&wire, &a, out),
        Verb::Hold(a) => serve::hold(&wire, &a),
        Verb::Config => serve_config::print(out),
        Verb::Checkpoint(a) => return checkpoint::run(&wire, &a, out),
        Verb::Ps => container::ps(&wire, out),
        Verb::Rm(a) => container::rm(&wire, &a),
        Verb::KeepContainer(a) => container::keep(&wire, &a),
        Verb::RaiseLoopback => container::raise_loopback(),
        Verb::Image(a) => graph::run(&wire, &a, out),
        Verb::Man => pages::man(out),
        Verb::Completions { shell } => pages::completions(shell, out),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Tells the user what went wrong and what to do.
fn report(failure: &Failure) -> ExitCode {
    let mut text = format!("stratafs: {failure}\n");
    if let Some(advice) = failure.advice() {
        text.push_str(&format!("  hint: {advice}\n"));
    }
    // Nobody is left to tell if this fails.
    let _closed = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(failure.code())
}
