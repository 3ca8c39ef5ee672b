//! Suites of POSIX tests on a writable snapshot over a lazy image: pjdfstest and fsx, which
//! `scripts/tools` installs. What kernel overlayfs over a plain ext4 can do, it can.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::corpus;
use super::program::Stratafs;
use crate::disk::Disk;

const LIMIT: Duration = Duration::from_secs(900);

/// A folder that the image and the baseline have, for what the suites make.
const FOLDER: &str = "srv";
/// A file that they have.
const FILE: &str = "usr/bin/env";

/// The longest pause is for times of files, which the kernel takes from a clock of 4 ms.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}

[settings]
naptime = 0.02

[dummy_auth]
entries = [["nobody", "nogroup"], ["bin", "bin"]]
"#;

const FSX: &str = "
flen = 1048576
[opsize]
max = 65536
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 2
fsync = 1
fdatasync = 1
posix_fallocate = 1
punch_hole = 2
sendfile = 3
posix_fadvise = 2
copy_file_range = 3
";

/// A program of `scripts/tools`, which builds it if it is not there.
fn tool(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tools");
    let folder = corpus::run(&mut Command::new(script));
    Path::new(folder.trim_end()).join(name)
}

/// A writable snapshot of the Debian image, mounted, its state on `disk`.
fn snapshot(stratafs: &Stratafs) -> PathBuf {
    let top = stratafs.run(&["unpack", "--lazy", &corpus::image("debian", "latest")]);
    stratafs.run(&["snapshot", "prepare", "rw", top.trim_end()]);
    stratafs.mount_snapshot("rw")
}

/// A writable overlay of plain folders.
fn baseline(disk: &Disk) -> PathBuf {
    let at = |name: &str| disk.at().join(name);
    for name in ["lower", "upper", "work"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::create_dir(at("lower").join(FOLDER)).unwrap();
    let target = disk.beside("baseline");
    let option = |key: &str| format!("{key}dir={}", at(key).display());
    let options = ["lower", "upper", "work"].map(option).join(",");
    corpus::run(
        Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&target),
    );
    target
}

/// What a run of pjdfstest says: the cases that passed, and those that failed.
struct Report {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
}

/// Runs pjdfstest below `target`: all cases, or those that are named.
fn pjdfstest(disk: &Disk, target: &Path, cases: &[String]) -> Report {
    let config = disk.at().join("pjdfstest.toml");
    fs::write(&config, PJDFSTEST).unwrap();
    let mut command = Command::new(tool("pjdfstest"));
    command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "0");
    command.arg("-c").arg(config).arg("-p").arg(target.join(FOLDER)).arg("-s").arg(disk.at());
    if !cases.is_empty() {
        command.arg("--exact").arg("--").args(cases);
    }
    // It fails where a case fails.
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(printed.contains("Summary"), "{printed}");
    let told = |word: &str| {
        let case = |line: &str| Some(line.strip_suffix(word)?.trim_end().to_owned());
        printed.lines().filter_map(case).collect()
    };
    Report { passed: told(" ok"), failed: told(" FAILED") }
}

#[test]
fn pjdfstest_fails_nowhere_where_overlayfs_over_ext4_does_not() {
    let disk = Disk::new(1024, &[], LIMIT);
    let stratafs = Stratafs::with_root(&disk.root());
    let (theirs, ours) = (baseline(&disk), snapshot(&stratafs));
    let expected = pjdfstest(&disk, &theirs, &[]);
    let found = pjdfstest(&disk, &ours, &[]);
    assert!(expected.passed.len() > 300, "{} cases passed", expected.passed.len());
    let more: Vec<String> = found.failed.difference(&expected.failed).cloned().collect();
    // Some compare times, and a busy machine lets them fail anywhere: who fails twice fails.
    let again = match more.is_empty() {
        true => BTreeSet::new(),
        false => pjdfstest(&disk, &ours, &more).failed,
    };
    assert!(again.is_empty(), "these pass on overlayfs over ext4: {again:#?}");
    assert!(found.passed.len() + more.len() >= expected.passed.len());
}

#[test]
fn fsx_reads_what_it_wrote() {
    let disk = Disk::new(1024, &[], LIMIT);
    let stratafs = Stratafs::with_root(&disk.root());
    let target = snapshot(&stratafs);
    let config = disk.at().join("fsx.toml");
    fs::write(&config, FSX).unwrap();
    // A new file, and one that is copied up.
    for (seed, file) in [("1", format!("{FOLDER}/new")), ("2", FILE.to_owned())] {
        let file = target.join(file);
        let output = Command::new(tool("fsx"))
            .arg("-f")
            .arg(&config)
            .args(["-N", "4000", "-S", seed, "-P"])
            .arg(disk.at())
            .arg(file)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&text));
    }
}
