//! `inspect`: what an image is made of, and whether it can be read lazily.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::erofs::Choice;

use super::args::ImageArgs;
use super::failure::Failure;
use super::in_use::InUse;
use super::output::{Output, human_size};
use super::status::here;
use super::wire::Wire;

#[derive(Debug, Serialize)]
struct Inspected {
    image: String,
    manifest: String,
    media_type: String,
    platform: String,
    created: Option<String>,
    chain_id: Option<String>,
    layers: Vec<LayerShown>,
    compressed: u64,
    /// How it will be mounted, and why.
    mount: Choice,
    /// Where it is shown just now.
    in_use: Vec<InUse>,
}

#[derive(Debug, Serialize)]
struct LayerShown {
    number: usize,
    digest: String,
    media_type: String,
    size: u64,
    diff_id: String,
    chain_id: String,
    lazy: bool,
    reason: String,
    /// What says where its files are.
    format: Option<String>,
    /// Formats that it has and that are not used, each with the reason.
    refused: Vec<String>,
    /// Uncompressed bytes in the cache, and in all; `None` where nothing of it is kept there.
    stored: Option<(u64, u64)>,
}

/// Shows the image; nothing is indexed for it.
pub(crate) fn run(wire: &Wire, args: &ImageArgs, out: Output) -> Result<(), Failure> {
    let found = wire.image(&args.image)?;
    let image = &found.image;
    let store = wire.store()?;
    let mut layers = Vec::new();
    let explained = store.explain(&found.provider, image)?;
    let kept = store.cache()?.layers();
    let kept: HashMap<_, _> = kept.iter().map(|l| (l.digest(), (l.stored(), l.size()))).collect();
    for ((i, layer), how) in image.layers.iter().enumerate().zip(explained) {
        layers.push(LayerShown {
            number: i + 1,
            digest: layer.descriptor.digest.to_string(),
            media_type: layer.descriptor.media_type.clone(),
            size: layer.descriptor.size,
            diff_id: layer.diff_id.to_string(),
            chain_id: layer.chain_id.to_string(),
            lazy: how.lazy.is_lazy(),
            reason: how.to_string(),
            format: how.origin.as_ref().map(ToString::to_string),
            refused: how.refused.iter().map(ToString::to_string).collect(),
            stored: kept.get(&layer.descriptor.digest).copied(),
        });
    }
    let platform = image.config.platform();
    let chain_id = image.chain_id().map(ToString::to_string);
    let in_use = chain_id.as_deref().map(|chain_id| InUse::of_chain(wire.config(), chain_id));
    let shown = Inspected {
        image: args.image.clone(),
        manifest: image.descriptor.digest.to_string(),
        media_type: image.descriptor.media_type.clone(),
        platform: format!("{}/{}", platform.os, platform.architecture),
        created: image.config.created.clone(),
        chain_id,
        in_use: in_use.transpose()?.unwrap_or_default(),
        compressed: layers.iter().map(|l| l.size).sum(),
        mount: wire.mount_choice()?,
        layers,
    };
    out.show(&shown, text)
}

fn text(shown: &Inspected) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _infallible = writeln!(text, "{name:>9}: {value}");
    };
    line("image", &shown.image);
    line("manifest", &format!("{} ({})", shown.manifest, shown.media_type));
    line("platform", &shown.platform);
    line("created", shown.created.as_deref().unwrap_or("unknown"));
    line("chain ID", shown.chain_id.as_deref().unwrap_or("none"));
    line("size", &format!("{} in {} layers", human_size(shown.compressed), shown.layers.len()));
    line("mount", &format!("by {}: {}", shown.mount.way.name(), shown.mount.why));
    shown.in_use.iter().for_each(|place| line("in use", &place.text()));
    for layer in &shown.layers {
        let _infallible = writeln!(
            text,
            "\nlayer {}: {}  {}\n   blob {}\n diffID {}\n  chain {}\n   lazy {}: {}",
            layer.number,
            human_size(layer.size),
            layer.media_type,
            layer.digest,
            layer.diff_id,
            layer.chain_id,
            if layer.lazy { "yes" } else { "no" },
            layer.reason
        );
        if layer.stored.is_some() {
            let _infallible = writeln!(text, "   here {}", here(layer.stored));
        }
        for refused in &layer.refused {
            let _infallible = writeln!(text, "refused {refused}");
        }
    }
    text
}
