use std::fs;

use super::{as_we_list, compare_all, members, python, sh};

/// A folder with one of everything that a tar can hold.
const EVERYTHING: &str = r#"
mkdir -p t/dir t/deep
cd t
printf hello > plain; : > empty; ln plain dir/hard; ln -s ../plain dir/link
ln -s "$(printf 'x%.0s' $(seq 300))" dir/longlink
mkfifo pipe; mknod char c 8 3; mknod block b 259 70000
chmod 4755 plain; chmod 1777 dir; chown 3000000:4000000 empty
printf x > "$(printf 'na\377me')"; printf y > "$(printf 'new\nline')"
printf z > "$(printf 'n%.0s' $(seq 255))"
d=deep; for i in $(seq 20); do d=$d/$(printf 'd%.0s' $(seq 100)); done
mkdir -p "$d"; printf deep > "$d/f"
touch -d '1969-12-31 23:59:50.25 UTC' old; touch -d '@1700000000.123456789' new
touch -h -d '@1600000000' dir/link
ln "$(printf 'n%.0s' $(seq 255))" longhard
"#;

#[test]
fn everything_in_every_format_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), EVERYTHING);
    sh(
        dir.path(),
        "for f in gnu oldgnu posix; do tar --format=$f -cf $f.tar t; done
         tar --format=posix --numeric-owner -b 1 -cf blocking.tar ./t
         tar --format=posix --pax-option=globexthdr.name=g,comment=hi -cf global.tar t
         tar --format=v7 -cf v7.tar t/plain t/dir/hard t/dir/link t/new
         tar --format=ustar -cf ustar.tar t/plain t/dir t/pipe t/new t/char t/block 2>/dev/null || true
         tar --format=gnu -Pcf absolute.tar \"$PWD/t/plain\"",
    );
    assert_eq!(compare_all(dir.path()), 8);
}

#[test]
fn sparse_files_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "truncate -s 1M hole; truncate -s 5M some; printf a > edge; truncate -s 1000000 edge
         for i in 0 1 4 7; do printf data | dd of=some bs=1 seek=$((i * 600000)) conv=notrunc status=none; done
         i=0; while [ $i -lt 60 ]; do printf '%0600d' $i | dd of=many bs=4096 seek=$((i * 3)) conv=notrunc status=none; i=$((i + 1)); done
         printf end | dd of=tail bs=1 seek=3000001 status=none; printf dense > dense
         for f in gnu oldgnu; do tar --format=$f -Scf $f.tar hole some edge many tail dense; done
         for v in 0.0 0.1 1.0; do tar --format=posix --sparse-version=$v -Scf pax$v.tar hole some edge many tail dense; done",
    );
    assert_eq!(compare_all(dir.path()), 5);
    for archive in ["gnu", "oldgnu", "pax0.0", "pax0.1", "pax1.0"] {
        let bytes = fs::read(dir.path().join(format!("{archive}.tar"))).unwrap();
        for (entry, content) in members(&bytes).unwrap() {
            let name = String::from_utf8(entry.path).unwrap();
            assert_eq!(content, fs::read(dir.path().join(&name)).unwrap(), "{archive} {name}");
            let stored: u64 = entry.runs.iter().map(|run| run.len).sum();
            assert!(name == "dense" || stored < entry.size / 2, "{archive} {name} {stored}");
        }
    }
}

#[test]
fn extended_attributes_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    sh(
        dir.path(),
        "printf x > f; setfattr -n user.text -v 'a=b c' f
         setfattr -n user.binary -v 0x00010a0a3d20ff f; setfattr -n user.empty f
         setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 f
         tar --format=posix --xattrs --xattrs-include='*' -cf x.tar f",
    );
    let bytes = fs::read(dir.path().join("x.tar")).unwrap();
    let xattrs = members(&bytes).unwrap().remove(0).0.metadata.xattrs;
    let names: Vec<_> = xattrs.iter().map(|x| String::from_utf8_lossy(&x.name)).collect();
    assert_eq!(names, ["security.capability", "user.binary", "user.empty", "user.text"]);
    assert_eq!(xattrs[0].value[4..8], [0, 0x20, 0, 0]);
    assert_eq!(xattrs[1].value, b"\0\x01\n\n= \xff");
    assert_eq!((&xattrs[2].value[..], &xattrs[3].value[..]), (&b""[..], &b"a=b c"[..]));
}

#[test]
fn everything_that_python_writes() {
    let dir = tempfile::tempdir().unwrap();
    python(
        dir.path(),
        r#"
import io, tarfile
def add(tar, name, kind=tarfile.REGTYPE, data=b"", **more):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
for name in ("USTAR", "GNU", "PAX"):
    with tarfile.open(name + ".tar", "w", format=getattr(tarfile, name + "_FORMAT")) as tar:
        add(tar, "plain", data=b"x" * 1000, mode=0o4755, uid=5, gid=6, mtime=1)
        add(tar, "dir/", tarfile.DIRTYPE, mode=0o1777)
        add(tar, "./dir/./f", data=b"y")
        add(tar, "/absolute", data=b"z")
        add(tar, "hard", tarfile.LNKTYPE, linkname="./plain")
        add(tar, "soft", tarfile.SYMTYPE, linkname="/dir/f")
        add(tar, "char", tarfile.CHRTYPE, devmajor=4095, devminor=200000)
        add(tar, "fifo", tarfile.FIFOTYPE)
        add(tar, "/".join(["n" * 60] * 3), data=b"long")
        add(tar, "plain", data=b"again")
        if name != "USTAR":
            add(tar, "huge", uid=1 << 31, gid=(1 << 32) - 2, mtime=1 << 34)
            add(tar, "old", mtime=-100000)
            add(tar, "n" * 255 + "/" + "m" * 3800, data=b"very long")
            add(tar, "s", tarfile.SYMTYPE, linkname="t" * 4000)
            add(tar, b"\xff\xfe".decode("utf-8", "surrogateescape"), data=b"q")
        if name == "PAX":
            add(tar, "fraction", mtime=1700000000.25)
            add(tar, "xattr", pax_headers={"SCHILY.xattr.user.a": "b\nc d=e", "comment": "\u00e9"})
"#,
    );
    assert_eq!(compare_all(dir.path()), 3);
}

/// libarchive writes xattrs in two ways, its own in base64.
#[test]
fn archives_of_bsdtar() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), EVERYTHING);
    sh(
        dir.path(),
        "setfattr -n user.a -v 0x000a3dff t/plain
         bsdtar --format=pax -cf pax.tar t; bsdtar --format=gnutar -cf gnu.tar t",
    );
    for archive in ["pax", "gnu"] {
        assert!(as_we_list(&dir.path().join(format!("{archive}.tar"))).len() > 15);
    }
    let bytes = fs::read(dir.path().join("pax.tar")).unwrap();
    let members = members(&bytes).unwrap();
    let plain = members.iter().find(|(entry, _)| !entry.metadata.xattrs.is_empty()).unwrap();
    assert_eq!(plain.0.metadata.xattrs[0].value, b"\0\n=\xff");
}
