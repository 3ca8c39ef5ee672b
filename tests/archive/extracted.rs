//! The TOC of random archives, compared with what GNU tar extracts from them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use stratafs::archive::{
    Device, Event, FileType, LayerPath, Metadata, TarError, TarParser, TarWriter, Timestamp, Xattr,
};
use stratafs::layer::{Inode, Target, Toc, TocBuilder};

use super::sh;

/// What is compared of one name; equal link groups are hard links of one another.
#[derive(Debug, PartialEq)]
struct Seen {
    file_type: FileType,
    mode: u16,
    owner: (u32, u32),
    mtime: Timestamp,
    device: u64,
    content: Vec<u8>,
    target: Vec<u8>,
    group: u64,
}

#[derive(Debug, Clone)]
enum Step {
    File(String, Vec<u8>),
    Dir(String),
    Symlink(String, String),
    HardLink(String, prop::sample::Index),
    Node(String, FileType, Device),
}

/// Folders are called `d0` to `d3` and all else otherwise, so that nothing changes between the two:
/// of GNU tar's many ways to treat that, none is containerd's.
fn steps() -> impl Strategy<Value = Step> {
    let folder = || vec("d[0-3]", 0..3);
    let file = || {
        (folder(), "[a-h\u{e9}]").prop_map(|(mut above, name)| {
            above.push(name);
            above.join("/")
        })
    };
    let dir = vec("d[0-3]", 1..4).prop_map(|names| names.join("/"));
    let device = (1..4000_u32, 0..1_000_000_u32).prop_map(|(major, minor)| Device { major, minor });
    let kind =
        prop::sample::select(vec![FileType::Fifo, FileType::CharDevice, FileType::BlockDevice]);
    prop_oneof![
        5 => (file(), vec(any::<u8>(), 0..2000)).prop_map(|(path, data)| Step::File(path, data)),
        3 => dir.prop_map(Step::Dir),
        2 => (file(), "[a-h]{1,150}").prop_map(|(path, target)| Step::Symlink(path, target)),
        3 => (file(), any::<prop::sample::Index>()).prop_map(|(p, i)| Step::HardLink(p, i)),
        1 => (file(), kind, device).prop_map(|(path, kind, device)| Step::Node(path, kind, device)),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let owner = (0..3_000_000_u32, 0..3_000_000_u32);
    let mtime = (-1_000_000..4_000_000_000_i64, 0..1_000_000_000_u32);
    (0..=0o7777_u16, owner, mtime, "[a-z]{0,8}").prop_map(|(mode, (uid, gid), (secs, nanos), x)| {
        let xattr = Xattr { name: b"user.x".to_vec(), value: x.clone().into_bytes() };
        Metadata {
            file_type: FileType::Regular,
            mode,
            uid,
            gid,
            mtime: Timestamp { secs, nanos },
            device: Device::default(),
            xattrs: if x.len() > 5 { vec![xattr] } else { Vec::new() },
        }
    })
}

fn archive(steps: &[(Step, Metadata)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    let mut names: Vec<LayerPath> = Vec::new();
    for (step, metadata) in steps {
        let path = |path: &String| LayerPath::parse(path.as_bytes()).unwrap();
        let is = |file_type| Metadata { file_type, xattrs: Vec::new(), ..metadata.clone() };
        match step {
            Step::File(name, data) => {
                tar.file(&path(name), metadata, data.len() as u64).unwrap();
                tar.data(data).unwrap();
                names.push(path(name));
            }
            Step::Dir(name) => tar.node(&path(name), &is(FileType::Directory)).unwrap(),
            Step::Symlink(name, target) => {
                tar.symlink(&path(name), &is(FileType::Symlink), target.as_bytes()).unwrap();
                names.push(path(name));
            }
            Step::HardLink(name, index) => {
                let Some(target) = names.get(index.index(names.len().max(1))).cloned() else {
                    continue;
                };
                tar.hard_link(&path(name), metadata, &target).unwrap();
                names.push(path(name));
            }
            Step::Node(name, kind, device) => {
                let device = if *kind == FileType::Fifo { Device::default() } else { *device };
                tar.node(&path(name), &Metadata { device, ..is(*kind) }).unwrap();
                names.push(path(name));
            }
        }
    }
    tar.finish().unwrap()
}

fn toc(archive: &[u8]) -> Toc {
    let mut builder = TocBuilder::new();
    let mut sink = |event: Event<'_>| {
        if let Event::Entry(entry) = event {
            builder.add(entry).unwrap();
        }
        Ok::<(), TarError>(())
    };
    let mut parser = TarParser::new();
    parser.push(archive, &mut sink).unwrap();
    parser.finish(&mut sink).unwrap();
    builder.finish()
}

fn content(inode: &Inode, archive: &[u8]) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(inode.size).unwrap()];
    for extent in &inode.extents {
        let [file, layer, len] = [extent.file_offset, extent.layer_offset, extent.len]
            .map(|n| usize::try_from(n).unwrap());
        content[file..file + len].copy_from_slice(&archive[layer..layer + len]);
    }
    content
}

fn as_we_see(archive: &[u8]) -> BTreeMap<Vec<u8>, Seen> {
    let toc = toc(archive);
    let seen = |number: u32| {
        let inode = &toc.inodes[number as usize];
        let meta = &inode.metadata;
        Seen {
            file_type: meta.file_type,
            mode: meta.mode,
            owner: (meta.uid, meta.gid),
            mtime: meta.mtime,
            device: meta.device.dev_t(),
            content: content(inode, archive),
            target: inode.link_target.clone(),
            group: u64::from(number),
        }
    };
    let pair = |name: &stratafs::layer::Name| match name.target {
        Target::Inode(number) => (name.path.as_bytes().to_vec(), seen(number)),
        Target::Lower(_) => panic!("a link to nothing: {name:?}"),
    };
    with_first_names(toc.names.iter().map(pair).collect())
}

fn as_extracted(dir: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let (mut all, mut todo) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
            let seen = look(&path);
            if seen.file_type == FileType::Directory {
                todo.push(path);
            }
            all.insert(name, seen);
        }
    }
    with_first_names(all)
}

fn look(path: &Path) -> Seen {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let file_type = match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_fifo() => FileType::Fifo,
        () if kind.is_char_device() => FileType::CharDevice,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::Regular,
    };
    let is = |wanted| file_type == wanted;
    Seen {
        file_type,
        mode: u16::try_from(meta.mode() & 0o7777).unwrap(),
        owner: (meta.uid(), meta.gid()),
        mtime: Timestamp { secs: meta.mtime(), nanos: u32::try_from(meta.mtime_nsec()).unwrap() },
        device: meta.rdev(),
        content: if is(FileType::Regular) { fs::read(path).unwrap() } else { Vec::new() },
        target: if is(FileType::Symlink) {
            fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        },
        group: meta.ino(),
    }
}

/// Numbers groups of hard links by the place of their first name.
fn with_first_names(mut all: BTreeMap<Vec<u8>, Seen>) -> BTreeMap<Vec<u8>, Seen> {
    let mut firsts = BTreeMap::new();
    for (place, seen) in all.values_mut().enumerate() {
        seen.group = *firsts.entry(seen.group).or_insert(place as u64);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_toc_says_what_gnu_tar_extracts(steps in vec((steps(), metadata()), 1..25)) {
        let archive = archive(&steps);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.tar"), &archive).unwrap();
        sh(dir.path(), "mkdir x; tar -C x --numeric-owner --same-owner -p --delay-directory-restore \
                        --warning=no-timestamp -xf a.tar");
        let (mut ours, mut theirs) = (as_we_see(&archive), as_extracted(&dir.path().join("x")));
        // Folders that the archive only implies are nowhere in a TOC.
        theirs.retain(|path, seen| seen.file_type != FileType::Directory || ours.contains_key(path));
        for (all, of) in [(&mut ours, FileType::Symlink), (&mut theirs, FileType::Symlink)] {
            // Linux keeps no mode of symbolic links.
            all.values_mut().filter(|seen| seen.file_type == of).for_each(|seen| seen.mode = 0);
        }
        let renumbered = [with_first_names(ours), with_first_names(theirs)];
        prop_assert_eq!(&renumbered[0], &renumbered[1]);
    }
}
