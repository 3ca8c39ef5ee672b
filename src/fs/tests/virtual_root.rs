use std::collections::HashSet;

use super::*;
use crate::digest::DiffId;

#[test]
fn trees_are_shown_by_name_and_hidden_again() {
    let fs = Filesystem::new();
    let layer = SlotName::Layer(DiffId::new(Digest::sha256(b"layer")));
    let a = fs.attach(&chain(1), tree_with("one")).unwrap();
    let b = fs.attach(&layer, tree_with("two")).unwrap();
    assert_eq!((a, b), (1, 2));
    assert_eq!(names(&list(&fs, NodeId::ROOT, 0, 1)), [".", "..", "chains", "layers", "blobs"]);
    let found = fs.lookup(node(&fs, "layers"), &layer.path().as_bytes()[7..]).unwrap();
    assert_eq!(found.value.unwrap().node, NodeId::new(b, 1));
    assert_eq!(found.validity, Validity::Volatile);
    let inside = node(&fs, &format!("{}/f", chain(1).path()));
    assert_eq!(inside.slot(), a);
    assert_eq!(fs.getattr(inside).unwrap().validity, Validity::Immutable);

    assert!(matches!(fs.attach(&chain(1), tree_with("")), Err(Error::NameTaken(_))));
    assert_eq!(fs.detach(&chain(1)), Some(a));
    assert_eq!(fs.detach(&chain(1)), None);
    assert_eq!(fs.getattr(inside).unwrap_err().errno(), libc::ESTALE);
    assert_eq!(fs.read(inside, 0, &mut [0]).unwrap_err().errno(), libc::ESTALE);
    assert_eq!(fs.attach(&chain(1), tree_with("new")).unwrap(), 3, "a slot has one tree only");
}

#[test]
fn a_slot_of_an_earlier_process_is_taken_again() {
    let fs = Filesystem::new();
    fs.attach_at(9, &chain(1), tree_with("one")).unwrap();
    fs.attach_at(4, &chain(2), tree_with("two")).unwrap();
    assert_eq!(fs.slot(&chain(2)), Some(4));
    assert!(matches!(fs.attach_at(4, &chain(3), tree_with("")), Err(Error::SlotTaken(4))));
    assert!(matches!(fs.attach_at(0, &chain(3), tree_with("")), Err(Error::SlotTaken(0))));
    assert_eq!(fs.attach(&chain(3), tree_with("three")).unwrap(), 10);
    let last = fs.attach_at(u32::MAX, &chain(5), tree_with(""));
    assert!(matches!(last, Err(Error::NoSlots)));
}

#[test]
fn a_change_of_the_virtual_root_shows_in_its_mtime() {
    let fs = Filesystem::new();
    let chains = node(&fs, "chains");
    let mut seen = HashSet::new();
    for n in 0..50 {
        fs.attach(&chain(n), tree_with("")).unwrap();
        assert!(seen.insert(fs.getattr(chains).unwrap().value.mtime));
        fs.detach(&chain(n)).unwrap();
        assert!(seen.insert(fs.getattr(chains).unwrap().value.mtime));
    }
}

#[test]
fn a_listing_goes_on_where_it_was_though_trees_came_and_went() {
    let fs = Filesystem::new();
    for n in 0..10 {
        fs.attach(&chain(n), tree_with("")).unwrap();
    }
    let chains = node(&fs, "chains");
    let mut position = 0;
    let mut taken = 0;
    fs.readdir(chains, 0, &mut |entry| {
        taken += 1;
        position = entry.next;
        taken < 6
    })
    .unwrap();
    for n in 0..8 {
        fs.detach(&chain(n)).unwrap();
    }
    fs.attach(&chain(77), tree_with("")).unwrap();
    let rest: Vec<u32> =
        list(&fs, chains, position, 3).iter().map(|(_, node)| node.slot()).collect();
    assert_eq!(rest, [9, 10, 11]);
}

#[test]
fn names_of_the_virtual_root_are_volatile_in_listings_too() {
    let fs = Filesystem::new();
    fs.attach(&chain(1), tree_with("")).unwrap();
    fs.readdir_plus(node(&fs, "chains"), 0, &mut |_, found| {
        assert_eq!(found.validity, Validity::Volatile);
        true
    })
    .unwrap();
}
