//! The semantics of handlers, on made-up graphs and on documents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::json;

use super::fixture::{Fixture, on};
use super::*;
use crate::content::{Descriptor, Ingester, Layout, Provider};
use crate::digest::Digest;
use crate::error::{Classify, Kind};

fn node(i: usize) -> Descriptor {
    Descriptor::new("test/node", Digest::sha256(&i.to_le_bytes()), 1)
}

/// A made-up graph, and the order in which it is visited.
struct Graph {
    edges: BTreeMap<usize, Vec<usize>>,
    numbers: HashMap<Digest, usize>,
    visited: Mutex<Vec<usize>>,
}

impl Graph {
    fn new(edges: impl IntoIterator<Item = (usize, Vec<usize>)>) -> Self {
        let edges: BTreeMap<_, _> = edges.into_iter().collect();
        let all = edges.iter().flat_map(|(n, to)| to.iter().chain([n]));
        let numbers = all.map(|n| (node(*n).digest, *n)).collect();
        Self { edges, numbers, visited: Mutex::default() }
    }

    fn number(&self, d: &Descriptor) -> usize {
        self.numbers[&d.digest]
    }

    fn visit(&self, d: &Descriptor) -> Step {
        let n = self.number(d);
        self.visited.lock().push(n);
        let children = self.edges.get(&n).into_iter().flatten();
        Step::Children(children.map(|c| node(*c)).collect())
    }

    fn handler(&self) -> impl Handler + '_ {
        |d: &Descriptor, _: &Cancel| Ok(self.visit(d))
    }
}

fn limit(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn failure() -> Error {
    Error::NotAnImage { digest: Digest::sha256(b""), reason: "test".into() }
}

#[test]
fn walk_goes_depth_first_and_siblings_in_order() {
    let g = Graph::new([(0, vec![1, 4]), (1, vec![2, 3]), (4, vec![5])]);
    walk(&g.handler(), &[node(0)], &Cancel::new()).unwrap();
    assert_eq!(*g.visited.lock(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn skip_leaves_out_what_is_below_and_only_that() {
    let g = Graph::new([(0, vec![1, 2]), (1, vec![3])]);
    let skip = |d: &Descriptor, _: &Cancel| {
        let step = g.visit(d);
        Ok(if g.number(d) == 1 { Step::Skip } else { step })
    };
    walk(&skip, &[node(0)], &Cancel::new()).unwrap();
    assert_eq!(*g.visited.lock(), [0, 1, 2]);
    g.visited.lock().clear();
    dispatch(&skip, limit(3), &[node(0)], &Cancel::new()).unwrap();
    assert_eq!(g.visited.lock().iter().collect::<BTreeSet<_>>(), BTreeSet::from([&0, &1, &2]));
}

#[test]
fn handlers_join_children_until_one_stops() {
    let gives = |n: usize| move |_: &Descriptor, _: &Cancel| Ok(Step::Children(vec![node(n)]));
    let stop = |_: &Descriptor, _: &Cancel| Ok(Step::Stop);
    let skip = |_: &Descriptor, _: &Cancel| Ok(Step::Skip);
    let fails = |_: &Descriptor, _: &Cancel| Err(failure());
    let run = |list: Vec<Box<dyn Handler>>| handlers(list).handle(&node(0), &Cancel::new());
    let both = run(vec![Box::new(gives(1)), Box::new(gives(2))]).unwrap();
    assert_eq!(both, Step::Children(vec![node(1), node(2)]));
    let stopped = run(vec![Box::new(gives(1)), Box::new(stop), Box::new(fails)]).unwrap();
    assert_eq!(stopped, Step::Children(vec![node(1)]));
    let skipped = run(vec![Box::new(gives(1)), Box::new(skip), Box::new(fails)]).unwrap();
    assert_eq!(skipped, Step::Skip);
    assert!(run(vec![Box::new(gives(1)), Box::new(fails)]).is_err());
}

#[test]
fn an_error_ends_a_walk_at_once() {
    let g = Graph::new([(0, vec![1, 2])]);
    let fails = |d: &Descriptor, _: &Cancel| {
        let step = g.visit(d);
        if g.number(d) == 1 { Err(failure()) } else { Ok(step) }
    };
    assert!(matches!(walk(&fails, &[node(0)], &Cancel::new()), Err(Error::NotAnImage { .. })));
    assert_eq!(*g.visited.lock(), [0, 1]);
}

#[test]
fn the_first_error_of_a_dispatch_cancels_the_rest_and_is_returned() {
    let g = Graph::new([(0, (1..100).collect())]);
    let fails = |d: &Descriptor, cancel: &Cancel| match g.number(d) {
        0 => Ok(g.visit(d)),
        1 => Err(failure()),
        _ => {
            g.visit(d);
            // Ends only because it is told to.
            for _ in 0..1000 {
                cancel.check()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(Step::none())
        }
    };
    let cancel = Cancel::new();
    let error = dispatch(&fails, limit(4), &[node(0)], &cancel).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    assert!(g.visited.lock().len() <= 5, "{:?}", g.visited.lock());
    assert!(!cancel.is_cancelled());
}

#[test]
fn dispatch_runs_siblings_at_once_but_not_more_than_the_limit() {
    let g = Graph::new([(0, (1..13).collect())]);
    let [now, most] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let slow = |d: &Descriptor, _: &Cancel| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(g.visit(d))
    };
    dispatch(&slow, limit(3), &[node(0)], &Cancel::new()).unwrap();
    assert_eq!(g.visited.lock().len(), 13);
    assert_eq!(most.into_inner(), 3);
}

#[test]
fn cancelled_from_above_nothing_more_is_handled() {
    let g = Graph::new([(0, vec![1]), (1, vec![2])]);
    let cancel = Cancel::new();
    let cancels = |d: &Descriptor, _: &Cancel| {
        cancel.cancel();
        Ok(g.visit(d))
    };
    assert!(matches!(walk(&cancels, &[node(0)], &cancel), Err(Error::Cancelled)));
    let error = dispatch(&cancels, limit(2), &[node(0)], &cancel).unwrap_err();
    assert_eq!(error.kind(), Kind::Canceled);
    assert_eq!(*g.visited.lock(), [0]);
}

#[test]
fn a_panic_in_a_handler_does_not_leave_the_others_waiting() {
    let g = Graph::new([(0, vec![1, 2, 3])]);
    let panics = |d: &Descriptor, _: &Cancel| match g.number(d) {
        2 => panic!("on purpose"),
        _ => Ok(g.visit(d)),
    };
    let run = || dispatch(&panics, limit(3), &[node(0)], &Cancel::new());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
}

#[test]
fn cycles_end_and_depth_is_bounded() {
    let ring = Graph::new([(0, vec![1]), (1, vec![0])]);
    walk(&ring.handler(), &[node(0)], &Cancel::new()).unwrap();
    assert_eq!(*ring.visited.lock(), [0, 1]);
    let chain = Graph::new((0..MAX_DEPTH + 2).map(|i| (i, vec![i + 1])));
    let error = walk(&chain.handler(), &[node(0)], &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooMany { .. }), "{error}");
    let error = dispatch(&chain.handler(), limit(2), &[node(0)], &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::TooMany { .. }), "{error}");
}

#[test]
fn a_walk_without_children_is_empty() {
    let g = Graph::new([(0, vec![1])]);
    walk_not_empty(&g.handler(), &[node(0)], &Cancel::new()).unwrap();
    let error = walk_not_empty(&g.handler(), &[node(1)], &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::EmptyWalk), "{error}");
}

#[test]
fn children_of_every_kind() {
    let f = Fixture::new();
    let image = f.image("linux/amd64", &["a", "b"]);
    let below = children(&f.layout, &image).unwrap();
    let types: Vec<_> = below.iter().map(|d| d.media_type.as_str()).collect();
    assert_eq!(types, [media_type::OCI_CONFIG, media_type::OCI_LAYER, media_type::OCI_LAYER]);
    let index = f.index(&[image.clone(), below[0].clone()]);
    assert_eq!(children(&f.layout, &index).unwrap(), [image, below[0].clone()]);
    for media_type in [media_type::IN_TOTO, media_type::CRIU, media_type::OCI_CONFIG, "x/unknown"] {
        // They are not even read.
        let absent = Descriptor::new(media_type, Digest::sha256(b"absent"), 1);
        assert!(children(&f.layout, &absent).unwrap().is_empty(), "{media_type}");
    }
    let checkpoint = f.index(&[
        f.blob(media_type::OCI_LAYER_GZIP, "rw"),
        f.blob(media_type::CHECKPOINT_RUNTIME_OPTIONS, "options"),
    ]);
    assert_eq!(children(&f.layout, &checkpoint).unwrap().len(), 2);
}

#[test]
fn filters_keep_what_fits_and_what_does_not_say() {
    let f = Fixture::new();
    let [amd, x86, arm] = ["linux/amd64", "linux/386", "linux/arm64"].map(|p| f.image(p, &[p]));
    let [arm, amd, x86] = [on("linux/arm64", &arm), on("linux/amd64", &amd), on("linux/386", &x86)];
    let unsaid = f.image("linux/amd64", &["unsaid"]);
    let root = f.index(&[unsaid.clone(), arm.clone(), x86.clone(), amd.clone()]);
    let matcher = || Matcher::new(&parse_platform("linux/amd64").unwrap());
    let graph = || children_handler(&f.layout);
    let run = |h: &dyn Handler| h.handle(&root, &Cancel::new());
    let kept = run(&filter_platforms(graph(), matcher())).unwrap();
    assert_eq!(kept, Step::Children(vec![unsaid.clone(), x86.clone(), amd.clone()]));
    let best = run(&limit_manifests(graph(), matcher(), 1)).unwrap();
    assert_eq!(best, Step::Children(vec![amd.clone()]));
    let sorted = run(&limit_manifests(graph(), matcher(), 0)).unwrap();
    assert_eq!(sorted, Step::Children(vec![amd, x86, arm, unsaid]));
    let none = limit_manifests(graph(), matcher(), 1).handle(&f.index(&[]), &Cancel::new());
    assert_eq!(none.unwrap_err().kind(), Kind::NotFound);
}

/// Copies `root` from the fixture to a new layout.
fn copied(f: &Fixture, root: &Descriptor) -> (tempfile::TempDir, Layout, Result<(), Error>) {
    let dir = tempfile::tempdir().unwrap();
    let to = Layout::create(dir.path().join("copy")).unwrap();
    let outcome = copy(&f.layout, &to, root, |graph| graph, limit(4), &|_, _| {}, &Cancel::new());
    (dir, to, outcome)
}

#[test]
fn a_copy_has_all_that_the_original_has() {
    let f = Fixture::new();
    let images = ["linux/amd64", "linux/arm64"].map(|p| f.image(p, &["", "shared", p]));
    let root = f.index(&[f.index(&images), images[0].clone()]);
    let (_dir, to, outcome) = copied(&f, &root);
    outcome.unwrap();
    let compare = |d: &Descriptor, _: &Cancel| {
        assert_eq!(to.read(d).unwrap(), f.layout.read(d).unwrap());
        children(&to, d).map(Step::Children)
    };
    walk(&compare, &[root], &Cancel::new()).unwrap();
}

#[test]
fn no_manifest_is_there_before_what_it_names() {
    let f = Fixture::new();
    let image = f.image("linux/amd64", &["a", "b"]);
    let layer = resolve(&f.layout, &image, None).unwrap().layers.remove(1).descriptor;
    let blob = f.layout.path().join("blobs/sha256").join(layer.digest.hex());
    let content = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, "B").unwrap();
    let root = f.index(std::slice::from_ref(&image));
    let (_dir, to, outcome) = copied(&f, &root);
    assert_eq!(outcome.unwrap_err().kind(), Kind::DataLoss);
    for absent in [&layer, &image, &root] {
        assert!(!to.contains(absent).unwrap());
    }
    std::fs::write(&blob, content).unwrap();
    let (_dir, _, outcome) = copied(&f, &root);
    outcome.unwrap();
}

#[test]
fn content_in_a_descriptor_is_used_and_checked() {
    let f = Fixture::new();
    let config = f.put(media_type::OCI_EMPTY, &json!({}));
    let inline = |data: &str, content: &[u8]| Descriptor {
        data: Some(data.into()),
        ..Descriptor::new("text/plain", Digest::sha256(content), content.len() as u64)
    };
    let root = f.manifest(&config, &[inline("aGk=", b"hi")]);
    let (_dir, to, outcome) = copied(&f, &root);
    outcome.unwrap();
    assert_eq!(to.read(&inline("aGk=", b"hi")).unwrap(), b"hi");
    let (_dir, _, outcome) = copied(&f, &f.manifest(&config, &[inline("aGk=", b"ho")]));
    assert_eq!(outcome.unwrap_err().kind(), Kind::DataLoss);
}

#[test]
fn a_copy_goes_on_where_one_stopped_and_starts_over_where_that_was_wrong() {
    let f = Fixture::new();
    let layer = f.blob(media_type::OCI_LAYER, &"0123456789".repeat(1000));
    let dir = tempfile::tempdir().unwrap();
    let to = Layout::create(dir.path().join("copy")).unwrap();
    for (left, first) in [("0123456789", 10), ("junk", 4)] {
        let mut writer = to.resume(&layer).unwrap();
        writer.write_all(left.as_bytes()).unwrap();
        drop(writer);
        let seen = Mutex::new(Vec::new());
        let observer = |_: &Descriptor, progress| seen.lock().push(progress);
        let handler = fetch_handler(&f.layout, &to, &observer);
        assert_eq!(handler.handle(&layer, &Cancel::new()).unwrap(), Step::none());
        assert_eq!(seen.lock().first(), Some(&Progress::Bytes(first)));
        assert_eq!(seen.lock().last(), Some(&Progress::Done));
        handler.handle(&layer, &Cancel::new()).unwrap();
        assert_eq!(seen.lock().last(), Some(&Progress::Exists));
        std::fs::remove_file(to.path().join("blobs/sha256").join(layer.digest.hex())).unwrap();
    }
}

/// What a plain recursive visit of the graph meets.
fn reachable(edges: &BTreeMap<usize, Vec<usize>>, from: usize, met: &mut BTreeSet<usize>) {
    if met.insert(from) {
        for to in edges.get(&from).into_iter().flatten() {
            reachable(edges, *to, met);
        }
    }
}

fn graphs() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    let edges = proptest::collection::vec(0..20usize, 0..5);
    // Edges may go anywhere, back and to the node itself too.
    proptest::collection::vec(edges, 20).prop_map(|all| all.into_iter().enumerate().collect())
}

proptest! {
    #[test]
    fn walk_and_dispatch_handle_each_node_once(edges in graphs(), threads in 1..5usize) {
        let g = Graph::new(edges);
        let mut met = BTreeSet::new();
        reachable(&g.edges, 0, &mut met);
        let expected: Vec<_> = met.into_iter().collect();
        let sorted = || {
            let mut visited = std::mem::take(&mut *g.visited.lock());
            visited.sort_unstable();
            visited
        };
        walk(&g.handler(), &[node(0)], &Cancel::new()).unwrap();
        prop_assert_eq!(sorted(), expected.clone());
        dispatch(&g.handler(), limit(threads), &[node(0)], &Cancel::new()).unwrap();
        prop_assert_eq!(sorted(), expected);
    }

    #[test]
    fn a_node_that_fails_fails_the_visit_exactly_if_it_is_reachable(
        edges in graphs(), bad in 0..20usize, skipped in 0..20usize, threads in 1..5usize
    ) {
        let g = Graph::new(edges);
        let mut without = g.edges.clone();
        without.remove(&skipped);
        let mut met = BTreeSet::new();
        reachable(&without, 0, &mut met);
        let handler = |d: &Descriptor, _: &Cancel| match g.number(d) {
            n if n == bad => Err(failure()),
            n if n == skipped => Ok(Step::Skip),
            _ => Ok(g.visit(d)),
        };
        let fails = met.contains(&bad);
        prop_assert_eq!(walk(&handler, &[node(0)], &Cancel::new()).is_err(), fails);
        let outcome = dispatch(&handler, limit(threads), &[node(0)], &Cancel::new());
        prop_assert_eq!(outcome.is_err(), fails);
    }
}
