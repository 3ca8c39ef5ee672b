//! Containers whose root filesystem is a mounted image.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stratafs::layer::LayerIndex;

use super::corpus;
use super::program::Stratafs;

#[test]
fn a_container_imports_python_modules_from_the_mount() {
    let code = "import numpy, scipy.linalg, pandas, pyarrow, sklearn.cluster, matplotlib; \
                print(numpy.arange(5).sum(), scipy.linalg.det([[1.0, 2.0], [3.0, 4.0]]))";
    let stratafs = Stratafs::new();
    let printed = stratafs.run(&["run", &corpus::image("python", "latest"), "python3", "-c", code]);
    assert!(printed.starts_with("10 -2."), "{printed}");
    assert_small(&stratafs.root().join("index"));
}

/// Spans and windows of the indexes in the folder `dir` take at most 6.5 MiB a GiB of layer.
fn assert_small(dir: &Path) {
    let (mut index, mut layers) = (0, 0);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toc") {
            let decoded = LayerIndex::decode(&fs::read(path).unwrap()).unwrap();
            index += (decoded.table.encode().len() + decoded.windows.len()) as u64;
            layers += decoded.table.size;
        }
    }
    assert!(layers > 400 << 20, "{layers}");
    assert!(index * 1024 * 10 <= layers * 65, "{index} bytes for {layers}");
}

#[test]
fn a_server_answers_from_a_container() {
    let stratafs = Stratafs::new();
    let image = corpus::image("server", "latest");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = ["run", "--net-host", &image, "--port", &port.to_string(), "--save", ""];
    let mut server = stratafs.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    let answer = ask(port, "PING\r\n");
    ask(port, "SHUTDOWN NOSAVE\r\n");
    assert_eq!(answer.as_deref(), Some("+PONG"));
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// The first line of the answer to `request`, from a server that may still have to start.
fn ask(port: u16, request: &str) -> Option<String> {
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            return BufReader::new(stream).lines().next()?.ok();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

#[test]
fn the_exit_code_of_the_process_is_that_of_run() {
    let stratafs = Stratafs::new();
    let image = corpus::image("debian", "latest");
    let status = stratafs.command(&["run", &image, "sh", "-c", "exit 7"]).status().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn runc_runs_a_bundle() {
    let stratafs = Stratafs::new();
    let bundle = stratafs.target("bundle");
    let image = corpus::image("debian", "latest");
    let command =
        ["bundle", &image, bundle.to_str().unwrap(), "sh", "-c", "cat /etc/debian_version"];
    stratafs.run(&command);
    assert!(bundle.join("config.json").is_file());
    let id = format!("stratafs-test-{}", std::process::id());
    let printed = corpus::run(Command::new("runc").args(["run", "--bundle"]).arg(&bundle).arg(&id));
    assert!(printed.starts_with("12."), "{printed}");
    stratafs.run(&["umount", bundle.join("rootfs").to_str().unwrap()]);
}

#[test]
fn changes_go_to_the_upper_folder_and_not_to_the_image() {
    let stratafs = Stratafs::new();
    let image = corpus::image("debian", "latest");
    let upper = tempfile::tempdir().unwrap();
    let arg = upper.path().to_str().unwrap();
    let target = stratafs.mount(&image, &["--rw", arg]);
    fs::write(target.join("etc/hostname"), "changed\n").unwrap();
    fs::remove_dir_all(target.join("usr/share/doc")).unwrap();
    fs::rename(target.join("etc/motd"), target.join("motd")).unwrap();
    stratafs.run(&["umount", target.to_str().unwrap()]);
    let target = stratafs.mount(&image, &["--rw", arg]);
    assert_eq!(fs::read(target.join("etc/hostname")).unwrap(), b"changed\n");
    assert!(!target.join("usr/share/doc").exists() && target.join("motd").exists());
    let untouched = stratafs.mount(&image, &[]);
    assert!(untouched.join("usr/share/doc").exists() && !untouched.join("motd").exists());
}
