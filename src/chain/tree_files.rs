//! Where trees are kept, and by which names.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, ChainId, DiffId, Digest, Hasher};
use crate::tree::{self, Tree};

use super::{Error, Store};

impl Store {
    /// The tree of a chain: by its chain ID, and by what it hangs on if that is not known to be right.
    pub(super) fn chain_path(&self, chain_id: &ChainId, tag: Option<&str>) -> PathBuf {
        self.tree_path(chain_id.digest(), tag, "tree")
    }

    /// Where EROFS images of trees are, for [`crate::erofs::probe`] to find out whether they can be
    /// mounted.
    pub fn erofs_dir(&self) -> PathBuf {
        self.root.join("trees")
    }

    /// The EROFS image of that tree.
    pub(super) fn erofs_path(&self, chain_id: &ChainId, tag: Option<&str>) -> PathBuf {
        self.tree_path(chain_id.digest(), tag, "erofs")
    }

    /// The tree of a layer alone, likewise.
    pub(super) fn layer_path(&self, diff_id: &DiffId, tag: Option<&str>) -> PathBuf {
        self.tree_path(diff_id.digest(), tag, "layer.tree")
    }

    fn tree_path(&self, digest: &Digest, tag: Option<&str>, extension: &str) -> PathBuf {
        let tag = tag.map_or_else(String::new, |tag| format!("{tag}."));
        self.root.join("trees").join(format!("{}.{tag}{extension}", stem(digest)))
    }
}

/// A digest as the start of a file name.
pub(super) fn stem(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// What files of a chain have in their names, given what its layers' files have: `None` where every
/// layer is known to have its diffID, so that the chain ID says it all.
pub(super) fn chain_tag(tags: &[Option<String>]) -> Option<String> {
    if tags.iter().all(Option::is_none) {
        return None;
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for tag in tags {
        hasher.update(tag.as_deref().unwrap_or("-").as_bytes());
        hasher.update(b"\n");
    }
    Some(hasher.finish().hex())
}

/// The tree in the file `path`; `None` where there is none that can be used.
pub(super) fn open_tree(path: &Path) -> Result<Option<Tree>, Error> {
    match Tree::open(path) {
        Ok(tree) => Ok(Some(tree)),
        Err(e) if e.needs_rebuild() => {
            tracing::warn!(path = %path.display(), error = %e, "tree is made again");
            Ok(None)
        }
        Err(tree::Error::Io { ref source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(source) => Err(Error::OpenTree { path: path.to_owned(), source }),
    }
}
