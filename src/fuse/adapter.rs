//! FUSE requests to calls of [`Filesystem`] and back: translation only.
//!
//! Nothing is remembered between requests, and no request waits for content here: a read whose
//! bytes are not at hand moves into the miss pool.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::{
    FileHandle, FopenFlags, INodeNo, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyXattr, Request,
};

use crate::fs::{Cached, Error, Filesystem, NodeId, Source};

use super::convert::{self, GENERATION};
use super::miss::{Failure, MissPool};
use super::negotiate::Negotiated;
use super::settle::Settle;
use super::{Options, Stats};

thread_local! {
    /// What a read that is answered at once is copied through.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A [`Filesystem`] as fuser wants it.
pub(super) struct Adapter {
    pub(super) fs: Arc<Filesystem>,
    pub(super) options: Options,
    pub(super) stats: Arc<Stats>,
    pub(super) misses: MissPool,
    pub(super) settle: Arc<Settle>,
    pub(super) negotiated: Arc<Negotiated>,
}

impl Adapter {
    /// Runs the handler of one request. Where it panics, its reply is dropped, which fuser answers
    /// with EIO, and the connection lives on.
    fn guard(&self, operation: &'static str, handler: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(handler)).is_err() {
            self.stats.panics.add(1);
            if let Some(suppressed) = self.stats.fault() {
                tracing::error!(operation, suppressed, "request failed by a panic");
            }
        }
    }

    /// The errno of a failed call, logged where it is the filesystem's own fault.
    fn failed(&self, operation: &'static str, e: &Error) -> fuser::Errno {
        convert::errno(report(&self.stats, operation, e))
    }

    /// Answers a read from the miss pool.
    fn wait(&self, node: NodeId, offset: u64, size: usize, source: Source, reply: ReplyData) {
        self.stats.misses.add(1);
        let (fs, stats) = (self.fs.clone(), self.stats.clone());
        let work = move |buf: &mut Vec<u8>| {
            let buf = at_least(buf, size);
            // What is wrong there is found by the read as well.
            let _ = fs.expect(node, offset, size as u64);
            fs.read(node, offset, buf).map_err(|e| report(&stats, "read", &e))
        };
        let stats = self.stats.clone();
        let deadline = self.options.misses.deadline;
        let answer = move |outcome: Result<Result<&[u8], i32>, Failure>| match outcome {
            Ok(Ok(data)) => {
                stats.read_bytes.add(data.len() as u64);
                reply.data(data);
            }
            Ok(Err(errno)) => reply.error(convert::errno(errno)),
            Err(failure) => {
                stats.count(failure);
                if let Some(suppressed) = stats.fault() {
                    tracing::error!(%node, offset, size, ?deadline, suppressed, "read: {failure}");
                }
                reply.error(fuser::Errno::EIO);
            }
        };
        self.misses.submit(source, Box::new(work), Box::new(answer));
    }
}

fn report(stats: &Stats, operation: &'static str, e: &Error) -> i32 {
    if e.is_fault()
        && let Some(suppressed) = stats.fault()
    {
        tracing::error!(operation, error = %e, suppressed, "request failed");
    }
    e.errno()
}

/// The first `size` bytes of `buf`, which grows to them.
fn at_least(buf: &mut Vec<u8>, size: usize) -> &mut [u8] {
    if buf.len() < size {
        buf.resize(size, 0);
    }
    &mut buf[..size]
}

/// Defines operations that would change something: they are all refused alike. The kernel refuses
/// most of them itself, as the mount is read-only.
macro_rules! refuse {
    ($($name:ident($($arg:ty),*) -> $reply:ty;)*) => {
        $(
            fn $name(&self, _: &Request, $(_: $arg,)* reply: $reply) {
                reply.error(fuser::Errno::EROFS);
            }
        )*
    };
}

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.negotiated.agree(config, &self.options);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.stats.lookups.add(1);
        let parent = convert::node(parent);
        self.guard("lookup", || {
            if let Some(attr) = self.settle.lookup(parent, name) {
                return reply.entry(&Settle::TTL, &attr, GENERATION);
            }
            match self.fs.lookup(parent, name.as_bytes()) {
                Ok(found) => {
                    let attr = found.value.map_or_else(convert::absent, |a| convert::attr(&a));
                    reply.entry(&convert::ttl(found.validity), &attr, GENERATION);
                }
                Err(e) => reply.error(self.failed("lookup", &e)),
            }
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.stats.getattrs.add(1);
        self.guard("getattr", || {
            if let Some(attr) = self.settle.getattr(convert::node(ino)) {
                return reply.attr(&Settle::TTL, &attr);
            }
            match self.fs.getattr(convert::node(ino)) {
                Ok(found) => {
                    reply.attr(&convert::ttl(found.validity), &convert::attr(&found.value));
                }
                Err(e) => reply.error(self.failed("getattr", &e)),
            }
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.stats.readlinks.add(1);
        self.guard("readlink", || match self.fs.readlink(convert::node(ino)) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(self.failed("readlink", &e)),
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.stats.opens.add(1);
        self.guard("open", || {
            // From here on the kernel opens files of this connection by itself, keeps their
            // pages, and sends handle 0.
            if self.negotiated.no_open() {
                return reply.error(fuser::Errno::ENOSYS);
            }
            match self.fs.open(convert::node(ino), flags.0) {
                Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
                Err(e) => reply.error(self.failed("open", &e)),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (node, size) = (convert::node(ino), size as usize);
        self.guard("read", || {
            BUFFER.with_borrow_mut(|buf| {
                let buf = at_least(buf, size);
                match self.fs.read_cached(node, offset, buf) {
                    Ok(Cached::Ready(n)) => {
                        self.stats.reads.add(1);
                        self.stats.read_bytes.add(n as u64);
                        reply.data(&buf[..n]);
                    }
                    Ok(Cached::Missing(source)) => self.wait(node, offset, size, source, reply),
                    Err(e) => reply.error(self.failed("read", &e)),
                }
            });
        });
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.guard("lseek", || match self.fs.seek(convert::node(ino), offset, whence) {
            Ok(offset) => reply.offset(offset),
            Err(e) => reply.error(self.failed("lseek", &e)),
        });
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.stats.opens.add(1);
        self.guard("opendir", || {
            if self.negotiated.no_opendir() {
                return reply.error(fuser::Errno::ENOSYS);
            }
            let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
            match self.fs.open_dir(convert::node(ino)) {
                Ok(()) => reply.opened(FileHandle(0), flags),
                Err(e) => reply.error(self.failed("opendir", &e)),
            }
        });
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.stats.readdirs.add(1);
        self.guard("readdir", || {
            let listed = self.fs.readdir(convert::node(ino), offset, &mut |entry| {
                let name = OsStr::from_bytes(entry.name);
                !reply.add(
                    convert::inode(entry.node),
                    entry.next,
                    convert::kind(entry.file_type),
                    name,
                )
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(e) => reply.error(self.failed("readdir", &e)),
            }
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.stats.readdirs.add(1);
        self.guard("readdirplus", || {
            let listed = self.fs.readdir_plus(convert::node(ino), offset, &mut |entry, found| {
                let name = OsStr::from_bytes(entry.name);
                let attr = convert::attr(&found.value);
                let ttl = convert::ttl(found.validity);
                !reply.add(attr.ino, entry.next, name, &ttl, &attr, GENERATION)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(e) => reply.error(self.failed("readdirplus", &e)),
            }
        });
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.guard("statfs", || match self.fs.statfs(convert::node(ino)) {
            Ok(s) => {
                reply.statfs(s.blocks, 0, 0, s.files, 0, s.block_size, s.name_max, s.block_size);
            }
            Err(e) => reply.error(self.failed("statfs", &e)),
        });
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.stats.xattrs.add(1);
        let node = convert::node(ino);
        // From here on the kernel answers that there are none, and does not ask again.
        if !self.options.xattrs {
            return reply.error(fuser::Errno::ENOSYS);
        }
        self.guard("getxattr", || match self.fs.getxattr(node, name.as_bytes()) {
            Ok(value) => give_xattr(&value, size, reply),
            Err(_) if self.settle.owns(node) => reply.error(fuser::Errno::ENODATA),
            Err(e) => reply.error(self.failed("getxattr", &e)),
        });
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.stats.xattrs.add(1);
        self.guard("listxattr", || match self.fs.listxattr(convert::node(ino)) {
            Ok(names) => give_xattr(&names, size, reply),
            Err(e) => reply.error(self.failed("listxattr", &e)),
        });
    }

    fn access(&self, _: &Request, ino: INodeNo, mask: fuser::AccessFlags, reply: ReplyEmpty) {
        self.guard("access", || match self.fs.access(convert::node(ino), mask.bits()) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(self.failed("access", &e)),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing to write back: the kernel need not ask again.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: fuser::IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: fuser::ReplyIoctl,
    ) {
        // No file flags, no ioctls of any kind: the kernel need not ask again.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: fuser::PollNotifier,
        _: fuser::PollEvents,
        _: fuser::PollFlags,
        reply: fuser::ReplyPoll,
    ) {
        // Files are always ready: the kernel need not ask again.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    refuse! {
        mknod(INodeNo, &OsStr, u32, u32, u32) -> ReplyEntry;
        mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry;
        unlink(INodeNo, &OsStr) -> ReplyEmpty;
        rmdir(INodeNo, &OsStr) -> ReplyEmpty;
        symlink(INodeNo, &OsStr, &std::path::Path) -> ReplyEntry;
        rename(INodeNo, &OsStr, INodeNo, &OsStr, fuser::RenameFlags) -> ReplyEmpty;
        link(INodeNo, INodeNo, &OsStr) -> ReplyEntry;
        setxattr(INodeNo, &OsStr, &[u8], i32, u32) -> ReplyEmpty;
        removexattr(INodeNo, &OsStr) -> ReplyEmpty;
        create(INodeNo, &OsStr, u32, u32, i32) -> fuser::ReplyCreate;
        fallocate(INodeNo, FileHandle, u64, u64, i32) -> ReplyEmpty;
        write(
            INodeNo, FileHandle, u64, &[u8], fuser::WriteFlags, OpenFlags, Option<LockOwner>
        ) -> fuser::ReplyWrite;
        setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<fuser::TimeOrNow>,
            Option<fuser::TimeOrNow>, Option<std::time::SystemTime>, Option<FileHandle>,
            Option<std::time::SystemTime>, Option<std::time::SystemTime>,
            Option<std::time::SystemTime>, Option<fuser::BsdFileFlags>
        ) -> ReplyAttr;
    }
}

/// Answers a caller that asks for the size (with a buffer of 0) or for the bytes.
fn give_xattr(value: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        Ok(_) | Err(_) => reply.error(fuser::Errno::ERANGE),
    }
}
