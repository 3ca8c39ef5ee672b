//! `ls`, `cat`, `stat` and `tree`: an image's files without mounting it.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::archive::{FileType, Timestamp};
use crate::error::Kind;
use crate::fs::{Filesystem, NodeId};
use crate::tree::{Node, Tree};

use super::advice::resolve;
use super::args::{PathArgs, TreeArgs};
use super::failure::Failure;
use super::output::Output;
use super::wire::{View, Wire};

/// How much of a file is printed at once.
const PIECE: usize = 1 << 20;

/// A file, as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    #[serde(rename = "type")]
    file_type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

fn listed(tree: &Tree, name: &[u8], ino: u32) -> Result<Listed, Failure> {
    let node = tree.node(ino)?;
    let target = match node.file_type {
        FileType::Symlink => Some(lossy(tree.link_target(ino)?)),
        FileType::Regular
        | FileType::Directory
        | FileType::CharDevice
        | FileType::BlockDevice
        | FileType::Fifo => None,
    };
    Ok(Listed {
        name: lossy(name),
        file_type: type_name(node.file_type),
        mode: format!("{:04o}", node.mode),
        uid: node.uid,
        gid: node.gid,
        size: node.size,
        mtime: time_text(node.mtime),
        target,
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
    }
}

/// `drwxr-xr-x`, as ls(1) writes it.
fn mode_text(node: &Node) -> String {
    let kind = match node.file_type {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// RFC 3339 in UTC with what there is of a second.
fn time_text(time: Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    jiff::Timestamp::new(time.secs, nanos)
        .map_or_else(|_| format!("@{}.{:09}", time.secs, time.nanos), |t| t.to_string())
}

/// Lists a folder, or shows one file.
pub(crate) fn ls(wire: &Wire, args: &PathArgs, out: Output) -> Result<(), Failure> {
    let view = wire.view(&args.image)?;
    let tree = view.tree();
    let path = args.path.as_bytes();
    let place = resolve(&args.image, tree, path, true)?;
    let mut found = Vec::new();
    if tree.node(place.ino)?.file_type == FileType::Directory {
        for child in tree.children(place.ino, 0)? {
            let child = child?;
            found.push((child.name.to_vec(), child.ino));
        }
    } else {
        found.push((path.to_vec(), place.ino));
    }
    let mut files = Vec::with_capacity(found.len());
    let mut lines = String::new();
    for (name, ino) in &found {
        let file = listed(tree, name, *ino)?;
        let node = tree.node(*ino)?;
        let _infallible = writeln!(lines, "{}", long_line(&node, &file));
        files.push(file);
    }
    out.show(&files, |_| lines)
}

fn long_line(node: &Node, file: &Listed) -> String {
    let size = match node.file_type {
        FileType::CharDevice | FileType::BlockDevice => {
            format!("{}, {}", node.device.major, node.device.minor)
        }
        FileType::Regular | FileType::Directory | FileType::Symlink | FileType::Fifo => {
            node.size.to_string()
        }
    };
    let arrow = file.target.as_ref().map_or_else(String::new, |t| format!(" -> {t}"));
    format!(
        "{} {:>3} {:>5} {:>5} {:>10} {} {}{arrow}",
        mode_text(node),
        node.nlink,
        node.uid,
        node.gid,
        size,
        file.mtime,
        file.name
    )
}

/// Prints a file.
pub(crate) fn cat(wire: &Wire, args: &PathArgs, out: Output) -> Result<(), Failure> {
    let view = wire.view(&args.image)?;
    let place = resolve(&args.image, view.tree(), args.path.as_bytes(), true)?;
    let filesystem = Filesystem::of_tree(view.mounted_tree());
    let node = NodeId::new(0, place.ino);
    let mut offset = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let n = filesystem.read(node, offset, &mut piece).map_err(|e| {
            let failure = Failure::from(e);
            Failure::new(failure.kind(), format!("{}: {failure}", args.path.display()))
        })?;
        if n == 0 {
            return Ok(());
        }
        out.bytes(&piece[..n])?;
        offset += n as u64;
    }
}

/// Everything about one file.
#[derive(Debug, Serialize)]
struct Stat {
    #[serde(flatten)]
    file: Listed,
    inode: u32,
    links: u32,
    device: Option<String>,
    xattrs: Vec<(String, String)>,
    /// The layer that the attributes and the content come from.
    layer: usize,
    layer_diff_id: String,
    /// The layer that the name comes from.
    name_layer: usize,
    /// Where the content is in the uncompressed layers.
    extents: Vec<ExtentShown>,
}

#[derive(Debug, Serialize)]
struct ExtentShown {
    file_offset: u64,
    len: u64,
    layer_offset: u64,
}

/// Shows everything about a file; links are not followed.
pub(crate) fn stat(wire: &Wire, args: &PathArgs, out: Output) -> Result<(), Failure> {
    let view = wire.view(&args.image)?;
    let tree = view.tree();
    let path = args.path.as_bytes();
    let place = resolve(&args.image, tree, path, false)?;
    let node = tree.node(place.ino)?;
    let mut xattrs = Vec::new();
    for xattr in tree.xattrs(place.ino)? {
        let (name, value) = xattr?;
        xattrs.push((lossy(name), escaped(value)));
    }
    let mut extents = Vec::new();
    for extent in tree.extents(place.ino, 0)? {
        let e = extent?;
        extents.push(ExtentShown {
            file_offset: e.file_offset,
            len: e.len,
            layer_offset: e.layer_offset,
        });
    }
    let diff_id = tree.layers().get(usize::from(node.layer)).map(|l| l.diff_id.to_string());
    let is_device = matches!(node.file_type, FileType::CharDevice | FileType::BlockDevice);
    let stat = Stat {
        file: listed(tree, path, place.ino)?,
        inode: place.ino,
        links: node.nlink,
        device: is_device.then(|| format!("{}:{}", node.device.major, node.device.minor)),
        xattrs,
        layer: view.layer_number(node.layer),
        layer_diff_id: diff_id.unwrap_or_default(),
        name_layer: view.layer_number(place.layer),
        extents,
    };
    out.show(&stat, |stat| stat_text(&node, stat))
}

fn stat_text(node: &Node, stat: &Stat) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _infallible = writeln!(text, "{name:>8}: {value}");
    };
    line("file", &stat.file.name);
    if let Some(target) = &stat.file.target {
        line("target", target);
    }
    line("type", stat.file.file_type);
    line("mode", &format!("{} ({})", stat.file.mode, mode_text(node)));
    line("owner", &format!("{}:{}", stat.file.uid, stat.file.gid));
    line("size", &stat.file.size.to_string());
    if let Some(device) = &stat.device {
        line("device", device);
    }
    line("mtime", &stat.file.mtime);
    line("inode", &format!("{}, {} links", stat.inode, stat.links));
    for (name, value) in &stat.xattrs {
        line("xattr", &format!("{name} = {value}"));
    }
    line("layer", &format!("{} ({})", stat.layer, stat.layer_diff_id));
    if stat.name_layer != stat.layer {
        line("name of", &format!("layer {}", stat.name_layer));
    }
    for e in &stat.extents {
        let what =
            format!("{} bytes at {} are at {} of the layer", e.len, e.file_offset, e.layer_offset);
        line("data", &what);
    }
    text
}

/// Bytes as text, what is not printable as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A folder and what is in it.
#[derive(Debug, Serialize)]
struct Branch {
    #[serde(flatten)]
    file: Listed,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Branch>,
}

/// Draws a folder and what is in it.
pub(crate) fn tree(wire: &Wire, args: &TreeArgs, out: Output) -> Result<(), Failure> {
    let view = wire.view(&args.at.image)?;
    let path = args.at.path.as_bytes();
    let place = resolve(&args.at.image, view.tree(), path, true)?;
    let depth = args.depth.unwrap_or(usize::MAX);
    let root = branch(&view, path, place.ino, depth)?;
    out.show(&root, |root| {
        let mut text = format!("{}\n", root.file.name);
        draw(&root.children, "", &mut text);
        text
    })
}

/// How deep folders are drawn; deeper ones are an error, not a stack overflow.
const MAX_DEPTH: usize = 2048;

fn branch(view: &View, name: &[u8], ino: u32, depth: usize) -> Result<Branch, Failure> {
    branch_below(view, name, ino, depth, 0)
}

fn branch_below(
    view: &View,
    name: &[u8],
    ino: u32,
    depth: usize,
    level: usize,
) -> Result<Branch, Failure> {
    if level > MAX_DEPTH {
        return Err(Failure::new(
            Kind::ResourceExhausted,
            format!("folders are more than {MAX_DEPTH} levels deep"),
        )
        .hint("draw fewer levels with -L"));
    }
    let tree = view.tree();
    let file = listed(tree, name, ino)?;
    let mut children = Vec::new();
    if level < depth && tree.node(ino)?.file_type == FileType::Directory {
        for child in tree.children(ino, 0)? {
            let child = child?;
            children.push(branch_below(view, child.name, child.ino, depth, level + 1)?);
        }
    }
    Ok(Branch { file, children })
}

fn draw(children: &[Branch], indent: &str, text: &mut String) {
    for (i, child) in children.iter().enumerate() {
        let last = i + 1 == children.len();
        let (elbow, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let target = child.file.target.as_ref().map_or_else(String::new, |t| format!(" -> {t}"));
        let _infallible = writeln!(text, "{indent}{elbow}{}{target}", child.file.name);
        draw(&child.children, &format!("{indent}{below}"), text);
    }
}
