use std::collections::HashMap;

use parking_lot::Mutex;

use crate::content::{Descriptor, Provider};
use crate::digest::Digest;
use crate::error::{Classify as _, Kind};

use super::{Cancel, Error, Step, children, walk};

/// The children of every descriptor below a root, as far as their documents are there.
#[derive(Debug, Default)]
pub struct Graph {
    children: HashMap<(Digest, String), Vec<Descriptor>>,
    missing: Vec<Digest>,
}

impl Graph {
    /// Walks all below `root`. A document that `provider` does not have ends the walk there and is
    /// noted; nothing but documents is read.
    ///
    /// # Errors
    ///
    /// As [`walk`]; those of parsing a document.
    pub fn of(provider: &dyn Provider, root: &Descriptor) -> Result<Self, Error> {
        let graph = Mutex::new(Self::default());
        let note = |descriptor: &Descriptor, _: &Cancel| {
            let found = match children(provider, descriptor) {
                Ok(found) => found,
                Err(e) if e.kind() == Kind::NotFound => {
                    graph.lock().missing.push(descriptor.digest.clone());
                    return Ok(Step::none());
                }
                Err(e) => return Err(e),
            };
            let key = (descriptor.digest.clone(), descriptor.media_type.clone());
            graph.lock().children.insert(key, found.clone());
            Ok(Step::Children(found))
        };
        walk(&note, std::slice::from_ref(root), &Cancel::new())?;
        Ok(graph.into_inner())
    }

    /// What `descriptor` leads to.
    pub fn children(&self, descriptor: &Descriptor) -> &[Descriptor] {
        let key = (descriptor.digest.clone(), descriptor.media_type.clone());
        self.children.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether the document `digest` is named but not there.
    pub fn is_missing(&self, digest: &Digest) -> bool {
        self.missing.contains(digest)
    }
}
