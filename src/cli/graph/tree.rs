use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::content::Descriptor;
use crate::image::media_type::{Class, classify};
use crate::image::{Graph, MAX_DEPTH};

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
    children: Vec<Node>,
    /// What says that it is about this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referrers: Vec<Node>,
}

/// Draws the graph below an image.
pub(super) fn run(wire: &Wire, args: &ImageArgs, out: Output) -> Result<(), Failure> {
    let (provider, root) = wire.open(&args.image)?;
    let graph = Graph::of(&*provider, &root)?;
    let referrers = |d: &Descriptor| wire.referrers(&args.image, &d.digest);
    let node = node(&graph, &root, 0, &referrers)?;
    out.show(&node, |node| {
        let mut text = String::new();
        draw(node, "", "", "", &mut text);
        text
    })
}

fn node(
    graph: &Graph,
    at: &Descriptor,
    depth: usize,
    referrers: &dyn Fn(&Descriptor) -> Result<Vec<Descriptor>, Failure>,
) -> Result<Node, Failure> {
    let class = classify(&at.media_type);
    // The walk has seen to it that there is nothing deeper.
    let below = if depth > MAX_DEPTH { &[] } else { graph.children(at) };
    let children = below.iter().map(|child| node(graph, child, depth + 1, referrers));
    let children = children.collect::<Result<_, _>>()?;
    let about = match class {
        Class::Manifest | Class::Index => referrers(at)?,
        Class::Config
        | Class::Layer
        | Class::Attestation
        | Class::Checkpoint
        | Class::Schema1
        | Class::Unknown => Vec::new(),
    };
    let empty = Graph::default();
    let leaf = |d: &Descriptor| node(&empty, d, depth + 1, &|_| Ok(Vec::new()));
    Ok(Node {
        kind: kind(class),
        media_type: at.media_type.clone(),
        digest: at.digest.to_string(),
        size: at.size,
        platform: at.platform.as_ref().map(ToString::to_string),
        artifact_type: at.artifact_type.clone(),
        annotations: at.annotations.clone(),
        missing: graph.is_missing(&at.digest),
        children,
        referrers: about.iter().map(leaf).collect::<Result<_, _>>()?,
    })
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
    let _infallible = writeln!(text, "{first}{line}");
    let children = node.children.iter().map(|child| ("", child));
    let below: Vec<_> = children.chain(node.referrers.iter().map(|r| ("referrer: ", r))).collect();
    for (i, (role, child)) in below.iter().enumerate() {
        let last = i + 1 == below.len();
        let (elbow, more) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        draw(child, role, &format!("{indent}{elbow}"), &format!("{indent}{more}"), text);
    }
}
