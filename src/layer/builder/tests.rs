use super::super::MAX_LINKS;
use super::*;
use crate::archive::{DataRun, Device, FileType, Timestamp};

fn entry(path: &str, kind: EntryKind) -> Entry {
    let file_type = match kind {
        EntryKind::Regular | EntryKind::HardLink(_) => FileType::Regular,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink(_) => FileType::Symlink,
        EntryKind::CharDevice => FileType::CharDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::Fifo => FileType::Fifo,
    };
    let metadata = Metadata { file_type, mode: 0o644, ..Metadata::implied_directory() };
    Entry { offset: 0, path: path.into(), kind, metadata, size: 0, runs: Vec::new() }
}

/// `d PATH`, `f PATH MARK`, `s PATH TARGET`, `h PATH TARGET`, one a line. The mark is the mode.
pub(super) fn try_build(script: &str) -> Result<Toc, TocError> {
    let mut builder = TocBuilder::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split(' ').collect();
        let extra = words.get(2).copied().unwrap_or_default();
        let kind = match words[0] {
            "d" => EntryKind::Directory,
            "f" => EntryKind::Regular,
            "s" => EntryKind::Symlink(extra.into()),
            "h" => EntryKind::HardLink(extra.into()),
            _ => EntryKind::Fifo,
        };
        let mut entry = entry(words[1], kind);
        entry.metadata.mode = u16::from_str_radix(extra, 8).unwrap_or(0o644);
        builder.add(entry)?;
    }
    Ok(builder.finish())
}

fn show(toc: &Toc) -> Vec<String> {
    let name = |name: &Name| match &name.target {
        Target::Lower(path) => format!("{} => {path}", name.path),
        Target::Inode(i) => {
            let inode = &toc.inodes[*i as usize];
            let mode = inode.metadata.mode;
            match inode.metadata.file_type {
                FileType::Directory => format!("{}/ {mode:o}", name.path),
                FileType::Symlink => {
                    let target = String::from_utf8_lossy(&inode.link_target);
                    format!("{} -> {target} #{i}", name.path)
                }
                FileType::Regular
                | FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo => format!("{} {mode:o} #{i}", name.path),
            }
        }
    };
    let mut lines: Vec<_> = toc.names.iter().map(name).collect();
    lines.extend(toc.whiteouts.iter().map(|path| format!("hide {path}")));
    lines.extend(toc.opaques.iter().map(|path| format!("opaque {path}")));
    lines
}

fn built(script: &str) -> Vec<String> {
    show(&try_build(script).unwrap())
}

fn refused(script: &str) -> TocFault {
    try_build(script).unwrap_err().fault
}

#[test]
fn names_are_sorted_and_missing_parents_are_implied() {
    assert_eq!(
        built(
            "f b/c/d 1
f ./a 2
d /b-c/
d b/"
        ),
        ["/a 2 #1", "/b/ 644", "/b/c/d 1 #0", "/b-c/ 644"]
    );
}

#[test]
fn the_last_of_equal_names_wins() {
    assert_eq!(
        built(
            "f a 1
f a 2"
        ),
        ["/a 2 #0"]
    );
    assert_eq!(
        built(
            "d a 1
f a/b 2
d a 3"
        ),
        ["/a/ 3", "/a/b 2 #1"]
    );
    assert_eq!(
        built(
            "d a 1
f a/b 2
f a 3"
        ),
        ["/a 3 #0"]
    );
    assert_eq!(
        built(
            "f a/b 2
s a x"
        ),
        ["/a -> x #0"]
    );
}

#[test]
fn a_directory_in_place_of_a_file_hides_what_the_layers_below_have() {
    assert_eq!(
        built(
            "f a 1
d a 2"
        ),
        ["/a/ 2", "hide /a"]
    );
    assert_eq!(
        built(
            "d x
s a x
d a 2
f a/f 3"
        ),
        ["/a/ 2", "/a/f 3 #2", "/x/ 644", "hide /a"]
    );
}

#[test]
fn hard_links_share_the_inode_of_that_moment() {
    assert_eq!(
        built(
            "f a 1
h b a
f a 2"
        ),
        ["/a 2 #1", "/b 1 #0"]
    );
    assert_eq!(
        built(
            "f a 1
h b ./a
h c /b"
        ),
        ["/a 1 #0", "/b 1 #0", "/c 1 #0"]
    );
    assert_eq!(
        built(
            "s a x
h b a"
        ),
        ["/a -> x #0", "/b -> x #0"]
    );
    assert_eq!(
        built(
            "f a 1
h a a"
        ),
        ["/a 1 #0"]
    );
}

#[test]
fn hard_links_to_what_the_layer_has_not_are_lower_ones() {
    assert_eq!(
        built(
            "h b a
f a 1
h c b"
        ),
        ["/a 1 #0", "/b => /a", "/c => /a"]
    );
    assert_eq!(
        built(
            "s l usr
h b l/lib/x"
        ),
        ["/b => /usr/lib/x", "/l -> usr #0"]
    );
    assert_eq!(built("h b ../../a"), ["/b => /a"]);
    assert_eq!(
        refused(
            "d a
h b a"
        ),
        TocFault::LinkToDirectory(path("a"))
    );
    assert_eq!(
        refused(
            "f a/x
h b a"
        ),
        TocFault::LinkToDirectory(path("a"))
    );
    assert_eq!(refused("h b /"), TocFault::LinkToDirectory(path("")));
    assert_eq!(
        refused(
            "f a 1
h b a/x"
        ),
        TocFault::NotADirectory(path("a"))
    );
}

fn path(s: &str) -> LayerPath {
    LayerPath::parse(s.as_bytes()).unwrap()
}

#[test]
fn parents_that_are_links_are_followed_inside_the_root() {
    for target in ["usr/lib", "/usr/lib", "../../usr/./lib", "usr/x/../lib/"] {
        let names = built(&format!(
            "d usr/lib 1
s lib {target}
f lib/x 2"
        ));
        assert_eq!(names[1..], ["/usr/lib/ 1", "/usr/lib/x 2 #2"], "{target}");
    }
    // A link that leads nowhere makes the folder it leads to.
    assert_eq!(
        built(
            "s a b/c
f a/x 2"
        ),
        ["/a -> b/c #0", "/b/c/x 2 #1"]
    );
    // Links to links, one of them in the middle.
    assert_eq!(
        built(
            "s a b
s b c
s c/d ../e
f a/d/x 7"
        )[3],
        "/e/x 7 #3"
    );
}

#[test]
fn the_last_name_is_not_followed() {
    assert_eq!(
        built(
            "f b 1
s a b
f a 2"
        ),
        ["/a 2 #1", "/b 1 #0"]
    );
}

#[test]
fn parents_that_are_no_directories_are_refused() {
    assert_eq!(
        refused(
            "f a 1
f a/b 2"
        ),
        TocFault::NotADirectory(path("a"))
    );
    assert_eq!(
        refused(
            "f a 1
f a/b/c 2"
        ),
        TocFault::NotADirectory(path("a"))
    );
    assert_eq!(
        refused(
            "f a 1
s l a
f l/b 2"
        ),
        TocFault::NotADirectory(path("a"))
    );
    assert_eq!(
        refused(
            "h a x
f a/b 2"
        ),
        TocFault::NotADirectory(path("a"))
    );
    assert_eq!(
        refused(
            "f a 1
f a/.wh.b"
        ),
        TocFault::NotADirectory(path("a"))
    );
}

#[test]
fn link_loops_are_refused() {
    assert_eq!(
        refused(
            "s a b
s b a
f a/x"
        ),
        TocFault::TooManyLinks
    );
    assert_eq!(
        refused(
            "s a a/a
f a/x"
        ),
        TocFault::TooManyLinks
    );
    let chain = |n| {
        (0..n)
            .map(|i| {
                format!(
                    "s {i} {}
",
                    i + 1
                )
            })
            .collect::<String>()
            + "f 0/x"
    };
    assert!(try_build(&chain(MAX_LINKS)).is_ok());
    assert_eq!(refused(&chain(MAX_LINKS + 1)), TocFault::TooManyLinks);
}

#[test]
fn names_that_climb_are_refused_and_name_the_entry() {
    let error = try_build(
        "f a
f x/../../b",
    )
    .unwrap_err();
    assert_eq!(error.entry, "x/../../b");
    assert!(matches!(error.fault, TocFault::Path(PathError::Climbs(_))));
}

#[test]
fn whiteouts_are_collected_and_hide_nothing_of_their_layer() {
    assert_eq!(
        built(
            "d d 1
f d/.wh.x
f d/x 2
f .wh.d"
        ),
        ["/d/ 1", "/d/x 2 #1", "hide /d", "hide /d/x"]
    );
    assert_eq!(
        built(
            "f d/a 1
f d/.wh..wh..opq
f .wh..wh..opq"
        ),
        ["/d/a 1 #0", "opaque /", "opaque /d"]
    );
    assert_eq!(
        built(
            "f .wh..wh.plnk
f .wh..wh.aufs"
        ),
        [""; 0]
    );
    // Only the last name counts.
    assert_eq!(built("f .wh.etc/file 1"), ["/.wh.etc/file 1 #0"]);
    assert_eq!(built("d .wh.etc"), ["hide /etc"]);
    assert_eq!(
        built(
            "s l d
f l/.wh.x"
        ),
        ["/l -> d #0", "hide /d/x"]
    );
    // What replaces the folder takes its whiteouts along.
    assert_eq!(
        built(
            "f d/.wh.x
f d/.wh..wh..opq
f d 1"
        ),
        ["/d 1 #0"]
    );
}

#[test]
fn whiteouts_of_their_own_folder_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "etc/.wh.", "etc/.wh..", "etc/.wh..."] {
        assert_eq!(refused(&format!("f {name}")), TocFault::InvalidWhiteout, "{name}");
    }
}

#[test]
fn the_root_takes_metadata_of_directories_only() {
    assert_eq!(
        built(
            "d ./ 700
f . 1
f / 2
s ./. x
d / 711"
        ),
        ["// 711"]
    );
}

#[test]
fn a_directory_given_twice_keeps_xattrs_that_the_second_does_not_set() {
    let xattr = |name: &str, value: &str| Xattr { name: name.into(), value: value.into() };
    let mut builder = TocBuilder::new();
    for xattrs in [
        vec![xattr("user.a", "1"), xattr("user.b", "1")],
        vec![xattr("user.b", "2"), xattr("user.c", "2")],
    ] {
        let mut entry = entry("d", EntryKind::Directory);
        entry.metadata.xattrs = xattrs;
        builder.add(entry).unwrap();
    }
    let merged = [xattr("user.a", "1"), xattr("user.b", "2"), xattr("user.c", "2")];
    assert_eq!(builder.finish().inodes[0].metadata.xattrs, merged);
}

#[test]
fn files_keep_metadata_size_and_extents() {
    let mut entry = entry("f", EntryKind::Regular);
    entry.size = 100;
    entry.runs = vec![DataRun { file_offset: 10, len: 5, stream_offset: 512 }];
    entry.metadata.mtime = Timestamp { secs: -5, nanos: 7 };
    entry.metadata.device = Device { major: 0, minor: 0 };
    let metadata = entry.metadata.clone();
    let mut builder = TocBuilder::new();
    builder.add(entry).unwrap();
    let toc = builder.finish();
    assert_eq!(
        toc.inodes,
        [Inode {
            metadata,
            size: 100,
            extents: vec![Extent { file_offset: 10, len: 5, layer_offset: 512 }],
            link_target: Vec::new(),
        }]
    );
}

#[test]
fn overlong_paths_are_refused_wherever_their_length_comes_from() {
    let deep = "d/".repeat(2047);
    assert!(try_build(&format!("f {deep}ab")).is_ok());
    assert!(matches!(refused(&format!("f {deep}abc")), TocFault::Path(PathError::TooLong(_))));
    let far = format!(
        "s l {}
f l/{}x",
        "d/".repeat(1500),
        "e/".repeat(1500)
    );
    assert!(matches!(refused(&far), TocFault::Path(PathError::TooLong(_))));
    let long = format!(
        "s l {}/y
f l/x",
        "n".repeat(256)
    );
    assert!(matches!(refused(&long), TocFault::Path(PathError::NameTooLong(_))));
    assert!(matches!(refused("s l "), TocFault::LinkTarget(0)));
}
