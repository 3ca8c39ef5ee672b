//! One layer alone, its whiteouts to be seen.

use std::borrow::Cow;

use crate::archive::{FileType, LayerPath, Metadata, OPAQUE_MARKER, PathError, WHITEOUT_PREFIX};
use crate::layer::{Inode, Name, Target, Toc};

use super::error::Error;
use super::merge::shape;
use super::merged::Merged;

/// The tree of `toc` alone, for looking at a layer as it is.
///
/// A whiteout is shown as the empty file `.wh.name` and an opaque marker as `.wh..wh..opq`, both
/// root's, 0644, of 1970. A hard link to a lower layer is shown as a symbolic link to the absolute
/// path of its target. No attribute is left out.
///
/// # Errors
///
/// As [`super::merge`]; [`Error::Whiteout`] where a marker's name would be too long.
pub fn raw(toc: &Toc) -> Result<Merged<'static>, Error> {
    let mut shown = Toc { inodes: toc.inodes.clone(), ..Toc::default() };
    shown.names = toc.names.iter().map(|name| show_name(name, &mut shown.inodes)).collect();
    for path in &toc.whiteouts {
        let name = [WHITEOUT_PREFIX, path.file_name().unwrap_or_default()].concat();
        let folder = path.parent().unwrap_or_default();
        let marker = folder.join(&name);
        show_marker(toc, path, marker, &mut shown)?;
    }
    for path in &toc.opaques {
        show_marker(toc, path, path.join(OPAQUE_MARKER), &mut shown)?;
    }
    shown.names.sort_by(|a, b| a.path.cmp(&b.path));
    shown.names.dedup_by(|a, b| a.path == b.path);
    drop_taken_markers(&mut shown.names, toc.inodes.len());
    let (inodes, names) = shape(&[&shown])?;
    Ok(Merged { layers: vec![Cow::Owned(shown)], inodes, names, hides_overlay_xattrs: false })
}

fn show_name(name: &Name, inodes: &mut Vec<Inode>) -> Name {
    let Target::Lower(target) = &name.target else { return name.clone() };
    let mut link = marker_inode(FileType::Symlink, 0o777);
    link.link_target = [b"/", target.as_bytes()].concat();
    Name { path: name.path.clone(), target: add(inodes, link) }
}

/// Adds the file that stands for a marker that is about `path`, unless the layer has a file where
/// a folder above the marker should be, or something where the marker should be.
fn show_marker(
    toc: &Toc,
    path: &LayerPath,
    marker: Result<LayerPath, PathError>,
    shown: &mut Toc,
) -> Result<(), Error> {
    let marker = marker.map_err(|source| Error::Whiteout { path: path.clone(), source })?;
    let above = std::iter::successors(marker.parent(), LayerPath::parent);
    let is_file = |folder: LayerPath| {
        let found = toc.names.binary_search_by(|name| name.path.cmp(&folder));
        found.is_ok_and(|place| match toc.names[place].target {
            Target::Lower(_) => true,
            Target::Inode(inode) => toc
                .inodes
                .get(inode as usize)
                .is_some_and(|inode| inode.metadata.file_type != FileType::Directory),
        })
    };
    let place = toc.names.partition_point(|name| name.path < marker);
    let is_taken = toc.names.get(place).is_some_and(|name| name.path.starts_with(&marker));
    if !is_taken && !above.into_iter().any(is_file) {
        let target = add(&mut shown.inodes, marker_inode(FileType::Regular, 0o644));
        shown.names.push(Name { path: marker, target });
    }
    Ok(())
}

/// Drops the markers that are folders of other markers: a layer may have a folder of such a name.
///
/// The targets of markers are those from `first` on.
fn drop_taken_markers(names: &mut Vec<Name>, first: usize) {
    let has_next_below = |pair: &[Name]| pair[1].path.starts_with(&pair[0].path);
    let below: Vec<bool> = names.windows(2).map(has_next_below).chain([false]).collect();
    let mut below = below.into_iter();
    names.retain(|name| {
        let is_marker = matches!(name.target, Target::Inode(inode) if inode as usize >= first);
        !(below.next().unwrap_or(false) && is_marker)
    });
}

fn marker_inode(file_type: FileType, mode: u16) -> Inode {
    let metadata = Metadata { file_type, mode, ..Metadata::implied_directory() };
    Inode { metadata, size: 0, extents: Vec::new(), link_target: Vec::new() }
}

fn add(inodes: &mut Vec<Inode>, inode: Inode) -> Target {
    // A place past 2^32 is refused with all others when the shape is checked.
    let place = u32::try_from(inodes.len()).unwrap_or(u32::MAX);
    inodes.push(inode);
    Target::Inode(place)
}
