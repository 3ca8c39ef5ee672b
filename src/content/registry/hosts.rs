//! containerd's registry host folders: `certs.d/HOST/hosts.toml` (containerd `docs/hosts.md`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::Error;

/// The largest `hosts.toml` that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Where `docker.io`, a name for people, answers.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One server to ask, and how.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HostSpec {
    /// The base of all requests, `/v2` included, without a slash at the end.
    pub base: Url,
    /// Whether it stands in for another registry.
    pub mirror: bool,
    /// Whether content may be fetched from it.
    pub pull: bool,
    /// Whether it may say what a tag means.
    pub resolve: bool,
    /// Whether content may be sent to it.
    pub push: bool,
    /// Certificates of authorities, PEM files.
    pub ca: Vec<PathBuf>,
    /// The certificate to show, and its key where that is in a file of its own.
    pub client: Option<(PathBuf, Option<PathBuf>)>,
    /// Whether any certificate is good.
    pub skip_verify: bool,
    /// Names and values that are sent with each request.
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    server: Option<String>,
    /// In the order of the file, which is the order of trying.
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Entry>,
    #[serde(flatten)]
    own: Entry,
}

#[derive(Debug, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    ca: Option<OneOrMany>,
    #[serde(default)]
    client: Option<Client>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Pairs(Vec<Vec<String>>),
    Many(Vec<String>),
}

/// The servers for `host`, best first, as the first of `folders` that knows it says; the registry
/// itself is the last. `plain` says that the registry speaks HTTP without TLS.
pub(super) fn lookup(folders: &[PathBuf], host: &str, plain: bool) -> Result<Vec<HostSpec>, Error> {
    for folder in folders {
        for name in folder_names(host) {
            let folder = folder.join(name);
            if let Some(text) = read(&folder.join("hosts.toml"))? {
                return parse(host, plain, &folder, &text)
                    .map_err(|reason| Error::BadHosts { path: folder.join("hosts.toml"), reason });
            }
            if folder.is_dir() {
                return Ok(vec![docker_certs(host, plain, &folder)?]);
            }
        }
    }
    let entry = Entry::default().spec(origin(host, plain), false, Path::new(""));
    Ok(vec![entry.map_err(|reason| Error::BadHosts { path: host.into(), reason })?])
}

/// The folders that may be about `host`, best first.
fn folder_names(host: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        names.push(format!("{name}_{port}_"));
    }
    names.extend([host.to_owned(), "_default".to_owned()]);
    names
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let failed = |e| Error::io(path.display())(e);
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE => {
            let reason = format!("it has more than {MAX_FILE} bytes");
            Err(Error::BadHosts { path: path.to_owned(), reason })
        }
        Ok(_) => fs::read_to_string(path).map(Some).map_err(failed),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(failed(e)),
    }
}

/// What docker keeps beside a host: `*.crt` are authorities, `*.cert` and `*.key` show who we are.
fn docker_certs(host: &str, plain: bool, folder: &Path) -> Result<HostSpec, Error> {
    let failed = |e| Error::io(folder.display())(e);
    let mut ca = Vec::new();
    let mut client = None;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => ca.push(path),
            Some("cert") => client = Some((path.clone(), Some(path.with_extension("key")))),
            _ => {}
        }
    }
    ca.sort();
    let spec = Entry::default().spec(origin(host, plain), false, folder);
    let spec = spec.map_err(|reason| Error::BadHosts { path: folder.to_owned(), reason })?;
    Ok(HostSpec { ca, client, ..spec })
}

/// The servers that the text of a `hosts.toml` in `folder` names for `host`, best first. `plain`
/// says that the registry speaks HTTP without TLS.
///
/// # Errors
///
/// What is wrong with the text, without its values, which may be secrets.
pub fn parse(host: &str, plain: bool, folder: &Path, text: &str) -> Result<Vec<HostSpec>, String> {
    // Not the parser's whole text: that quotes the line, which may be a header with a secret.
    let file: File = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(0, |span| text[..span.start].lines().count().max(1));
        format!("line {line}: {}", e.message())
    })?;
    let mut mirrors: Vec<_> = file.host.into_iter().collect();
    mirrors.sort_by_key(|(name, _)| name.span().start);
    let own = origin(host, plain);
    let mut specs = Vec::with_capacity(mirrors.len() + 1);
    for (name, entry) in mirrors {
        let url = with_scheme(name.get_ref(), false);
        let mirror = !same_host(&url, &own);
        specs.push(entry.spec(url, mirror, folder)?);
    }
    let server = file.server.map_or_else(|| own.clone(), |server| with_scheme(&server, plain));
    let mirror = !same_host(&server, &own) && !same_host(&server, &format!("https://{host}"));
    let server = file.own.spec(server, mirror, folder)?;
    if specs.iter().all(|spec| spec.base != server.base) {
        specs.push(server);
    }
    Ok(specs)
}

fn same_host(a: &str, b: &str) -> bool {
    let host = |s: &str| Url::parse(s).ok().map(|u| (u.host_str().map(str::to_owned), u.port()));
    host(a) == host(b)
}

/// Where the registry `host` itself answers.
fn origin(host: &str, plain: bool) -> String {
    let host = if host == "docker.io" { DOCKER_HUB } else { host };
    with_scheme(host, plain)
}

fn with_scheme(server: &str, plain: bool) -> String {
    if server.contains("://") {
        return server.to_owned();
    }
    let scheme = if plain || is_loopback(server) { "http" } else { "https" };
    format!("{scheme}://{server}")
}

/// Whether `host[:port]` is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Entry {
    fn spec(self, url: String, mirror: bool, folder: &Path) -> Result<HostSpec, String> {
        let mut base = Url::parse(&url).map_err(|e| format!("a server address: {e}"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err("a server address that is not of HTTP".to_owned());
        }
        if base.host_str() == Some("docker.io") {
            base.set_host(Some(DOCKER_HUB)).map_err(|e| e.to_string())?;
        }
        let has_user = !base.username().is_empty() || base.password().is_some();
        if base.query().is_some() || base.fragment().is_some() || has_user {
            return Err("a server address with a user, query or fragment".to_owned());
        }
        let path = base.path().trim_end_matches('/').to_owned();
        if self.override_path || path.ends_with("/v2") {
            base.set_path(&path);
        } else {
            base.set_path(&format!("{path}/v2"));
        }
        let can = |what: &str| {
            self.capabilities.as_ref().is_none_or(|list| list.iter().any(|c| c == what))
        };
        let (pull, resolve, push) = (can("pull"), can("resolve"), can("push"));
        let mut headers = Vec::new();
        for (name, values) in self.header {
            headers.extend(values.into_vec().into_iter().map(|value| (name.clone(), value)));
        }
        Ok(HostSpec {
            base,
            mirror,
            pull,
            resolve,
            push,
            ca: self
                .ca
                .map_or_else(Vec::new, OneOrMany::into_vec)
                .iter()
                .map(|p| folder.join(p))
                .collect(),
            client: self.client.and_then(|client| client.files(folder)),
            skip_verify: self.skip_verify,
            headers,
        })
    }
}

impl Client {
    /// The certificate and key; of several the first, as there is one connection to show it on.
    fn files(self, folder: &Path) -> Option<(PathBuf, Option<PathBuf>)> {
        let files = match self {
            Client::One(one) => vec![one],
            Client::Many(many) => many,
            Client::Pairs(pairs) => pairs.into_iter().next()?,
        };
        let mut files = files.into_iter().map(|file| folder.join(file));
        let cert = files.next()?;
        Some((cert, files.next()))
    }
}

#[cfg(test)]
mod tests;
