use std::env;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::ValueEnum;

use super::args::{Global, ModeName, PrefetchName};
use crate::chain::{Prefetch, Trusted};
use crate::erofs::Mode;

/// What holds for one run of the program: the arguments, with the environment and the defaults
/// filled in.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The state root: indexes, trees, caches, snapshots.
    pub(crate) root: PathBuf,
    /// The folder of live mounts.
    pub(crate) run_root: PathBuf,
    /// JSON instead of text.
    pub(crate) json: bool,
    /// The platform that was asked for, as it was typed.
    pub(crate) platform: Option<String>,
    /// Whether progress bars are wanted; they are shown on a terminal only.
    pub(crate) progress: bool,
    /// The log level.
    pub(crate) log: String,
    /// How images are mounted.
    pub(crate) mode: ModeName,
    /// What is believed though images do not vouch for it.
    pub(crate) trust: Vec<Trusted>,
    /// The most bytes of layers that are kept; a tenth of the disk if it is not said.
    pub(crate) cache_limit: Option<ByteSize>,
    /// What is fetched before a read wants it.
    pub(crate) prefetch: PrefetchName,
    /// Folders of registry hosts, the best first; empty for the usual ones.
    pub(crate) hosts_dirs: Vec<PathBuf>,
    /// Where docker and podman keep credentials, the best first.
    pub(crate) auth_files: Vec<PathBuf>,
}

impl Config {
    /// The configuration of this run.
    pub(crate) fn new(global: &Global) -> Self {
        let given = global.root.clone().or_else(|| path_variable("STRATAFS_ROOT"));
        let run_root =
            global.run_root.clone().or_else(|| path_variable("STRATAFS_RUN")).unwrap_or_else(
                || match &given {
                    Some(root) => root.join("run"),
                    None => default_run_root(),
                },
            );
        Self {
            root: absolute(given.unwrap_or_else(default_root)),
            run_root: absolute(run_root),
            json: global.json,
            platform: global.platform.clone(),
            progress: !global.no_progress && !global.json,
            log: global.log.clone().unwrap_or_else(|| "warn".to_owned()),
            mode: global.mode.or_else(mode_variable).unwrap_or(ModeName::Auto),
            trust: [global.trust_index.clone(), trust_variable()].concat(),
            cache_limit: global.cache_limit.or_else(cache_limit_variable),
            prefetch: global.prefetch.or_else(prefetch_variable).unwrap_or(PrefetchName::All),
            hosts_dirs: hosts_dirs(global),
            auth_files: auth_files(),
        }
    }
}

/// The path without `.` and with the current folder in front, so that a daemon may change its own.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// What `STRATAFS_TRUST_INDEX` says, separated by commas; what is no digest is not believed.
fn trust_variable() -> Vec<Trusted> {
    let text = env::var("STRATAFS_TRUST_INDEX").unwrap_or_default();
    text.split(',').filter_map(|item| item.trim().parse().ok()).collect()
}

fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// What is no name of a mode counts as none.
fn mode_variable() -> Option<ModeName> {
    ModeName::from_str(env::var("STRATAFS_MODE").ok()?.trim(), true).ok()
}

/// What is no size counts as none.
fn cache_limit_variable() -> Option<ByteSize> {
    env::var("STRATAFS_CACHE_LIMIT").ok()?.trim().parse().ok()
}

/// What is no name counts as none.
fn prefetch_variable() -> Option<PrefetchName> {
    PrefetchName::from_str(env::var("STRATAFS_PREFETCH").ok()?.trim(), true).ok()
}

impl From<PrefetchName> for Prefetch {
    fn from(name: PrefetchName) -> Self {
        match name {
            PrefetchName::None => Prefetch::None,
            PrefetchName::Trace => Prefetch::Trace,
            PrefetchName::All => Prefetch::All,
        }
    }
}

impl PrefetchName {
    /// As it is typed.
    pub(crate) fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Auto => Mode::Auto,
            ModeName::Erofs => Mode::Erofs,
            ModeName::Fuse => Mode::Fuse,
        }
    }
}

impl ModeName {
    /// As it is typed.
    pub(crate) fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

fn hosts_dirs(global: &Global) -> Vec<PathBuf> {
    let mut dirs = global.hosts_dir.clone();
    if dirs.is_empty() {
        dirs.extend(path_variable("STRATAFS_HOSTS_DIR"));
    }
    dirs.into_iter().map(absolute).collect()
}

/// Where docker (`docker login`) and podman (`containers-auth.json(5)`) keep credentials.
fn auth_files() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let of_docker = path_variable("DOCKER_CONFIG").or_else(|| in_home(".docker"));
    let of_run = path_variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers"));
    let of_podman = path_variable("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
    let files = [
        path_variable("REGISTRY_AUTH_FILE"),
        of_docker.map(|dir| dir.join("config.json")),
        of_run.map(|dir| dir.join("auth.json")),
        Some(format!("/run/containers/{uid}/auth.json").into()),
        of_podman.map(|dir| dir.join("containers/auth.json")),
    ];
    files.into_iter().flatten().collect()
}

fn in_home(path: &str) -> Option<PathBuf> {
    path_variable("HOME").map(|home| home.join(path))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn default_root() -> PathBuf {
    if is_root() {
        return PathBuf::from("/var/lib/stratafs");
    }
    path_variable("XDG_DATA_HOME")
        .or_else(|| in_home(".local/share"))
        .unwrap_or_else(env::temp_dir)
        .join("stratafs")
}

fn default_run_root() -> PathBuf {
    if is_root() {
        return Path::new("/run/stratafs").to_owned();
    }
    path_variable("XDG_RUNTIME_DIR").unwrap_or_else(env::temp_dir).join("stratafs")
}
