//! Images as snapshots: eager and lazy ones show the same, and what is committed other tools take.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;
use serde_json::{Value, json};

use super::corpus;
use super::program::Stratafs;
use crate::oracle::{self, without_link_counts};

/// What a view of the snapshot `parent` shows.
fn viewed(stratafs: &Stratafs, key: &str, parent: &str) -> oracle::Snapshot {
    stratafs.run(&["snapshot", "view", key, parent]);
    let seen = oracle::snapshot_of_overlay(&stratafs.mount_snapshot(key));
    without_link_counts(seen)
}

#[rstest]
fn eager_and_lazy_snapshots_show_what_other_tools_unpack(
    #[values(("debian", "zstd"), ("server", "latest"), ("python", "latest"), ("nasty", "gzip"))]
    image: (&str, &str),
) {
    let (name, tag) = image;
    let expected = corpus::unpacked(name, if tag == "zstd" { "latest" } else { tag });
    let expected = without_link_counts((*expected).clone());
    for arguments in [&["unpack"][..], &["unpack", "--lazy"]] {
        let stratafs = Stratafs::new();
        let top = stratafs.run(&[arguments, &[&corpus::image(name, tag)]].concat());
        let seen = viewed(&stratafs, "view", top.trim_end());
        // Where layers are folders of an overlay, a link to a file of another layer is a copy.
        if name == "nasty" && arguments == ["unpack"] {
            let [expected, seen] = [expected.clone(), seen].map(oracle::without_link_sets);
            oracle::assert_same(&expected, &seen);
        } else {
            oracle::assert_same(&expected, &seen);
        }
    }
}

/// The blobs of the layers of an image, the lowest first.
fn layers(layout: &Path, tag: &str) -> Vec<PathBuf> {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        layout.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
    };
    let index = read(&layout.join("index.json"));
    let is_it = |root: &&Value| root["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let root = index["manifests"].as_array().unwrap().iter().find(is_it).unwrap();
    read(&blob(root))["layers"].as_array().unwrap().iter().map(blob).collect()
}

#[rstest]
fn layers_applied_to_a_folder_give_what_other_tools_unpack(
    #[values(("debian", "latest"), ("python", "latest"), ("nasty", "gzip"))] image: (&str, &str),
) {
    let (name, tag) = image;
    let stratafs = Stratafs::new();
    let folder = stratafs.target("folder");
    // What no layer lists is of 1970.
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let epoch = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::open(&folder).unwrap().set_times(epoch).unwrap();
    for blob in layers(&corpus::folder(name), tag) {
        stratafs.run(&["apply", blob.to_str().unwrap(), "--dir", folder.to_str().unwrap()]);
    }
    oracle::assert_same(&corpus::unpacked(name, tag), &oracle::snapshot(&folder));
}

/// Changes a root filesystem in every way that a layer can tell.
fn change(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::write(at("new"), "new content\n").unwrap();
    fs::write(at("etc/hostname"), "changed\n").unwrap();
    fs::remove_file(at("etc/motd")).unwrap();
    fs::remove_dir_all(at("usr/share/doc")).unwrap();
    fs::remove_dir_all(at("usr/share/man")).unwrap();
    fs::create_dir(at("usr/share/man")).unwrap();
    fs::write(at("usr/share/man/only"), "").unwrap();
    fs::rename(at("usr/share/zoneinfo"), at("srv/zoneinfo")).unwrap();
    fs::set_permissions(at("etc/passwd"), PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(at("etc/group"), Some(7), Some(8)).unwrap();
    fs::hard_link(at("new"), at("etc/twin")).unwrap();
    symlink("../new", at("etc/link")).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at("new"), "security.capability", CAP_NET_RAW, none).unwrap();
}

/// `cap_net_raw=ep` as the kernel keeps it (linux/capability.h, `vfs_cap_data`, revision 2).
const CAP_NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[rstest]
fn skopeo_umoci_and_runc_take_a_committed_image(
    #[values(&["unpack"], &["unpack", "--lazy"])] unpack: &[&str],
) {
    let stratafs = Stratafs::new();
    let top = stratafs.run(&[unpack, &[&corpus::image("debian", "latest")]].concat());
    stratafs.run(&["snapshot", "prepare", "work", top.trim_end()]);
    let work = stratafs.mount_snapshot("work");
    change(&work);
    // The time of the root is no part of a layer: every change in it moves it.
    let content = |seen| without_link_counts(oracle::without_root(seen));
    let expected = content(oracle::snapshot_of_overlay(&work));
    corpus::run(Command::new("umount").arg(&work));

    let folder = stratafs.target("layout");
    let layout = folder.to_str().unwrap();
    stratafs.run(&["commit", "work", &format!("oci:{layout}:gzip"), "--message", "a change"]);
    let zstd = format!("oci:{layout}:zstd");
    stratafs.run(&["commit", "work", &zstd, "--compression", "zstd"]);

    for tag in ["gzip", "zstd"] {
        let printed =
            corpus::run(Command::new("skopeo").args(["inspect", &format!("oci:{layout}:{tag}")]));
        let shown: Value = serde_json::from_str(&printed).unwrap();
        let count = layers(&corpus::folder("debian"), "latest").len() + 1;
        assert_eq!(shown["Layers"].as_array().unwrap().len(), count, "{printed}");
        let mounted = stratafs.mount(&format!("oci:{layout}:{tag}"), &[]);
        oracle::assert_same(&expected, &content(oracle::snapshot(&mounted)));
    }
    let config = corpus::run(Command::new("skopeo").args([
        "inspect",
        "--config",
        &format!("oci:{layout}:gzip"),
    ]));
    assert!(config.contains("a change"), "{config}");

    let bundle = folder.join("bundle");
    let image = format!("{layout}:gzip");
    corpus::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    let unpacked = content(oracle::snapshot(&bundle.join("rootfs")));
    oracle::assert_same(&expected, &oracle::without_overlay_xattrs(unpacked));
    let printed = runc(&stratafs, &bundle.join("rootfs"), &format!("oci:{layout}:gzip"));
    assert_eq!(printed, "new content\n");
}

/// Lets runc print `/etc/twin` of a root filesystem, with the configuration of `image`.
fn runc(stratafs: &Stratafs, rootfs: &Path, image: &str) -> String {
    let bundle = stratafs.target("bundle");
    stratafs.run(&["bundle", image, bundle.to_str().unwrap(), "cat", "/etc/twin"]);
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["root"]["path"] = json!(rootfs);
    fs::write(&path, config.to_string()).unwrap();
    let id = format!(
        "{}-{}",
        bundle.parent().unwrap().file_name().unwrap().display(),
        std::process::id()
    );
    corpus::run(Command::new("runc").args(["run", "--bundle"]).arg(bundle).arg(id))
}
