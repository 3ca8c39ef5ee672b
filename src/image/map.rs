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

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::media_type as mt;
    use super::*;

    #[test]
    fn every_document_has_its_children_and_what_is_not_there_is_noted() {
        let f = Fixture::new();
        let image = f.image("linux/amd64", &["a", "b"]);
        let absent = Descriptor::new(mt::OCI_MANIFEST, Digest::sha256(b"absent"), 6);
        let root = f.index(&[image.clone(), absent.clone()]);
        let graph = Graph::of(&f.layout, &root).unwrap();
        assert_eq!(graph.children(&root), [image.clone(), absent.clone()]);
        assert_eq!(graph.children(&image).len(), 3);
        assert!(graph.children(&graph.children(&image)[1]).is_empty());
        assert!(graph.children(&absent).is_empty() && graph.is_missing(&absent.digest));
        assert!(!graph.is_missing(&image.digest));
    }

    #[test]
    fn layers_need_not_be_there() {
        let f = Fixture::new();
        let image = f.image("linux/amd64", &["a"]);
        let layer = children(&f.layout, &image).unwrap().remove(1);
        std::fs::remove_file(f.layout.path().join("blobs/sha256").join(layer.digest.hex()))
            .unwrap();
        let graph = Graph::of(&f.layout, &image).unwrap();
        assert!(graph.children(&image).contains(&layer) && !graph.is_missing(&layer.digest));
    }

    #[test]
    fn a_document_that_is_broken_is_an_error() {
        let f = Fixture::new();
        let root = f.index(&[f.blob(mt::OCI_MANIFEST, "{")]);
        assert!(matches!(Graph::of(&f.layout, &root), Err(Error::Broken { .. })));
    }
}
