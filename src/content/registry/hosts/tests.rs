use super::*;

fn bases(specs: &[HostSpec]) -> Vec<&str> {
    specs.iter().map(|s| s.base.as_str()).collect()
}

#[test]
fn mirrors_come_in_the_order_of_the_file_and_the_server_last() {
    let text = r#"
        server = "https://registry.example"
        [host."https://z.example"]
          capabilities = ["pull"]
          ca = "z.crt"
          skip_verify = true
          [host."https://z.example".header]
            X-Team = ["a", "b"]
        [host."http://a.example:5000/prefix"]
          ca = ["/etc/a.crt", "b.crt"]
          client = [["c.crt", "c.key"]]
        [host."https://m.example/custom/path"]
          override_path = true
    "#;
    let specs = parse("registry.example", false, Path::new("/d"), text).unwrap();
    assert_eq!(
        bases(&specs),
        [
            "https://z.example/v2",
            "http://a.example:5000/prefix/v2",
            "https://m.example/custom/path",
            "https://registry.example/v2",
        ]
    );
    let [z, a, _, server] = &specs[..] else { panic!() };
    assert!(z.mirror && z.pull && !z.resolve && !z.push && z.skip_verify);
    assert_eq!(z.ca, [Path::new("/d/z.crt")]);
    assert_eq!(z.headers, [("X-Team".into(), "a".into()), ("X-Team".into(), "b".into())]);
    assert_eq!(a.ca, [Path::new("/etc/a.crt"), Path::new("/d/b.crt")]);
    assert_eq!(a.client, Some(("/d/c.crt".into(), Some("/d/c.key".into()))));
    assert!(!server.mirror && server.push && server.resolve);
}

#[test]
fn a_registry_without_a_folder_is_asked_itself() {
    let specs = |host, plain| lookup(&[], host, plain).unwrap();
    assert_eq!(bases(&specs("docker.io", false)), ["https://registry-1.docker.io/v2"]);
    assert_eq!(bases(&specs("r.example:5000", false)), ["https://r.example:5000/v2"]);
    assert_eq!(bases(&specs("r.example:5000", true)), ["http://r.example:5000/v2"]);
    for host in ["localhost", "127.0.0.1:5000", "[::1]:5000", "x.localhost"] {
        assert!(bases(&specs(host, false))[0].starts_with("http://"), "{host}");
    }
    assert!(bases(&specs("127.0.0.1.example", false))[0].starts_with("https://"));
}

#[test]
fn folders_are_found_by_host_port_and_default() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, server: &str| {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("hosts.toml"), format!("server = \"{server}\""))
            .unwrap();
    };
    write("a.example_5000_", "http://one");
    write("a.example:5001", "http://two");
    write("_default", "http://rest");
    let folders = [dir.path().join("none"), dir.path().to_owned()];
    for (host, base) in [
        ("a.example:5000", "http://one/v2"),
        ("a.example:5001", "http://two/v2"),
        ("b.example", "http://rest/v2"),
    ] {
        let specs = lookup(&folders, host, false).unwrap();
        assert_eq!(bases(&specs), [base]);
        assert!(specs[0].mirror);
    }
}

#[test]
fn docker_folders_of_certificates_count_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("r.example");
    fs::create_dir(&folder).unwrap();
    for file in ["ca.crt", "client.cert", "client.key"] {
        fs::write(folder.join(file), "").unwrap();
    }
    let specs = lookup(&[dir.path().to_owned()], "r.example", false).unwrap();
    assert_eq!(specs[0].ca, [folder.join("ca.crt")]);
    let client = (folder.join("client.cert"), Some(folder.join("client.key")));
    assert_eq!(specs[0].client, Some(client));
}

#[test]
fn broken_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("r.example");
    fs::create_dir(&folder).unwrap();
    for text in [
        "x = [",
        "server = 5",
        "server = \"http://\"",
        "[host.\"ftp://x\"]\n",
        "server = \"https://user:hunter2@x\"",
        "server = \"https://:hunter2@x\"",
    ] {
        fs::write(folder.join("hosts.toml"), text).unwrap();
        let error = lookup(&[dir.path().to_owned()], "r.example", false).unwrap_err();
        assert!(error.to_string().contains("hosts.toml"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
