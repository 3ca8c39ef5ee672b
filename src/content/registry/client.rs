use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::driver::Driver;
use super::endpoint::Endpoint;
use super::hosts;
use super::traffic::Traffic;
use super::unfinished::Unfinished;
use super::{Credentials, Error, Reference, Repository, Timing};

/// How many chunks are fetched ahead at the same time, of all blobs together.
const BULK_REQUESTS: usize = 12;

/// How a [`Client`] finds registries and proves who we are.
pub struct Config {
    /// Folders in the form of containerd's `certs.d`, best first.
    pub hosts_dirs: Vec<PathBuf>,
    /// Registries, by host and port, that speak HTTP without TLS; those on this machine do anyway.
    pub plain_http: Vec<String>,
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// How long things may take.
    pub timing: Timing,
    /// The folder in which blobs of registries that ignore ranges are kept, in unnamed files,
    /// while they are used; made when it is needed.
    pub spool_dir: PathBuf,
    /// The folder in which it is written down how far uploads are, for another process to go on
    /// with them; made when it is needed. `None`: they end with the process.
    pub uploads_dir: Option<PathBuf>,
}

impl Config {
    /// containerd's and docker's folders.
    pub fn new(spool_dir: PathBuf, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            hosts_dirs: ["/etc/containerd/certs.d", "/etc/docker/certs.d"]
                .map(PathBuf::from)
                .to_vec(),
            plain_http: Vec::new(),
            credentials,
            timing: Timing::default(),
            spool_dir,
            uploads_dir: None,
        }
    }
}

/// The connections to all registries. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What the repositories and blobs of one client share.
pub(super) struct Shared {
    pub(super) driver: Driver,
    pub(super) timing: Timing,
    pub(super) traffic: Arc<Traffic>,
    pub(super) spool_dir: PathBuf,
    pub(super) unfinished: Option<Unfinished>,
    /// For requests that nobody waits for yet.
    pub(super) bulk: Arc<Semaphore>,
    hosts_dirs: Vec<PathBuf>,
    plain_http: Vec<String>,
    credentials: Arc<dyn Credentials>,
    /// The servers of each registry, made when it is first asked.
    registries: Mutex<HashMap<String, Vec<Arc<Endpoint>>>>,
}

impl Client {
    /// A client. It has threads of its own, which begin when something is first asked.
    pub fn new(config: Config) -> Self {
        let shared = Shared {
            driver: Driver::default(),
            timing: config.timing,
            traffic: Arc::default(),
            spool_dir: config.spool_dir,
            unfinished: config.uploads_dir.map(Unfinished::new),
            bulk: Arc::new(Semaphore::new(BULK_REQUESTS)),
            hosts_dirs: config.hosts_dirs,
            plain_http: config.plain_http,
            credentials: config.credentials,
            registries: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The repository of `reference`. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// [`Error::BadHosts`] and [`Error::Io`] where the host's folder cannot be used.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, Error> {
        let servers = self.shared.servers(reference.host())?;
        Ok(Repository::new(self.shared.clone(), servers, reference.clone()))
    }

    /// What has been asked of registries so far.
    pub fn traffic(&self) -> &Traffic {
        &self.shared.traffic
    }
}

impl Shared {
    fn servers(&self, host: &str) -> Result<Vec<Arc<Endpoint>>, Error> {
        if let Some(servers) = self.registries.lock().get(host) {
            return Ok(servers.clone());
        }
        let plain = self.plain_http.iter().any(|plain| plain == host);
        let mut servers = Vec::new();
        for spec in hosts::lookup(&self.hosts_dirs, host, plain)? {
            let (credentials, traffic) = (self.credentials.clone(), self.traffic.clone());
            let server = Endpoint::new(spec, host, credentials, self.timing, traffic)?;
            servers.push(Arc::new(server));
        }
        // Whoever was faster has made the same.
        Ok(self.registries.lock().entry(host.to_owned()).or_insert(servers).clone())
    }
}
