//! What happened, for Prometheus.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Error;
use super::cache_metrics::CacheMetrics;
use super::counts::Counts;
use super::layers::Layers;

/// The most bytes of a request.
const MAX_REQUEST: usize = 8 << 10;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the counters of the daemon when they are asked for.
struct DaemonMetrics {
    counts: Arc<Counts>,
    layers: Arc<Layers>,
}

impl fmt::Debug for DaemonMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonMetrics").finish_non_exhaustive()
    }
}

impl Collector for DaemonMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (counts, stats) = (&self.counts, self.layers.stats());
        for (name, help, value) in [
            ("remote_layers", "Layers shown without being unpacked", counts.remote.get()),
            ("fallback_layers", "Layers left to containerd to unpack", counts.fallbacks.get()),
            ("reclaims", "Times that unneeded files were looked for", counts.reclaims.get()),
            ("fuse_lookups", "LOOKUP requests of the kernel", stats.lookups.get()),
            ("fuse_getattrs", "GETATTR requests of the kernel", stats.getattrs.get()),
            ("fuse_readdirs", "READDIR requests of the kernel", stats.readdirs.get()),
            ("fuse_reads", "READ requests answered at once", stats.reads.get()),
            ("fuse_misses", "READ requests that waited for content", stats.misses.get()),
            ("fuse_read_bytes", "Bytes of content given to the kernel", stats.read_bytes.get()),
            ("fuse_overdue", "READ requests that failed by their deadline", stats.overdue.get()),
            ("fuse_rejected", "READ requests beyond what may wait", stats.rejected.get()),
            ("fuse_faults", "Requests that failed by a fault", stats.faults.get()),
        ] {
            let counter = ConstCounter::new(value);
            let name = format!("stratafs_{name}");
            counter.encode(encoder.encode_descriptor(
                &name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let chains = i64::try_from(self.layers.shown()).unwrap_or(i64::MAX);
        let taken_over = i64::from(counts.taken_over.get() > 0);
        for (name, help, value) in [
            ("stratafs_chains", "Layer chains in the mount", chains),
            ("stratafs_taken_over", "Whether the mount is that of a daemon before", taken_over),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// Answers Prometheus.
pub(super) struct Metrics {
    listener: TcpListener,
    registry: Registry,
}

impl Metrics {
    /// Listens at `address`.
    ///
    /// # Errors
    ///
    /// [`Error::Serve`].
    pub(super) fn open(
        address: SocketAddr,
        counts: Arc<Counts>,
        layers: Arc<Layers>,
    ) -> Result<Self, Error> {
        let failed = |e| Error::Serve { reason: format!("metrics at {address}: {e}") };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(CacheMetrics(layers.clone())));
        registry.register_collector(Box::new(DaemonMetrics { counts, layers }));
        Ok(Self { listener, registry })
    }

    /// Answers one after the other, for ever.
    pub(super) async fn run(self) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "no metrics are served");
                return;
            }
        };
        loop {
            let answered = match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::time::timeout(PATIENCE, answer(stream, &self.registry)).await
                }
                Err(e) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok(Err(e))
                }
            };
            if let Ok(Err(error)) = answered {
                tracing::debug!(%error, "a request for metrics failed");
            }
        }
    }
}

async fn answer(mut stream: TcpStream, registry: &Registry) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let len = stream.read(&mut part).await?;
        if len == 0 || request.len() + len > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(&part[..len]);
    }
    stream.write_all(response(&request, registry).as_bytes()).await?;
    stream.shutdown().await
}

fn response(request: &[u8], registry: &Registry) -> String {
    let wanted = [&b"GET /metrics "[..], b"GET / "].iter().any(|get| request.starts_with(get));
    let mut body = String::new();
    let status = if !wanted {
        "404 Not Found"
    } else if text::encode(&mut body, registry).is_err() {
        "500 Internal Server Error"
    } else {
        "200 OK"
    };
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_answered() {
        let registry = Registry::default();
        let get = response(b"GET /metrics HTTP/1.1\r\n\r\n", &registry);
        assert!(
            get.starts_with("HTTP/1.1 200 OK\r\n") && get.ends_with("\r\n\r\n# EOF\n"),
            "{get}"
        );
        for other in [&b"GET /etc/passwd HTTP/1.1\r\n\r\n"[..], b"POST /metrics HTTP/1.1\r\n\r\n"] {
            assert!(response(other, &registry).starts_with("HTTP/1.1 404"));
        }
    }
}
