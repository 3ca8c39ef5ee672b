//! Where new images and checkpoints are written to.

use crate::content::registry::{Client, Repository};
use crate::content::{self, Descriptor, Ingester, Layout};
use crate::error::Kind;
use crate::image::{Selector, Source};

use super::failure::Failure;

/// A store that takes content and a name for it.
pub(crate) enum Destination {
    /// A layout folder and a tag.
    Layout(Layout, String),
    /// A repository and a tag.
    Registry(Repository, String),
}

impl Destination {
    /// The store and name that `text` says; a layout folder is made where there is none.
    pub(super) fn open(text: &str, registries: &Client) -> Result<Self, Failure> {
        match text.parse()? {
            Source::Oci { path, select: Selector::Name(tag) } => {
                Ok(Self::Layout(Layout::create(path)?, tag))
            }
            Source::Registry(reference) if reference.digest().is_none() => {
                let tag = reference.tag().unwrap_or("latest").to_owned();
                let repository = registries.repository(&reference);
                Ok(Self::Registry(repository.map_err(content::Error::from)?, tag))
            }
            Source::Oci { .. }
            | Source::OciArchive { .. }
            | Source::DockerArchive { .. }
            | Source::Registry(_) => Err(Failure::new(
                Kind::InvalidArgument,
                format!("{text} is no place to write to under a name"),
            )
            .hint("write it as oci:DIR:TAG or docker://REFERENCE:TAG")),
        }
    }

    /// The store.
    pub(super) fn store(&self) -> &dyn Ingester {
        match self {
            Self::Layout(layout, _) => layout,
            Self::Registry(repository, _) => repository,
        }
    }

    /// Names `root`, whose content is in the store.
    pub(super) fn name(&self, root: &Descriptor) -> Result<(), Failure> {
        match self {
            Self::Layout(layout, tag) => Ok(layout.set_root(root, Some(tag))?),
            Self::Registry(repository, tag) => {
                Ok(repository.set_root(root, tag).map_err(content::Error::from)?)
            }
        }
    }
}
