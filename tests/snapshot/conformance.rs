//! containerd's conformance suite over parents on disk and over lazy ones.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stratafs::snapshot::{Backend, NoLayers, Options, Owner, Snapshotter};

use super::lazy::{FuseLayers, Relaying};
use super::suite::Subject;
use crate::watchdog::Watchdog;

/// How long a case may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

fn run(snapshotter: &dyn Snapshotter, work: PathBuf, case: fn(&Subject<'_>)) {
    case(&Subject { snapshotter, work });
}

fn on_unpacked_parents(case: fn(&Subject<'_>)) {
    let dir = Watchdog::new(LIMIT);
    let backend =
        Backend::open(&dir.path().join("root"), Arc::new(NoLayers), Options::default()).unwrap();
    run(&backend.snapshotter(Owner::Containerd), dir.folder("work"), case);
}

fn on_lazy_parents(case: fn(&Subject<'_>)) {
    let dir = Watchdog::new(LIMIT);
    let layers = Arc::new(FuseLayers::mount(&dir.folder("mnt")));
    let shown: Arc<FuseLayers> = Arc::clone(&layers);
    let backend = Backend::open(&dir.path().join("root"), shown, Options::default()).unwrap();
    let relaying = Relaying::new(Arc::clone(&backend), layers);
    run(&relaying, dir.folder("work"), case);
}

/// The cases, by their names in containerd, which are spelled so.
macro_rules! conformance {
    ($($name:ident: $case:ident,)*) => {
        mod unpacked {
            $(#[test] fn $name() { super::on_unpacked_parents(super::super::suite::$case); })*
        }
        mod lazy {
            $(#[test] fn $name() { super::on_lazy_parents(super::super::suite::$case); })*
        }
    };
}

conformance! {
    basic: basic,
    stat_active: stat_active,
    stat_comitted: stat_comitted,
    transitivity_test: transitivity_test,
    preare_view_failingtest: preare_view_failingtest,
    update: update,
    remove: remove,
    walk: walk,
    layer_fileupdate: layer_fileupdate,
    remove_directory_in_lower_layer: remove_directory_in_lower_layer,
    chown: chown,
    directory_permission_on_commit: directory_permission_on_commit,
    remove_intermediate_snapshot: remove_intermediate_snapshot,
    deleted_files_in_child_snapshot: deleted_files_in_child_snapshot,
    move_file_from_lower_layer: move_file_from_lower_layer,
    view_readonly: view_readonly,
    stat_in_walk: stat_in_walk,
    close_twice: close_twice,
    root_permission: root_permission,
    rename: rename_,
    layers_mount_128: layers_mount_128,
}
