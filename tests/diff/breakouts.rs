//! containerd's `TestBreakouts` (`pkg/archive/tar_test.go`), each case under its own name.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use stratafs::diff::Error;

use super::archive::{Member, dir, file, link, symlink};
use super::fixture::Jail;
use super::tree::{Op, change, same_file};

/// Applies `members` to what `before` makes; nothing may change outside of the root.
fn applied(before: &[Op], members: &[Member]) -> Jail {
    let jail = Jail::new();
    change(&jail.root(), before);
    jail.apply(members).unwrap();
    jail
}

fn content(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap()
}

fn unbroken(members: &[Member]) {
    let jail = applied(&[], members);
    assert_eq!(content(&jail.root(), "etc/unbroken"), "unbroken");
}

/// `etc/passwd`, then `members`, one of which must be the same file.
fn same_as_passwd(members: &[Member], name: &str) {
    let all = [&[dir("etc", 0o770), file("/etc/passwd", "inside")], members].concat();
    let jail = applied(&[], &all);
    assert!(same_file(&jail.root(), name, "/etc/passwd"));
    assert_eq!(content(&jail.root(), "etc/passwd"), "inside");
}

const ETC: [Op; 2] =
    [Op::CreateDir("/etc/", 0o755), Op::CreateFile("/etc/passwd", "all users", 0o644)];

fn with_etc(more: &[Op]) -> Vec<Op> {
    [&ETC, more].concat()
}

#[test]
fn symlink_absolute() {
    unbroken(&[
        dir("etc", 0o755),
        symlink("/etc", "localetc"),
        file("/localetc/unbroken", "unbroken"),
    ]);
}

#[test]
fn symlink_up_and_out() {
    unbroken(&[
        dir("etc", 0o755),
        dir("dummy", 0o755),
        symlink("/dummy/../etc", "localetc"),
        file("/localetc/unbroken", "unbroken"),
    ]);
}

#[test]
fn symlink_multiple_absolute() {
    unbroken(&[
        dir("etc", 0o755),
        dir("dummy", 0o755),
        symlink("/etc", "/dummy/etc"),
        symlink("/dummy/etc", "localetc"),
        file("/dummy/etc/unbroken", "unbroken"),
    ]);
}

#[test]
fn symlink_multiple_relative() {
    unbroken(&[
        dir("etc", 0o755),
        dir("dummy", 0o755),
        symlink("/etc", "/dummy/etc"),
        symlink("./dummy/etc", "localetc"),
        file("/dummy/etc/unbroken", "unbroken"),
    ]);
}

#[test]
fn symlink_empty_file() {
    let jail = applied(
        &[],
        &[
            dir("etc", 0o755),
            file("etc/emptied", "notempty"),
            symlink("/etc", "localetc"),
            file("/localetc/emptied", ""),
        ],
    );
    assert_eq!(content(&jail.root(), "etc/emptied"), "");
}

#[test]
fn hardlink_relative() {
    same_as_passwd(
        &[
            dir("breakouts", 0o755),
            symlink("../../etc", "breakouts/d1"),
            link("/breakouts/d1/passwd", "breakouts/mypasswd"),
        ],
        "/breakouts/mypasswd",
    );
}

#[test]
fn hardlink_down_and_out() {
    same_as_passwd(
        &[
            dir("breakouts", 0o755),
            dir("downandout", 0o755),
            symlink("../downandout/../../etc", "breakouts/d1"),
            link("/breakouts/d1/passwd", "breakouts/mypasswd"),
        ],
        "/breakouts/mypasswd",
    );
}

#[test]
fn hardlink_absolute() {
    same_as_passwd(
        &[symlink("/etc", "localetc"), link("/localetc/passwd", "localpasswd")],
        "localpasswd",
    );
}

#[test]
fn hardlink_relative_long() {
    same_as_passwd(
        &[symlink("../../../../../../../etc", "localetc"), link("/localetc/passwd", "localpasswd")],
        "localpasswd",
    );
}

#[test]
fn hardlink_relative_up_and_out() {
    same_as_passwd(
        &[symlink("upandout/../../../etc", "localetc"), link("/localetc/passwd", "localpasswd")],
        "localpasswd",
    );
}

#[test]
fn hardlink_direct_relative() {
    same_as_passwd(&[link("../../../../../etc/passwd", "localpasswd")], "localpasswd");
}

#[test]
fn hardlink_direct_absolute() {
    same_as_passwd(&[link("/etc/passwd", "localpasswd")], "localpasswd");
}

#[test]
fn hardlink_symlink_before_create_target() {
    let jail = applied(
        &[],
        &[
            dir("etc", 0o770),
            symlink("/etc/passwd", "localpasswd"),
            link("localpasswd", "localpasswd-dup"),
            file("/etc/passwd", "after"),
        ],
    );
    assert!(same_file(&jail.root(), "localpasswd-dup", "/etc/passwd"));
}

/// A hard link to a symbolic link is the symbolic link.
fn links_the_link(target: &str) {
    let jail = applied(
        &[],
        &[
            dir("etc", 0o770),
            file("/etc/passwd", "inside"),
            symlink(target, "passwdlink"),
            link("/passwdlink", "localpasswd"),
        ],
    );
    let root = jail.root();
    for name in ["localpasswd", "passwdlink"] {
        assert_eq!(fs::read_link(root.join(name)).unwrap(), Path::new(target));
    }
    let ino = |name| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(ino("localpasswd"), ino("passwdlink"));
    assert!(same_file(&root, "/localpasswd", "/etc/passwd"));
}

#[test]
fn hardlink_symlink_relative() {
    links_the_link("../../../../../etc/passwd");
}

#[test]
fn hardlink_symlink_absolute() {
    links_the_link("/etc/passwd");
}

#[test]
fn symlink_parent_directory() {
    same_as_passwd(&[symlink("/etc/", ".."), link("/etc/passwd", "localpasswd")], "/localpasswd");
}

#[test]
fn symlink_empty_filename() {
    same_as_passwd(&[symlink("/etc/", ""), link("/etc/passwd", "localpasswd")], "/localpasswd");
}

#[test]
fn symlink_parent_relative() {
    same_as_passwd(
        &[symlink("/etc/", "localetc/sub/.."), link("/etc/passwd", "/localetc/localpasswd")],
        "/localetc/localpasswd",
    );
}

#[test]
fn symlink_slash_ended() {
    same_as_passwd(
        &[dir("localetc/", 0o770), link("/etc/passwd", "/localetc/localpasswd")],
        "/localetc/localpasswd",
    );
}

#[test]
fn symlink_override_directory() {
    for target in ["/etc", "../../etc"] {
        let jail = applied(
            &with_etc(&[Op::CreateDir("/localetc/", 0o755)]),
            &[symlink(target, "localetc"), link("/etc/passwd", "/localetc/localpasswd")],
        );
        assert!(same_file(&jail.root(), "/localetc/localpasswd", "/etc/passwd"));
        assert!(jail.root().join("etc/localpasswd").exists());
    }
}

#[test]
fn directory_override_symlink() {
    let jail = applied(
        &with_etc(&[Op::Symlink("/etc", "localetc")]),
        &[dir("/localetc/", 0o755), link("/etc/passwd", "/localetc/localpasswd")],
    );
    assert!(same_file(&jail.root(), "/localetc/localpasswd", "/etc/passwd"));
    assert!(!jail.root().join("etc/localpasswd").exists());
}

#[test]
fn directory_override_symlink_and_hardlink() {
    let jail = applied(
        &with_etc(&[
            Op::Symlink("etc", "localetc"),
            Op::Link("/etc/passwd", "/localetc/localpasswd"),
        ]),
        &[dir("/localetc/", 0o755), file("/localetc/localpasswd", "different")],
    );
    assert!(!same_file(&jail.root(), "/localetc/localpasswd", "/etc/passwd"));
    assert_eq!(content(&jail.root(), "etc/passwd"), "all users");
    assert_eq!(content(&jail.root(), "etc/localpasswd"), "all users");
}

fn invalid_whiteout(name: &str) {
    let jail = Jail::new();
    change(&jail.root(), &ETC);
    let refused = jail.apply(&[file(name, "")]);
    assert!(matches!(refused, Err(Error::Whiteout { .. })), "{refused:?}");
    assert_eq!(content(&jail.root(), "etc/passwd"), "all users");
}

#[test]
fn whiteout_root_parent() {
    invalid_whiteout(".wh...");
}

#[test]
fn whiteout_parent() {
    invalid_whiteout("etc/.wh...");
}

#[test]
fn whiteout_root() {
    invalid_whiteout(".wh..");
}

#[test]
fn whiteout_current_directory() {
    invalid_whiteout("etc/.wh..");
}

#[test]
fn whiteout_without_a_name() {
    invalid_whiteout("etc/.wh.");
}

#[test]
fn whiteout_symlink() {
    let jail = applied(&with_etc(&[Op::Symlink("/etc", "localetc")]), &[file(".wh.localetc", "")]);
    assert_eq!(content(&jail.root(), "etc/passwd"), "all users");
    assert!(fs::symlink_metadata(jail.root().join("localetc")).is_err());
}

#[test]
fn whiteout_symlink_path() {
    let jail = applied(
        &with_etc(&[
            Op::CreateFile("/etc/whitedout", "ahhhh whiteout", 0o644),
            Op::Symlink("/etc", "localetc"),
        ]),
        &[file("localetc/.wh.whitedout", "")],
    );
    assert_eq!(content(&jail.root(), "etc/passwd"), "all users");
    assert!(!jail.root().join("etc/whitedout").exists());
}

#[test]
fn whiteout_directory_name() {
    let jail = applied(
        &with_etc(&[Op::Symlink("/etc", "localetc")]),
        &[file(".wh.etc/somefile", "non-empty")],
    );
    assert_eq!(content(&jail.root(), "etc/passwd"), "all users");
    assert_eq!(content(&jail.root(), ".wh.etc/somefile"), "non-empty");
}

#[test]
fn whiteout_dead_symlink_parent() {
    let jail =
        applied(&with_etc(&[Op::Symlink("/dne", "localetc")]), &[file("localetc/.wh.etc", "")]);
    assert_eq!(content(&jail.root(), "etc/passwd"), "all users");
}

#[test]
fn whiteout_relative_path() {
    let jail =
        applied(&with_etc(&[Op::Symlink("/dne", "localetc")]), &[file("dne/../.wh.etc", "")]);
    assert!(!jail.root().join("etc").exists());
}

#[test]
fn hardlink_symlink_chmod() {
    let outside = tempfile::tempdir().unwrap();
    let kept = outside.path().join("perm400");
    let also = outside.path().join("also-exists-outside-root");
    for (path, mode) in [(&kept, 0o400), (&also, 0o640)] {
        fs::write(path, "...").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let (to, at) = (kept.to_str().unwrap(), also.to_str().unwrap());
    applied(&[], &[symlink(to, at), link(at, "sketchylink")]);
    assert_eq!(fs::symlink_metadata(&kept).unwrap().mode() & 0o777, 0o400);
    assert_eq!(fs::symlink_metadata(&also).unwrap().mode() & 0o777, 0o640);
}

/// Names that lead out of the root are refused, and make nothing.
#[test]
fn climbing_names_are_refused() {
    for name in ["../breakout", "a/../../breakout", "/../../passwd"] {
        let jail = Jail::new();
        let refused = jail.apply(&[file(name, "broken")]);
        assert!(matches!(refused, Err(Error::Path(_))), "{name}: {refused:?}");
        assert_eq!(fs::read_dir(jail.root()).unwrap().count(), 0, "{name}");
    }
}

/// A link that is a parent of itself ends, and so does a chain that is too long.
#[test]
fn endless_links_are_refused() {
    let jail = Jail::new();
    let refused = jail.apply(&[symlink("b", "a"), symlink("a", "b"), file("a/f", "")]);
    assert!(matches!(refused, Err(Error::TooManyLinks { .. })), "{refused:?}");
}
