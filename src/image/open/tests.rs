use super::super::fixture::Fixture;
use super::*;
use crate::content::registry::{Anonymous, Config};
use crate::digest::Digest;
use crate::image::resolve;

fn client() -> Client {
    Client::new(Config::new(std::env::temp_dir(), Arc::new(Anonymous)))
}

fn select(f: &Fixture, select: &str) -> Result<Descriptor, Error> {
    let source = format!("oci:{}{select}", f.layout.path().display());
    super::open(&source.parse().unwrap(), &client()).map(|(_, root)| root)
}

#[test]
fn the_only_image_of_a_layout_needs_no_name() {
    let f = Fixture::new();
    let image = f.image("linux/amd64", &["a"]);
    f.layout.set_root(&image, Some("v1")).unwrap();
    f.layout.set_root(&image, Some("latest")).unwrap();
    let mut artifact = f.image("linux/amd64", &["index"]);
    artifact.artifact_type = Some("application/x".into());
    f.layout.set_root(&artifact, None).unwrap();
    assert_eq!(select(&f, "").unwrap().digest, image.digest);
}

#[test]
fn among_several_images_one_must_be_named() {
    let f = Fixture::new();
    let [a, b] = ["a", "b"].map(|l| f.image("linux/amd64", &[l]));
    f.layout.set_root(&a, Some("v1")).unwrap();
    f.layout.set_root(&b, Some("registry.example:5000/app:v2")).unwrap();
    let text = select(&f, "").unwrap_err().to_string();
    assert!(text.contains("v1") && text.contains("app:v2"), "{text}");
    assert_eq!(select(&f, ":v1").unwrap().digest, a.digest);
    for name in [":registry.example:5000/app:v2", ":app:v2", ":v2"] {
        assert_eq!(select(&f, name).unwrap().digest, b.digest, "{name}");
    }
    assert_eq!(select(&f, &format!("@{}", b.digest)).unwrap().digest, b.digest);
    let text = select(&f, ":v3").unwrap_err().to_string();
    assert!(text.contains("no image v3") && text.contains("v1"), "{text}");
}

#[test]
fn a_name_that_fits_whole_wins_over_one_that_fits_in_part() {
    let f = Fixture::new();
    let [a, b] = ["a", "b"].map(|l| f.image("linux/amd64", &[l]));
    f.layout.set_root(&a, Some("x/app:v1")).unwrap();
    f.layout.set_root(&b, Some("v1")).unwrap();
    assert_eq!(select(&f, ":v1").unwrap().digest, b.digest);
}

#[test]
fn a_digest_is_found_inside_an_index() {
    let f = Fixture::new();
    let image = f.image("linux/amd64", &["a"]);
    f.layout.set_root(&f.index(&[f.index(std::slice::from_ref(&image))]), None).unwrap();
    assert_eq!(select(&f, &format!("@{}", image.digest)).unwrap(), image);
    let absent = Digest::sha256(b"absent");
    assert!(matches!(select(&f, &format!("@{absent}")), Err(Error::NoSuchName { .. })));
}

#[test]
fn an_empty_layout_says_so() {
    let text = select(&Fixture::new(), "").unwrap_err().to_string();
    assert!(text.contains("no image at all"), "{text}");
}

#[test]
fn a_layout_in_a_tar_is_the_same_image() {
    let f = Fixture::new();
    let image = f.image("linux/amd64", &["a", ""]);
    f.layout.set_root(&image, Some("v1")).unwrap();
    let file = f.layout.path().with_extension("tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&file).unwrap());
    builder.append_dir_all(".", f.layout.path()).unwrap();
    builder.finish().unwrap();
    let source = format!("oci-archive:{}:v1", file.display());
    let (store, root) = super::open(&source.parse().unwrap(), &client()).unwrap();
    let there = resolve(&*store, &root, None).unwrap();
    let here = resolve(&f.layout, &image, None).unwrap();
    assert_eq!(there.layers, here.layers);
}

#[test]
fn names_of_docker_archives_need_not_be_whole() {
    let names = vec![vec!["docker.io/library/debian:12"], vec!["localhost/app:latest", "app:1"]];
    assert_eq!(best_fits(&names, "debian:12"), [0]);
    assert_eq!(best_fits(&names, "localhost/app"), [1]);
    assert_eq!(best_fits(&names, "app"), [1]);
    assert_eq!(best_fits(&names, "12"), [0]);
    assert!(best_fits(&names, "bian:12").is_empty());
}
