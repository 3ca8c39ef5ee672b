use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use stratafs::fs::Filesystem;
use stratafs::fuse::{self, Options};

use crate::fixture::{self, Layer};
use crate::watchdog::Watchdog;

/// Prints the handle of a path, or opens a handle in the filesystem of a path and reads it.
const SCRIPT: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
if sys.argv[1] == "encode":
    buf = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    check(libc.name_to_handle_at(-100, sys.argv[2].encode(), buf, ctypes.byref(mount), 0))
    print(buf.raw.hex())
else:
    buf = ctypes.create_string_buffer(bytes.fromhex(sys.argv[3]))
    at = os.open(sys.argv[2], os.O_RDONLY)
    fd = check(libc.open_by_handle_at(at, buf, os.O_RDONLY))
    print(os.read(fd, 100).decode())
    print(os.readlink(f"/proc/self/fd/{fd}"))
"#;

fn python(args: &[&str]) -> String {
    let output = Command::new("python3").args(["-c", SCRIPT]).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// overlayfs with an index and NFS servers keep handles of files for longer than caches live.
#[test]
fn a_file_handle_is_good_on_a_later_mount_of_the_tree() {
    let watchdog = Watchdog::new(Duration::from_secs(60));
    let root = watchdog.folder("mount");
    let fs = || {
        let layer = Layer::new().file("some/folder/file", 0o644, b"by handle");
        Arc::new(Filesystem::of_tree(fixture::in_memory(vec![layer])))
    };
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mounted = fuse::mount(fs(), &root, &Options::rootfs()).unwrap();
    let handles = ["some/folder/file", "some/folder"]
        .map(|path| python(&["encode", &text(&root.join(path))]));
    mounted.unmount().unwrap();
    let mounted = fuse::mount(fs(), &root, &Options::rootfs()).unwrap();
    let found = python(&["open", &text(&root), &handles[0]]);
    assert!(found.starts_with("by handle"), "{found}");
    drop(mounted);
}
