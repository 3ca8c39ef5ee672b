//! A slow and obvious model of what extracting entries one by one leaves, to compare with.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::try_build;
use crate::layer::{Target, Toc};

type Path = Vec<String>;

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Dir(Option<u16>),
    File(usize),
    Symlink(usize, String),
    Lower(Path),
}

/// What is there, as lists of names; a file's number is the place of its entry.
#[derive(Debug, Default)]
struct Model {
    nodes: BTreeMap<Path, Node>,
    whiteouts: BTreeSet<Path>,
    opaques: BTreeSet<Path>,
}

fn split(path: &str) -> Path {
    path.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect()
}

impl Model {
    /// Where `path` leads once all links in it are followed.
    fn resolve(&self, mut path: Path) -> Option<Path> {
        for _ in 0..2000 {
            let Some(i) = (0..path.len()).find(|&i| {
                path[i] == ".." || matches!(self.nodes.get(&path[..=i]), Some(Node::Symlink(..)))
            }) else {
                return Some(path);
            };
            // As a path that is cleaned before it is looked up: what is left may be no folder.
            if path[i] == ".." {
                path.drain(i.saturating_sub(1)..=i);
                continue;
            }
            let Some(Node::Symlink(_, target)) = self.nodes.get(&path[..=i]) else { return None };
            let start = if target.starts_with('/') { &[] } else { &path[..i] };
            path = [start, &split(target), &path[i + 1..]].concat();
        }
        None
    }

    /// The folder `path`, made with all above it if it is not there.
    fn folder(&mut self, path: Path) -> Option<Path> {
        let path = self.resolve(path)?;
        for n in 1..=path.len() {
            let node = self.nodes.entry(path[..n].to_vec()).or_insert(Node::Dir(None));
            if !matches!(node, Node::Dir(_)) {
                return None;
            }
        }
        Some(path)
    }

    fn remove(&mut self, path: &Path) {
        self.nodes.retain(|p, _| !p.starts_with(path));
        self.whiteouts.retain(|p| !(p.starts_with(path) && p != path));
        self.opaques.retain(|p| !p.starts_with(path));
    }

    /// The first word says what: `d`, `f`, `s`, `h`; then a path, and a mark or a target.
    fn apply(&mut self, place: usize, [kind, path, extra]: [&str; 3]) -> Option<()> {
        let mut path = split(path);
        let name = path.pop()?;
        let mut path = self.folder(path)?;
        if name == ".wh..wh..opq" {
            self.opaques.insert(path);
            return Some(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            path.push(hidden.to_owned());
            self.whiteouts.insert(path);
            return Some(());
        }
        path.push(name);
        let old = self.nodes.get(&path).cloned();
        let node = match kind {
            "d" => Node::Dir(Some(u16::from_str_radix(extra, 8).ok()?)),
            "f" => Node::File(place),
            "s" => Node::Symlink(place, extra.to_owned()),
            _ => {
                let mut target = split(extra);
                let last = target.pop()?;
                let mut target = self.resolve(target)?;
                for n in 1..=target.len() {
                    if !matches!(self.nodes.get(&target[..n]), None | Some(Node::Dir(_))) {
                        return None;
                    }
                }
                target.push(last);
                match self.nodes.get(&target) {
                    None => Node::Lower(target),
                    Some(Node::Dir(_)) => return None,
                    Some(other) => other.clone(),
                }
            }
        };
        match (&old, &node) {
            (Some(Node::Dir(_)), Node::Dir(_)) => {}
            (Some(_), Node::Dir(_)) => {
                self.remove(&path);
                self.whiteouts.insert(path.clone());
            }
            _ => self.remove(&path),
        }
        self.nodes.insert(path, node);
        Some(())
    }

    /// One line a name, as [`show`] writes them.
    fn show(&self) -> Vec<String> {
        let mut firsts: Vec<usize> = Vec::new();
        let mut lines: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|(path, node)| {
                let mut group = |id: usize| {
                    firsts.iter().position(|&f| f == id).unwrap_or_else(|| {
                        firsts.push(id);
                        firsts.len() - 1
                    })
                };
                let what = match node {
                    Node::Dir(None) => return None,
                    Node::Dir(Some(mark)) => format!("dir {mark:o}"),
                    Node::File(id) => format!("file {}", group(*id)),
                    Node::Symlink(id, target) => format!("link {} {target}", group(*id)),
                    Node::Lower(target) => format!("lower /{}", target.join("/")),
                };
                Some(format!("/{} {what}", path.join("/")))
            })
            .collect();
        lines.extend(self.whiteouts.iter().map(|path| format!("hide /{}", path.join("/"))));
        lines.extend(self.opaques.iter().map(|path| format!("opaque /{}", path.join("/"))));
        lines
    }
}

fn show(toc: &Toc) -> Vec<String> {
    use crate::archive::FileType;
    let mut firsts: Vec<u32> = Vec::new();
    let mut lines = Vec::new();
    for name in &toc.names {
        let what = match &name.target {
            Target::Lower(path) => format!("lower {path}"),
            Target::Inode(i) => {
                let inode = &toc.inodes[*i as usize];
                let mut group = || {
                    firsts.iter().position(|f| f == i).unwrap_or_else(|| {
                        firsts.push(*i);
                        firsts.len() - 1
                    })
                };
                let target = String::from_utf8_lossy(&inode.link_target);
                match inode.metadata.file_type {
                    FileType::Directory => format!("dir {:o}", inode.metadata.mode),
                    FileType::Symlink => format!("link {} {target}", group()),
                    FileType::Regular
                    | FileType::CharDevice
                    | FileType::BlockDevice
                    | FileType::Fifo => format!("file {}", group()),
                }
            }
        };
        lines.push(format!("{} {what}", name.path));
    }
    lines.extend(toc.whiteouts.iter().map(|path| format!("hide {path}")));
    lines.extend(toc.opaques.iter().map(|path| format!("opaque {path}")));
    lines
}

fn entry_lines() -> impl Strategy<Value = String> {
    let name =
        prop_oneof![8 => "[abc]", 1 => "\\.wh\\.[abc]", 1 => Just(".wh..wh..opq".to_owned())];
    let above = vec("[abc]", 0..3);
    let path = (above.clone(), name).prop_map(|(mut above, name)| {
        above.push(name);
        above.join("/")
    });
    let target = (prop::sample::select(vec!["", "/", "../", "./"]), vec("[abc]|\\.\\.", 1..3))
        .prop_map(|(start, parts)| format!("{start}{}", parts.join("/")));
    let hard = vec("[abc]", 1..4).prop_map(|parts| parts.join("/"));
    prop_oneof![
        4 => (path.clone(), 0..0o1000_u16).prop_map(|(p, mark)| format!("f {p} {mark:o}")),
        3 => (path.clone(), 0..0o1000_u16).prop_map(|(p, mark)| format!("d {p} {mark:o}")),
        2 => (path.clone(), target).prop_map(|(p, target)| format!("s {p} {target}")),
        2 => (path, hard).prop_map(|(p, target)| format!("h {p} {target}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_toc_is_what_extracting_one_by_one_leaves(lines in vec(entry_lines(), 1..12)) {
        let mut model = Model::default();
        let applied = lines.iter().enumerate().try_for_each(|(place, line)| {
            let words: Vec<_> = line.split(' ').collect();
            model.apply(place, [words[0], words[1], words[2]])
        });
        let built = try_build(&lines.join("\n"));
        prop_assert_eq!(built.is_ok(), applied.is_some(), "{:?} {:?}", built, model);
        if let Ok(toc) = built {
            prop_assert_eq!(show(&toc), model.show());
        }
    }
}
