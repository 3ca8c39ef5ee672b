//! The cases of containerd's `core/snapshots/storage/metastore_test.go`, by their names, and those
//! of chains and leases.

use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::super::{Error, Filter, Info, Kind, Labels, Owner, Usage};
use super::*;
use crate::digest::{ChainId, DiffId, Digest};
use crate::error::{Classify, Kind as ErrorKind};

const OWNER: Owner = Owner::Containerd;
const DEADLINE: Duration = Duration::from_secs(10);

struct Fixture {
    pool: Pool,
    _dir: TempDir,
}

fn empty() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::open(&dir.path().join("metadata.db"), DEADLINE).unwrap();
    Fixture { pool, _dir: dir }
}

/// The snapshots of containerd's `basePopulate`.
fn populated() -> Fixture {
    let f = empty();
    f.create(Kind::Active, "committed-tmp-1", None).unwrap();
    f.commit_of_size("committed-tmp-1", "committed-1", 1).unwrap();
    f.create(Kind::Active, "committed-tmp-2", Some("committed-1")).unwrap();
    f.commit_of_size("committed-tmp-2", "committed-2", 2).unwrap();
    f.create(Kind::Active, "active-1", None).unwrap();
    f.create(Kind::Active, "active-2", Some("committed-1")).unwrap();
    f.create(Kind::Active, "active-3", Some("committed-2")).unwrap();
    f.create(Kind::View, "view-1", None).unwrap();
    f.create(Kind::View, "view-2", Some("committed-2")).unwrap();
    f
}

const BASE: [(&str, Kind, Option<&str>); 7] = [
    ("committed-1", Kind::Committed, None),
    ("committed-2", Kind::Committed, Some("committed-1")),
    ("active-1", Kind::Active, None),
    ("active-2", Kind::Active, Some("committed-1")),
    ("active-3", Kind::Active, Some("committed-2")),
    ("view-1", Kind::View, None),
    ("view-2", Kind::View, Some("committed-2")),
];

impl Fixture {
    fn create(&self, kind: Kind, key: &str, parent: Option<&str>) -> Result<Stack, Error> {
        let new = New { key, parent, labels: &Labels::new() };
        self.pool.write(|tx| create(tx, OWNER, kind, new))
    }

    fn commit(&self, key: &str, name: &str, parent: Option<&str>) -> Result<Id, Error> {
        let new = New { key: name, parent, labels: &Labels::new() };
        self.pool.write(|tx| commit(tx, OWNER, key, new, Usage::default()))
    }

    fn commit_of_size(&self, key: &str, name: &str, size: u64) -> Result<Id, Error> {
        let new = New { key: name, parent: None, labels: &Labels::new() };
        self.pool.write(|tx| commit(tx, OWNER, key, new, Usage { inodes: 1, size }))
    }

    fn remove(&self, key: &str) -> Result<Record, Error> {
        self.pool.write(|tx| remove(tx, OWNER, key))
    }

    fn get(&self, key: &str) -> Result<Record, Error> {
        self.pool.read(|tx| get(tx, OWNER, key))
    }

    fn stack(&self, key: &str) -> Result<Stack, Error> {
        self.pool.read(|tx| stack(tx, OWNER, key))
    }

    fn walk(&self) -> Vec<Info> {
        self.pool.read(|tx| walk(tx, OWNER, &Filter::all())).unwrap()
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

fn parts(info: &Info) -> (&str, Kind, Option<&str>) {
    (&info.name, info.kind, info.parent.as_deref())
}

#[test]
fn get_info() {
    let f = populated();
    for expected in BASE {
        let record = f.get(expected.0).unwrap();
        assert_eq!(parts(&record.info), expected);
        assert_eq!(record.info.created, record.info.updated);
        assert!(record.info.created.elapsed().unwrap() < Duration::from_secs(30));
    }
    assert_eq!(f.get("committed-2").unwrap().usage, Usage { inodes: 1, size: 2 });
}

#[test]
fn get_info_not_exist() {
    refused(populated().get("active-not-exist"), ErrorKind::NotFound);
}

#[test]
fn get_info_empty_db() {
    refused(empty().get("active-not-exist"), ErrorKind::NotFound);
}

#[test]
fn walk_gives_each_snapshot_once() {
    let f = populated();
    let found = f.walk();
    let mut found: Vec<_> = found.iter().map(parts).collect();
    found.sort_by_key(|(name, ..)| *name);
    let mut expected = BASE.to_vec();
    expected.sort_by_key(|(name, ..)| *name);
    assert_eq!(found, expected);
}

#[test]
fn get_snapshot() {
    let f = empty();
    f.create(Kind::Active, "committed-tmp-1", None).unwrap();
    f.commit("committed-tmp-1", "committed-1", None).unwrap();
    for (key, kind, parent) in [
        ("active-1", Kind::Active, None),
        ("active-2", Kind::Active, Some("committed-1")),
        ("view-1", Kind::View, None),
        ("view-2", Kind::View, Some("committed-1")),
    ] {
        let made = f.create(kind, key, parent).unwrap();
        assert_eq!(f.stack(key).unwrap(), made);
    }
}

#[test]
fn get_snapshot_not_exist() {
    refused(populated().stack("active-not-exist"), ErrorKind::NotFound);
}

#[test]
fn get_snapshot_committed() {
    refused(populated().stack("committed-1"), ErrorKind::FailedPrecondition);
}

#[test]
fn create_active() {
    let f = empty();
    let a1 = f.create(Kind::Active, "active-1", None).unwrap();
    assert_eq!(a1.kind, Kind::Active);
    let a2 = f.create(Kind::View, "view-1", None).unwrap();
    assert_ne!(a2.id, a1.id);
    assert_eq!(a2.kind, Kind::View);
    let committed = f.commit("active-1", "committed-1", None).unwrap();
    assert_eq!(committed, a1.id, "a commit keeps the internal ID");
    let a3 = f.create(Kind::Active, "active-3", Some("committed-1")).unwrap();
    let a4 = f.create(Kind::View, "view-2", Some("committed-1")).unwrap();
    for (made, kind) in [(a3, Kind::Active), (a4, Kind::View)] {
        assert_ne!(made.id, a1.id);
        assert_eq!(made.kind, kind);
        assert_eq!(made.parents, [Level { id: committed, chain: None }]);
    }
}

#[test]
fn create_active_not_exist() {
    let made = empty().create(Kind::Active, "active-1", Some("does-not-exist"));
    refused(made, ErrorKind::NotFound);
}

#[test]
fn create_active_exist() {
    let f = populated();
    for key in ["active-1", "committed-1", "view-1"] {
        for kind in [Kind::Active, Kind::View] {
            refused(f.create(kind, key, None), ErrorKind::AlreadyExists);
        }
    }
}

#[test]
fn create_active_from_active() {
    let f = populated();
    for parent in ["active-1", "view-1"] {
        let made = f.create(Kind::Active, "active-new", Some(parent));
        refused(made, ErrorKind::InvalidArgument);
    }
}

#[test]
fn the_parent_is_checked_before_the_key() {
    let f = populated();
    let made = f.create(Kind::Active, "active-1", Some("does-not-exist"));
    refused(made, ErrorKind::NotFound);
    let made = f.create(Kind::Active, "active-1", Some("active-2"));
    refused(made, ErrorKind::InvalidArgument);
}

#[test]
fn commit_() {
    let f = empty();
    let made = f.create(Kind::Active, "active-1", None).unwrap();
    assert_eq!(f.commit("active-1", "committed-1", None).unwrap(), made.id);
    refused(f.stack("active-1"), ErrorKind::NotFound);
    refused(f.stack("committed-1"), ErrorKind::FailedPrecondition);
}

#[test]
fn commit_not_exist() {
    refused(populated().commit("active-not-exist", "committed-3", None), ErrorKind::NotFound);
}

#[test]
fn commit_exist() {
    let f = populated();
    refused(f.commit("active-1", "committed-1", None), ErrorKind::AlreadyExists);
    refused(f.commit("active-1", "active-1", None), ErrorKind::AlreadyExists);
    // The name is checked before the key.
    refused(f.commit("active-not-exist", "committed-1", None), ErrorKind::AlreadyExists);
}

#[test]
fn commit_committed() {
    refused(populated().commit("committed-1", "committed-3", None), ErrorKind::FailedPrecondition);
}

#[test]
fn commit_view_fails() {
    refused(populated().commit("view-1", "committed-3", None), ErrorKind::FailedPrecondition);
}

#[test]
fn commit_replaces_labels_and_times() {
    let f = empty();
    let old = Labels::from([("old".to_owned(), "1".to_owned())]);
    let new = New { key: "a", parent: None, labels: &old };
    f.pool.write(|tx| create(tx, OWNER, Kind::Active, new)).unwrap();
    let prepared = f.get("a").unwrap().info;
    assert_eq!(prepared.labels, old);
    let labels =
        Labels::from([("new".to_owned(), "1".to_owned()), ("empty".to_owned(), String::new())]);
    let new = New { key: "c", parent: None, labels: &labels };
    f.pool.write(|tx| commit(tx, OWNER, "a", new, Usage::default())).unwrap();
    let committed = f.get("c").unwrap().info;
    assert_eq!(committed.labels, Labels::from([("new".to_owned(), "1".to_owned())]));
    assert!(committed.created > prepared.created);
    assert_eq!(committed.created, committed.updated);
}

#[test]
fn remove_() {
    let f = empty();
    let a1 = f.create(Kind::Active, "active-1", None).unwrap();
    f.commit("active-1", "committed-1", None).unwrap();
    let a2 = f.create(Kind::View, "view-1", Some("committed-1")).unwrap();
    let a3 = f.create(Kind::View, "view-2", Some("committed-1")).unwrap();
    refused(f.remove("active-1"), ErrorKind::NotFound);
    for (key, id, kind) in [
        ("view-2", a3.id, Kind::View),
        ("view-1", a2.id, Kind::View),
        ("committed-1", a1.id, Kind::Committed),
    ] {
        let removed = f.remove(key).unwrap();
        assert_eq!((removed.id, removed.info.kind), (id, kind));
    }
    assert!(f.walk().is_empty());
}

#[test]
fn remove_not_exist() {
    refused(empty().remove("does-not-exist"), ErrorKind::NotFound);
}

#[test]
fn remove_with_children() {
    let f = populated();
    for _ in 0..2 {
        let error = f.remove("committed-1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.to_string().contains("remove"), "{error}");
    }
    assert_eq!(f.walk().len(), BASE.len());
}

#[test]
fn internal_ids_are_never_used_twice() {
    let f = empty();
    let first = f.create(Kind::Active, "a", None).unwrap().id;
    f.remove("a").unwrap();
    assert_ne!(f.create(Kind::Active, "a", None).unwrap().id, first);
}

#[test]
fn parent_ids() {
    let f = populated();
    let id = |key: &str| f.get(key).unwrap().id;
    let ids = |key: &str| -> Vec<Id> {
        f.stack(key).unwrap().parents.iter().map(|level| level.id).collect()
    };
    assert_eq!(ids("active-1"), []);
    assert_eq!(ids("active-2"), [id("committed-1")]);
    assert_eq!(ids("active-3"), [id("committed-2"), id("committed-1")]);
    assert_eq!(ids("view-1"), []);
    assert_eq!(ids("view-2"), [id("committed-2"), id("committed-1")]);
}

#[test]
fn rebase() {
    let f = populated();
    refused(f.commit("active-1", "c", Some("does-not-exist")), ErrorKind::NotFound);
    refused(f.commit("active-1", "c", Some("active-2")), ErrorKind::FailedPrecondition);
    refused(f.commit("active-1", "c", Some("view-1")), ErrorKind::FailedPrecondition);
    refused(f.commit("active-2", "c", Some("committed-2")), ErrorKind::InvalidArgument);
    f.commit("active-1", "c", Some("committed-2")).unwrap();
    assert_eq!(f.get("c").unwrap().info.parent.as_deref(), Some("committed-2"));
    f.commit("active-2", "d", Some("committed-1")).unwrap();
    assert_eq!(f.get("d").unwrap().info.parent.as_deref(), Some("committed-1"));
    refused(f.remove("committed-2"), ErrorKind::FailedPrecondition);
}

#[test]
fn update() {
    let f = populated();
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let change = |given: &[(&str, &str)], paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        f.pool.write(|tx| update_labels(tx, OWNER, "view-2", &labels(given), &paths))
    };
    let before = f.get("view-2").unwrap().info;
    let info = change(&[("l1", "1"), ("l2", "2"), ("gone", "")], &[]).unwrap();
    assert_eq!(info.labels, labels(&[("l1", "1"), ("l2", "2")]));
    assert_eq!((parts(&info), info.created), (parts(&before), before.created));
    assert!(info.updated > before.updated);
    let info = change(&[("l1", "x"), ("l3", "3")], &["labels.l1", "labels.l2"]).unwrap();
    assert_eq!(info.labels, labels(&[("l1", "x")]));
    let info = change(&[("a.b/c\"d", "y")], &["labels.a.b/c\"d", "labels.nothing"]).unwrap();
    assert_eq!(info.labels, labels(&[("l1", "x"), ("a.b/c\"d", "y")]));
    let info = change(&[("l4", "4")], &["labels"]).unwrap();
    assert_eq!(info.labels, labels(&[("l4", "4")]));
    for path in ["parent", "name", "kind", "created", "", "label", "Labels.l4"] {
        refused(change(&[("l5", "5")], &["labels", path]), ErrorKind::InvalidArgument);
    }
    assert_eq!(f.get("view-2").unwrap().info, info, "a refused change leaves nothing behind");
    let missing = f.pool.write(|tx| update_labels(tx, OWNER, "nothing", &Labels::new(), &[]));
    refused(missing, ErrorKind::NotFound);
}

#[test]
fn keys_and_labels_have_bounds() {
    let f = empty();
    refused(f.create(Kind::Active, "", None), ErrorKind::InvalidArgument);
    f.create(Kind::Active, &"k".repeat(32 << 10), None).unwrap();
    refused(f.create(Kind::Active, &"k".repeat((32 << 10) + 1), None), ErrorKind::InvalidArgument);
    let labelled = |len: usize| {
        let labels = Labels::from([("key".to_owned(), "v".repeat(len))]);
        let new = New { key: "a", parent: None, labels: &labels };
        f.pool.write(|tx| create(tx, OWNER, Kind::Active, new))
    };
    refused(labelled(4094), ErrorKind::InvalidArgument);
    labelled(4093).unwrap();
}

#[test]
fn owners_do_not_see_each_other() {
    let f = populated();
    let new = New { key: "active-1", parent: None, labels: &Labels::new() };
    let cli = Owner::CommandLine;
    f.pool.write(|tx| create(tx, cli, Kind::View, new)).unwrap();
    assert_eq!(f.pool.read(|tx| walk(tx, cli, &Filter::all())).unwrap().len(), 1);
    assert_eq!(f.get("active-1").unwrap().info.kind, Kind::Active);
    let foreign = New { key: "x", parent: Some("committed-1"), labels: &Labels::new() };
    refused(f.pool.write(|tx| create(tx, cli, Kind::View, foreign)), ErrorKind::NotFound);
    f.pool.write(|tx| remove(tx, cli, "active-1")).unwrap();
    assert_eq!(f.walk().len(), BASE.len());
}

fn diff_id(n: u8) -> DiffId {
    DiffId::new(Digest::sha256(&[n]))
}

fn blob(n: u8) -> Digest {
    Digest::sha256(&[n, n])
}

/// The chains of `n` layers, bottom first.
fn chains(n: u8) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for i in 0..n {
        chains.push(Chain::new(chains.last().map(|c| &c.id), diff_id(i), blob(i)));
    }
    chains
}

impl Fixture {
    fn put(&self, chain: &Chain) -> Result<(), Error> {
        self.pool.write(|tx| put_chain(tx, chain))
    }

    fn lazy(&self, name: &str, parent: Option<&str>, chain: &ChainId) -> Result<Id, Error> {
        let new = New { key: name, parent, labels: &Labels::new() };
        self.pool.write(|tx| create_lazy(tx, OWNER, new, chain, Usage { inodes: 3, size: 0 }))
    }

    fn collect(&self) -> Live {
        self.pool.write(|tx| collect(tx, SystemTime::now())).unwrap()
    }
}

#[test]
fn a_chain_needs_the_one_below() {
    let f = empty();
    let chains = chains(2);
    refused(f.put(&chains[1]), ErrorKind::NotFound);
    f.put(&chains[0]).unwrap();
    f.put(&chains[1]).unwrap();
    let found = f.pool.read(|tx| get_chain(tx, &chains[1].id)).unwrap();
    assert_eq!(found, chains[1]);
}

#[test]
fn a_chain_gathers_the_blobs_of_its_layer() {
    let f = empty();
    let [chain] = &chains(1)[..] else { unreachable!() };
    f.put(chain).unwrap();
    f.put(&Chain::new(None, diff_id(0), blob(9))).unwrap();
    let found = f.pool.read(|tx| get_chain(tx, &chain.id)).unwrap();
    assert_eq!(found.blobs, [blob(0), blob(9)].into());
}

#[test]
fn chains_live_while_a_snapshot_stands_on_them() {
    let f = empty();
    let chains = chains(3);
    chains.iter().for_each(|chain| f.put(chain).unwrap());
    f.lazy("c", None, &chains[1].id).unwrap();
    let live = f.collect();
    assert_eq!(live.chains, [chains[0].id.clone(), chains[1].id.clone()].into());
    assert_eq!(live.blobs, [blob(0), blob(1)].into());
    refused(f.pool.read(|tx| get_chain(tx, &chains[2].id)), ErrorKind::NotFound);
    assert!(f.pool.read(|tx| chain_has_snapshot(tx, &chains[1].id)).unwrap());
    assert!(!f.pool.read(|tx| chain_has_snapshot(tx, &chains[0].id)).unwrap());
    f.create(Kind::Active, "a", Some("c")).unwrap();
    refused(f.remove("c"), ErrorKind::FailedPrecondition);
    f.remove("a").unwrap();
    assert_eq!(f.remove("c").unwrap().chain, Some(chains[1].id.clone()));
    assert_eq!(f.collect(), Live::default());
}

#[test]
fn chains_live_under_a_lease_until_it_ends() {
    let f = empty();
    let chains = chains(2);
    chains.iter().for_each(|chain| f.put(chain).unwrap());
    let lease = |expires| f.pool.write(|tx| create_lease(tx, expires)).unwrap();
    let hour = Duration::from_secs(3600);
    let (long, short) = (lease(SystemTime::now() + hour), lease(SystemTime::now()));
    f.pool.write(|tx| add_to_lease(tx, long, &chains[0].id)).unwrap();
    f.pool.write(|tx| add_to_lease(tx, short, &chains[1].id)).unwrap();
    assert_eq!(f.collect().chains, [chains[0].id.clone()].into());
    f.pool.write(|tx| delete_lease(tx, long)).unwrap();
    assert_eq!(f.collect(), Live::default());
}

#[test]
fn a_lazy_snapshot_needs_a_known_chain() {
    let f = empty();
    assert!(f.lazy("c", None, &chains(1)[0].id).is_err());
    assert!(f.walk().is_empty());
}

#[test]
fn a_store_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.db");
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("PRAGMA user_version = 7; CREATE TABLE t (x)").unwrap();
    drop(foreign);
    assert!(matches!(Pool::open(&path, DEADLINE), Err(Error::ForeignStore { .. })));
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    refused(Pool::open(&path, DEADLINE), ErrorKind::DataLoss);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.db");
    drop(Pool::open(&path, DEADLINE).unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 1000").unwrap();
    drop(newer);
    assert!(matches!(
        Pool::open(&path, DEADLINE),
        Err(Error::NewerSchema { found: 1000, known: 1 })
    ));
}

#[test]
fn many_may_make_and_change_one_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.db");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let pool = Pool::open(path, DEADLINE).unwrap();
                let key = format!("k{n}");
                let new = New { key: &key, parent: None, labels: &Labels::new() };
                pool.write(|tx| create(tx, OWNER, Kind::Active, new)).unwrap();
            });
        }
    });
    let pool = Pool::open(&path, DEADLINE).unwrap();
    assert_eq!(pool.read(ids).unwrap().len(), 8);
}

#[test]
fn readers_do_not_wait_for_a_writer() {
    let f = populated();
    f.pool
        .write(|tx| {
            remove(tx, OWNER, "active-1")?;
            assert_eq!(f.walk().len(), BASE.len());
            f.get("active-1").map(|_| ())
        })
        .unwrap();
    refused(f.get("active-1"), ErrorKind::NotFound);
}

#[test]
fn a_writer_waits_no_longer_than_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.db");
    let pools = [(); 2].map(|()| Pool::open(&path, Duration::from_millis(50)).unwrap());
    let result = pools[0].write(|_| pools[1].write(|_| Ok(())));
    refused(result, ErrorKind::Unavailable);
    let result = pools[0].write(|_| pools[0].write(|_| Ok(())));
    refused(result, ErrorKind::Unavailable);
    pools[1].write(|_| Ok(())).unwrap();
}
