//! Writes a tree as an EROFS image and prints what that took: `bench_erofs TREE IMAGE`; or makes a
//! tree of files: `bench_erofs make FILES WIDTH TREE`, WIDTH of them in a folder.
//!
//! What is printed: inodes, bytes of the image, seconds of the fastest of five runs to memory,
//! seconds of one to a synced file, and KiB of memory that was taken besides the image and the tree.
#![allow(clippy::print_stdout, reason = "this is its output")]

use std::error::Error;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use stratafs::archive::{FileType, LayerPath, Metadata};
use stratafs::digest::{DiffId, Digest};
use stratafs::erofs::{Image, write};
use stratafs::layer::{Extent, Inode, Name, Target, Toc};
use stratafs::tree::{Layer, Tree, merge};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", files, width, tree] => make(files.parse()?, width.parse()?, Path::new(tree)),
        [tree, image] => measure(Path::new(tree), Path::new(image)),
        _ => Err("bench_erofs TREE IMAGE, or bench_erofs make FILES WIDTH TREE".into()),
    }
}

fn measure(tree: &Path, image: &Path) -> Result<(), Box<dyn Error>> {
    let tree = Tree::open(tree)?;
    // All of it is in memory before anything is measured.
    tree.verify()?;
    let before = anonymous()?;
    let (mut best, mut taken, mut len) = (Duration::MAX, 0, 0);
    for _ in 0..5 {
        let mut sink = Sink { len: 0, at: 0, most: 0 };
        let start = Instant::now();
        len = write(&tree, &mut sink)?;
        best = best.min(start.elapsed());
        taken = taken.max(sink.most.saturating_sub(before));
    }
    let start = Instant::now();
    drop(Image::create(&tree, image)?);
    let synced = start.elapsed().as_secs_f64();
    let inodes = tree.summary().inodes;
    println!("{inodes} {len} {:.6} {synced:.6} {taken}", best.as_secs_f64());
    Ok(())
}

/// Writes a tree of files that lie beside one another.
fn make(files: u32, width: u32, tree: &Path) -> Result<(), Box<dyn Error>> {
    let mut toc = Toc::default();
    for n in 0..files {
        let metadata = Metadata { file_type: FileType::Regular, ..Metadata::implied_directory() };
        let layer_offset = u64::from(n) * 1536;
        let extents = vec![Extent { file_offset: 0, len: 1000, layer_offset }];
        toc.inodes.push(Inode { metadata, size: 1000, extents, link_target: Vec::new() });
        let path = format!("usr/lib/{:06}/a-name-as-long-as-most-{:06}.py", n / width, n % width);
        let path = LayerPath::parse(path.as_bytes())?;
        toc.names.push(Name { path, target: Target::Inode(n) });
    }
    let nobody = Digest::sha256(b"");
    let layer = Layer { diff_id: DiffId::new(nobody.clone()), blob: nobody };
    Ok(Tree::write(&merge(&[&toc])?, &[layer], tree)?)
}

/// Memory of this process that is no file, in KiB.
fn anonymous() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0))
}

/// An output that keeps nothing, and looks now and then how much memory is taken.
struct Sink {
    len: u64,
    at: u64,
    most: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.at >> 24;
        self.at += bytes.len() as u64;
        self.len = self.len.max(self.at);
        if self.at >> 24 != before || self.most == 0 {
            self.most = self.most.max(anonymous()?);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(_) => self.len,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}
