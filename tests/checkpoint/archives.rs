//! Archives of podman, CRI-O and the kubelet, made member by member, and by podman itself.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use stratafs::content::{Layout, ingest};
use stratafs::image::media_type as mt;

use super::program::{COUNTER, Host, count, path_with_criu};
use crate::images::corpus;
use crate::registry::distribution::Distribution;
use crate::watchdog::wait_until;

/// A specification that prints what is there.
pub fn spec() -> String {
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "/var/lib/containers/storage/overlay/x/merged"},
        "hooks": {"prestart": [{"path": "/no/such/hook"}]},
        "process": {
            "args": ["sh", "-c", "cat /new; ls /etc/motd /usr/share/doc 2>&1"], "cwd": "/",
            "env": ["PATH=/usr/bin:/bin"], "user": {"uid": 0, "gid": 0},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "source": "/no/such/hosts"},
        ],
        "linux": {
            "cgroupsPath": "machine.slice:libpod:x",
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
        },
    })
    .to_string()
}

/// A tar of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// `config.dump`, of an image that is nowhere to be found by its name.
pub const CONFIG: &str = r#"{"id":"1","name":"web","rootfsImageName":"127.0.0.1:1/app:1",
    "runtime":"runc","checkpointedTime":"2026-01-02T03:04:05Z"}"#;

/// The members of an archive as podman and CRI-O write it: files that are new, and a list of those
/// that are gone.
fn podman() -> Vec<u8> {
    tar(&[
        ("spec.dump", spec().as_bytes()),
        ("config.dump", CONFIG.as_bytes()),
        ("rootfs-diff.tar", &tar(&[("new", b"from the archive\n")])),
        ("deleted.files", br#"["/etc/motd","/usr/share/doc","/usr/share/doc/apt"]"#),
        ("network.status", b"{}"),
    ])
}

/// As containerd writes it for the kubelet: a layer with whiteouts.
fn kubelet() -> Vec<u8> {
    let layer =
        tar(&[("new", b"from the archive\n"), ("etc/.wh.motd", b""), ("usr/share/.wh.doc", b"")]);
    tar(&[
        ("config.dump", CONFIG.as_bytes()),
        ("spec.dump", spec().as_bytes()),
        ("status.dump", b"{}"),
        ("rootfs-diff.tar", &gzip(&layer)),
    ])
}

const SHOWN: &str = "from the archive\n\
    ls: cannot access '/etc/motd': No such file or directory\n\
    ls: cannot access '/usr/share/doc': No such file or directory\n";

/// Restores `reference` under `name` and runs it; what it printed, and what was left out.
fn runs(host: &Host, reference: &str, name: &str) -> String {
    let image = corpus::image("debian", "latest");
    let args = ["checkpoint", "restore", "--run", "--image", &image, reference, name];
    let output = host.stratafs.command(&args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stdout), SHOWN, "{error}");
    error
}

#[test]
fn archives_of_both_dialects_and_every_compression_are_restored() {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    for (dialect, bytes) in [("podman", podman()), ("kubelet", kubelet())] {
        let zstd = zstd::encode_all(&*bytes, 1).unwrap();
        for (codec, bytes) in [("plain", bytes.clone()), ("gzip", gzip(&bytes)), ("zstd", zstd)] {
            let name = format!("{dialect}-{codec}");
            let path = dir.path().join(&name);
            fs::write(&path, bytes).unwrap();
            let error = runs(&host, &format!("archive:{}", path.display()), &name);
            assert!(error.contains("left out: hooks"), "{error}");
            assert!(error.contains("/no/such/hosts is not on this machine"), "{error}");
        }
    }
    assert_eq!(fs::read_dir(host.stratafs.root().join("work")).unwrap().count(), 0);
}

#[test]
fn an_image_that_wraps_an_archive_is_restored() {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    let layout = Layout::create(dir.path().join("layout")).unwrap();
    let annotations =
        ["org.criu.checkpoint.container.name", "io.podman.annotations.checkpoint.name"];
    for (i, annotation) in annotations.into_iter().enumerate() {
        let layer = podman();
        let diff_id = stratafs::digest::Digest::sha256(&layer);
        let layer = ingest(&layout, mt::OCI_LAYER_GZIP, &gzip(&layer)).unwrap();
        let config = json!({"os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        let config = ingest(&layout, mt::OCI_CONFIG, config.to_string().as_bytes()).unwrap();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer],
            "annotations": {annotation: "web"}});
        let manifest = ingest(&layout, mt::OCI_MANIFEST, manifest.to_string().as_bytes()).unwrap();
        layout.set_root(&manifest, Some(&format!("wrapped{i}"))).unwrap();
        let reference = format!("oci:{}:wrapped{i}", layout.path().display());
        runs(&host, &reference, &format!("wrapped{i}"));
        let shown = host.run(&["checkpoint", "inspect", &reference]);
        for part in
            ["image of a checkpoint archive", "127.0.0.1:1/app:1", "web", "/etc/motd", "sh -c cat"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

/// podman with a storage of its own.
struct Podman(tempfile::TempDir);

impl Podman {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180", "podman", "--cgroup-manager=cgroupfs"]);
        command.args(["--runtime=runc", "--storage-driver=vfs", "--events-backend=file", "--root"]);
        command.arg(self.0.path().join("root")).arg("--runroot").arg(self.0.path().join("run"));
        command.args(args).env("PATH", path_with_criu());
        command
    }

    fn run(&self, args: &[&str]) -> String {
        corpus::run(&mut self.command(args))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
    }
}

/// What the container of podman does before it counts.
const CHANGES: &str =
    "echo kept > /dev/shm/kept; rm /etc/motd; rm -rf /usr/share/doc; chown 7:8 /etc/fstab";

/// How far it is at least when it is checkpointed. podman writes the files of a container that goes on
/// later than its memory, so that they may be further.
const COUNTED: u64 = 20;

/// Restores `reference`, which podman made of [`COUNTER`], by its files and by its memory.
fn counts_on(reference: &str, image: &str) {
    let host = Host::new();
    let shown = host.run(&["checkpoint", "inspect", reference]);
    for part in ["parent 0, 1 threads: perl", "/etc/motd", "example.com/debian:latest", "echo kept"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    host.run(&["checkpoint", "restore", reference, "web", "--image", image]);
    let rootfs = host.rootfs("web");
    let (before, _) = count(&rootfs);
    assert!(before > 0 && !rootfs.join("etc/motd").exists());
    assert!(!rootfs.join("usr/share/doc").exists());
    let fstab = fs::metadata(rootfs.join("etc/fstab")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fstab), 7);

    let args = ["checkpoint", "restore", reference, "live", "--image", image, "--live", "--detach"];
    host.run(&args);
    let rootfs = host.rootfs("live");
    wait_until("it counts on", || {
        let (now, kept) = count(&rootfs);
        // One that had begun anew would have begun to count anew.
        assert!(now == 0 || (now >= COUNTED && kept == "kept"), "{now} {kept}");
        now > before + 10
    });
}

#[test]
fn what_podman_exports_and_makes_images_of_is_restored_with_its_files_and_its_memory() {
    let podman = Podman(tempfile::tempdir().unwrap());
    let debian = corpus::folder("debian");
    let image = format!("oci:{}:latest", debian.display());
    let saved = podman.path("image.tar");
    let to = format!("docker-archive:{}:example.com/debian:latest", saved.display());
    corpus::run(Command::new("skopeo").args(["copy", "--quiet", &image, &to]));
    podman.run(&["load", "--quiet", "--input", saved.to_str().unwrap()]);
    let args = ["run", "-d", "--name", "web", "--network=none", "--ulimit=nofile=1024:1024"];
    let script = format!("{CHANGES}; {COUNTER}");
    let more = ["--ulimit=nproc=1024:1024", "example.com/debian:latest", "sh", "-c", &script];
    podman.run(&[&args[..], &more].concat());
    let container = podman.run(&["mount", "web"]);
    let rootfs = Path::new(container.trim()).to_owned();
    wait_until("it counts", || count(&rootfs).0 > COUNTED);
    let archive = podman.path("web.tar.zst");
    let to_archive = ["--export", archive.to_str().unwrap()];
    podman.run(&[&["container", "checkpoint", "web", "--leave-running"][..], &to_archive].concat());
    podman.run(&["container", "checkpoint", "web", "--create-image", "localhost/saved:1"]);
    // As on another machine, none of what podman mounted is there any more.
    podman.run(&["rm", "--force", "--time", "0", "web"]);

    counts_on(&format!("archive:{}", archive.display()), &image);
    let registry = Distribution::start(false);
    let pushed = format!("docker://{}/saved:1", registry.host());
    podman.run(&["push", "--quiet", "--tls-verify=false", "localhost/saved:1", &pushed]);
    counts_on(&pushed, &image);
}
