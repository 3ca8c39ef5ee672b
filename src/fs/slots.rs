use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::archive::Timestamp;
use crate::digest::{ChainId, DiffId, Digest};
use crate::io::ReadAt;
use crate::tree::Tree;

use super::Error;

/// A tree together with the layers that the content of its files is in.
#[derive(Clone)]
pub struct MountedTree {
    /// The tree.
    pub tree: Arc<Tree>,
    /// The uncompressed bytes of its layers, bottom first, as many as the tree says.
    pub layers: Vec<Arc<dyn ReadAt>>,
    /// Who is told the inode of each file whose first bytes are read, if anybody; never waits.
    pub starts: Option<FileStarts>,
}

/// Takes the inode of a file of a tree whose first bytes are read.
pub type FileStarts = Arc<dyn Fn(u32) + Send + Sync>;

/// What a tree in the virtual root is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SlotName {
    /// A chain of layers, merged: a name in `chains/`.
    Chain(ChainId),
    /// One layer alone: a name in `layers/`.
    Layer(DiffId),
}

impl SlotName {
    /// The path below the virtual root.
    ///
    /// The colon of the digest is a dash there: overlayfs separates lower directories by colons.
    pub fn path(&self) -> String {
        let folder = match self {
            SlotName::Chain(_) => "chains",
            SlotName::Layer(_) => "layers",
        };
        format!("{folder}/{}", self.file_name())
    }

    /// The path of its virtual blob below the virtual root; `None` for what has none there.
    pub fn blob_path(&self) -> Option<String> {
        match self {
            SlotName::Chain(_) => Some(format!("blobs/{}", self.file_name())),
            SlotName::Layer(_) => None,
        }
    }

    pub(super) fn file_name(&self) -> String {
        let digest: &Digest = match self {
            SlotName::Chain(id) => id.digest(),
            SlotName::Layer(id) => id.digest(),
        };
        format!("{}-{}", digest.algorithm().name(), digest.hex())
    }
}

/// The names of one virtual directory, by slot: a stable order in which a listing can go on after
/// trees came and went.
#[derive(Clone, Default)]
pub(super) struct Names {
    by_slot: BTreeMap<u32, Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
}

impl Names {
    pub(super) fn slot(&self, name: &[u8]) -> Option<u32> {
        self.by_name.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// The names of the slots after `slot`.
    pub(super) fn after(&self, slot: u32) -> impl Iterator<Item = (u32, &str)> {
        use std::ops::Bound;
        let range = (Bound::Excluded(slot), Bound::Unbounded);
        self.by_slot.range(range).map(|(slot, name)| (*slot, &**name))
    }

    pub(super) fn len(&self) -> usize {
        self.by_slot.len()
    }

    fn insert(&mut self, slot: u32, name: String) {
        let name: Arc<str> = name.into();
        self.by_slot.insert(slot, name.clone());
        self.by_name.insert(name, slot);
    }

    fn remove(&mut self, slot: u32) {
        if let Some(name) = self.by_slot.remove(&slot) {
            self.by_name.remove(&name);
        }
    }
}

/// What is mounted at one moment; immutable.
#[derive(Clone)]
pub(super) struct Table {
    trees: HashMap<u32, Arc<MountedTree>>,
    pub(super) chains: Names,
    pub(super) layers: Names,
    /// When the last tree came or went: the mtime of the virtual directories, by which a kernel
    /// sees that its copy of a listing is old.
    pub(super) changed: Timestamp,
    /// The lowest slot that was never given out.
    next: u32,
}

impl Table {
    pub(super) fn tree(&self, slot: u32) -> Option<&Arc<MountedTree>> {
        self.trees.get(&slot)
    }

    pub(super) fn trees(&self) -> impl Iterator<Item = &MountedTree> {
        self.trees.values().map(|tree| &**tree)
    }

    /// Which slot a virtual name stands for.
    fn slot(&self, name: &SlotName) -> Option<u32> {
        self.names(name).slot(name.file_name().as_bytes())
    }

    fn names(&self, name: &SlotName) -> &Names {
        match name {
            SlotName::Chain(_) => &self.chains,
            SlotName::Layer(_) => &self.layers,
        }
    }

    fn names_mut(&mut self, name: &SlotName) -> &mut Names {
        match name {
            SlotName::Chain(_) => &mut self.chains,
            SlotName::Layer(_) => &mut self.layers,
        }
    }

    /// Stamps a change with a time that no earlier one has.
    fn touch(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp {
            secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanos: now.subsec_nanos(),
        };
        let last = self.changed;
        let after_last = match last.nanos {
            999_999_999 => Timestamp { secs: last.secs.saturating_add(1), nanos: 0 },
            nanos => Timestamp { nanos: nanos + 1, ..last },
        };
        self.changed = now.max(after_last);
    }
}

/// The trees that are mounted, by slot. Readers take the table of the moment without a lock;
/// writers replace it whole, one at a time.
pub(super) struct Slots {
    table: ArcSwap<Table>,
    writer: Mutex<()>,
}

impl Slots {
    /// Slots of which only 0 is in use: by `root`, or by the virtual root.
    pub(super) fn new(root: Option<MountedTree>) -> Self {
        let mut table = Table {
            trees: HashMap::new(),
            chains: Names::default(),
            layers: Names::default(),
            changed: Timestamp::default(),
            next: 1,
        };
        table.touch();
        table.trees.extend(root.map(|root| (0, Arc::new(root))));
        Self { table: ArcSwap::from_pointee(table), writer: Mutex::new(()) }
    }

    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    pub(super) fn attach(
        &self,
        slot: Option<u32>,
        name: &SlotName,
        tree: MountedTree,
    ) -> Result<u32, Error> {
        let _writer = self.writer.lock();
        let mut table = Table::clone(&self.table.load());
        if table.slot(name).is_some() {
            return Err(Error::NameTaken(name.path()));
        }
        let slot = slot.unwrap_or(table.next);
        if slot == 0 || table.trees.contains_key(&slot) {
            return Err(Error::SlotTaken(slot));
        }
        table.next = table.next.max(slot.checked_add(1).ok_or(Error::NoSlots)?);
        table.trees.insert(slot, Arc::new(tree));
        table.names_mut(name).insert(slot, name.file_name());
        table.touch();
        self.table.store(Arc::new(table));
        Ok(slot)
    }

    pub(super) fn detach(&self, name: &SlotName) -> Option<u32> {
        let _writer = self.writer.lock();
        let mut table = Table::clone(&self.table.load());
        let slot = table.slot(name)?;
        table.trees.remove(&slot);
        table.names_mut(name).remove(slot);
        table.touch();
        self.table.store(Arc::new(table));
        Some(slot)
    }

    pub(super) fn find(&self, name: &SlotName) -> Option<u32> {
        self.table.load().slot(name)
    }
}
