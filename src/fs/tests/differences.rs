//! What two trees have not in common.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The layers' digests tell nothing here: those of the fixture depend on the place alone. So that no
/// two of them are taken for one, all of the new tree is a layer further up.
fn found(old: Layer, new: Layer) -> Vec<(String, Change)> {
    let (old, new) = (in_memory(vec![old]), in_memory(vec![Layer::new(), new]));
    let mut found = Vec::new();
    let mut visit = |d: Difference| found.push((String::from_utf8(d.path).unwrap(), d.change));
    differences(&old, &new, &mut visit).unwrap();
    found
}

fn changed(what: &[&'static str]) -> Change {
    Change::Changed(what.to_vec())
}

#[test]
fn each_property_of_a_file_is_told_apart() {
    let content = noise(600_000);
    let mut last_byte = content.clone();
    *last_byte.last_mut().unwrap() ^= 1;
    let old = Layer::new()
        .file("content", 0o644, &content)
        .node("device", FileType::CharDevice, 1, 3)
        .file("mode", 0o644, b"x")
        .file("owner", 0o644, b"x")
        .file("same", 0o644, &content)
        .file("size", 0o644, b"x")
        .symlink("target", "a")
        .file("type", 0o644, b"")
        .file("xattr", 0o644, b"x")
        .xattr("user.a", b"1");
    let new = Layer::new()
        .file("content", 0o644, &last_byte)
        .node("device", FileType::CharDevice, 1, 5)
        .file("mode", 0o600, b"x")
        .file("owner", 0o644, b"x")
        .owner(7, 8)
        .file("same", 0o644, &content)
        .file("size", 0o644, b"xx")
        .symlink("target", "b")
        .symlink("type", "x")
        .file("xattr", 0o644, b"x")
        .xattr("user.a", b"2");
    let expected = [
        ("/content", "content"),
        ("/device", "device"),
        ("/mode", "mode"),
        ("/owner", "owner"),
        ("/size", "content"),
        ("/target", "target"),
        ("/type", "type"),
        ("/xattr", "attributes"),
    ];
    let expected = expected.map(|(path, what)| (path.to_owned(), changed(&[what])));
    assert_eq!(found(old, new), expected);
}

#[test]
fn a_hole_and_zeros_are_the_same_content() {
    let zeros = vec![0; 5000];
    let old = Layer::new().sparse("f", 5000, &[(4096, b"end")]);
    let mut data = zeros.clone();
    data[4096..4099].copy_from_slice(b"end");
    assert_eq!(found(old, Layer::new().file("f", 0o644, &data)), []);
    let hole = Layer::new().sparse("f", 5000, &[]);
    let other = found(hole, Layer::new().file("f", 0o644, &data));
    assert_eq!(other, [("/f".to_owned(), changed(&["content"]))]);
}

#[test]
fn all_below_a_folder_that_is_no_more_is_told_after_it() {
    let old = Layer::new().dir("d", 0o755).file("d/a", 0o644, b"").file("d/b", 0o644, b"");
    let new = Layer::new().file("d", 0o755, b"");
    let path = |path: &str, change| (path.to_owned(), change);
    let expected = [
        path("/d", changed(&["type"])),
        path("/d/a", Change::Removed),
        path("/d/b", Change::Removed),
    ];
    assert_eq!(found(old, new), expected);
}

#[test]
fn bytes_that_cannot_be_read_are_an_error_only_where_they_are_needed() {
    struct Broken(u64);
    impl crate::io::ReadAt for Broken {
        fn size(&self) -> u64 {
            self.0
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let tree = |layers| with_readers(layers, |data| Arc::new(Broken(data.len() as u64)));
    let file = || Layer::new().file("f", 0o644, b"content");
    let mut none = |d: Difference| panic!("{d:?}");
    // In the same place of the same layer: nothing is read.
    differences(&tree(vec![file()]), &tree(vec![file()]), &mut none).unwrap();
    differences(&tree(vec![file()]), &tree(vec![Layer::new(), file()]), &mut none).unwrap_err();
}

/// What may be at a path.
#[derive(Debug, Clone, PartialEq)]
enum At {
    Folder(u16),
    File(u16, Vec<u8>),
    Link(String),
}

const PATHS: [&str; 7] = ["a", "b", "b/c", "b/d", "b/d/e", "f", "f/g"];

/// Some of the paths, each only in folders.
fn trees() -> impl Strategy<Value = BTreeMap<&'static str, At>> {
    let mode = prop_oneof![Just(0o755_u16), Just(0o700)];
    let content = proptest::collection::vec(0..2_u8, 0..3);
    let at = prop_oneof![
        3 => mode.clone().prop_map(At::Folder),
        2 => (mode, content).prop_map(|(mode, content)| At::File(mode, content)),
        1 => "[xy]".prop_map(At::Link),
    ];
    proptest::collection::vec(proptest::option::of(at), PATHS.len()).prop_map(|all| {
        let mut tree = BTreeMap::new();
        for (path, at) in PATHS.into_iter().zip(all) {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            let fits = parent.is_none_or(|p| matches!(tree.get(p), Some(At::Folder(_))));
            if let (Some(at), true) = (at, fits) {
                tree.insert(path, at);
            }
        }
        tree
    })
}

fn layer(tree: &BTreeMap<&'static str, At>) -> Layer {
    tree.iter().fold(Layer::new(), |layer, (path, at)| match at {
        At::Folder(mode) => layer.dir(path, *mode),
        At::File(mode, content) => layer.file(path, *mode, content),
        At::Link(target) => layer.symlink(path, target),
    })
}

/// What is other of two things at one path.
fn other(old: &At, new: &At) -> Vec<&'static str> {
    let mut what = Vec::new();
    match (old, new) {
        (At::Folder(a), At::Folder(b)) if a != b => what.push("mode"),
        (At::File(mode, content), At::File(new_mode, new_content)) => {
            if mode != new_mode {
                what.push("mode");
            }
            if content != new_content {
                what.push("content");
            }
        }
        (At::Link(a), At::Link(b)) if a != b => what.push("target"),
        (At::Folder(_), At::Folder(_)) | (At::Link(_), At::Link(_)) => {}
        _ => what.push("type"),
    }
    what
}

proptest! {
    #[test]
    fn the_differences_are_those_of_two_maps(old in trees(), new in trees()) {
        let mut expected = Vec::new();
        for path in PATHS {
            let change = match (old.get(path), new.get(path)) {
                (Some(_), None) => Change::Removed,
                (None, Some(_)) => Change::Added,
                (Some(a), Some(b)) if !other(a, b).is_empty() => Change::Changed(other(a, b)),
                _ => continue,
            };
            expected.push((format!("/{path}"), change));
        }
        prop_assert_eq!(found(layer(&old), layer(&new)), expected);
    }
}
