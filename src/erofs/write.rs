//! From a tree to an image: one pass that measures ([`Plan`]), one that writes.

use std::io::{Seek, SeekFrom, Write};

use crate::archive::FileType;
use crate::tree::{Node, ROOT, Tree};

use super::error::Error;
use super::format::{
    BLOCK, INDEX_ALIGN, INODE_LEN, Inode, Layout, NO_BLOCK, SLOT, Superblock, index, seal,
};
use super::origin::Origin;
use super::output::Output;
use super::plan::{Payload, Plan};
use super::xattrs::Body;

/// Writes the metadata of `tree` as an EROFS image whose one device is the virtual blob of the
/// tree, and returns its length in bytes, a multiple of 4,096.
///
/// The same tree always gives the same bytes. Memory is kept for directories, shared attributes
/// and four bytes an inode; the rest is streamed, then the first block is written.
///
/// # Errors
///
/// A limit of EROFS ([`Error::is_limit`]); [`Error::Tree`], [`Error::Output`].
pub fn write<W: Write + Seek>(tree: &Tree, out: &mut W) -> Result<u64, Error> {
    let plan = Plan::of(tree)?;
    let start = out.stream_position()?;
    let mut output = Output::new(out);
    output.fill_to(BLOCK)?;
    output.restart_checksum()?;
    write_inodes(tree, &plan, &mut output)?;
    output.fill_to(u64::from(plan.shared_block) * BLOCK)?;
    plan.shared.write(&mut output)?;
    output.fill_to(u64::from(plan.far_block) * BLOCK)?;
    write_far(tree, &plan, &mut output)?;
    let len = u64::from(plan.blocks) * BLOCK;
    output.fill_to(len)?;
    let origin = Origin::of(tree, len, output.finish()?);
    let superblock = Superblock {
        root_nid: u16::try_from(plan.nids[ROOT as usize - 1]).unwrap_or(u16::MAX),
        inodes: u64::from(tree.summary().inodes),
        blocks: plan.blocks,
        xattr_block: plan.shared_block,
        uuid: origin.uuid(),
        device_blocks: plan.data_blocks,
    };
    let mut first = superblock.encode();
    origin.put(&mut first);
    seal(&mut first);
    out.seek(SeekFrom::Start(start))?;
    out.write_all(&first)?;
    out.seek(SeekFrom::Start(start + len))?;
    Ok(len)
}

fn write_inodes(
    tree: &Tree,
    plan: &Plan<'_>,
    out: &mut Output<'_, impl Write>,
) -> Result<(), Error> {
    let mut folders = plan.folders.iter().copied();
    let mut far_block = plan.far_block;
    for (ino, nid) in (1..).zip(&plan.nids) {
        let node = tree.node(ino)?;
        let folder = (node.file_type == FileType::Directory).then(|| folders.next()).flatten();
        let xattrs = if node.has_xattrs { plan.shared.body(ino)? } else { Body::default() };
        let payload = Payload::of(tree, ino, &node, folder, xattrs.len())?;
        let inode = Inode {
            layout: layout_of(&node, &payload, far_block),
            xattr_len: xattrs.len(),
            mode: node.file_type.mode_bits() | u32::from(node.mode),
            size: folder.map_or(node.size, |folder| folder.size()),
            ino,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime.secs,
            nanos: node.mtime.nanos,
            nlink: node.nlink,
        };
        far_block += u32::try_from(payload.far_blocks()).unwrap_or(u32::MAX);
        let place = u64::from(*nid) * SLOT;
        out.fill_to(place)?;
        out.write_all(&inode.encode())?;
        xattrs.write(out)?;
        match payload {
            Payload::Indexes(_) => {
                out.fill_to((place + INODE_LEN + xattrs.len()).next_multiple_of(INDEX_ALIGN))?;
                write_indexes(tree, ino, node.data_start, out)?;
            }
            Payload::Target(_) => out.write_all(tree.link_target(ino)?)?,
            Payload::Tail(folder) => folder.write_tail(tree, ino, &plan.nids, out)?,
            Payload::Nothing | Payload::FarTarget | Payload::FarFolder(_) => {}
        }
    }
    Ok(())
}

fn layout_of(node: &Node, payload: &Payload, far_block: u32) -> Layout {
    match payload {
        Payload::Nothing if node.file_type == FileType::Regular => {
            Layout::Plain { block: NO_BLOCK }
        }
        // 0:0 for a named pipe.
        Payload::Nothing => Layout::Device(node.device),
        Payload::Indexes(chunks) => Layout::Chunks { bits: chunks.bits },
        Payload::Target(_) => Layout::Inline { block: NO_BLOCK },
        Payload::Tail(folder) if folder.full_blocks == 0 => Layout::Inline { block: NO_BLOCK },
        Payload::Tail(_) => Layout::Inline { block: far_block },
        Payload::FarTarget | Payload::FarFolder(_) => Layout::Plain { block: far_block },
    }
}

/// Writes the index of each chunk of the file `ino`, whose data is at `data_start` of the blob.
fn write_indexes(
    tree: &Tree,
    ino: u32,
    data_start: u64,
    out: &mut impl Write,
) -> Result<(), Error> {
    let runs = tree.data_runs(ino)?;
    let chunks = runs.chunks();
    let mut data_block = data_start / BLOCK;
    let mut chunk = 0;
    for run in runs {
        let run = run?;
        let (first, end) =
            (run.block >> chunks.bits, (run.block + run.blocks).div_ceil(1 << chunks.bits));
        (chunk..first).try_for_each(|_| out.write_all(&index(None)))?;
        for n in 0..end - first {
            // Blocks of data were counted to be below 2^32.
            let block = u32::try_from(data_block + (n << chunks.bits)).unwrap_or(NO_BLOCK);
            out.write_all(&index(Some(block)))?;
        }
        data_block += run.blocks;
        chunk = end;
    }
    Ok((chunk..chunks.count()).try_for_each(|_| out.write_all(&index(None)))?)
}

/// Writes the blocks of directories and symbolic links that are not with their inodes.
fn write_far(tree: &Tree, plan: &Plan<'_>, out: &mut Output<'_, impl Write>) -> Result<(), Error> {
    let mut folders = plan.folders.iter().copied();
    for ino in 1..=tree.summary().inodes {
        let node = tree.node(ino)?;
        let folder = match node.file_type {
            FileType::Directory => folders.next(),
            FileType::Symlink => None,
            FileType::Regular | FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {
                continue;
            }
        };
        let xattr_len = if node.has_xattrs { plan.shared.body(ino)?.len() } else { 0 };
        match Payload::of(tree, ino, &node, folder, xattr_len)? {
            Payload::FarTarget => out.write_all(tree.link_target(ino)?)?,
            Payload::Tail(folder) => folder.write_full(tree, ino, &plan.nids, out)?,
            Payload::FarFolder(folder) => {
                folder.write_full(tree, ino, &plan.nids, out)?;
                folder.write_tail(tree, ino, &plan.nids, out)?;
            }
            Payload::Nothing | Payload::Indexes(_) | Payload::Target(_) => {}
        }
        out.fill_block()?;
    }
    Ok(())
}
