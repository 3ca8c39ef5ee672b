//! The real images of `scripts/images`, and what independent tools unpack them to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use crate::oracle::{self, Snapshot};

fn source_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a program that must succeed; what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A value made once a process for each key; others who ask for it meanwhile wait.
struct Once<V>(Mutex<BTreeMap<String, Arc<OnceLock<V>>>>);

impl<V: Clone> Once<V> {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn get(&self, key: &str, make: impl FnOnce() -> V) -> V {
        let cell = self.0.lock().unwrap().entry(key.to_owned()).or_default().clone();
        cell.get_or_init(make).clone()
    }
}

/// The folder of the image `name`, an OCI layout, which is made if it is not there.
pub fn folder(name: &str) -> PathBuf {
    static FOLDERS: Once<PathBuf> = Once::new();
    FOLDERS.get(name, || {
        let printed = run(Command::new(source_file("scripts/images")).arg(name));
        fs::canonicalize(printed.trim_end()).unwrap()
    })
}

/// The image `name` with `tag`, as the command line takes it.
pub fn image(name: &str, tag: &str) -> String {
    format!("oci:{}:{tag}", folder(name).display())
}

/// What is in the image `name` with `tag`, unpacked by tools that are not ours: umoci for real
/// images, and for the nasty ones, which no tool takes whole, `unpack.py`.
pub fn unpacked(name: &str, tag: &str) -> Arc<Snapshot> {
    static SNAPSHOTS: Once<Arc<Snapshot>> = Once::new();
    SNAPSHOTS.get(&format!("{name}:{tag}"), || {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        if name == "nasty" {
            let unpack = source_file("tests/images/unpack.py");
            run(Command::new(unpack).arg(folder(name)).arg(tag).arg(&root));
        } else {
            let image = format!("{}:{tag}", folder(name).display());
            run(Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&root));
        }
        Arc::new(oracle::without_overlay_xattrs(oracle::snapshot(&root)))
    })
}
