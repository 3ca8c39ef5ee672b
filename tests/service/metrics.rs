//! What Prometheus is told of layers that are read lazily, and the store of the containerd beside it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use stratafs::content::conformance::{self, Known};
use stratafs::content::{ContainerdStore, Descriptor};

use super::containerd::{Containerd, Release};
use super::fixture::{Daemon, registry_with};

/// The metrics at `address`: each line's name with its labels, and its value.
fn metrics(address: &str) -> Vec<(String, f64)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| line.rsplit_once(' ').unwrap());
    parsed.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn on_demand_reads_bytes_by_layer_and_the_cache_are_told() {
    let mut daemon = Daemon::new();
    daemon.stop();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    daemon.config = format!("metrics = \"{address}\"\n");
    daemon.start();
    let containerd = Containerd::with(daemon, Release::Installed, None);
    let (_registry, reference) = registry_with("debian");
    containerd.rpull("default", &reference);
    let prune = ["cache", "prune", "--keep", "0B"];
    assert!(containerd.daemon.command(&prune).output().unwrap().status.success());
    let run =
        ["run", "--rm", "--snapshotter", "stratafs", &reference, "c1", "cat", "/etc/os-release"];
    assert!(containerd.ctr(&run).contains("Debian"));
    let metrics = metrics(&address);
    let sum = |name: &str| {
        let of_name = |(key, _): &&(String, f64)| key.split('{').next() == Some(name);
        let found: Vec<_> = metrics.iter().filter(of_name).map(|(_, value)| value).collect();
        assert!(!found.is_empty(), "no {name} in {metrics:?}");
        found.into_iter().sum::<f64>()
    };
    for name in [
        "stratafs_on_demand_reads_total",
        "stratafs_on_demand_fetched_bytes_total",
        "stratafs_on_demand_read_duration_seconds_sum",
        "stratafs_layer_fetched_bytes_total",
        "stratafs_layer_served_bytes_total",
        "stratafs_layer_size_bytes",
        "stratafs_layer_stored_bytes",
        "stratafs_cache_size_bytes",
        "stratafs_cache_limit_bytes",
        "stratafs_cache_admitted_bytes_total",
        "stratafs_registry_requests_total",
        "stratafs_registry_received_bytes_total",
    ] {
        assert!(sum(name) > 0.0, "{name} is {}", sum(name));
    }
    let waits = sum("stratafs_on_demand_read_duration_seconds_count");
    assert!((waits - sum("stratafs_on_demand_reads_total")).abs() < 0.5, "{waits}");
    for name in [
        "stratafs_verification_failures_total",
        "stratafs_cache_not_kept_total",
        "stratafs_cache_evictions_total",
        "stratafs_background_fetched_bytes_total",
        "stratafs_background_waiting",
        "stratafs_layers_completed_total",
    ] {
        assert!(sum(name) >= 0.0, "{name} is {}", sum(name));
    }
    assert!(sum("stratafs_verification_failures_total") < 0.5);
    let documented = include_str!("../../docs/containerd.md");
    for (name, _) in &metrics {
        let name = name.split('{').next().unwrap().strip_prefix("stratafs_").unwrap();
        let ends = ["_total", "_bucket", "_sum", "_count"];
        let name = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(documented.contains(&format!("`{name}`")), "{name} is not documented");
    }
}

#[test]
fn the_content_of_a_real_containerd_keeps_every_promise_of_a_provider() {
    let containerd = Containerd::new();
    let (_registry, reference) = registry_with("debian");
    containerd.ctr(&["image", "pull", "--plain-http", "--snapshotter", "overlayfs", &reference]);
    let root = containerd.address().with_file_name("root");
    let blobs = root.join("io.containerd.content.v1.content/blobs/sha256");
    let mut known = Vec::new();
    for entry in std::fs::read_dir(blobs).unwrap() {
        let path = entry.unwrap().path();
        let digest = format!("sha256:{}", path.file_name().unwrap().to_str().unwrap());
        let content = std::fs::read(path).unwrap();
        let size = content.len() as u64;
        let digest = digest.parse().unwrap();
        let descriptor = Descriptor::new("application/octet-stream", digest, size);
        known.push(Known { descriptor, content });
    }
    assert!(known.len() >= 3, "manifest, configuration and layer");
    conformance::check(&ContainerdStore::open(root).unwrap(), &known).unwrap();
}
