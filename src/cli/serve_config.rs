//! The configuration file of the daemon.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::chain::Trusted;
use crate::error::Kind;
use crate::telemetry::LogFormat;

use super::args::Global;
use super::failure::Failure;
use super::output::Output;

/// Where it is, if nothing else is said.
const PATH: &str = "/etc/stratafs/config.toml";

/// Every key with its default.
const DEFAULT: &str = include_str!("serve_config.toml");

/// What the file says; what it leaves out has its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeConfig {
    pub(crate) root: Option<PathBuf>,
    pub(crate) run_root: Option<PathBuf>,
    pub(crate) address: Option<PathBuf>,
    pub(crate) log: Option<String>,
    pub(crate) log_format: Format,
    pub(crate) holder: HolderMode,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) snapshots: Snapshots,
    pub(crate) registry: Registry,
    pub(crate) cache: Cache,
    pub(crate) containerd: ContainerdSection,
    pub(crate) kubelet: Kubelet,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Who starts the holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HolderMode {
    /// The daemon, where none is there.
    #[default]
    Start,
    /// The service manager.
    External,
}

/// `[cache]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cache {
    #[serde(deserialize_with = "size")]
    pub(crate) limit: Option<bytesize::ByteSize>,
}

/// As `--trust-index` takes them.
fn trusted<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Trusted>, D::Error> {
    let texts = Vec::<String>::deserialize(input)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

/// A size as `20GiB`.
fn size<'de, D: Deserializer<'de>>(input: D) -> Result<Option<bytesize::ByteSize>, D::Error> {
    let text = String::deserialize(input)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// `[snapshots]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Snapshots {
    #[serde(deserialize_with = "duration")]
    pub(crate) prepare_timeout: Duration,
    pub(crate) sync_on_commit: bool,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { prepare_timeout: Duration::from_secs(600), sync_on_commit: true }
    }
}

/// `[registry]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registry {
    pub(crate) hosts_dirs: Option<Vec<PathBuf>>,
    pub(crate) plain_http: Vec<String>,
    #[serde(deserialize_with = "trusted")]
    pub(crate) trust_index: Vec<Trusted>,
}

/// `[containerd]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContainerdSection {
    pub(crate) address: PathBuf,
}

/// `[kubelet]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kubelet {
    pub(crate) image_service: bool,
}

impl Default for ContainerdSection {
    fn default() -> Self {
        Self { address: PathBuf::from("/run/containerd/containerd.sock") }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

impl ServeConfig {
    /// The file at `path`, which must be there, or at its usual place, where it may be missing.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let (path, optional) = match path {
            Some(path) => (path, false),
            None => (Path::new(PATH), true),
        };
        let said = |kind, text: String| {
            Failure::new(kind, format!("{}: {text}", path.display()))
                .hint("stratafs config prints every key")
        };
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|e| said(Kind::InvalidArgument, e.to_string().trim_end().to_owned())),
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(said(Kind::of_io(&e), e.to_string())),
        }
    }

    /// Fills in what was not typed.
    pub(crate) fn fill(&self, global: &mut Global) {
        let Global { root, run_root, log, cache_limit, trust_index, .. } = global;
        trust_index.extend(self.registry.trust_index.iter().cloned());
        *cache_limit = cache_limit.or(self.cache.limit);
        *root = root.take().or_else(|| self.root.clone());
        *run_root = run_root.take().or_else(|| self.run_root.clone());
        *log = log.take().or_else(|| self.log.clone()).or_else(|| Some("info".to_owned()));
    }

    /// How log lines look.
    pub(crate) fn log_format(&self) -> LogFormat {
        match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        }
    }
}

/// Prints the file with all defaults.
pub(crate) fn print(out: Output) -> Result<(), Failure> {
    out.bytes(DEFAULT.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The printed file with every key in force.
    fn uncommented() -> String {
        let key = |line: &str| match line.strip_prefix("#") {
            Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => rest.to_owned(),
            _ => line.to_owned(),
        };
        DEFAULT.lines().map(|line| key(line) + "\n").collect()
    }

    #[test]
    fn what_is_printed_is_what_holds() {
        let printed: ServeConfig = toml::from_str(DEFAULT).unwrap();
        let in_force: ServeConfig = toml::from_str(&uncommented()).unwrap();
        let default = ServeConfig::default();
        for config in [&printed, &in_force] {
            assert_eq!(config.snapshots.prepare_timeout, default.snapshots.prepare_timeout);
            assert_eq!(config.snapshots.sync_on_commit, default.snapshots.sync_on_commit);
            assert_eq!(config.log_format, default.log_format);
            assert_eq!(config.holder, default.holder);
            assert_eq!(config.containerd.address, default.containerd.address);
            assert_eq!(config.registry.plain_http, default.registry.plain_http);
        }
        assert_eq!(in_force.root.unwrap(), Path::new("/var/lib/stratafs"));
        assert_eq!(in_force.run_root.unwrap(), Path::new("/run/stratafs"));
        assert_eq!(in_force.address.unwrap(), Path::new("/run/stratafs/stratafs.sock"));
        assert_eq!(in_force.log.as_deref(), Some("info"));
    }

    #[test]
    fn every_key_is_explained() {
        let text = uncommented();
        let keys = "root run_root address log log_format holder snapshots prepare_timeout \
                    sync_on_commit registry hosts_dirs plain_http trust_index containerd metrics kubelet image_service";
        for key in keys.split_whitespace() {
            assert!(text.contains(&format!("\n{key} = ")) || text.contains(&format!("[{key}]")));
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        assert!(toml::from_str::<ServeConfig>("adress = \"x\"").is_err());
        assert!(toml::from_str::<ServeConfig>("[snapshots]\nprepare_timeout = \"ten\"").is_err());
    }
}
