//! Paths of a layer through links of the layers below.

use std::borrow::Cow;

use proptest::prelude::*;

use super::chain::{layer, show, tree_of};
use super::properties::chains;
use crate::layer::Toc;
use crate::tree::{follow, merge};

fn shown(layers: &[&[&str]]) -> Vec<String> {
    let layers: Vec<Toc> = layers.iter().map(|lines| layer(lines)).collect();
    let followed = follow(&layers.iter().collect::<Vec<_>>()).unwrap();
    show(&tree_of(&merge(&followed.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap()))
}

const LOWER: &[&str] = &["dir usr", "dir usr/lib", "file usr/lib/old", "symlink lib usr/lib"];

#[test]
fn a_file_below_an_unlisted_link_is_where_the_link_leads() {
    let got = shown(&[LOWER, &["file lib/x"]]);
    let expected = ["symlink /lib @0", "dir /usr @0", "dir /usr/lib @0", "file /usr/lib/old @0"];
    assert_eq!(got[..4], expected);
    assert_eq!(got[4..], ["file /usr/lib/x @1"]);
}

#[test]
fn a_listed_folder_replaces_the_link() {
    let got = shown(&[LOWER, &["dir lib", "file lib/x"]]);
    assert_eq!(got[..2], ["dir /lib @1", "file /lib/x @1"]);
}

#[test]
fn links_of_all_kinds_are_followed() {
    let lower: &[&str] = &[
        "dir a/b",
        "symlink absolute /a/b",
        "symlink a/up ../a/b",
        "symlink chain absolute",
        "symlink above ../../../a/./b/",
        "symlink inside chain/../b",
    ];
    for through in ["absolute", "a/up", "chain", "above", "inside"] {
        let file = format!("file {through}/x");
        let got = shown(&[lower, &[&file]]);
        assert!(got.contains(&"file /a/b/x @1".to_owned()), "{through}: {got:?}");
    }
}

#[test]
fn a_folder_is_made_where_a_link_leads_to_nothing() {
    let got = shown(&[&["symlink lib usr/lib"], &["file lib/x"]]);
    let made = ["dir /usr @1 implied", "dir /usr/lib @1 implied", "file /usr/lib/x @1"];
    assert_eq!(got, [&["symlink /lib @0"][..], &made].concat());
}

#[test]
fn a_link_in_a_circle_is_replaced() {
    let got = shown(&[&["symlink a b", "symlink b a"], &["file a/x"]]);
    assert_eq!(got, ["dir /a @1 implied", "file /a/x @1", "symlink /b @0"]);
}

#[test]
fn whiteouts_opaques_and_hard_links_follow_too() {
    let got = shown(&[LOWER, &["hide lib/old"]]);
    assert_eq!(got, ["symlink /lib @0", "dir /usr @0", "dir /usr/lib @0"]);
    let got = shown(&[LOWER, &["opaque lib", "file lib/x"]]);
    assert_eq!(got[2..], ["dir /usr/lib @0", "file /usr/lib/x @1"]);
    let got = shown(&[LOWER, &["lower new lib/old"]]);
    assert!(got.iter().any(|line| line.starts_with("file /new")), "{got:?}");
    assert_eq!(shown(&[LOWER, &["hide lib"]])[0], "dir /usr @0");
}

#[test]
fn what_a_link_leads_to_may_come_from_several_layers() {
    let got =
        shown(&[&["dir usr/lib"], &["symlink lib usr/lib"], &["file lib/x"], &["file lib/y"]]);
    assert_eq!(got[got.len() - 2..], ["file /usr/lib/x @2", "file /usr/lib/y @3"]);
}

#[test]
fn a_hidden_link_is_not_followed() {
    let got = shown(&[LOWER, &["hide lib"], &["file lib/x"]]);
    assert_eq!(got[..2], ["dir /lib @2 implied", "file /lib/x @2"]);
    // A layer's whiteouts come before its entries, whatever their order.
    for hiding in ["hide lib", "opaque ."] {
        let got = shown(&[LOWER, &[hiding, "file lib/x"]]);
        assert_eq!(got[..2], ["dir /lib @1 implied", "file /lib/x @1"], "{hiding}");
    }
}

#[test]
fn of_two_names_that_come_together_the_later_stays() {
    let got = shown(&[LOWER, &["file usr/lib/x", "file lib/x"]]);
    assert_eq!(got[4..], ["file /usr/lib/x @1"]);
}

proptest! {
    #[test]
    fn following_twice_is_following_once(layers in chains()) {
        let once = follow(&layers.iter().collect::<Vec<_>>()).unwrap();
        let twice = follow(&once.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
        prop_assert!(once == twice);
        for (followed, layer) in once.iter().zip(&layers) {
            if let Cow::Borrowed(same) = followed {
                prop_assert!(std::ptr::eq(*same, layer));
            }
        }
    }
}
