//! Registries as the command line meets them: credentials, proxies, other folders of hosts, copies
//! that break off, and what is told of all that.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use serde_json::{Value, json};

use super::distribution::Distribution;
use super::fake::{AuthMode, Fake, Fault};
use super::fill;
use super::lazy::World;
use crate::fixture::noise;
use crate::images::layout::{Archive, Layer, Layout};
use crate::images::program::Stratafs;

/// The program with nobody's credentials but those of `home`.
fn program(root: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stratafs"));
    command.arg("--root").arg(root).arg("--no-progress").args(args).env("HOME", home);
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY"]
    {
        command.env_remove(name);
    }
    command
}

fn texts(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Every file below `dir`.
fn contents(dir: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if path.metadata().unwrap().len() < 64 << 10 {
            all.push(fs::read(&path).unwrap());
        }
    }
    all
}

/// A helper in `bin` that gives `answer` for `key` alone.
fn helper(bin: &Path, name: &str, key: &str, answer: &Value) {
    let path = bin.join(format!("docker-credential-{name}"));
    let script = format!(
        "#!/bin/sh\nread -r key\nif [ \"$1 $key\" = 'get {key}' ]; then echo '{answer}'; else\n\
         echo 'credentials not found in native keychain'; exit 1; fi\n"
    );
    write(&path, &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[rstest]
fn credentials_of_docker_and_podman_open_a_registry_and_are_told_nobody(
    #[values(
        "docker",
        "docker-config",
        "podman",
        "podman-run",
        "podman-config",
        "repository",
        "helper",
        "store",
        "identity"
    )]
    way: &str,
) {
    let world = World::new();
    let (host, home) = (world.registry.host(), tempfile::tempdir().unwrap());
    let identity = way == "identity";
    world.registry.inside().auth = Some(match identity {
        true => AuthMode::TokenForIdentity("hunter2-identity"),
        false => AuthMode::TokenFor("user", "hunter2"),
    });
    let entry =
        |key: &str| json!({"auths": {key: {"auth": STANDARD.encode("user:hunter2")}}}).to_string();
    let of_home = home.path();
    let bin = of_home.join("bin");
    let answer = json!({"ServerURL": host, "Username": "user", "Secret": "hunter2"});
    let mut command = program(world.root.path(), of_home, &["--log", "trace", "--json"]);
    match way {
        "docker" => {
            write(&of_home.join(".docker/config.json"), &entry(&format!("https://{host}/v1/")))
        }
        "docker-config" => {
            write(&of_home.join("other/config.json"), &entry(&host));
            command.env("DOCKER_CONFIG", of_home.join("other"));
        }
        "podman" => {
            write(&of_home.join("auth.json"), &entry(&host));
            command.env("REGISTRY_AUTH_FILE", of_home.join("auth.json"));
        }
        "podman-run" => {
            write(&of_home.join("run/containers/auth.json"), &entry(&host));
            command.env("XDG_RUNTIME_DIR", of_home.join("run"));
        }
        "podman-config" => write(&of_home.join(".config/containers/auth.json"), &entry(&host)),
        "repository" => write(&of_home.join(".docker/config.json"), &entry(&format!("{host}/app"))),
        "helper" => {
            let text = json!({"credHelpers": {&host: "test"}}).to_string();
            write(&of_home.join(".docker/config.json"), &text);
            helper(&bin, "test", &host, &answer);
        }
        "store" => {
            let text = json!({"auths": {&host: {}}, "credsStore": "all"}).to_string();
            write(&of_home.join(".docker/config.json"), &text);
            helper(&bin, "all", &host, &answer);
        }
        _ => {
            let text = json!({"auths": {&host: {"identitytoken": "hunter2-identity"}}}).to_string();
            write(&of_home.join(".docker/config.json"), &text);
        }
    }
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", bin.display()));
    let output = command.args(["pull", &world.reference()]).output().unwrap();
    let said = texts(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("registry request"), "the log has all there is: {said}");
    let secrets = ["hunter2", &STANDARD.encode("user:hunter2"), "secret-token"];
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is in a log:\n{said}");
        for content in contents(world.root.path()) {
            let found = content.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} is in a file: {}", String::from_utf8_lossy(&content));
        }
    }
}

#[rstest]
fn what_is_wrong_with_credentials_is_said_without_them(
    #[values("wrong", "none", "broken", "no-helper", "bad-helper")] way: &str,
) {
    let world = World::new();
    let (host, home) = (world.registry.host(), tempfile::tempdir().unwrap());
    world.registry.inside().auth = Some(AuthMode::Basic("user", "right"));
    let config = home.path().join(".docker/config.json");
    let expected = match way {
        "wrong" => {
            let auth = STANDARD.encode("user:hunter2");
            write(&config, &json!({"auths": {&host: {"auth": auth}}}).to_string());
            "does not let us at"
        }
        "none" => "there are none",
        "broken" => {
            write(&config, r#"{"auths": {"hunter2"#);
            "config.json"
        }
        "no-helper" => {
            write(&config, r#"{"credsStore": "of-nobody"}"#);
            "docker-credential-of-nobody"
        }
        _ => {
            write(&config, r#"{"credsStore": "bad"}"#);
            helper(&home.path().join("bin"), "bad", &host, &json!("hunter2"));
            "docker-credential-bad\" answers wrongly"
        }
    };
    let path = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = program(world.root.path(), home.path(), &["inspect", &world.reference()]);
    let output = command.env("PATH", path).output().unwrap();
    let said = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("docker login") || way != "none", "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn proxies_and_folders_of_hosts_are_used() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("hosts/r.invalid/hosts.toml"), "server = \"http://r.invalid\"\n");
    let hosts = dir.path().join("hosts");
    let run = |proxies: &[(&str, String)]| {
        let root = tempfile::tempdir().unwrap();
        let args = ["--hosts-dir", hosts.to_str().unwrap(), "ls", "docker://r.invalid/app:1", "/"];
        let mut command = program(root.path(), dir.path(), &args);
        command.envs(proxies.iter().map(|(name, value)| (*name, value)));
        command.output().unwrap()
    };
    // The fake registry answers whatever host it is asked for, as a proxy does.
    let proxy = format!("http://{}", world.registry.host());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let output = run(&[(name, proxy.clone())]);
        assert!(output.status.success(), "{name}: {}", texts(&output));
        assert!(texts(&output).contains("small"), "{name}: {}", texts(&output));
    }
    let asked = world.registry.requests();
    assert!(asked.iter().all(|request| request.header("host") == Some("r.invalid")), "{asked:?}");
    // A registry on this machine is not asked through a proxy that is not there.
    let output = program(world.root.path(), dir.path(), &["ls", &world.reference(), "/"])
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", texts(&output));
}

/// An image of two large layers in a layout, and their size.
fn large() -> (Layout, u64) {
    let layers: Vec<Layer> = [9 << 20, 20 << 20]
        .map(|len| Layer::plain(&Archive::new().file("data", &noise(len)).finish()))
        .into();
    let size = layers.iter().map(|layer| layer.blob.len() as u64).sum();
    (Layout::of(&layers), size)
}

/// Runs the program and kills it as soon as `is_there` says so.
fn killed(command: &mut Command, is_there: impl Fn() -> bool) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        assert!(Instant::now() < deadline, "it does not get that far");
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_was() {
    let (layout, size) = large();
    let registry = Fake::start();
    fill(&registry, &layout, "1");
    registry.inside().always = Some(Fault::Late(Duration::from_millis(60)));
    let dir = tempfile::tempdir().unwrap();
    let to = format!("oci:{}:1", dir.path().join("out").display());
    let from = format!("docker://{}/app:1", registry.host());
    let pull = || program(dir.path(), dir.path(), &["--json", "pull", &from, "--to", &to]);
    let there = || {
        let sizes = fs::read_dir(dir.path().join("out/ingest")).into_iter().flatten().flatten();
        sizes.map(|entry| entry.metadata().map_or(0, |m| m.len())).sum::<u64>()
    };
    killed(&mut pull(), || there() > 8 << 20);
    let before = there();
    registry.inside().always = None;
    let output = pull().output().unwrap();
    assert!(output.status.success(), "{}", texts(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let copied = said["bytes"].as_u64().unwrap();
    assert!(copied + before <= size + (1 << 20), "{copied} copied, {before} of {size} were there");
    // Checked once more from the beginning by who knows nothing of us.
    let checked = program(dir.path(), dir.path(), &["--json", "inspect", &to]).output().unwrap();
    assert!(checked.status.success(), "{}", texts(&checked));
    for layer in fs::read_dir(dir.path().join("out/blobs/sha256")).unwrap() {
        let path = layer.unwrap().path();
        let digest = crate::images::layout::digest(&fs::read(&path).unwrap());
        assert!(digest.ends_with(path.file_name().unwrap().to_str().unwrap()));
    }
}

#[test]
fn a_push_that_was_killed_goes_on_and_arrives_whole() {
    let (layout, _) = large();
    // One that keeps what came of an upload, and Debian's, which forgets uploads halfway.
    let fake = Fake::start();
    let real = Distribution::start(false);
    for host in [fake.host(), real.host.clone()] {
        let dir = tempfile::tempdir().unwrap();
        let to = format!("docker://{host}/app:2");
        let push = || program(dir.path(), dir.path(), &["push", &layout.image(), &to]);
        killed(&mut push(), || {
            fs::read_dir(dir.path().join("uploads")).is_ok_and(|mut entries| {
                entries
                    .any(|entry| entry.unwrap().path().extension().is_some_and(|e| e == "upload"))
            })
        });
        fake.inside().log.clear();
        let output = push().output().unwrap();
        assert!(output.status.success(), "{host}: {}", texts(&output));
        let back = format!("oci:{}:1", dir.path().join("back").display());
        let pulled = program(dir.path(), dir.path(), &["pull", &to, "--to", &back]).output();
        assert!(pulled.as_ref().unwrap().status.success(), "{}", texts(&pulled.unwrap()));
        assert_eq!(fs::read_dir(dir.path().join("uploads")).map_or(0, Iterator::count), 0);
    }
}

/// What `status` says of the mount on `target`, once the counters have been written down.
fn status(stratafs: &Stratafs, target: &Path) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = stratafs.run(&["--json", "status", target.to_str().unwrap()]);
        let mount = serde_json::from_str::<Value>(&text).unwrap()["mounts"][0].take();
        let is_told = mount["counts"]["layers"][0]["served"].as_u64() > Some(0);
        // What was written a moment ago counts once it is on disk.
        if is_told && mount["layers"][0]["stored"].as_u64() > Some(0) {
            return mount;
        }
        assert!(Instant::now() < deadline, "no counters come: {mount}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn status_says_of_each_layer_what_is_here_and_what_it_took() {
    let world = World::new();
    let stratafs = Stratafs::with_root(world.root.path());
    let first = stratafs.mount(&world.reference(), &["--prefetch", "none"]);
    stratafs.run(&["umount", first.to_str().unwrap()]);
    stratafs.run(&["cache", "prune", "--keep", "0B"]);
    let target = stratafs.mount(&world.reference(), &["--prefetch", "none", "--mode", "fuse"]);
    fs::read(target.join("small")).unwrap();
    let mount = status(&stratafs, &target);
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {mount}"));
    let layer = &mount["layers"][0];
    assert!((1..number(&layer["size"])).contains(&number(&layer["stored"])), "{mount}");
    let counts = &mount["counts"];
    assert!(number(&counts["requests"]) >= 1 && number(&counts["misses"]) >= 1, "{mount}");
    assert!(number(&counts["demand_bytes"]) > 0, "{mount}");
    let of_layer = &counts["layers"][0];
    assert_eq!(of_layer["digest"], layer["digest"], "{mount}");
    assert!(of_layer["lazy"].as_str().unwrap().contains("spans from"), "{mount}");
    assert!(number(&of_layer["fetches"]) >= 1 && number(&of_layer["fetched"]) > 0, "{mount}");
    let text = stratafs.run(&["status", target.to_str().unwrap()]);
    for part in [" of ", "own index: gzip", "requests", "read from the cache", " fetches of "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let inspected = stratafs.run(&["inspect", &world.reference()]);
    let here = inspected.lines().find(|line| line.trim_start().starts_with("here "));
    assert!(here.is_some_and(|line| line.contains(" of 6.")), "{inspected}");
    stratafs.run(&["umount", target.to_str().unwrap()]);
}

#[rstest]
fn a_byte_that_is_flipped_on_disk_is_found_and_fetched_again(
    #[values(true, false)] by_verify: bool,
) {
    let world = World::new();
    let stratafs = Stratafs::with_root(world.root.path());
    stratafs.run(&["pull", &world.reference()]);
    let listed: Value = serde_json::from_str(&stratafs.run(&["--json", "cache", "ls"])).unwrap();
    assert_eq!(listed["layers"][0]["stored"], listed["layers"][0]["size"], "{listed}");
    stratafs.run(&["cache", "verify"]);
    let folder = fs::read_dir(world.root.path().join("cache")).unwrap();
    let mut data = folder.map(|entry| entry.unwrap().path().join("data")).filter(|p| p.exists());
    let path = data.next().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 << 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    if by_verify {
        let output = stratafs.command(&["cache", "verify"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", texts(&output));
        let said = texts(&output);
        assert!(said.contains("1 spans were damaged and are dropped"), "{said}");
        stratafs.run(&["cache", "verify"]);
    }
    let before = world.registry.requests().len();
    let target = stratafs.mount(&world.reference(), &["--prefetch", "none", "--mode", "fuse"]);
    assert!(fs::read(target.join("big")).unwrap() == world.big());
    assert!(world.registry.requests().len() > before, "what was damaged is fetched again");
    if !by_verify {
        assert!(stratafs.log().contains("do not match their digest"), "{}", stratafs.log());
    }
    stratafs.run(&["umount", target.to_str().unwrap()]);
    stratafs.run(&["cache", "verify"]);
    stratafs.run(&["cache", "prune", "--keep", "1MiB"]);
    let listed: Value = serde_json::from_str(&stratafs.run(&["--json", "cache", "ls"])).unwrap();
    assert!(listed["used"].as_u64().unwrap() <= 1 << 20, "{listed}");
}

#[test]
fn a_path_that_is_not_there_comes_with_advice() {
    let layout = Layout::of(&[Layer::gzip(&Archive::new().file("etc/passwd", b"x").finish())]);
    let stratafs = Stratafs::new();
    for (verb, path, parent) in [
        ("cat", "/etc/shadow", "/etc"),
        ("ls", "/a/b/c", "/"),
        ("stat", "etc/passwd/x", "etc/passwd"),
    ] {
        let said = stratafs.refuse(&[verb, &layout.image(), path]);
        let advice = format!("stratafs ls {} {parent} lists", layout.image());
        assert!(said.contains(&advice), "{said}");
    }
}
