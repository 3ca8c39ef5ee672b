use std::collections::HashMap;

use parking_lot::Mutex;

use crate::content::{Descriptor, Provider};
use crate::digest::Digest;

use super::media_type::{Class, classify};
use super::{Cancel, Error, Step, children, walk};

/// The way from one of `roots` through image indexes down to `digest`: the root first, what was
/// looked for last. `None` where none leads there.
///
/// # Errors
///
/// As [`walk`]; those of reading and parsing the indexes on the way.
pub fn way_to(
    provider: &dyn Provider,
    roots: &[Descriptor],
    digest: &Digest,
) -> Result<Option<Vec<Descriptor>>, Error> {
    // What is at hand needs no index, which may be broken or not there.
    if let Some(root) = roots.iter().find(|root| root.digest == *digest) {
        return Ok(Some(vec![root.clone()]));
    }
    let found = Mutex::new(None);
    // The index that named each descriptor first.
    let above: Mutex<HashMap<Digest, Descriptor>> = Mutex::default();
    let look = |at: &Descriptor, _: &Cancel| {
        if found.lock().is_some() || classify(&at.media_type) != Class::Index {
            return Ok(Step::Skip);
        }
        let below = children(provider, at)?;
        let mut above = above.lock();
        for child in &below {
            above.entry(child.digest.clone()).or_insert_with(|| at.clone());
        }
        *found.lock() = below.iter().find(|child| child.digest == *digest).cloned();
        Ok(Step::Children(below))
    };
    walk(&look, roots, &Cancel::new())?;
    let Some(last) = found.into_inner() else { return Ok(None) };
    let mut above = above.into_inner();
    let mut way = vec![last.clone()];
    let mut at = last;
    // Taken out, so that no circle can be gone round.
    while let Some(index) = above.remove(&at.digest) {
        way.push(index.clone());
        at = index;
    }
    way.reverse();
    Ok(Some(way))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, on};
    use super::*;

    #[test]
    fn the_way_goes_through_every_index() {
        let f = Fixture::new();
        let [a, b] = ["a", "b"].map(|layer| f.image("linux/amd64", &[layer]));
        let inner = f.index(&[on("linux/arm64", &b), a.clone()]);
        let root = f.index(&[b.clone(), inner.clone()]);
        let way =
            |to: &Descriptor| way_to(&f.layout, std::slice::from_ref(&root), &to.digest).unwrap();
        assert_eq!(way(&a), Some(vec![root.clone(), inner.clone(), a.clone()]));
        assert_eq!(way(&root), Some(vec![root.clone()]));
        // The nearest one, as it is named there.
        assert_eq!(way(&b), Some(vec![root.clone(), b]));
        let layer = super::super::children(&f.layout, &a).unwrap().remove(1);
        assert_eq!(way(&layer), None);
    }

    #[test]
    fn an_index_that_is_not_there_is_in_the_way_only_of_what_may_be_in_it() {
        let f = Fixture::new();
        let image = f.image("linux/amd64", &["a"]);
        let absent =
            Descriptor::new(super::super::media_type::OCI_INDEX, Digest::sha256(b"absent"), 7);
        let roots = [absent, image.clone()];
        assert_eq!(way_to(&f.layout, &roots, &image.digest).unwrap(), Some(vec![image]));
        assert!(way_to(&f.layout, &roots, &Digest::sha256(b"other")).is_err());
    }
}
