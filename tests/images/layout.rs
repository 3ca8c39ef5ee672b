//! Small OCI layouts made by hand, right in all but what a test breaks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// `sha256:HEX` of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// One layer: its blob, and what the manifest and the config say of it.
#[derive(Clone)]
pub struct Layer {
    pub media_type: String,
    pub blob: Vec<u8>,
    pub diff_id: String,
}

impl Layer {
    /// A layer whose blob is the archive itself.
    pub fn plain(tar: &[u8]) -> Self {
        Self::new("tar", tar.to_vec(), tar)
    }

    pub fn gzip(tar: &[u8]) -> Self {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(tar).unwrap();
        Self::new("tar+gzip", writer.finish().unwrap(), tar)
    }

    pub fn zstd(tar: &[u8]) -> Self {
        Self::new("tar+zstd", zstd::encode_all(tar, 3).unwrap(), tar)
    }

    fn new(kind: &str, blob: Vec<u8>, tar: &[u8]) -> Self {
        let media_type = format!("application/vnd.oci.image.layer.v1.{kind}");
        Self { media_type, blob, diff_id: digest(tar) }
    }

    /// The digest of its blob.
    pub fn digest(&self) -> String {
        digest(&self.blob)
    }

    /// The same with another blob, which the manifest will describe rightly.
    pub fn with_blob(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.blob);
        self
    }
}

/// An OCI layout in a temporary folder.
pub struct Layout {
    dir: tempfile::TempDir,
}

impl Layout {
    /// One image of these layers, tagged `latest`.
    pub fn of(layers: &[Layer]) -> Self {
        Self::changed(layers, |_, _| {})
    }

    /// The same after a change to the manifest and the config.
    pub fn changed(layers: &[Layer], change: impl FnOnce(&mut Value, &mut Value)) -> Self {
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let mut config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let descriptors = layers.iter().map(|layer| descriptor(&layer.media_type, &layer.blob));
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": null,
            "layers": descriptors.collect::<Vec<_>>(),
        });
        change(&mut manifest, &mut config);
        let config = config.to_string().into_bytes();
        if manifest["config"].is_null() {
            manifest["config"] = descriptor(CONFIG, &config);
        }
        let manifest = manifest.to_string().into_bytes();
        let layout = Self::empty();
        for layer in layers {
            layout.add(&layer.blob);
        }
        layout.add(&config);
        layout.add(&manifest);
        let mut root = descriptor(MANIFEST, &manifest);
        root["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        layout.write_index(&json!({"schemaVersion": 2, "manifests": [root]}));
        layout
    }

    /// A layout without an index.
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { dir }
    }

    pub fn write_index(&self, index: &Value) {
        fs::write(self.dir.path().join("index.json"), index.to_string()).unwrap();
    }

    fn add(&self, bytes: &[u8]) {
        fs::write(self.blob(&digest(bytes)), bytes).unwrap();
    }

    /// The file of a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.dir.path().join("blobs").join(digest.replace(':', "/"))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The layout as the command line takes it.
    pub fn image(&self) -> String {
        format!("oci:{}", self.dir.path().display())
    }
}

/// An archive in the making.
#[derive(Default)]
pub struct Archive(Vec<u8>);

/// Fields of a header that a test sets itself: offset and bytes.
pub type Fields<'a> = &'a [(usize, &'a [u8])];

pub const NAME: usize = 0;
pub const SIZE: usize = 124;
pub const KIND: usize = 156;
pub const LINK: usize = 157;

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    /// A regular file.
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        let size = format!("{:011o}", content.len());
        let mut archive = self.header(&[(NAME, name.as_bytes()), (SIZE, size.as_bytes())]);
        archive.0.extend_from_slice(content);
        archive.0.resize(archive.0.len().next_multiple_of(512), 0);
        archive
    }

    /// A hard link (`b'1'`) or symbolic link (`b'2'`).
    pub fn link(self, name: &str, kind: u8, target: &str) -> Self {
        self.header(&[(NAME, name.as_bytes()), (KIND, &[kind]), (LINK, target.as_bytes())])
    }

    /// Only a header, right but for these fields.
    pub fn header(mut self, fields: Fields<'_>) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(0);
        header.set_mtime(1_000_000_000);
        for (offset, bytes) in fields {
            header.as_mut_bytes()[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    /// A PAX header with these records.
    pub fn pax(self, records: &BTreeMap<&str, &str>) -> Self {
        let mut body = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut len = rest.len();
            while len != rest.len() + len.to_string().len() {
                len = rest.len() + len.to_string().len();
            }
            body.push_str(&format!("{len}{rest}"));
        }
        let size = format!("{:011o}", body.len());
        let mut archive = self.header(&[(NAME, b"pax"), (SIZE, size.as_bytes()), (KIND, b"x")]);
        archive.0.extend_from_slice(body.as_bytes());
        archive.0.resize(archive.0.len().next_multiple_of(512), 0);
        archive
    }

    /// The archive with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// The archive without its end.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}
