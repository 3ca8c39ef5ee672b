//! `diff`: what one snapshot or folder changes of another, as a layer.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::compress::Codec;
use crate::diff::{
    self, CompareOptions, LayerFolders, LayerWriter, Target, WrittenLayer, compare_folders,
    compare_overlay,
};
use crate::error::{Classify, Kind};
use crate::io::AtomicFile;
use crate::snapshot::mounter::TemporaryMount;
use crate::snapshot::{self, Labels, OverlaySnapshotter, Owner, Snapshotter};

use super::advice::explain;
use super::args::{Compression, DiffArgs};
use super::chains::Chains;
use super::failure::Failure;
use super::output::Output;
use super::wire::Wire;

#[derive(Debug, Serialize)]
struct Shown {
    digest: String,
    diff_id: String,
    size: u64,
}

/// Writes the layer; to standard output nothing else is written.
pub(crate) fn run(wire: &Wire, args: &DiffArgs, out: Output) -> Result<(), Failure> {
    let backend = wire.snapshots(Chains::served(wire.config()))?;
    let snapshots = backend.snapshotter(Owner::CommandLine);
    let codec = codec(args.compression);
    let write = |out: &mut dyn Write| layer(&snapshots, &args.lower, &args.upper, codec, out);
    if args.output == Path::new("-") {
        return write(&mut io::stdout().lock()).map(drop);
    }
    let mut file = AtomicFile::create(&args.output).map_err(|e| {
        let kind = Kind::of_io(&e);
        Failure::new(kind, format!("{}: it cannot be written: {e}", args.output.display()))
    })?;
    let written = write(file.file())?;
    file.commit()?;
    let shown = Shown {
        digest: written.digest.to_string(),
        diff_id: written.diff_id.to_string(),
        size: written.size,
    };
    out.show(&shown, |shown| format!("{} {}\n", shown.digest, shown.diff_id))
}

pub(super) fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::Plain,
        Compression::Gzip => Codec::Gzip,
        Compression::Zstd => Codec::Zstd,
    }
}

/// Writes what `upper` changes of `lower`.
fn layer(
    snapshots: &OverlaySnapshotter,
    lower: &str,
    upper: &str,
    codec: Codec,
    out: &mut dyn Write,
) -> Result<WrittenLayer, Failure> {
    let mut writer = LayerWriter::new(out, codec)?;
    match own_changes(snapshots, lower, upper)? {
        Some(target) => changes(&target, &mut writer)?,
        None => {
            let (lower, upper) = (Side::open(snapshots, lower)?, Side::open(snapshots, upper)?);
            let (lower, upper) = (lower.path(), upper.path());
            let Some(upper) = upper else {
                return Err(Failure::new(Kind::InvalidArgument, "dir: needs a folder for B"));
            };
            let options = CompareOptions { trust_times: true, ..options()? };
            compare_folders(lower.as_deref(), &upper, &options, &mut writer)?;
        }
    }
    Ok(writer.finish()?.1)
}

/// The mount of `upper` where `lower` is its parent and all that it changes is in its own folder.
fn own_changes(
    snapshots: &OverlaySnapshotter,
    lower: &str,
    upper: &str,
) -> Result<Option<Target>, Failure> {
    match snapshots.stat(upper) {
        Ok(info)
            if info.kind == snapshot::Kind::Active && info.parent.as_deref() == Some(lower) =>
        {
            target_of(snapshots, upper).map(Some)
        }
        Ok(_) => Ok(None),
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Where the changes of the active snapshot `key` are.
pub(super) fn target_of(snapshots: &OverlaySnapshotter, key: &str) -> Result<Target, Failure> {
    let mounts = snapshots.mounts(key).map_err(explain)?;
    match &mounts[..] {
        [mount] => Ok(Target::of_mount(&mount.fs_type, &mount.source, &mount.options)?),
        _ => Err(Failure::new(Kind::FailedPrecondition, format!("{key} is not one mount"))),
    }
}

/// Writes what an active snapshot changes, without reading files of its parents.
pub(super) fn changes(target: &Target, out: &mut dyn Write) -> Result<(), Failure> {
    Ok(write_changes(target, &options()?, out)?)
}

/// As [`changes`], with options.
pub(super) fn write_changes(
    target: &Target,
    options: &CompareOptions,
    out: &mut dyn Write,
) -> Result<(), diff::Error> {
    match target {
        Target::Folder(path) => compare_folders(None, path, options, out),
        Target::Overlay { upper, lowers, user_xattrs } => {
            let lower = LayerFolders::open(lowers, *user_xattrs)?;
            compare_overlay(upper, &lower, options, out)
        }
    }
}

/// The options, with the bound on times that `SOURCE_DATE_EPOCH` gives.
pub(super) fn options() -> Result<CompareOptions, Failure> {
    let source_date_epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => Some(text.parse().map_err(|_| {
            Failure::new(
                Kind::InvalidArgument,
                format!("SOURCE_DATE_EPOCH is {text:?}: expected seconds since 1970"),
            )
        })?),
        Err(_) => None,
    };
    Ok(CompareOptions { source_date_epoch, trust_times: false })
}

/// One side of a comparison, readable as a folder while this lives.
enum Side<'a> {
    Empty,
    Folder(PathBuf),
    Snapshot { mount: TemporaryMount, _view: Option<View<'a>> },
}

/// A view that is removed at the end.
struct View<'a> {
    snapshots: &'a OverlaySnapshotter,
    key: String,
}

impl<'a> Side<'a> {
    fn open(snapshots: &'a OverlaySnapshotter, text: &str) -> Result<Self, Failure> {
        match text.strip_prefix("dir:") {
            Some("") => return Ok(Side::Empty),
            Some(path) => return Ok(Side::Folder(path.into())),
            None => {}
        }
        let info = snapshots.stat(text).map_err(|e| {
            Failure::from(e).hint("folders are written as dir:PATH; snapshot ls lists snapshots")
        })?;
        if info.kind != snapshot::Kind::Committed {
            let mounts = snapshots.mounts(text).map_err(explain)?;
            let mount = TemporaryMount::new(&mounts)?;
            return Ok(Side::Snapshot { mount, _view: None });
        }
        let key = format!("{text}-view-{}", std::process::id());
        let mounts = snapshots.view(&key, Some(text), &Labels::new())?;
        let view = Some(View { snapshots, key });
        Ok(Side::Snapshot { mount: TemporaryMount::new(&mounts)?, _view: view })
    }

    fn path(&self) -> Option<PathBuf> {
        match self {
            Side::Empty => None,
            Side::Folder(path) => Some(path.clone()),
            Side::Snapshot { mount, .. } => Some(mount.path()),
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.snapshots.remove(&self.key) {
            tracing::warn!(key = %self.key, %error, "a view stays");
        }
    }
}
