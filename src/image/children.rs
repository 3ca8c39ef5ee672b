use crate::content::{Descriptor, Provider};

use super::media_type::{Class, classify};
use super::{Cancel, Error, Handler, Index, Manifest, Matcher, Step};

/// The children of a descriptor: config and layers of a manifest, the entries of an index, none of
/// all that has no structure. Types that are not known have none either, and a line in the log.
///
/// # Errors
///
/// What reading and parsing the document gives.
pub fn children(
    provider: &dyn Provider,
    descriptor: &Descriptor,
) -> Result<Vec<Descriptor>, Error> {
    match classify(&descriptor.media_type) {
        Class::Manifest => Ok(Manifest::parse(descriptor, provider.read(descriptor)?)?.children()),
        Class::Index => Ok(Index::parse(descriptor, provider.read(descriptor)?)?.manifests),
        Class::Config | Class::Layer | Class::Attestation | Class::Checkpoint => Ok(Vec::new()),
        Class::Schema1 => Err(Error::Schema1 { digest: descriptor.digest.clone() }),
        Class::Unknown => {
            tracing::debug!(
                digest = %descriptor.digest,
                media_type = descriptor.media_type,
                "unknown media type: taken to have no children"
            );
            Ok(Vec::new())
        }
    }
}

/// A handler that gives the [`children`] of each descriptor.
pub fn children_handler<'a>(provider: &'a dyn Provider) -> impl Handler + 'a {
    move |descriptor: &Descriptor, _: &Cancel| children(provider, descriptor).map(Step::Children)
}

/// Leaves out the children that are for a platform that `matcher` does not match. Those that do
/// not say stay.
pub fn filter_platforms<'a>(inner: impl Handler + 'a, matcher: Matcher) -> impl Handler + 'a {
    move |descriptor: &Descriptor, cancel: &Cancel| {
        let mut step = inner.handle(descriptor, cancel)?;
        if let Step::Children(children) = &mut step {
            children.retain(|c| c.platform.as_ref().is_none_or(|p| matcher.rank(p).is_some()));
        }
        Ok(step)
    }
}

/// Keeps only the `limit` best children of each index, the ones that `matcher` likes most first
/// and the ones without a platform last; a `limit` of 0 sorts only.
///
/// The handler fails with [`Error::NoPlatform`] where an index has no child left.
pub fn limit_manifests<'a>(
    inner: impl Handler + 'a,
    matcher: Matcher,
    limit: usize,
) -> impl Handler + 'a {
    move |descriptor: &Descriptor, cancel: &Cancel| {
        let mut step = inner.handle(descriptor, cancel)?;
        if classify(&descriptor.media_type) != Class::Index {
            return Ok(step);
        }
        if let Step::Children(children) = &mut step {
            children.sort_by_key(|child| match &child.platform {
                None => usize::MAX,
                Some(p) => matcher.rank(p).unwrap_or(usize::MAX - 1),
            });
            if limit > 0 && children.is_empty() {
                return Err(Error::NoPlatform {
                    digest: descriptor.digest.clone(),
                    wanted: matcher.wanted().to_string(),
                    offered: Vec::new(),
                });
            }
            if limit > 0 {
                children.truncate(limit);
            }
        }
        Ok(step)
    }
}
