//! `image tree` and `image diff`: images as graphs, and what two of them have not in common.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::Value;

use super::corpus;
use super::program::Stratafs;

fn json(stratafs: &Stratafs, args: &[&str]) -> Value {
    serde_json::from_str(&stratafs.run(&[&["--json"][..], args].concat())).unwrap()
}

#[test]
fn image_diff_says_which_layers_and_files_are_not_the_same() {
    let stratafs = Stratafs::new();
    let image = corpus::image("debian", "latest");
    let top = stratafs.run(&["unpack", "--lazy", &image]);
    stratafs.run(&["snapshot", "prepare", "work", top.trim()]);
    let root = stratafs.mount_snapshot("work");
    fs::write(root.join("new"), "12345").unwrap();
    fs::remove_file(root.join("etc/motd")).unwrap();
    fs::write(root.join("etc/issue"), "other").unwrap();
    fs::set_permissions(root.join("etc/fstab"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(root.join("etc/hostname"), Some(7), Some(8)).unwrap();
    fs::remove_dir_all(root.join("srv")).unwrap();
    fs::write(root.join("srv"), "a file").unwrap();
    symlink("elsewhere", root.join("link")).unwrap();
    // The same content once more is no other content, but the time is another.
    let same = fs::read(root.join("etc/debian_version")).unwrap();
    fs::write(root.join("etc/debian_version"), same).unwrap();
    corpus::run(Command::new("umount").arg(&root));
    let dir = tempfile::tempdir().unwrap();
    let changed = format!("oci:{}:changed", dir.path().join("layout").display());
    stratafs.run(&["commit", "work", &changed]);

    let shown = json(&stratafs, &["image", "diff", &image, &changed]);
    let layers = shown["layers"].as_array().unwrap();
    assert_eq!((layers.len(), layers[0]["image"].as_str()), (1, Some("new")));
    assert_eq!(shown["common_layers"].as_u64().unwrap() + 1, layers[0]["number"].as_u64().unwrap());
    let files = shown["files"].as_array().unwrap();
    let of = |path: &str| {
        let mut found = files.iter().filter(|file| file["path"] == path);
        let file = found.next().unwrap_or_else(|| panic!("{path} is not in {shown}"));
        assert!(found.next().is_none(), "{path} is there twice");
        let what: Vec<&str> =
            file["what"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (file["change"].as_str().unwrap().to_owned(), what.join(" "))
    };
    let is = |change: &str, what: &str| (change.to_owned(), what.to_owned());
    assert_eq!(of("/new"), is("added", ""));
    assert_eq!(of("/link"), is("added", ""));
    assert_eq!(of("/etc/motd"), is("removed", ""));
    assert_eq!(of("/etc/issue"), is("changed", "time content"));
    assert_eq!(of("/etc/fstab"), is("changed", "mode"));
    assert_eq!(of("/etc/hostname"), is("changed", "owner"));
    assert_eq!(of("/srv"), is("changed", "type"));
    assert_eq!(of("/etc/debian_version"), is("changed", "time"));
    // Folders whose own time has changed are all that there is besides.
    let known = 8;
    let folders = files.iter().filter(|f| f["what"] == serde_json::json!(["time"])).count() - 1;
    assert_eq!(files.len(), known + folders, "{shown}");

    let text = stratafs.run(&["image", "diff", &image, &changed]);
    for line in ["+ /new", "- /etc/motd", "~ /etc/issue time, content", "~ /srv type"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    // The other way round, what was added is removed; with itself, nothing is other.
    let back = stratafs.run(&["image", "diff", &changed, &image]);
    assert!(back.lines().any(|line| line == "- /new"), "{back}");
    let none = json(&stratafs, &["image", "diff", &image, &image]);
    assert_eq!(
        (none["layers"].as_array().unwrap().len(), none["files"].as_array().unwrap().len()),
        (0, 0)
    );
}

#[test]
fn image_tree_draws_platforms_sizes_and_what_refers_to_an_image() {
    let stratafs = Stratafs::new();
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    let copy = format!("oci:{}:latest", layout.display());
    let image = corpus::image("debian", "latest");
    corpus::run(Command::new("skopeo").args(["copy", "--quiet", &image, &copy]));
    stratafs.run(&["index", "push", &copy]);
    let shown = json(&stratafs, &["image", "tree", &copy]);
    assert_eq!((&shown["kind"], &shown["missing"]), (&"manifest".into(), &false.into()));
    let kinds: Vec<&str> =
        shown["children"].as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[1]), ("config", "layer"));
    let referrers = shown["referrers"].as_array().unwrap();
    assert_eq!((referrers.len(), referrers[0]["kind"].as_str()), (1, Some("manifest")));
    let text = stratafs.run(&["image", "tree", &copy]);
    assert!(
        text.starts_with("manifest sha256:") && text.contains("└── referrer: manifest"),
        "{text}"
    );
}

#[test]
fn image_tree_draws_what_is_named_many_times_once() {
    use stratafs::content::{Descriptor, Layout, Platform, ingest};
    use stratafs::image::{MAX_DEPTH, media_type as mt, parse_platform};
    let (stratafs, dir) = (Stratafs::new(), tempfile::tempdir().unwrap());
    let layout = Layout::create(dir.path().join("layout")).unwrap();
    let put = |media_type: &str, json: Value| {
        ingest(&layout, media_type, json.to_string().as_bytes()).unwrap()
    };
    let config = put(mt::OCI_CONFIG, serde_json::json!({"os": "linux"}));
    let mut root = put(mt::OCI_MANIFEST, serde_json::json!({"config": config, "layers": []}));
    let platform: Platform = parse_platform("linux/arm64").unwrap();
    // In full it would have 2 ^ 31 leaves.
    for _ in 0..MAX_DEPTH - 1 {
        let named = Descriptor { platform: Some(platform.clone()), ..root.clone() };
        root = put(mt::OCI_INDEX, serde_json::json!({"manifests": [named, root]}));
    }
    layout.set_root(&root, Some("wide")).unwrap();
    let text = stratafs.run(&["image", "tree", &format!("oci:{}:wide", layout.path().display())]);
    assert_eq!(text.lines().count(), 2 * MAX_DEPTH, "{text}");
    assert_eq!(text.matches("(as above)").count(), MAX_DEPTH - 1);
    assert!(text.contains("linux/arm64"), "{text}");
}
