//! Lazy parents that are real: merged trees, shown by FUSE.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata as FileMetadata};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stratafs::archive::{Device, FileType, LayerPath, Metadata, Timestamp};
use stratafs::digest::{ChainId, DiffId, Digest};
use stratafs::error::Kind as ErrorKind;
use stratafs::fs::{Filesystem, MountedTree, SlotName};
use stratafs::fuse;
use stratafs::layer::{Extent, Inode, Name, Target, Toc};
use stratafs::snapshot::{
    Backend, Error, Filter, Info, Labels, LayerError, LayerMounter, LazyLayer, Mount,
    OverlaySnapshotter, Owner, Snapshotter, Usage, mounter::TemporaryMount,
};

use crate::fixture::{InMemory, merged};

/// Shows chains in one FUSE mount, each the tree of a single flat layer.
pub struct FuseLayers {
    filesystem: Arc<Filesystem>,
    mountpoint: PathBuf,
    known: Mutex<HashMap<ChainId, (Toc, Vec<u8>)>>,
    // Last, so that nothing above is used any more.
    _mounted: fuse::Mounted,
}

impl FuseLayers {
    pub fn mount(mountpoint: &Path) -> Self {
        let filesystem = Arc::new(Filesystem::new());
        let mounted =
            fuse::mount(Arc::clone(&filesystem), mountpoint, &fuse::Options::rootfs()).unwrap();
        let mountpoint = mountpoint.to_owned();
        Self { filesystem, mountpoint, known: Mutex::default(), _mounted: mounted }
    }

    /// Says what `chain` is to show.
    pub fn put(&self, chain: ChainId, layer: (Toc, Vec<u8>)) {
        self.known.lock().unwrap().insert(chain, layer);
    }
}

impl LayerMounter for FuseLayers {
    fn mount(&self, chain: &ChainId) -> Result<PathBuf, LayerError> {
        let name = SlotName::Chain(chain.clone());
        let known = self.known.lock().unwrap();
        if self.filesystem.slot(&name).is_none() {
            let Some((toc, data)) = known.get(chain) else {
                let (kind, source) = (ErrorKind::NotFound, "not known to the test".into());
                return Err(LayerError { chain: chain.clone(), kind, source });
            };
            let layers: Vec<Arc<dyn stratafs::io::ReadAt>> = vec![Arc::new(InMemory(data.clone()))];
            let tree = MountedTree { tree: merged(&[toc]), layers, starts: None };
            self.filesystem.attach(&name, tree).unwrap();
        }
        Ok(self.mountpoint.join(name.path()))
    }

    fn unmount(&self, chain: &ChainId) -> Result<(), LayerError> {
        self.filesystem.detach(&SlotName::Chain(chain.clone()));
        Ok(())
    }
}

/// A snapshotter all of whose committed snapshots are lazy: a commit turns what was written, on
/// all that is below, into one layer of a tree.
pub struct Relaying {
    inner: OverlaySnapshotter,
    backend: Arc<Backend>,
    layers: Arc<FuseLayers>,
    count: AtomicU64,
}

impl Relaying {
    pub fn new(backend: Arc<Backend>, layers: Arc<FuseLayers>) -> Self {
        let inner = backend.snapshotter(Owner::Containerd);
        Self { inner, backend, layers, count: AtomicU64::new(0) }
    }

    fn relay(&self, info: &Info) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let (name, view) = (info.name.as_str(), format!("relay-{count}"));
        let mounts = self.inner.view(&view, Some(name), &Labels::new()).unwrap();
        let mounted = TemporaryMount::new(&mounts).unwrap();
        let layer = flat_layer(&mounted.path());
        drop(mounted);
        self.inner.remove(&view).unwrap();

        let diff_id = DiffId::new(Digest::sha256(&count.to_le_bytes()));
        let below = info.parent.as_ref().map(|parent| self.inner.chain(parent).unwrap().unwrap());
        let mut stack: Vec<(DiffId, Digest)> = below
            .iter()
            .flat_map(|below| {
                let chains = self.backend.chain_layers(below).unwrap();
                chains.into_iter().map(|c| (c.diff_id, c.blobs.into_iter().next().unwrap()))
            })
            .collect();
        stack.push((diff_id.clone(), diff_id.digest().clone()));
        let chain = match &below {
            Some(below) => below.push(&diff_id),
            None => ChainId::new(diff_id.digest().clone()),
        };
        let lease = self.backend.lease(Duration::from_secs(60)).unwrap();
        lease.record(&stack).unwrap();
        self.layers.put(chain.clone(), layer);
        let lazy = LazyLayer { chain, diff_id, usage: Usage::default() };
        self.inner.remove(name).unwrap();
        self.inner.commit_lazy(name, info.parent.as_deref(), &info.labels, &lazy).unwrap();
    }
}

impl Snapshotter for Relaying {
    fn stat(&self, key: &str) -> Result<Info, Error> {
        self.inner.stat(key)
    }
    fn update(&self, key: &str, labels: &Labels, paths: &[String]) -> Result<Info, Error> {
        self.inner.update(key, labels, paths)
    }
    fn usage(&self, key: &str) -> Result<Usage, Error> {
        self.inner.usage(key)
    }
    fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        self.inner.mounts(key)
    }
    fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        self.inner.prepare(key, parent, labels)
    }
    fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        self.inner.view(key, parent, labels)
    }
    fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<(), Error> {
        self.inner.commit(name, key, parent, labels)?;
        self.relay(&self.inner.stat(name)?);
        Ok(())
    }
    fn remove(&self, key: &str) -> Result<(), Error> {
        self.inner.remove(key)
    }
    fn walk(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Info) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.inner.walk(filter, visit)
    }
    fn cleanup(&self) -> Result<(), Error> {
        self.inner.cleanup()
    }
    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

/// All that is below `root`, itself included, as a layer and its bytes.
pub fn flat_layer(root: &Path) -> (Toc, Vec<u8>) {
    let mut layer = Flat::default();
    layer.add(LayerPath::root(), root, &fs::metadata(root).unwrap());
    let mut folders = vec![LayerPath::root()];
    while let Some(folder) = folders.pop() {
        let at = root.join(std::ffi::OsStr::from_bytes(folder.as_bytes()));
        for item in fs::read_dir(&at).unwrap() {
            let item = item.unwrap();
            let path = folder.join(item.file_name().as_bytes()).unwrap();
            let metadata = fs::symlink_metadata(item.path()).unwrap();
            layer.add(path.clone(), &item.path(), &metadata);
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    let name = |(path, target)| Name { path, target };
    let names = layer.names.into_iter().map(name).collect();
    (Toc { inodes: layer.inodes, names, ..Toc::default() }, layer.data)
}

#[derive(Default)]
struct Flat {
    inodes: Vec<Inode>,
    names: BTreeMap<LayerPath, Target>,
    data: Vec<u8>,
    places: HashMap<(u64, u64), u32>,
}

impl Flat {
    fn add(&mut self, path: LayerPath, at: &Path, metadata: &FileMetadata) {
        let next = u32::try_from(self.inodes.len()).unwrap();
        let place = *self.places.entry((metadata.dev(), metadata.ino())).or_insert(next);
        self.names.insert(path, Target::Inode(place));
        if place == next {
            let inode = self.inode(at, metadata);
            self.inodes.push(inode);
        }
    }

    fn inode(&mut self, at: &Path, metadata: &FileMetadata) -> Inode {
        let mut inode = Inode {
            metadata: metadata_of(metadata),
            size: 0,
            extents: vec![],
            link_target: vec![],
        };
        if metadata.is_file() && metadata.len() > 0 {
            let content = fs::read(at).unwrap();
            let (len, layer_offset) = (content.len() as u64, self.data.len() as u64);
            inode.size = len;
            inode.extents.push(Extent { file_offset: 0, len, layer_offset });
            self.data.extend_from_slice(&content);
        } else if metadata.is_symlink() {
            inode.link_target = fs::read_link(at).unwrap().into_os_string().into_encoded_bytes();
        }
        inode
    }
}

fn metadata_of(metadata: &FileMetadata) -> Metadata {
    let kind = metadata.file_type();
    let file_type = match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_file() => FileType::Regular,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_char_device() => FileType::CharDevice,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::Fifo,
    };
    Metadata {
        file_type,
        mode: u16::try_from(metadata.mode() & 0o7777).unwrap(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Timestamp {
            secs: metadata.mtime(),
            nanos: u32::try_from(metadata.mtime_nsec()).unwrap(),
        },
        device: Device::from_dev_t(metadata.rdev()),
        xattrs: vec![],
    }
}
