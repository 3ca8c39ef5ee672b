//! Applies a layer to a folder or to the upper folder of an overlay.
//!
//! # What is safe
//!
//! No name of an archive leads out of the target: parents are resolved inside of it by the kernel
//! (openat2(2), `RESOLVE_IN_ROOT`) or step by step from open handles, and the last component is
//! never followed. What was there under the name of an entry is removed first, a directory under a
//! directory apart.
//!
//! Parents that are symbolic links are followed inside of the root, in an overlay those of the layers
//! below as well: over a lower `lib -> usr/lib`, `lib/x` is `usr/lib/x`.
//!
//! # Whiteouts
//!
//! They hide what lower layers have and nothing of their own layer, whatever the order in the
//! archive (OCI image specification, `layer.md`). In a folder, what they hide is removed. In the
//! upper folder of an overlay they become the kernel's: a character device 0:0 and the attribute
//! `trusted.overlay.opaque`. A folder of this layer that takes the place of a hidden one is opaque.
//!
//! # Metadata
//!
//! Owner, attributes, mode, times, in this order, times of folders at the end, to the nanosecond.
//! The access time is the modification time. Folders that the layer implies keep what they were or
//! are copies of the lower ones, else 0755, of root, of 1970; folders whose content changes keep
//! their time. The metadata of a hard link's header mean nothing.

mod entry;
mod folders;
mod inode;
mod ledger;
mod link;
mod removal;
mod walk;
mod whiteout;

use std::io::Read;
use std::rc::Rc;

use crate::archive::{Event, TarParser};
use crate::digest::DiffId;
use crate::sys::{self, Dir};

use super::lowers::LayerFolders;
use super::overlay_attributes::Namespace;
use super::stream::{LayerStream, READ_AHEAD};
use super::{Error, Target};

use self::entry::OpenFile;
use self::folders::{Folder, Handles};
use self::inode::InodeWriter;
use self::ledger::Ledger;

/// How a layer is applied.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Whether owners are those of the layer; else everything belongs to this process.
    pub keep_owner: bool,
    /// The largest uncompressed layer that is taken, in bytes.
    pub max_size: u64,
    /// Whether the filesystem of the target has written everything when the call returns.
    pub sync: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { keep_owner: true, max_size: u64::MAX, sync: false }
    }
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The digest of the uncompressed layer, all bytes after the archive included.
    pub diff_id: DiffId,
    /// The size of the uncompressed layer in bytes.
    pub size: u64,
    /// How many members the archive has.
    pub entries: u64,
    /// How many extended attributes were left out: the filesystem has no such attributes, or they
    /// are overlayfs's own.
    pub refused_xattrs: u64,
    /// How many device nodes were left out, which a user namespace may not make.
    pub skipped_devices: u64,
}

/// Applies the layer `stream` to `target`. Its compression is told by its first bytes; an empty
/// stream is an empty layer.
///
/// After an error the target holds a part of the layer: the caller discards it.
///
/// # Errors
///
/// See [`Error`].
pub fn apply(
    stream: impl Read + Send + 'static,
    target: &Target,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    apply_stream(LayerStream::start(stream, READ_AHEAD)?, target, options)
}

/// As [`apply`], for a layer that is being decompressed already.
///
/// # Errors
///
/// See [`Error`].
pub fn apply_stream(
    mut stream: LayerStream,
    target: &Target,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    let mut applier = Applier::new(target, options)?;
    let mut parser = TarParser::new();
    let mut size = 0_u64;
    while let Some(chunk) = stream.next()? {
        size += chunk.len() as u64;
        if size > options.max_size {
            return Err(Error::TooLarge { limit: options.max_size });
        }
        parser.push(&chunk, &mut |event| applier.handle(event))?;
        stream.recycle(chunk);
    }
    parser.finish(&mut |event| applier.handle(event))?;
    applier.finish()?;
    if options.sync {
        let root = &applier.root;
        root.dir.sync_filesystem().map_err(Error::io("sync", &root.path))?;
    }
    Ok(Applied {
        diff_id: stream.finish()?,
        size,
        entries: applier.entries,
        refused_xattrs: applier.inodes.refused_xattrs,
        skipped_devices: applier.skipped_devices,
    })
}

/// What only the upper folder of an overlay has.
#[derive(Debug)]
struct Overlay {
    lowers: LayerFolders,
    /// Which attributes are the overlay's own.
    namespace: Namespace,
    /// Whether the root has an opaque marker.
    hides_all: bool,
}

/// A layer on its way into a target.
#[derive(Debug)]
struct Applier {
    root: Rc<Folder>,
    overlay: Option<Overlay>,
    handles: Handles,
    ledger: Ledger,
    inodes: InodeWriter,
    /// Owner and group of what this process makes.
    process: (u32, u32),
    /// The file whose data are coming.
    file: Option<OpenFile>,
    entries: u64,
    skipped_devices: u64,
}

impl Applier {
    fn new(target: &Target, options: &ApplyOptions) -> Result<Self, Error> {
        let (path, overlay) = match target {
            Target::Folder(path) => (path, None),
            Target::Overlay { upper, lowers, user_xattrs } => {
                let lowers = LayerFolders::open(lowers, *user_xattrs)?;
                let namespace = lowers.namespace();
                (upper, Some(Overlay { lowers, namespace, hides_all: false }))
            }
        };
        let dir = Dir::open(path).map_err(Error::io("open", path.display()))?;
        Ok(Self {
            root: Rc::new(Folder::new(dir, crate::archive::LayerPath::root())?),
            overlay,
            handles: Handles::default(),
            ledger: Ledger::default(),
            inodes: InodeWriter { keep_owner: options.keep_owner, refused_xattrs: 0 },
            process: sys::process_owner(),
            file: None,
            entries: 0,
            skipped_devices: 0,
        })
    }

    fn handle(&mut self, event: Event<'_>) -> Result<(), Error> {
        match event {
            Event::Entry(entry) => {
                self.finish_file()?;
                self.entries += 1;
                self.put(entry)
            }
            Event::Data { file_offset, bytes } => self.write(file_offset, bytes),
            Event::End => self.finish_file(),
        }
    }

    /// Does what can be done only when the whole layer is there.
    fn finish(&mut self) -> Result<(), Error> {
        self.finish_file()?;
        self.hide_all_below()?;
        for (path, time) in self.ledger.times() {
            let dir = self
                .root
                .dir
                .resolve_without_links(path.as_bytes())
                .map_err(Error::io("open", path))?;
            sys::set_mtime(&dir, time.secs, time.nanos).map_err(Error::io("set time of", path))?;
        }
        Ok(())
    }
}
