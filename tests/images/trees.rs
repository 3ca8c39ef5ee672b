//! Every image, in every form that it comes in: what is mounted is what other tools unpack.

use rstest::rstest;

use super::corpus;
use super::program::Stratafs;
use crate::oracle;

/// Mounts `image` in the way that is asked for and compares the whole of it with what `name:tag`
/// unpacks to.
fn mounted_is_unpacked(image: &str, args: &[&str], name: &str, tag: &str) {
    let expected = corpus::unpacked(name, tag);
    let stratafs = Stratafs::new();
    let target = stratafs.mount(image, args);
    if let ["--mode", mode] = args {
        assert_eq!(stratafs.mount_on(&target)["mode"], *mode);
    }
    oracle::assert_same(&expected, &oracle::snapshot(&target));
    stratafs.run(&["umount", target.to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "unmounted");
}

#[rstest]
fn a_real_image_is_mounted_whole(
    #[values("debian", "server", "python")] name: &str,
    #[values(("latest", "erofs"), ("latest", "fuse"), ("zstd", "erofs"))] how: (&str, &str),
) {
    let (tag, mode) = how;
    if (name, tag) != ("server", "zstd") {
        let image = corpus::image(name, tag);
        mounted_is_unpacked(&image, &["--mode", mode], name, "latest");
    }
}

#[rstest]
fn an_archive_is_read_in_place(#[values("oci-archive", "docker-archive")] kind: &str) {
    let file = corpus::folder("debian").join(format!("{kind}.tar"));
    mounted_is_unpacked(&format!("{kind}:{}", file.display()), &[], "debian", "latest");
}

#[rstest]
fn nasty_cases_are_the_same_in_every_compression(
    #[values(
        "gzip",
        "gzip-members",
        "gzip-header",
        "pigz",
        "bgzip",
        "zstd",
        "zstd-frames",
        "plain",
        "mislabelled",
        "docker"
    )]
    tag: &str,
    #[values("erofs", "fuse")] mode: &str,
) {
    mounted_is_unpacked(&corpus::image("nasty", tag), &["--mode", mode], "nasty", "gzip");
}

#[test]
fn an_image_index_is_taken_for_the_platform_asked_for() {
    let image = corpus::image("nasty", "platforms");
    mounted_is_unpacked(&image, &["--platform", "linux/amd64"], "nasty", "gzip");
    mounted_is_unpacked(&image, &["--platform", "linux/arm64"], "nasty", "portable");
}

#[test]
fn a_second_mount_of_an_image_uses_its_index_and_sees_the_same() {
    let stratafs = Stratafs::new();
    let image = corpus::image("debian", "latest");
    let first = stratafs.mount(&image, &[]);
    let state = stratafs.state();
    let second = stratafs.mount(&image, &[]);
    assert_eq!(stratafs.state(), state);
    oracle::assert_same(&corpus::unpacked("debian", "latest"), &oracle::snapshot(&first));
    oracle::assert_same(&corpus::unpacked("debian", "latest"), &oracle::snapshot(&second));
}
