//! The state root: what is kept between runs, shared by processes, damaged, or left by a dead one.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::corpus;
use super::layout::{Archive, Layer, Layout};
use super::program::Stratafs;
use crate::fixture::noise;
use crate::oracle::{self, Snapshot};

fn sample(text: &str) -> Vec<u8> {
    let archive = Archive::new().file("text", text.as_bytes()).file("noise", &noise(700_000));
    archive.file("twin", &noise(700_000)).finish()
}

/// What `image` shows when it is mounted and unmounted again.
fn mounted(stratafs: &Stratafs, image: &str) -> Snapshot {
    let target = stratafs.mount(image, &[]);
    let seen = oracle::snapshot(&target);
    stratafs.run(&["umount", target.to_str().unwrap()]);
    seen
}

#[test]
fn an_index_does_not_vouch_for_a_diff_id_that_it_was_not_checked_against() {
    // Otherwise who knows the diffIDs of an image could have another content shown in its place.
    let honest = Layer::gzip(&sample("honest"));
    let evil = Layer::gzip(&sample("evil"));
    let posing = Layer { diff_id: honest.diff_id.clone(), ..evil.clone() };
    let (evil, honest, posing) =
        (Layout::of(&[evil]), Layout::of(std::slice::from_ref(&honest)), Layout::of(&[posing]));
    let stratafs = Stratafs::new();
    mounted(&stratafs, &evil.image());
    let target = stratafs.target("posing");
    let error = stratafs.refuse(&["mount", &posing.image(), target.to_str().unwrap()]);
    assert!(error.contains("the diffID is"), "{error}");
    assert_eq!(stratafs.run(&["cat", &honest.image(), "/text"]), "honest");
}

#[test]
fn one_blob_under_two_diff_ids_is_refused() {
    let layer = Layer::gzip(&sample("one"));
    let other = Layer { diff_id: super::layout::digest(b"other"), ..layer.clone() };
    let stratafs = Stratafs::new();
    let error = stratafs.refuse(&["ls", &Layout::of(&[layer, other]).image()]);
    assert!(error.contains("the diffID is"), "{error}");
}

#[test]
fn damaged_state_is_made_again() {
    let layout = Layout::of(&[Layer::gzip(&sample("lower")), Layer::zstd(&sample("upper"))]);
    let stratafs = Stratafs::new();
    let expected = mounted(&stratafs, &layout.image());
    let files: Vec<_> =
        stratafs.state().into_iter().map(|path| stratafs.root().join(path)).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        let whole = fs::read(file).unwrap();
        let flipped = |place: usize| {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            bytes
        };
        let mut damages = vec![Vec::new(), whole[..whole.len() / 2].to_vec(), noise(whole.len())];
        let places = [0, 8, 16, 40, 100, whole.len() / 3, whole.len() / 2, whole.len() - 1];
        damages.extend(places.into_iter().filter(|&place| place < whole.len()).map(flipped));
        for damage in damages {
            fs::write(file, damage).unwrap();
            oracle::assert_same(&expected, &mounted(&stratafs, &layout.image()));
        }
    }
}

#[test]
fn processes_that_index_one_image_at_once_all_succeed() {
    let layout = Layout::of(&[Layer::gzip(&sample("a")), Layer::gzip(&sample("b"))]);
    let stratafs = Stratafs::new();
    let spawn = |i: usize| {
        let target = stratafs.target(&format!("at-once-{i}"));
        let args = ["mount", &layout.image(), target.to_str().unwrap()];
        (stratafs.command(&args).spawn().unwrap(), target)
    };
    let children: Vec<_> = (0..6).map(spawn).collect();
    for (mut child, target) in children {
        assert!(child.wait().unwrap().success());
        assert_eq!(fs::read(target.join("text")).unwrap(), b"b");
        stratafs.run(&["umount", target.to_str().unwrap()]);
    }
}

#[test]
fn a_run_that_was_killed_leaves_nothing_that_harms_the_next() {
    let image = corpus::image("debian", "latest");
    let stratafs = Stratafs::new();
    for wait in [5, 50, 200, 600, 1500] {
        let mut child = stratafs
            .command(&["index", "build", &image])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    oracle::assert_same(&corpus::unpacked("debian", "latest"), &mounted(&stratafs, &image));
    let odd = |path: &Path| !matches!(path.extension(), Some(e) if e == "toc" || e == "tree" || e == "erofs");
    let mut left = stratafs.state();
    left.retain(|path| (path.starts_with("index") || path.starts_with("trees")) && odd(path));
    assert!(left.is_empty(), "{left:?}");
}
