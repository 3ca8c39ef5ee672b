//! Plain values of [`crate::fs`] in fuser's types.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, INodeNo};

use crate::archive::{Device, FileType, Timestamp};
use crate::fs::{Attr, NodeId, Validity};

/// Node ids never change their meaning, so none needs a second generation.
pub(super) const GENERATION: fuser::Generation = fuser::Generation(0);

/// For ever, in the arithmetic of kernels: 136 years.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

pub(super) fn ttl(validity: Validity) -> Duration {
    match validity {
        Validity::Immutable => FOREVER,
        Validity::Volatile => Duration::ZERO,
    }
}

pub(super) fn inode(node: NodeId) -> INodeNo {
    INodeNo(node.raw())
}

pub(super) fn node(inode: INodeNo) -> NodeId {
    NodeId::from_raw(inode.0)
}

pub(super) fn errno(errno: i32) -> Errno {
    Errno::from_i32(errno)
}

pub(super) fn kind(file_type: FileType) -> fuser::FileType {
    match file_type {
        FileType::Regular => fuser::FileType::RegularFile,
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::CharDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::Fifo => fuser::FileType::NamedPipe,
    }
}

pub(super) fn attr(attr: &Attr) -> FileAttr {
    let mtime = time(attr.mtime);
    FileAttr {
        ino: inode(attr.node),
        size: attr.size,
        blocks: attr.blocks,
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: mtime,
        kind: kind(attr.file_type),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device(attr.device),
        blksize: 4096,
        flags: 0,
    }
}

/// The attributes of "no such file": node 0 is how FUSE spells a name that is known to be absent.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: fuser::FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

fn time(t: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(t.secs.unsigned_abs());
    let base =
        if t.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(Duration::from_nanos(t.nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// The kernel's 32-bit form of a device number: 12 bits of major, 20 of minor
/// (`new_encode_dev`).
fn device(device: Device) -> u32 {
    let Device { major, minor } = device;
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_parts_of_a_second_survive() {
        let t = time(Timestamp { secs: -2, nanos: 800_000_000 });
        assert_eq!(t, UNIX_EPOCH - Duration::from_millis(1200));
        let t = time(Timestamp { secs: 5, nanos: 7 });
        assert_eq!(t, UNIX_EPOCH + Duration::new(5, 7));
        for secs in [i64::MIN, i64::MAX] {
            time(Timestamp { secs, nanos: 999_999_999 });
        }
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        assert_eq!(device(Device { major: 1, minor: 3 }), 0x103);
        assert_eq!(device(Device { major: 259, minor: 70_000 }), {
            let dev = Device { major: 259, minor: 70_000 }.dev_t();
            u32::try_from(dev).unwrap()
        });
    }
}
