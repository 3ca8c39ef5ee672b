//! The registry client against a registry that misbehaves in every way, and against a real one.

mod auth;
mod command_line;
pub mod distribution;
pub mod fake;
mod faults;
mod lazy;
mod mirrors;
mod programs;
mod push;
mod reads;
mod redirects;
mod weather;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use stratafs::content::Descriptor;
use stratafs::content::registry::{
    Anonymous, Client, Config, Credential, Credentials, Repository, Timing,
};
use stratafs::digest::Digest;

use crate::images::layout::Layout;
use fake::Fake;

/// Short enough for tests, in the proportions of the defaults.
pub fn timing() -> Timing {
    Timing {
        connect: Duration::from_secs(1),
        response: Duration::from_millis(800),
        stall: Duration::from_millis(400),
        total: Duration::from_secs(4),
        min_rate: 64 << 10,
        first_pause: Duration::from_millis(10),
        max_pause: Duration::from_millis(100),
        first_shun: Duration::from_millis(300),
        max_shun: Duration::from_millis(600),
    }
}

pub fn config() -> Config {
    Config {
        hosts_dirs: Vec::new(),
        plain_http: Vec::new(),
        credentials: Arc::new(Anonymous),
        timing: timing(),
        spool_dir: std::env::temp_dir(),
        uploads_dir: None,
    }
}

/// The repository `app` of a registry.
pub fn repository(registry: &Fake) -> (Client, Repository) {
    repository_with(registry, config())
}

pub fn repository_with(registry: &Fake, config: Config) -> (Client, Repository) {
    let client = Client::new(config);
    let reference = format!("{}/app:latest", registry.host()).parse().unwrap();
    let repository = client.repository(&reference).unwrap();
    (client, repository)
}

/// Puts all of a layout with one image into a registry, under `tag`.
pub fn fill(registry: &Fake, layout: &Layout, tag: &str) {
    for entry in std::fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        registry.add_blob(&std::fs::read(entry.unwrap().path()).unwrap());
    }
    let index = std::fs::read(layout.path().join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let root = &index["manifests"][0];
    let manifest = std::fs::read(layout.blob(root["digest"].as_str().unwrap())).unwrap();
    registry.add_manifest(tag, root["mediaType"].as_str().unwrap(), &manifest);
}

/// Bytes that differ everywhere.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(next).collect()
}

pub fn blob(content: &[u8]) -> Descriptor {
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    Descriptor::new(media_type, Digest::sha256(content), content.len() as u64)
}

/// One user name and password for everyone.
pub struct Account(pub Credential);

impl Account {
    pub fn password(username: &str, password: &str) -> Arc<Self> {
        let (username, password) = (username.to_owned(), password.to_owned());
        Arc::new(Self(Credential::Password { username, password }))
    }
}

impl Credentials for Account {
    fn credential(&self, _: &str, _: &str) -> Result<Option<Credential>, String> {
        Ok(Some(self.0.clone()))
    }
}
