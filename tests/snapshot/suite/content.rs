//! What is in the files of snapshots.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stratafs::snapshot::{Info, Kind};

use super::super::appliers::{apply, chown_to, create_dir, create_file, link, remove_all, rename};
use super::super::manifest::assert_equal;
use super::Subject;

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
