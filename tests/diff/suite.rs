//! continuity's `FSSuite` and containerd's cases around it (`pkg/archive/tar_test.go`): what a
//! comparison finds and applying makes is what was changed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stratafs::diff::{CompareOptions, Target, compare_folders};

use super::fixture::{Stack, apply_bytes};
use super::tree::{Op, change, copy};
use crate::oracle::{Snapshot, assert_same, snapshot, without_link_counts, without_overlay_xattrs};

use Op::{Chmod, CreateDir, CreateFile, Link, Remove, RemoveAll, Rename, Symlink};

/// The folder's content, its own time apart, which every change in it moves.
fn content(root: &Path) -> Snapshot {
    let mut all = without_overlay_xattrs(snapshot(root));
    all.remove(Path::new(""));
    all
}

fn layer(lower: Option<&Path>, upper: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    compare_folders(lower, upper, &CompareOptions::default(), &mut out).unwrap();
    out
}

/// Does each step to a copy, compares, and applies what was found to the tree of before.
fn in_a_folder(steps: &[&[Op]]) {
    let temp = tempfile::tempdir().unwrap();
    let tested = temp.path().join("tested");
    fs::create_dir(&tested).unwrap();
    for (step, ops) in steps.iter().enumerate() {
        let changed = temp.path().join(step.to_string());
        fs::create_dir(&changed).unwrap();
        copy(&tested, &changed);
        change(&changed, ops);
        apply_bytes(layer(Some(&tested), &changed), &Target::Folder(tested.clone())).unwrap();
        assert_same(&content(&changed), &content(&tested));
    }
}

/// As [`in_a_folder`], each step a layer of an overlay. Without `parents`, the layers lack the
/// folders that were there before (containerd's `TestOverlayApplyNoParents`).
fn in_an_overlay(steps: &[&[Op]], parents: bool) {
    let temp = tempfile::tempdir().unwrap();
    let mut stack = Stack::new();
    for (step, ops) in steps.iter().enumerate() {
        let mount = stack.mount();
        let base = mount.path().join(".");
        let changed = temp.path().join(step.to_string());
        fs::create_dir(&changed).unwrap();
        copy(&base, &changed);
        change(&changed, ops);
        let mut layer = layer(Some(&base), &changed);
        if !parents {
            layer = without_unchanged_folders(&layer, &base, &changed);
        }
        drop(mount);
        stack.apply(layer).unwrap();
        let mount = stack.mount();
        let mut expected = without_link_counts(content(&changed));
        let mut seen = without_link_counts(content(&mount.path().join(".")));
        if !parents {
            // The times of folders whose content changed are in the entries that were dropped.
            let folders = |p: &PathBuf| !changed.join(p).is_dir();
            expected.retain(|path, _| folders(path));
            seen.retain(|path, _| folders(path));
        }
        assert_same(&expected, &seen);
    }
}

/// The layer without the folders that have the same mode and owner in both trees.
fn without_unchanged_folders(layer: &[u8], lower: &Path, upper: &Path) -> Vec<u8> {
    use std::os::unix::fs::MetadataExt;
    let same = |path: &Path| {
        let stat = |root: &Path| {
            let metadata = fs::symlink_metadata(root.join(path)).ok()?;
            Some((metadata.mode(), metadata.uid(), metadata.gid()))
        };
        stat(lower).is_some() && stat(lower) == stat(upper)
    };
    let mut out = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(layer).entries().unwrap().raw(true) {
        let entry = entry.unwrap();
        let header = entry.header().clone();
        let is_folder = header.entry_type() == tar::EntryType::Directory;
        if !(is_folder && same(&entry.path().unwrap())) {
            out.append(&header, entry).unwrap();
        }
    }
    out.into_inner().unwrap()
}

fn suite(steps: &[&[Op]]) {
    in_a_folder(steps);
    in_an_overlay(steps, true);
    in_an_overlay(steps, false);
}

const BASE: &[Op] = &[
    CreateDir("/etc/", 0o755),
    CreateFile("/etc/hosts", "127.0.0.1 localhost", 0o644),
    Link("/etc/hosts", "/etc/hosts.allow"),
    CreateDir("/usr/local/lib", 0o755),
    CreateFile("/usr/local/lib/libnothing.so", "\0\0", 0o755),
    Symlink("libnothing.so", "/usr/local/lib/libnothing.so.2"),
    CreateDir("/home", 0o755),
    CreateDir("/home/derek", 0o700),
];

#[test]
fn basic() {
    suite(&[
        BASE,
        &[
            CreateFile("/etc/hosts", "127.0.0.1 localhost.localdomain", 0o644),
            CreateFile("/etc/fstab", "/dev/sda1\t/\text4\tdefaults 1 1\n", 0o600),
            CreateFile("/etc/badfile", "", 0o666),
            CreateFile("/home/derek/.zshrc", "#ZSH is just better\n", 0o640),
        ],
        &[Remove("/etc/badfile"), Rename("/home/derek", "/home/notderek")],
        &[RemoveAll("/usr"), Remove("/etc/hosts.allow")],
        &[
            RemoveAll("/home"),
            CreateDir("/home/derek", 0o700),
            CreateFile("/home/derek/.bashrc", "#not going away\n", 0o640),
            Link("/etc/hosts", "/etc/hosts.allow"),
        ],
    ]);
}

#[test]
fn deletion() {
    suite(&[
        &[
            CreateDir("/test/somedir", 0o755),
            CreateDir("/lib", 0o700),
            CreateFile("/lib/hidden", "", 0o644),
        ],
        &[
            CreateFile("/test/a", "", 0o644),
            CreateFile("/test/b", "", 0o644),
            CreateDir("/test/otherdir", 0o755),
            CreateFile("/test/otherdir/.empty", "", 0o644),
            RemoveAll("/lib"),
            CreateDir("/lib", 0o700),
            CreateFile("/lib/not-hidden", "", 0o644),
        ],
        &[
            Remove("/test/a"),
            Remove("/test/b"),
            RemoveAll("/test/otherdir"),
            CreateFile("/lib/newfile", "", 0o644),
        ],
    ]);
}

#[test]
fn update() {
    suite(&[
        &[
            CreateDir("/d1", 0o755),
            CreateDir("/d2", 0o700),
            CreateFile("/d1/f1", "something...", 0o644),
            CreateFile("/d1/f2", "else...", 0o644),
            CreateFile("/d1/f3", "entirely...", 0o644),
        ],
        &[
            CreateFile("/d1/f1", "file content of a different length", 0o664),
            Remove("/d1/f3"),
            CreateFile("/d1/f3", "updated content", 0o664),
            Chmod("/d1/f2", 0o766),
            Chmod("/d2", 0o777),
        ],
    ]);
}

#[test]
fn directory_permission() {
    suite(&[
        &[CreateDir("/d1", 0o700), CreateDir("/d2", 0o751), CreateDir("/d3", 0o777)],
        &[
            CreateFile("/d1/f", "irrelevant", 0o644),
            CreateDir("/d1/d", 0o700),
            CreateFile("/d1/d/f", "irrelevant", 0o644),
            CreateFile("/d2/f", "irrelevant", 0o644),
            CreateFile("/d3/f", "irrelevant", 0o644),
        ],
    ]);
}

#[test]
fn parent_directory_permission() {
    suite(&[
        &[
            CreateDir("/d1", 0o700),
            CreateDir("/d1/a", 0o700),
            CreateDir("/d1/a/b", 0o700),
            CreateDir("/d1/a/b/c", 0o700),
            CreateFile("/d1/a/b/f", "content1", 0o644),
            CreateDir("/d2", 0o751),
            CreateDir("/d2/a/b", 0o751),
            CreateDir("/d2/a/b/c", 0o751),
            CreateFile("/d2/a/b/f", "content1", 0o644),
        ],
        &[
            CreateFile("/d1/a/b/f", "content1", 0o644),
            Chmod("/d1/a/b/c", 0o700),
            CreateFile("/d2/a/b/f", "content2", 0o644),
            Chmod("/d2/a/b/c", 0o751),
        ],
    ]);
}

const NEW_HOSTS: &[Op] = &[CreateFile("/etc/hosts", "127.0.0.1 localhost.localdomain", 0o644)];

#[test]
fn hardlink_unmodified() {
    suite(&[BASE, NEW_HOSTS, &[Link("/etc/hosts", "/etc/hosts.deny")]]);
}

#[test]
fn hardlink_before_unmodified() {
    suite(&[BASE, NEW_HOSTS, &[Link("/etc/hosts", "/etc/before-hosts")]]);
}

#[test]
fn hardlink_before_modified() {
    suite(&[
        BASE,
        NEW_HOSTS,
        &[
            Remove("/etc/hosts"),
            CreateFile("/etc/hosts", "127.0.0.1 localhost", 0o644),
            Link("/etc/hosts", "/etc/before-hosts"),
        ],
    ]);
}

/// `TestUnpack`: what the system's tar writes.
#[test]
fn unpack() {
    let [from, to] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    change(from.path(), BASE);
    let mut tar = Command::new("tar");
    tar.args(["--format=posix", "-c", "-C"]).arg(from.path()).args(["etc", "home", "usr"]);
    let archive = tar.output().unwrap().stdout;
    apply_bytes(archive, &Target::Folder(to.path().into())).unwrap();
    assert_same(&content(from.path()), &content(to.path()));
}

/// `TestBaseDiff`: what the system's tar makes of a layer.
#[test]
fn base_diff() {
    let [from, to] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    change(from.path(), BASE);
    let mut tar = Command::new("tar");
    tar.args(["-xp", "--numeric-owner", "-C"]).arg(to.path()).stdin(Stdio::piped());
    let mut tar = tar.spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&layer(None, from.path())).unwrap();
    assert!(tar.wait().unwrap().success());
    assert_same(&content(from.path()), &content(to.path()));
}

/// `TestRelativeSymlinks`.
#[test]
fn relative_symlinks() {
    let breakouts: [&[Op]; 6] = [
        &[
            Symlink("../other", "/home/derek/other"),
            Symlink("../../etc", "/home/derek/etc"),
            Symlink("up/../../other", "/home/derek/updown"),
        ],
        &[Symlink("../../../breakout", "/home/derek/breakout")],
        &[Symlink("../../breakout", "/breakout")],
        &[Symlink("etc/../../upandout", "/breakout")],
        &[Symlink("derek/../../../downandout", "/home/breakout")],
        &[Symlink("/etc", "localetc")],
    ];
    for links in breakouts {
        in_a_folder(&[&[BASE, links].concat()]);
    }
}

/// `TestSymlinks`.
#[test]
fn symlinks() {
    let binary = |path| CreateFile(path, "\0\0", 0o755);
    let (bin, sbin) = (CreateDir("/bin/", 0o755), CreateDir("/sbin/", 0o755));
    in_a_folder(&[
        &[bin.clone(), binary("/bin/superbinary"), Symlink("../bin/superbinary", "/bin/other1")],
        &[
            Remove("/bin/other1"),
            Symlink("/bin/superbinary", "/bin/other1"),
            Symlink("../bin/superbinary", "/bin/other2"),
            Symlink("superbinary", "/bin/other3"),
        ],
    ]);
    for target in ["/sbin/superbinary", "../sbin/superbinary"] {
        in_a_folder(&[
            &[
                bin.clone(),
                sbin.clone(),
                binary("/sbin/superbinary"),
                Symlink(target, "/bin/superbinary"),
                Symlink("../bin/superbinary", "/bin/other1"),
            ],
            &[
                Remove("/bin/other1"),
                Symlink("/bin/superbinary", "/bin/other1"),
                Symlink("superbinary", "/bin/other2"),
            ],
        ]);
    }
    in_a_folder(&[
        &[
            bin.clone(),
            binary("/bin/actualbinary"),
            Symlink("actualbinary", "/bin/superbinary"),
            Symlink("../bin/superbinary", "/bin/other1"),
            Symlink("superbinary", "/bin/other2"),
        ],
        &[
            Remove("/bin/other1"),
            Remove("/bin/other2"),
            Symlink("/bin/superbinary", "/bin/other1"),
            Symlink("superbinary", "/bin/other2"),
        ],
    ]);
    in_a_folder(&[
        &[bin, binary("/bin/actualbinary"), Symlink("actualbinary", "/bin/myapp")],
        &[Remove("/bin/myapp"), CreateDir("/bin/myapp", 0o755)],
    ]);
}
