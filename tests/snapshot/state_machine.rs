//! Random calls to a snapshotter and to the model of one.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use stratafs::snapshot::{
    Backend, Kind, Labels, NoLayers, Options, OverlaySnapshotter, Owner, Snapshotter,
};
use tempfile::TempDir;

use super::model::{Model, Op, perform_both};

/// Few keys, so that calls meet; names and keys are of one space.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b/c", "%p-d", "e é", "sha256:f", "g"]).prop_map(str::to_owned)
}

fn parent() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.6, key())
}

fn labels() -> impl Strategy<Value = Labels> {
    let label = prop::sample::select(vec!["l", "containerd.io/snapshot.ref", "x.y/z\"", "labels"]);
    let value = prop::sample::select(vec!["", "1", "sha256:0, \"x\""]);
    prop::collection::btree_map(label.prop_map(str::to_owned), value.prop_map(str::to_owned), 0..3)
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    let path = prop::sample::select(vec![
        "labels",
        "labels.l",
        "labels.containerd.io/snapshot.ref",
        "labels.x.y/z\"",
        "labels.none",
        "labels.labels",
        "parent",
    ]);
    prop::collection::vec(path.prop_map(str::to_owned), 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    let new = || (key(), parent(), labels());
    prop_oneof![
        4 => new().prop_map(|(key, parent, labels)| Op::Prepare { key, parent, labels }),
        2 => new().prop_map(|(key, parent, labels)| Op::View { key, parent, labels }),
        4 => (key(), key(), prop::option::weighted(0.2, key()), labels())
            .prop_map(|(name, key, parent, labels)| Op::Commit { name, key, parent, labels }),
        2 => key().prop_map(|key| Op::Remove { key }),
        2 => (key(), labels(), paths())
            .prop_map(|(key, labels, paths)| Op::Update { key, labels, paths }),
        1 => Just(Op::Cleanup),
    ]
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Op> {
        op().boxed()
    }

    fn apply(mut state: Model, op: &Op) -> Model {
        let _ = Model::apply(&mut state, op);
        state
    }
}

struct Subject {
    snapshotter: OverlaySnapshotter,
    model: Model,
    root: TempDir,
}

impl StateMachineTest for Subject {
    type SystemUnderTest = Subject;
    type Reference = Model;

    fn init_test(_: &Model) -> Subject {
        // In memory: what is on disk is flushed at each call.
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        let options = Options { sync_on_commit: false, ..Options::default() };
        let backend = Backend::open(root.path(), Arc::new(NoLayers), options).unwrap();
        let snapshotter = backend.snapshotter(Owner::Containerd);
        Subject { snapshotter, model: Model::default(), root }
    }

    fn apply(mut subject: Subject, state: &Model, op: Op) -> Subject {
        perform_both(&subject.snapshotter, &mut subject.model, &op);
        assert_eq!(&subject.model, state);
        subject
    }

    fn check_invariants(subject: &Subject, state: &Model) {
        assert_eq!(&Model::of(&subject.snapshotter), state);
        let folders = std::fs::read_dir(subject.root.path().join("snapshots")).unwrap().count();
        assert_eq!(folders, state.0.len());
        for (key, snapshot) in &state.0 {
            check_mounts(&subject.snapshotter, key, snapshot.kind);
        }
    }
}

/// What is said to be mounted is there, and written to only where it may be.
fn check_mounts(snapshotter: &OverlaySnapshotter, key: &str, kind: Kind) {
    let mounts = snapshotter.mounts(key);
    if kind == Kind::Committed {
        mounts.unwrap_err();
        return;
    }
    let [mount] = &mounts.unwrap()[..] else { panic!("one mount of {key}") };
    assert_eq!(mount.read_only(), kind == Kind::View);
    let folders = mount.options.iter().filter_map(|option| option.split_once("dir="));
    let mut folders: Vec<&str> =
        folders.filter(|(name, _)| *name != "redirect_").flat_map(|(_, f)| f.split(':')).collect();
    if mount.fs_type == "bind" {
        folders.push(&mount.source);
    }
    assert!(!folders.is_empty());
    for folder in folders {
        assert!(Path::new(folder).is_dir(), "{folder} of {key}");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshotter_does_what_the_model_does(sequential 1..40 => Subject);
}
