//! What continuity's manifests compare of two trees: path, type, mode, owner, size, content, which
//! paths are one file, link target, device. No times, no attributes, not the root itself.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    /// Of a file, else empty; of a symbolic link its target.
    content: Vec<u8>,
    /// Of what is no folder, the first path of the same inode.
    same_as: PathBuf,
}

type Manifest = BTreeMap<PathBuf, Entry>;

/// Panics unless the trees are equal.
#[track_caller]
pub fn assert_equal(expected: &Path, actual: &Path) {
    let (expected, actual) = (manifest(expected), manifest(actual));
    let paths: std::collections::BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    let different: Vec<String> = paths
        .into_iter()
        .filter(|path| expected.get(*path) != actual.get(*path))
        .map(|path| format!("{path:?}: {:?}, not {:?}", actual.get(path), expected.get(path)))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn manifest(root: &Path) -> Manifest {
    let mut manifest = Manifest::new();
    // By inode: folders have one name, and overlayfs does not keep the numbers of theirs.
    let mut files: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(item.unwrap().file_name());
            let metadata = fs::symlink_metadata(root.join(&path)).unwrap();
            manifest.insert(path.clone(), entry(&root.join(&path), &metadata));
            if metadata.is_dir() {
                folders.push(path);
            } else {
                files.entry((metadata.dev(), metadata.ino())).or_default().push(path);
            }
        }
    }
    for mut names in files.into_values() {
        names.sort();
        for name in &names {
            manifest.get_mut(name).unwrap().same_as.clone_from(&names[0]);
        }
    }
    manifest
}

fn entry(path: &Path, metadata: &Metadata) -> Entry {
    let content = if metadata.is_file() {
        fs::read(path).unwrap()
    } else if metadata.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else {
        Vec::new()
    };
    Entry {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        device: metadata.rdev(),
        content,
        same_as: PathBuf::new(),
    }
}
