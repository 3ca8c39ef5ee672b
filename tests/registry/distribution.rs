//! The registry that Debian has, filled and emptied by skopeo.

use std::fs;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use stratafs::content::conformance::{self, Known};
use stratafs::content::registry::{Client, Config, Repository, Timing};
use stratafs::content::{Descriptor, Ingester, Layout, Provider, ingest};
use stratafs::error::{Classify, Kind};
use stratafs::image::{self, Cancel, media_type};

use super::{Account, config, pattern};

/// The bcrypt hash of `hunter2`.
const HTPASSWD: &str = "user:$2b$04$VtIuBkBRhCVOcAimCqfbtOeimQLBC/zCGLivjW6WG1RhvT7JZYeH2\n";

/// A running `docker-registry`; it ends when this is dropped.
pub struct Distribution {
    dir: tempfile::TempDir,
    pub host: String,
    child: Child,
}

impl Distribution {
    /// One that wants TLS and a password, or neither.
    pub fn start(tls_and_password: bool) -> Self {
        Self::with(tls_and_password, tls_and_password)
    }

    /// One that wants the password `hunter2` of `user`, without TLS.
    pub fn with_password() -> Self {
        Self::with(false, true)
    }

    fn with(tls: bool, password: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let host = format!("127.0.0.1:{port}");
            write_config(dir.path(), &host, tls, password);
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(dir.path().join("config.yml"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry is needed: apt-get install docker-registry");
            let end = Instant::now() + Duration::from_secs(20);
            while Instant::now() < end && child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(&host).is_ok() {
                    return Self { dir, host, child };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            // Another process may have taken the port.
            child.kill().unwrap();
            child.wait().unwrap();
        }
        panic!("docker-registry does not start");
    }

    /// Its host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn repository(&self, config: Config) -> Repository {
        let reference = format!("{}/some/app:v1", self.host).parse().unwrap();
        Client::new(config).repository(&reference).unwrap()
    }

    fn certs(&self) -> PathBuf {
        self.dir.path().join("certs")
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(dir: &Path, host: &str, tls: bool, password: bool) {
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {0}/data}}\n\
         http:\n  addr: {host}\n",
        dir.display()
    );
    if tls {
        let certs = dir.join("certs");
        if !certs.exists() {
            make_certificates(&certs);
        }
        text += &format!(
            "  tls: {{certificate: {0}/certs/server.crt, key: {0}/certs/server.key}}\n",
            dir.display()
        );
    }
    if password {
        fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        text += &format!("auth:\n  htpasswd: {{realm: test, path: {}/htpasswd}}\n", dir.display());
    }
    fs::write(dir.join("config.yml"), text).unwrap();
}

/// An authority, and a certificate of it for this machine.
fn make_certificates(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
            -keyout ca.key -out ca.crt -subj /CN=test-authority
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
            -keyout server.key -out server.csr -subj /CN=test-server
        printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > server.ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
            -extfile server.ext -out server.crt";
    run(Command::new("sh").arg("-ec").arg(script).current_dir(dir));
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// An image in a layout, under the name `v1`.
fn make_image(dir: &Path) -> (Layout, Descriptor) {
    let layout = Layout::create(dir.join("layout")).unwrap();
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for (name, content) in [("a", pattern(200_000)), ("b", b"text".to_vec())] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
        let tar = builder.into_inner().unwrap();
        diff_ids.push(stratafs::digest::Digest::sha256(&tar));
        layers.push(ingest(&layout, media_type::OCI_LAYER, &tar).unwrap());
    }
    let config = json!({"os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = ingest(&layout, media_type::OCI_CONFIG, config.to_string().as_bytes()).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config, "layers": layers});
    let manifest =
        ingest(&layout, media_type::OCI_MANIFEST, manifest.to_string().as_bytes()).unwrap();
    layout.set_root(&manifest, Some("v1")).unwrap();
    (layout, manifest)
}

#[test]
fn what_skopeo_pushes_is_read_by_ranges() {
    let registry = Distribution::start(false);
    let (layout, manifest) = make_image(registry.dir.path());
    let from = format!("oci:{}:v1", layout.path().display());
    let to = format!("docker://{}/some/app:v1", registry.host);
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--preserve-digests", "--dest-tls-verify=false", &from, &to]);
    run(&mut skopeo);
    let client = Client::new(config());
    let (store, root) = image::open(&to.parse().unwrap(), &client).unwrap();
    assert_eq!(root.digest, manifest.digest);
    let there = image::resolve(&*store, &root, None).unwrap();
    let here = image::resolve(&layout, &manifest, None).unwrap();
    assert_eq!(there.layers, here.layers);
    let known = |d: &Descriptor| Known { descriptor: d.clone(), content: layout.read(d).unwrap() };
    let all: Vec<_> = here.layers.iter().map(|l| known(&l.descriptor)).collect();
    conformance::check(&store, &all).unwrap();
    conformance::check(&store, &[known(&here.manifest.config)]).unwrap();
}

#[test]
fn what_is_pushed_skopeo_pulls() {
    let registry = Distribution::start(false);
    let (layout, manifest) = make_image(registry.dir.path());
    let repository = registry.repository(config());
    let four = NonZeroUsize::new(4).unwrap();
    let cancel = Cancel::new();
    image::copy(&layout, &repository, &manifest, |g| g, four, &|_, _| {}, &cancel).unwrap();
    repository.set_root(&manifest, "v1").unwrap();
    assert_eq!(repository.resolve().unwrap().digest, manifest.digest);
    let from = format!("docker://{}/some/app:v1", registry.host);
    let back = registry.dir.path().join("back");
    let to = format!("oci:{}:v1", back.display());
    run(Command::new("skopeo").args([
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        &from,
        &to,
    ]));
    let back = Layout::open(back).unwrap();
    assert_eq!(back.roots().unwrap()[0].digest, manifest.digest);
    // An upload of several pieces, which a real registry checks too.
    let content = pattern(20 << 20);
    let large = ingest(&repository, media_type::OCI_LAYER, &content).unwrap();
    assert!(repository.contains(&large).unwrap());
    conformance::check(&repository, &[Known { descriptor: large, content }]).unwrap();
}

#[test]
fn referrers_are_found_by_their_tag() {
    let registry = Distribution::start(false);
    let (layout, manifest) = make_image(registry.dir.path());
    let repository = registry.repository(config());
    let four = NonZeroUsize::new(4).unwrap();
    let cancel = Cancel::new();
    image::copy(&layout, &repository, &manifest, |g| g, four, &|_, _| {}, &cancel).unwrap();
    let empty = ingest(&repository, media_type::OCI_EMPTY, b"{}").unwrap();
    let artifact = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "artifactType": "test/index", "config": empty, "layers": [empty], "subject": manifest});
    let bytes = artifact.to_string().into_bytes();
    let artifact = Known::new(bytes.clone()).descriptor;
    let artifact = Descriptor { media_type: media_type::OCI_MANIFEST.into(), ..artifact };
    let mut writer = repository.resume(&artifact).unwrap();
    writer.write_all(&bytes).unwrap();
    writer.commit(artifact.size, &artifact.digest).unwrap();
    let found = repository.referrers(&manifest.digest, Some("test/index")).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(repository.read(&found[0]).unwrap(), bytes);
}

#[test]
fn tls_and_a_password_work_with_the_right_authority_and_fail_soon_with_the_wrong() {
    let registry = Distribution::start(true);
    let (layout, manifest) = make_image(registry.dir.path());
    let folder = registry.dir.path().join("hosts").join(registry.host.replace(':', "_") + "_");
    fs::create_dir_all(&folder).unwrap();
    let write = |rest: &str| {
        let text = format!("server = \"https://{}\"\n{rest}", registry.host);
        fs::write(folder.join("hosts.toml"), text).unwrap();
        Config {
            hosts_dirs: vec![folder.parent().unwrap().to_owned()],
            credentials: Account::password("user", "hunter2"),
            // Hashes of passwords take their time on a busy machine.
            timing: Timing::default(),
            ..config()
        }
    };
    let ca = format!("ca = \"{}/ca.crt\"\n", registry.certs().display());
    let repository = registry.repository(write(&ca));
    let four = NonZeroUsize::new(4).unwrap();
    let cancel = Cancel::new();
    image::copy(&layout, &repository, &manifest, |g| g, four, &|_, _| {}, &cancel).unwrap();
    repository.set_root(&manifest, "v1").unwrap();
    let image = image::resolve(&repository, &manifest, None).unwrap();
    let layer = &image.layers[0].descriptor;
    let known = Known { descriptor: layer.clone(), content: layout.read(layer).unwrap() };
    conformance::check(&repository, &[known]).unwrap();

    let start = Instant::now();
    let error = registry.repository(write("")).resolve().unwrap_err();
    // A certificate does not get better: nothing is tried until the deadline of half a minute.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}: {error:?}", start.elapsed());
    assert!(error.to_string().starts_with("TLS for"), "{error}");
    registry.repository(write("skip_verify = true\n")).resolve().unwrap();
    let wrong = Config { credentials: Account::password("user", "wrong"), ..write(&ca) };
    let error = registry.repository(wrong).resolve().unwrap_err();
    assert!(!format!("{error:?}").contains("wrong\""), "{error:?}");
    assert_eq!(error.kind(), Kind::Unauthenticated, "{error}");
}
