//! `rpull`: an image for containerd, without its layers.

use std::path::PathBuf;

use crate::image;
use crate::service::{PullOptions, PulledLayer};

use super::args::RpullArgs;
use super::failure::Failure;
use super::output::{Output, human_size};
use super::wire::Wire;

/// Registers the image and says which of its layers are lazy.
pub(crate) fn run(wire: &Wire, args: &RpullArgs, out: Output) -> Result<(), Failure> {
    let platform = wire.config().platform.as_deref().map(image::parse_platform).transpose()?;
    let namespace = args.namespace.clone().or_else(|| variable("CONTAINERD_NAMESPACE"));
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let address =
        args.address.clone().or_else(|| variable("CONTAINERD_ADDRESS").map(PathBuf::from));
    let options = PullOptions {
        containerd: address.unwrap_or_else(|| "/run/containerd/containerd.sock".into()),
        namespace: namespace.clone(),
        snapshotter: args.snapshotter.clone(),
        platform,
    };
    let progress = wire.config().progress && !wire.config().json;
    let tell = |layer: &PulledLayer| {
        if progress && out.is_terminal() {
            let way = if layer.lazy { "lazy" } else { "unpacked" };
            let line = format!("{}  {:>10}  {way}\n", layer.digest, human_size(layer.size));
            // The end of the reader ends the command at its last line.
            let _closed = out.bytes(line.as_bytes());
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pulled = runtime.block_on(wire.rpull(&args.reference, &options, tell))?;
    out.show(&pulled, |pulled| {
        let lazy = pulled.layers.iter().filter(|layer| layer.lazy).count();
        let (name, layers) = (&pulled.name, pulled.layers.len());
        let snapshotter = &args.snapshotter;
        format!(
            "{name}: {lazy} of {layers} layers are lazy\n\
             run it: ctr -n {namespace} run --snapshotter {snapshotter} {name} NAME\n"
        )
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
