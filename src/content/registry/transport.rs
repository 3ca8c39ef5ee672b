use std::path::PathBuf;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect};
use url::Url;

use super::hosts::is_loopback;
use super::{Error, Timing};

/// How long a connection is kept that nothing is asked of.
const IDLE: Duration = Duration::from_secs(60);

/// The connections to one server and to where it redirects.
///
/// The client for TLS is made when it is first needed: it cannot be where the machine has no
/// certificates of authorities, and a registry without TLS has to work there.
#[derive(Debug)]
pub(super) struct Transport {
    host: String,
    tls: TlsFiles,
    timing: Timing,
    plain: OnceLock<Result<Client, Error>>,
    secure: OnceLock<Result<Client, Error>>,
}

/// What a server's certificate is checked with, and what we show it.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    pub(super) ca: Vec<PathBuf>,
    pub(super) client: Option<(PathBuf, Option<PathBuf>)>,
    pub(super) skip_verify: bool,
}

impl Transport {
    pub(super) fn new(host: String, tls: TlsFiles, timing: Timing) -> Self {
        Self { host, tls, timing, plain: OnceLock::new(), secure: OnceLock::new() }
    }

    /// The client for `url`.
    pub(super) fn client(&self, url: &Url) -> Result<&Client, Error> {
        let made = if url.scheme() == "https" {
            self.secure.get_or_init(|| self.make_secure())
        } else {
            // Without a single authority, so that none is looked for.
            self.plain.get_or_init(|| self.finish(self.builder().tls_certs_only([])))
        };
        made.as_ref().map_err(Clone::clone)
    }

    fn builder(&self) -> ClientBuilder {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // A provider that the program has installed already is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let builder = Client::builder();
        // As Go's programs do: a proxy elsewhere cannot mean the same machine.
        let builder = if is_loopback(&self.host) { builder.no_proxy() } else { builder };
        builder
            .user_agent(concat!("stratafs/", env!("CARGO_PKG_VERSION")))
            // Followed by hand, so that no token goes along.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(self.timing.connect)
            // A connection that died in silence is not to take one request after another with it.
            .tcp_user_timeout(self.timing.response)
            .http2_keep_alive_interval(self.timing.stall)
            .http2_keep_alive_timeout(self.timing.stall)
            .pool_idle_timeout(IDLE)
    }

    fn make_secure(&self) -> Result<Client, Error> {
        let authorities = self.authorities()?;
        let builder = || self.identified(self.builder());
        if self.tls.skip_verify {
            return self.finish(builder()?.tls_danger_accept_invalid_certs(true));
        }
        let made = self.finish(builder()?.tls_certs_merge(authorities.clone()));
        match made {
            // The server's own authorities are good enough where the machine has none.
            Err(_) if !authorities.is_empty() => {
                self.finish(builder()?.tls_certs_only(authorities))
            }
            made => made,
        }
    }

    fn authorities(&self) -> Result<Vec<Certificate>, Error> {
        let mut all = Vec::new();
        for path in &self.tls.ca {
            let certs = Certificate::from_pem_bundle(&self.read(path)?);
            all.extend(certs.map_err(|e| self.bad(format!("{}: {e}", path.display())))?);
        }
        Ok(all)
    }

    /// Adds the certificate that we show, if there is one.
    fn identified(&self, builder: ClientBuilder) -> Result<ClientBuilder, Error> {
        let Some((cert, key)) = &self.tls.client else { return Ok(builder) };
        let mut pem = self.read(cert)?;
        if let Some(key) = key {
            pem.push(b'\n');
            pem.extend(self.read(key)?);
        }
        let identity = Identity::from_pem(&pem);
        Ok(builder.identity(identity.map_err(|e| self.bad(format!("{}: {e}", cert.display())))?))
    }

    fn finish(&self, builder: ClientBuilder) -> Result<Client, Error> {
        builder.build().map_err(|e| {
            let cause = super::answer::root_cause(&e);
            self.bad(format!(
                "{cause} (are there certificates of authorities on this machine? Debian has them \
                 in ca-certificates)"
            ))
        })
    }

    fn read(&self, path: &PathBuf) -> Result<Vec<u8>, Error> {
        std::fs::read(path).map_err(Error::io(path.display()))
    }

    fn bad(&self, reason: String) -> Error {
        Error::Tls { host: self.host.clone(), reason }
    }
}
