use std::fmt::Write as _;

use serde::Serialize;

use crate::chain::Chain;
use crate::fs::{Change, Difference, differences};
use crate::image::Image;

use crate::cli::args::ImageDiffArgs;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, human_size};
use crate::cli::wire::Wire;

#[derive(Debug, Serialize)]
struct Shown {
    /// How many layers from the bottom are the same.
    common_layers: usize,
    layers: Vec<LayerShown>,
    files: Vec<FileShown>,
}

#[derive(Debug, Serialize)]
struct LayerShown {
    number: usize,
    /// Which image has it: `old` or `new`.
    image: &'static str,
    diff_id: String,
    size: u64,
}

#[derive(Debug, Serialize)]
struct FileShown {
    change: &'static str,
    path: String,
    /// What is other than it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<&'static str>,
    old_size: Option<u64>,
    new_size: Option<u64>,
}

/// Compares the layers, then the merged trees.
pub(super) fn run(wire: &Wire, args: &ImageDiffArgs, out: Output) -> Result<(), Failure> {
    let (old_image, new_image) = (wire.image(&args.old)?.image, wire.image(&args.new)?.image);
    let (old, new) = (wire.chain(&args.old)?, wire.chain(&args.new)?);
    let shown = compare(&old_image, &new_image, &old, &new)?;
    out.show(&shown, text)
}

fn compare(
    old_image: &Image,
    new_image: &Image,
    old: &Chain,
    new: &Chain,
) -> Result<Shown, Failure> {
    let pairs = old_image.layers.iter().zip(&new_image.layers);
    let common = pairs.take_while(|(a, b)| a.diff_id == b.diff_id).count();
    let of = |image: &Image, name| {
        let layers = image.layers.iter().enumerate().skip(common);
        let shown = layers.map(|(i, layer)| LayerShown {
            number: i + 1,
            image: name,
            diff_id: layer.diff_id.to_string(),
            size: layer.descriptor.size,
        });
        shown.collect::<Vec<_>>()
    };
    let mut layers = of(old_image, "old");
    layers.extend(of(new_image, "new"));
    let (old, new) = (old.mounted_tree(), new.mounted_tree());
    let mut files = Vec::new();
    differences(&old, &new, &mut |difference| files.push(shown(difference)))?;
    Ok(Shown { common_layers: common, layers, files })
}

fn shown(difference: Difference) -> FileShown {
    let (change, what) = match difference.change {
        Change::Added => ("added", Vec::new()),
        Change::Removed => ("removed", Vec::new()),
        Change::Changed(what) => ("changed", what),
    };
    FileShown {
        change,
        path: String::from_utf8_lossy(&difference.path).into_owned(),
        what,
        old_size: difference.old_size,
        new_size: difference.new_size,
    }
}

fn text(shown: &Shown) -> String {
    let mut text = format!("{} layers from the bottom are the same\n", shown.common_layers);
    for layer in &shown.layers {
        let sign = if layer.image == "old" { '-' } else { '+' };
        let size = human_size(layer.size);
        let _infallible = writeln!(text, "{sign} layer {} {} {size}", layer.number, layer.diff_id);
    }
    for file in &shown.files {
        let sign = match file.change {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let what = file.what.join(", ");
        let line = format!("{sign} {} {what}", file.path);
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    text
}
