use std::fmt;

/// The number by which a kernel names a file: the slot of its tree and its inode number there.
///
/// It is a pure function of the two (`slot << 32 | ino`), so nothing has to be remembered for a
/// kernel that holds one, and another process that serves the same slots understands it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// The root of the filesystem; FUSE fixes its number (`FUSE_ROOT_ID`).
    pub const ROOT: Self = Self::new(0, crate::tree::ROOT);

    /// The inode `ino` of the tree in `slot`.
    pub const fn new(slot: u32, ino: u32) -> Self {
        Self((slot as u64) << 32 | ino as u64)
    }

    /// A number that a kernel sent, which need not name anything.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number as a kernel sees it.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The slot of the tree.
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The inode number in the tree.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the inode number")]
    pub const fn ino(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.slot(), self.ino())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_is_a_pure_function_of_slot_and_inode() {
        for (slot, ino) in [(0, 1), (1, 1), (7, u32::MAX), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
            let node = NodeId::new(slot, ino);
            assert_eq!((node.slot(), node.ino()), (slot, ino));
            assert_eq!(NodeId::from_raw(node.raw()), node);
        }
        assert_eq!(NodeId::ROOT.raw(), 1);
    }
}
