//! The cases of containerd's `core/snapshots/testsuite`, for any snapshotter.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stratafs::error::{Classify, Kind as ErrorKind};
use stratafs::snapshot::{Filter, Info, Kind, Labels, Snapshotter};

use super::Mounted;
use super::appliers::{
    Applier, apply, chown_to, create_dir, create_file, link, remove_all, rename,
};
use super::manifest::assert_equal;

/// A snapshotter under test and a folder to work in.
pub struct Subject<'a> {
    pub snapshotter: &'a dyn Snapshotter,
    pub work: PathBuf,
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The label by which containerd's garbage collector leaves the suite's snapshots alone.
fn root_label() -> Labels {
    labels(&[("containerd.io/gc.root", "2026-01-01T00:00:00Z")])
}

impl Subject<'_> {
    /// A path below the folder to work in, as text: keys are such paths.
    fn at(&self, name: &str) -> String {
        self.work.join(name).to_str().unwrap().to_owned()
    }

    fn stat(&self, key: &str) -> Info {
        self.snapshotter.stat(key).unwrap()
    }

    fn is_gone(&self, key: &str) {
        assert_eq!(self.snapshotter.stat(key).unwrap_err().kind(), ErrorKind::NotFound);
    }

    fn prepare(&self, key: &str, parent: &str) {
        let mounts = self.snapshotter.prepare(key, some(parent), &root_label()).unwrap();
        assert!(!mounts.is_empty());
    }

    fn view(&self, key: &str, parent: &str) {
        self.snapshotter.view(key, some(parent), &root_label()).unwrap();
    }

    fn commit(&self, name: &str, key: &str) {
        self.snapshotter.commit(name, key, None, &root_label()).unwrap();
    }

    fn remove(&self, key: &str) {
        self.snapshotter.remove(key).unwrap();
    }

    fn remove_fails(&self, key: &str) {
        let error = self.snapshotter.remove(key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.to_string().contains("remove"), "{error}");
    }

    /// Prepares `name` and mounts it at the folder of that name, which is also the key.
    fn prepare_mount(&self, name: &str, parent: &str) -> (String, Mounted) {
        let key = self.at(name);
        let mounts = self.snapshotter.prepare(&key, some(parent), &root_label()).unwrap();
        let mounted = Mounted::at(&mounts, Path::new(&key));
        (key, mounted)
    }

    fn view_mount(&self, name: &str, parent: &str) -> (String, Mounted) {
        let key = self.at(name);
        let mounts = self.snapshotter.view(&key, some(parent), &root_label()).unwrap();
        let mounted = Mounted::at(&mounts, Path::new(&key));
        (key, mounted)
    }

    /// Commits layers one on the other, each compared with a plain folder after the same changes.
    fn check_snapshots(&self, layers: &[&[Applier]]) {
        let flat = tempfile::tempdir_in(&self.work).unwrap();
        let mut parent = String::new();
        for (i, layer) in layers.iter().enumerate() {
            // Keys as the suite has them, with what could be taken for formatting.
            let name = format!("%p-{}-{i}", flat.path().display());
            let mount = tempfile::tempdir_in(&self.work).unwrap();
            let key = format!("{name}-prepare");
            let mounts = self.snapshotter.prepare(&key, some(&parent), &root_label()).unwrap();
            let mounted = Mounted::at(&mounts, mount.path());
            apply(layer, mounted.path());
            drop(mounted);
            self.commit(&name, &key);
            apply(layer, flat.path());
            let view = format!("{name}-view");
            let mounts = self.snapshotter.view(&view, some(&name), &root_label()).unwrap();
            let mounted = Mounted::at(&mounts, mount.path());
            assert_equal(flat.path(), mounted.path());
            drop(mounted);
            self.remove(&view);
            parent = name;
        }
    }

    fn walk(&self, filters: &[&str]) -> Vec<Info> {
        let mut found = Vec::new();
        self.snapshotter
            .walk(&Filter::parse(filters).unwrap(), &mut |info| {
                found.push(info);
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    /// The snapshots of containerd's `baseTestSnapshots`.
    fn base_snapshots(&self) {
        self.prepare("c1-a", "");
        self.commit("c1", "c1-a");
        self.prepare("c2-a", "c1");
        self.commit("c2", "c2-a");
        self.prepare("a1", "c2");
        self.prepare("a2", "");
        self.view("v1", "c2");
        self.view("v2", "");
    }
}

fn some(parent: &str) -> Option<&str> {
    Some(parent).filter(|parent| !parent.is_empty())
}

pub fn basic(s: &Subject<'_>) {
    let initial = [
        create_file("/foo", "foo\n", 0o777),
        create_dir("/a", 0o755),
        create_dir("/a/b", 0o755),
        create_dir("/a/b/c", 0o755),
    ];
    let diff = [
        create_file("/bar", "bar\n", 0o777),
        create_file("/foo", "bar\n", 0o777),
        remove_all("/a/b"),
    ];
    let flat = tempfile::tempdir_in(&s.work).unwrap();
    let (preparing, mounted) = s.prepare_mount("preparing", "");
    apply(&initial, mounted.path());
    drop(mounted);
    let committed = s.at("committed");
    s.commit(&committed, &preparing);
    let first = s.stat(&committed);
    assert_eq!((first.kind, &first.parent), (Kind::Committed, &None));
    s.is_gone(&preparing);

    let (next, mounted) = s.prepare_mount("nextlayer", &committed);
    apply(&initial, flat.path());
    assert_equal(flat.path(), mounted.path());
    apply(&diff, mounted.path());
    drop(mounted);
    let active = s.stat(&next);
    assert_eq!((active.kind, active.parent.as_ref()), (Kind::Active, Some(&committed)));
    let next_committed = s.at("committed-next");
    s.commit(&next_committed, &next);
    let second = s.stat(&next_committed);
    assert_eq!((second.kind, second.parent.as_ref()), (Kind::Committed, Some(&committed)));
    s.is_gone(&next);

    let walked: BTreeMap<String, Info> =
        s.walk(&[]).into_iter().map(|info| (info.name.clone(), info)).collect();
    for info in [&first, &second] {
        assert_eq!(walked.get(&info.name), Some(info));
    }

    let (view, mounted) = s.view_mount("nextnextlayer", &next_committed);
    apply(&diff, flat.path());
    assert_equal(flat.path(), mounted.path());
    drop(mounted);
    s.remove(&view);
    s.remove_fails(&committed);
    s.remove(&next_committed);
    s.remove(&committed);
}

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

pub fn layer_fileupdate(s: &Subject<'_>) {
    let first = [
        create_dir("/etc", 0o700),
        create_file("/etc/hosts", "mydomain 10.0.0.1", 0o644),
        create_file("/etc/profile", "PATH=/usr/bin", 0o644),
    ];
    let second = [
        create_file("/etc/hosts", "mydomain 10.0.0.2", 0o644),
        create_file("/etc/profile", "PATH=/usr/bin", 0o666),
        create_dir("/root", 0o700),
        create_file("/root/.bashrc", "PATH=/usr/sbin:/usr/bin", 0o644),
    ];
    for _ in 0..5 {
        s.check_snapshots(&[&first, &second]);
        // Both layers of a round are to be of one second.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        std::thread::sleep(
            Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into()),
        );
    }
}

pub fn remove_directory_in_lower_layer(s: &Subject<'_>) {
    s.check_snapshots(&[
        &[create_dir("/lib", 0o700), create_file("/lib/hidden", "", 0o644)],
        &[remove_all("/lib"), create_dir("/lib", 0o700), create_file("/lib/not-hidden", "", 0o644)],
        &[create_file("/lib/newfile", "", 0o644)],
    ]);
}

pub fn chown(s: &Subject<'_>) {
    s.check_snapshots(&[
        &[
            create_dir("/opt", 0o700),
            create_dir("/opt/a", 0o700),
            create_dir("/opt/a/b", 0o700),
            create_file("/opt/a/b/file.txt", "hello", 0o644),
        ],
        &[
            chown_to("/opt", 1, 1),
            chown_to("/opt/a", 1, 1),
            chown_to("/opt/a/b", 1, 1),
            chown_to("/opt/a/b/file.txt", 1, 1),
        ],
    ]);
}

pub fn directory_permission_on_commit(s: &Subject<'_>) {
    s.check_snapshots(&[
        &[
            create_dir("/dir1", 0o700),
            create_dir("/dir2", 0o700),
            create_dir("/dir3", 0o700),
            create_dir("/dir4", 0o700),
            create_file("/dir4/f1", "...", 0o644),
            create_dir("/dir5", 0o700),
            create_file("/dir5/f1", "...", 0o644),
            chown_to("/dir1", 1, 1),
            chown_to("/dir2", 1, 1),
            chown_to("/dir3", 1, 1),
            chown_to("/dir5", 1, 1),
            chown_to("/dir5/f1", 1, 1),
        ],
        &[
            chown_to("/dir2", 0, 0),
            remove_all("/dir3"),
            chown_to("/dir4", 1, 1),
            chown_to("/dir4/f1", 1, 1),
        ],
        &[
            create_dir("/dir3", 0o700),
            chown_to("/dir3", 1, 1),
            remove_all("/dir5"),
            create_dir("/dir5", 0o700),
            chown_to("/dir5", 1, 1),
        ],
    ]);
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

pub fn deleted_files_in_child_snapshot(s: &Subject<'_>) {
    s.check_snapshots(&[
        &[create_file("/foo", "foo\n", 0o777), create_file("/foobar", "foobar\n", 0o777)],
        &[remove_all("/foobar")],
        &[],
    ]);
}

pub fn move_file_from_lower_layer(s: &Subject<'_>) {
    s.check_snapshots(&[
        &[
            create_dir("/dir1", 0o700),
            create_file("/dir1/f1", "Hello", 0o644),
            create_dir("dir2", 0o700),
            create_file("dir2/f2", "...", 0o644),
        ],
        &[
            create_dir("/dir3", 0o700),
            create_file("/dir3/f1", "Hello", 0o644),
            remove_all("/dir1"),
            link("dir2/f2", "dir3/f2"),
            remove_all("dir2/f2"),
        ],
    ]);
}

pub fn view_readonly(s: &Subject<'_>) {
    let (preparing, committed) = (s.at("preparing"), s.at("committed"));
    s.prepare(&preparing, "");
    s.commit(&committed, &preparing);
    let (view, mounted) = s.view_mount("view", &committed);
    let written = fs::write(mounted.path().join("testfile"), "testcontent");
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    drop(mounted);
    s.remove(&view);
    s.remove(&committed);
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

pub fn root_permission(s: &Subject<'_>) {
    let (_, mounted) = s.prepare_mount("preparing", "");
    let mode = fs::metadata(mounted.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

pub fn rename_(s: &Subject<'_>) {
    s.check_snapshots(&[
        &[
            create_dir("/dir1", 0o700),
            create_dir("/somefiles", 0o700),
            create_file("/somefiles/f1", "was here first!", 0o644),
            create_file("/somefiles/f2", "nothing interesting", 0o644),
        ],
        &[
            rename("/dir1", "/dir2"),
            create_file("/somefiles/f1-overwrite", "new content 1", 0o644),
            rename("/somefiles/f1-overwrite", "/somefiles/f1"),
            rename("/somefiles/f2", "/somefiles/f3"),
        ],
    ]);
}

pub fn layers_mount_128(s: &Subject<'_>) {
    let lowest = vec![
        create_file("/bottom", "way at the bottom\n", 0o777),
        create_file("/overwriteme", "FIRST!\n", 0o777),
        create_dir("/addhere", 0o755),
        create_dir("/onlyme", 0o755),
        create_file("/onlyme/bottom", "bye!\n", 0o777),
    ];
    let layer = |i: u32| {
        vec![
            create_file("/overwriteme", &format!("{i} WAS HERE!\n"), 0o777),
            create_file(&format!("/addhere/file-{i}"), "same\n", 0o755),
            remove_all("/onlyme"),
            create_dir("/onlyme", 0o755),
            create_file(&format!("/onlyme/file-{i}"), "only me!\n", 0o777),
        ]
    };
    let flat = PathBuf::from(s.at("flat"));
    fs::create_dir(&flat).unwrap();
    let mut parent = String::new();
    for (i, layer) in std::iter::once(lowest).chain((1..128).map(layer)).enumerate() {
        let (preparing, mounted) = s.prepare_mount(&format!("prepare-layer-{i}"), &parent);
        assert_equal(&flat, mounted.path());
        apply(&layer, &flat);
        apply(&layer, mounted.path());
        assert_equal(&flat, mounted.path());
        drop(mounted);
        parent = s.at(&format!("committed-{i}"));
        s.commit(&parent, &preparing);
    }
    let (_, mounted) = s.view_mount("fullview", &parent);
    assert_equal(&flat, mounted.path());
}
