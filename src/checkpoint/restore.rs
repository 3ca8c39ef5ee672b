use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::bundle;
use crate::content::{Descriptor, Provider};
use crate::diff::{self, ApplyOptions, Target, apply};
use crate::error::{Classify as _, Kind};
use crate::image::Image;
use crate::snapshot::mounter::TemporaryMount;
use crate::snapshot::{self, Labels, Mount, Snapshotter};
use crate::sys::Dir;

use super::stand_in::stand_in;
use super::{
    BaseLayers, Changes, Checkpoint, Error, Keep, Layers, LeftOut, Memory, Runtime, Spec, Wanted,
    deleted, open,
};

/// The largest `passwd` or `group` of an image that is looked at, in bytes.
const MAX_USERS_FILE: u64 = 1 << 20;

/// Makes containers of checkpoints: their snapshots and specifications.
pub struct Restorer<'a> {
    /// Where the container's root filesystem is made.
    pub snapshots: &'a dyn Snapshotter,
    /// Where the image comes from.
    pub layers: &'a dyn BaseLayers,
    /// Whether a snapshot of that key that stands on the same image is used again.
    pub reuse: bool,
    /// Whether the container's own changes are left out.
    pub without_changes: bool,
    /// Where archives are unpacked: in the filesystem that memory images are restored from.
    pub work: &'a Path,
    /// A new folder for what stands in for mounts that are not on this machine. `None` leaves them
    /// out, with which processes can be started but not be given back by CRIU.
    pub stand_ins: Option<&'a Path>,
}

/// A container that can be started.
#[derive(Debug)]
pub struct Restored {
    /// The image that it was made of.
    pub image: Image,
    /// The key of its snapshot.
    pub snapshot: String,
    /// How its root filesystem is mounted.
    pub mounts: Vec<Mount>,
    /// How it runs, for a bundle on this machine.
    pub spec: Spec,
    /// What of its specification was left out.
    pub left_out: Vec<LeftOut>,
    /// What ran it.
    pub runtime: Runtime,
    /// Its memory, where the checkpoint has it.
    pub task: Option<Memory>,
    /// The snapshots that were made for it.
    pub made: Made,
    /// What its memory is in, where that was unpacked.
    _unpacked: Option<Arc<tempfile::TempDir>>,
}

/// Snapshots that a restore made, to be removed where a later step fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// The key of the container's snapshot, where it was not there before.
    pub key: Option<String>,
    /// The names of its layers' snapshots that were not there before, bottom first.
    pub names: Vec<String>,
}

impl Made {
    /// Removes them, but for layers that something else stands on by now. What cannot be removed
    /// stays and is logged.
    pub fn remove(&self, snapshots: &dyn Snapshotter) {
        let newest_first = self.key.iter().chain(self.names.iter().rev());
        for key in newest_first {
            match snapshots.remove(key) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::FailedPrecondition) => {}
                Err(error) => tracing::warn!(%key, %error, "a snapshot stays"),
            }
        }
    }
}

impl Restorer<'_> {
    /// Makes a container of the checkpoint that `index` leads to in `provider`, in whatever form it
    /// is: [`open`], then [`Restorer::restore`].
    ///
    /// # Errors
    ///
    /// Theirs.
    pub fn restore_container(
        &self,
        provider: &Arc<dyn Provider>,
        index: &Descriptor,
        key: &str,
    ) -> Result<Restored, Error> {
        self.restore(&open(provider, index, self.work, Keep::All)?, key)
    }

    /// Makes the snapshot `key` of the container in `checkpoint`: its image's layers with what it
    /// changed.
    ///
    /// A snapshot that is used again gets the changes once more; what was written to it meanwhile
    /// stays where the changes say nothing of it.
    ///
    /// # Errors
    ///
    /// [`snapshot::Error::Exists`] for the key; [`Error::NoChanges`], [`Error::NoBase`],
    /// [`Error::Base`], [`Error::Changes`], [`Error::OtherParent`] and others, see [`Error`]. All
    /// snapshots that were made are removed then.
    pub fn restore(&self, checkpoint: &Checkpoint, key: &str) -> Result<Restored, Error> {
        let changes = if self.without_changes { None } else { Some(checkpoint.changes()?) };
        let exists = self.check_key(key)?;
        let base = &checkpoint.base;
        let wanted = match (&base.carried, &base.name) {
            (Some((provider, descriptor)), _) => Wanted::Carried(provider, descriptor),
            (None, Some(name)) => Wanted::Named(name),
            (None, None) => return Err(Error::NoBase),
        };
        let Layers { image, made } = self.layers.prepare(wanted)?;
        let mut made = Made { key: None, names: made };
        let done = self.restore_on(checkpoint, changes, &image, key, exists, &mut made);
        let (mounts, spec, left_out) = done.inspect_err(|_| made.remove(self.snapshots))?;
        Ok(Restored {
            image,
            snapshot: key.to_owned(),
            mounts,
            spec,
            left_out,
            runtime: checkpoint.runtime.clone(),
            task: checkpoint.memory.clone(),
            made,
            _unpacked: checkpoint.unpacked.clone(),
        })
    }

    /// Whether there is a snapshot `key` to be used again.
    fn check_key(&self, key: &str) -> Result<bool, Error> {
        match self.snapshots.stat(key) {
            Ok(_) if self.reuse => Ok(true),
            Ok(_) => Err(snapshot::Error::Exists { key: key.to_owned() }.into()),
            Err(e) if e.kind() == Kind::NotFound => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn restore_on(
        &self,
        checkpoint: &Checkpoint,
        changes: Option<&Changes>,
        image: &Image,
        key: &str,
        exists: bool,
        made: &mut Made,
    ) -> Result<(Vec<Mount>, Spec, Vec<LeftOut>), Error> {
        let mounts = if exists {
            self.used_again(image, key)?
        } else {
            let parent = image.chain_id().map(ToString::to_string);
            let mounts = self.snapshots.prepare(key, parent.as_deref(), &Labels::new())?;
            made.key = Some(key.to_owned());
            mounts
        };
        if let Some(changes) = changes {
            apply_changes(changes, key, &mounts)?;
        }
        let spec = match &checkpoint.spec {
            Some(spec) => spec.clone(),
            None => spec_of_image(image, key, &mounts)?,
        };
        let here = |path: &Path| path.exists();
        let (spec, mut left_out) = match self.stand_ins {
            Some(into) => stand_in(&spec, &here, into, checkpoint.shared_memory.as_ref())?,
            None => (spec, Vec::new()),
        };
        let (spec, more) = spec.adapt(&here);
        left_out.extend(more);
        Ok((mounts, spec, left_out))
    }

    fn used_again(&self, image: &Image, key: &str) -> Result<Vec<Mount>, Error> {
        let parent = self.snapshots.stat(key)?.parent;
        let wanted = image.chain_id();
        if parent != wanted.map(ToString::to_string)
            && let Some(wanted) = wanted
        {
            let wanted = wanted.clone();
            return Err(Error::OtherParent { key: key.to_owned(), parent, wanted });
        }
        Ok(self.snapshots.mounts(key)?)
    }
}

/// Applies what a container changed to its snapshot, which nobody has mounted.
fn apply_changes(changes: &Changes, key: &str, mounts: &[Mount]) -> Result<(), Error> {
    let [mount] = mounts else {
        return Err(Error::Mounts { key: key.to_owned(), count: mounts.len() });
    };
    if let Some(layer) = &changes.layer {
        let name = layer.name();
        let failed = |source: diff::Error| Error::Changes { name, source: Box::new(source) };
        layer.read(|stream| {
            let target = Target::of_mount(&mount.fs_type, &mount.source, &mount.options);
            target
                .and_then(|target| apply(stream, &target, &ApplyOptions::default()))
                .map_err(failed)
        })?;
    }
    if !changes.deleted.is_empty() {
        // Through the mount, so that overlayfs itself hides what lower layers have.
        let mounted = TemporaryMount::new(mounts)?;
        deleted::delete(&mounted.path(), &changes.deleted).map_err(|(path, source)| Error::Io {
            path: Path::new("/").join(path.to_string()),
            source,
        })?;
    }
    Ok(())
}

/// The specification of a container that runs what its image says.
fn spec_of_image(image: &Image, key: &str, mounts: &[Mount]) -> Result<Spec, Error> {
    let mounted = TemporaryMount::new(mounts)?;
    let root = Dir::open(&mounted.path()).map_err(Error::io("/"))?;
    let (passwd, group) = (small_text(&root, "etc/passwd")?, small_text(&root, "etc/group")?);
    let overrides = bundle::Overrides::default();
    let process = bundle::Process::of_image(&image.config, &overrides, &passwd, &group)?;
    let process = bundle::Process { hostname: key.to_owned(), ..process };
    Ok(Spec::new(bundle::runtime_spec(&process)?)?)
}

/// A small text file of a container; empty where there is none.
fn small_text(root: &Dir, path: &str) -> Result<String, Error> {
    let file = match root.open_file(path.as_bytes()) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(Error::io(path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_USERS_FILE).read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
