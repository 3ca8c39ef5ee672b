//! What is known of snapshots.

use std::fs;
use std::ops::ControlFlow;
use std::time::SystemTime;

use stratafs::error::{Classify, Kind as ErrorKind};
use stratafs::snapshot::{Filter, Info, Kind, Labels};

use super::{Subject, labels, root_label};

pub fn stat_active(s: &Subject<'_>) {
    let (preparing, mounted) = s.prepare_mount("preparing", "");
    fs::write(mounted.path().join("foo"), "foo\n").unwrap();
    let info = s.stat(&preparing);
    assert_eq!((info.name, info.kind, info.parent), (preparing, Kind::Active, None));
}

/// Committed while still mounted, as in containerd 1.6.
pub fn stat_comitted(s: &Subject<'_>) {
    let (preparing, mounted) = s.prepare_mount("preparing", "");
    fs::write(mounted.path().join("foo"), "foo\n").unwrap();
    let committed = s.at("committed");
    s.commit(&committed, &preparing);
    let info = s.stat(&committed);
    assert_eq!((info.name, info.kind, info.parent), (committed, Kind::Committed, None));
}

pub fn transitivity_test(s: &Subject<'_>) {
    let (preparing, mounted) = s.prepare_mount("preparing", "");
    fs::write(mounted.path().join("foo"), "foo\n").unwrap();
    let a = s.at("snapA");
    s.commit(&a, &preparing);
    let (next, mounted) = s.prepare_mount("next", &a);
    fs::write(mounted.path().join("foo"), "foo bar\n").unwrap();
    let b = s.at("snapB");
    s.commit(&b, &next);
    assert_eq!(s.stat(&a).parent, None);
    let parent = s.stat(&b).parent.unwrap();
    assert_eq!(parent, a);
    assert_eq!(s.stat(&parent).parent, None);
}

pub fn preare_view_failingtest(s: &Subject<'_>) {
    let (preparing, _mounted) = s.prepare_mount("preparing", "");
    let a = s.at("snapA");
    s.commit(&a, &preparing);
    let fails = |result: Result<_, stratafs::snapshot::Error>| {
        assert_eq!(result.map(drop).unwrap_err().kind(), ErrorKind::AlreadyExists);
    };
    let again = |key: &str| {
        fails(s.snapshotter.prepare(key, Some(&a), &root_label()));
        fails(s.snapshotter.view(key, Some(&a), &root_label()));
    };
    let (active, view) = (s.at("prepLayer"), s.at("viewLayer"));
    s.prepare(&active, &a);
    again(&active);
    s.view(&view, &a);
    again(&view);
}

pub fn update(s: &Subject<'_>) {
    let before = SystemTime::now();
    s.base_snapshots();
    let after = SystemTime::now();
    for (name, kind, parent) in [
        ("c1", Kind::Committed, None),
        ("c2", Kind::Committed, Some("c1")),
        ("a1", Kind::Active, Some("c2")),
        ("a2", Kind::Active, None),
        ("v1", Kind::View, Some("c2")),
        ("v2", Kind::View, None),
    ] {
        let info = s.stat(name);
        let created = info.created;
        assert!(before <= created && created <= after, "{name}: {created:?}");
        assert_eq!(info.updated, created);
        let fixed = |info: &Info| {
            assert_eq!((info.name.as_str(), info.kind), (name, kind));
            assert_eq!((info.parent.as_deref(), info.created), (parent, created));
        };
        fixed(&info);
        let change = |given: &Labels, paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            s.snapshotter.update(name, given, &paths)
        };
        let all = labels(&[("l1", "v1"), ("l2", "v2"), ("l3", "v3"), ("root", "now")]);
        let (start, info, end) = (SystemTime::now(), change(&all, &[]).unwrap(), SystemTime::now());
        assert!(start <= info.updated && info.updated <= end, "{name}: {:?}", info.updated);
        fixed(&info);
        assert_eq!(info.labels, all);
        let given = labels(&[("l1", "updated"), ("l4", "v4")]);
        let info = change(&given, &["labels.l1", "labels.l2"]).unwrap();
        assert_eq!(info.labels, labels(&[("l1", "updated"), ("l3", "v3"), ("root", "now")]));
        let given = labels(&[("l4", "v4"), ("root", "now")]);
        let info = change(&given, &["labels"]).unwrap();
        assert_eq!(info.labels, given);
        let refused = change(&given, &["parent"]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert_eq!(s.stat(name), info);
    }
}

pub fn remove(s: &Subject<'_>) {
    s.prepare("committed-a", "");
    s.commit("committed-1", "committed-a");
    s.prepare("reuse-1", "committed-1");
    s.remove("reuse-1");
    s.view("reuse-1", "committed-1");
    s.remove("reuse-1");
    s.prepare("reuse-1", "");
    s.remove("committed-1");
    s.commit("committed-1", "reuse-1");
}

pub fn walk(s: &Subject<'_>) {
    let base = [("containerd.io/gc.root", "check-walk")];
    let labelled = |value| labels(&[base[0], ("l", value)]);
    let n = s.snapshotter;
    n.prepare("a-np", None, &labels(&base)).unwrap();
    n.prepare("p-tmp", None, &labels(&base)).unwrap();
    n.commit("p", "p-tmp", None, &labels(&base)).unwrap();
    n.prepare("a", Some("p"), &labels(&base)).unwrap();
    n.view("v", Some("p"), &labels(&base)).unwrap();
    n.prepare("p-wl-tmp", None, &labels(&base)).unwrap();
    n.commit("p-wl", "p-wl-tmp", None, &labelled("1")).unwrap();
    n.prepare("a-wl", Some("p-wl"), &labelled("2")).unwrap();
    n.view("v-wl", Some("p-wl"), &labelled("3")).unwrap();
    n.prepare("a-np-wl", None, &labelled("2")).unwrap();

    let root = r#"labels."containerd.io/gc.root"==check-walk"#;
    let and_root = |filter: &str| format!("{filter},{root}");
    for (filters, matches) in [
        (vec![root.to_owned()], "a a-np a-np-wl a-wl p p-wl v v-wl"),
        (vec![and_root("kind==active")], "a a-np a-np-wl a-wl"),
        (vec![and_root("kind==view")], "v v-wl"),
        (vec![and_root("kind==committed")], "p p-wl"),
        (vec!["name==p".to_owned(), "name==a-np-wl".to_owned()], "a-np-wl p"),
        (vec!["name==a-wl,labels.l".to_owned()], "a-wl"),
        (vec!["parent==p".to_owned()], "a v"),
        (vec![and_root(r#"parent!="""#)], "a a-wl v v-wl"),
        (vec!["labels.l".to_owned()], "a-np-wl a-wl p-wl v-wl"),
        (vec!["labels.l==2".to_owned()], "a-np-wl a-wl"),
    ] {
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut found: Vec<String> = s.walk(&filters).into_iter().map(|info| info.name).collect();
        found.sort();
        assert_eq!(found.join(" "), matches, "{filters:?}");
    }
}

pub fn remove_intermediate_snapshot(s: &Subject<'_>) {
    let (base, mounted) = s.prepare_mount("base", "");
    let [committed_base, intermediate, committed_intermediate, top] =
        ["committed-base", "intermediate", "committed-inter", "toplayer"].map(|name| s.at(name));
    s.commit(&committed_base, &base);
    s.prepare(&intermediate, &committed_base);
    s.commit(&committed_intermediate, &intermediate);
    s.prepare(&top, &committed_intermediate);
    s.remove_fails(&committed_intermediate);
    s.remove(&top);
    s.remove(&committed_intermediate);
    drop(mounted);
    s.remove(&committed_base);
}

pub fn stat_in_walk(s: &Subject<'_>) {
    s.base_snapshots();
    let mut seen = 0;
    s.snapshotter
        .walk(&Filter::all(), &mut |info| {
            assert_eq!(s.stat(&info.name), info);
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 6);
}

pub fn close_twice(s: &Subject<'_>) {
    s.prepare("closeTwice-prepare", "");
    s.commit("closeTwice", "closeTwice-prepare");
    s.remove("closeTwice");
    s.snapshotter.close().unwrap();
    s.snapshotter.close().unwrap();
}
