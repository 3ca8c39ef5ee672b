use super::Metadata;

/// A run of a file's bytes in the tar stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRun {
    /// Where the run is in the file, in bytes.
    pub file_offset: u64,
    /// How long it is, in bytes; never 0.
    pub len: u64,
    /// Where it is in the tar stream, in bytes.
    pub stream_offset: u64,
}

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link to this target, any bytes.
    Symlink(Vec<u8>),
    /// One more name of the file at this path, as raw as the entry's own. The entry's metadata says
    /// nothing of that file.
    HardLink(Vec<u8>),
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// One member of an archive: what its headers say, extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its header block is in the tar stream, in bytes; extension headers come before it.
    pub offset: u64,
    /// The path as it is in the archive: it may be empty, absolute, climb or end in slashes.
    pub path: Vec<u8>,
    /// What it makes.
    pub kind: EntryKind,
    /// Type, mode, owner, times, xattrs. The type of a hard link is said to be a regular file.
    pub metadata: Metadata,
    /// The size of a regular file in bytes, holes included, else 0.
    pub size: u64,
    /// The data of a regular file, sorted by file offset and by stream offset. What no run covers
    /// is a hole that reads as zeros.
    pub runs: Vec<DataRun>,
}

/// What the parser has met in the stream.
#[derive(Debug)]
pub enum Event<'a> {
    /// The headers of a member are complete.
    Entry(Entry),
    /// Data of the member before, in order; holes are passed over.
    Data {
        /// Where in the file the bytes belong.
        file_offset: u64,
        /// The bytes, a part of what was pushed.
        bytes: &'a [u8],
    },
    /// The archive is over. Bytes after it mean nothing and are accepted.
    End,
}
