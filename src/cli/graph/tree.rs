use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::content::Descriptor;
use crate::digest::Digest;
use crate::image::Graph;
use crate::image::media_type::{Class, classify};

use crate::cli::args::ImageArgs;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, human_size};
use crate::cli::wire::Wire;

#[derive(Debug, Serialize)]
struct Node {
    kind: &'static str,
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    /// It is named, but the store does not have it.
    missing: bool,
    /// What is below it is shown where it came first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    children: Vec<Node>,
    /// What says that it is about this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referrers: Vec<Node>,
}

/// Draws the graph below an image.
pub(super) fn run(wire: &Wire, args: &ImageArgs, out: Output) -> Result<(), Failure> {
    let (provider, root) = wire.open(&args.image)?;
    let graph = Graph::of(&*provider, &root)?;
    let mut drawn = Drawn { wire, image: &args.image, graph: &graph, seen: HashSet::new() };
    let node = drawn.node(&root)?;
    out.show(&node, |node| {
        let mut text = String::new();
        draw(node, "", "", "", &mut text);
        text
    })
}

/// A graph as it becomes a tree. What several documents name is shown in full the first time only:
/// the whole of a graph may be without end in practice.
struct Drawn<'a> {
    wire: &'a Wire,
    image: &'a str,
    graph: &'a Graph,
    seen: HashSet<Digest>,
}

impl Drawn<'_> {
    fn node(&mut self, at: &Descriptor) -> Result<Node, Failure> {
        let class = classify(&at.media_type);
        let is_document = matches!(class, Class::Manifest | Class::Index);
        let mut node = leaf(at, class);
        node.missing = self.graph.is_missing(&at.digest);
        node.repeated = !self.seen.insert(at.digest.clone()) && is_document;
        if node.repeated || !is_document {
            return Ok(node);
        }
        let graph = self.graph;
        for child in graph.children(at) {
            node.children.push(self.node(child)?);
        }
        for referrer in self.wire.referrers(self.image, &at.digest)? {
            let class = classify(&referrer.media_type);
            node.referrers.push(leaf(&referrer, class));
        }
        Ok(node)
    }
}

/// A node with nothing below it.
fn leaf(at: &Descriptor, class: Class) -> Node {
    Node {
        kind: kind(class),
        media_type: at.media_type.clone(),
        digest: at.digest.to_string(),
        size: at.size,
        platform: at.platform.as_ref().map(ToString::to_string),
        artifact_type: at.artifact_type.clone(),
        annotations: at.annotations.clone(),
        missing: false,
        repeated: false,
        children: Vec::new(),
        referrers: Vec::new(),
    }
}

fn kind(class: Class) -> &'static str {
    match class {
        Class::Manifest => "manifest",
        Class::Index => "index",
        Class::Config => "config",
        Class::Layer => "layer",
        Class::Attestation => "attestation",
        Class::Checkpoint => "checkpoint part",
        Class::Schema1 => "schema 1 manifest",
        Class::Unknown => "unknown",
    }
}

fn draw(node: &Node, role: &str, first: &str, indent: &str, text: &mut String) {
    let mut line = format!("{role}{} {}", node.kind, node.digest);
    let _infallible = write!(line, "  {}", human_size(node.size));
    for detail in [&node.platform, &node.artifact_type].into_iter().flatten() {
        let _infallible = write!(line, "  {detail}");
    }
    if matches!(node.kind, "unknown" | "layer" | "checkpoint part") {
        let _infallible = write!(line, "  {}", node.media_type);
    }
    if node.missing {
        line.push_str("  (not in the store)");
    }
    if node.repeated {
        line.push_str("  (as above)");
    }
    let _infallible = writeln!(text, "{first}{line}");
    let children = node.children.iter().map(|child| ("", child));
    let below: Vec<_> = children.chain(node.referrers.iter().map(|r| ("referrer: ", r))).collect();
    for (i, (role, child)) in below.iter().enumerate() {
        let last = i + 1 == below.len();
        let (elbow, more) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw(child, role, &format!("{indent}{elbow}"), &format!("{indent}{more}"), text);
    }
}
