use std::sync::Arc;
use std::time::Duration;

use crate::content::registry::Client;
use crate::content::{
    self, Descriptor, DockerArchive, DockerImage, Documents, Layout, OciArchive, Provider,
    REF_NAME, Recalled, Remembered,
};
use crate::error::{Classify, Kind};

use super::media_type::{Class, classify};
use super::{Error, Selector, Source, way_to};

/// The annotation that holds the whole name of an image in layouts that containerd writes.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// The store that holds the image `source`, and the descriptor of its manifest or index. A registry
/// is reached through `client`, which is asked for nothing else.
///
/// # Errors
///
/// [`Error::Content`] where the store cannot be opened; [`Error::NoSuchName`] and
/// [`Error::Ambiguous`], which list what there is.
pub fn open(source: &Source, client: &Client) -> Result<(Arc<dyn Provider>, Descriptor), Error> {
    match source {
        Source::Oci { path, select } => {
            let layout = Layout::open(path)?;
            let root = pick(&layout, &layout.roots()?, select)?;
            Ok((Arc::new(layout), root))
        }
        Source::OciArchive { path, select } => {
            let archive = OciArchive::open(path)?;
            let root = pick(&archive, archive.roots(), select)?;
            Ok((Arc::new(archive), root))
        }
        Source::DockerArchive { path, select } => {
            let image = pick_docker(&DockerArchive::open(path)?, source, select)?;
            let root = image.root().clone();
            Ok((Arc::new(image), root))
        }
        Source::Registry(reference) => {
            let repository = client.repository(reference).map_err(content::Error::from)?;
            let root = repository.resolve().map_err(content::Error::from)?;
            Ok((Arc::new(repository), root))
        }
    }
}

/// What [`open_remembering`] gives.
pub struct Opened {
    /// The store that holds the image.
    pub provider: Arc<dyn Provider>,
    /// The descriptor of its manifest or index.
    pub root: Descriptor,
    /// What the name was found to be before, where that is what counts.
    pub recalled: Option<Recalled>,
}

/// How long the registry may take to say what a tag means now, where it is known what it meant.
const PATIENCE: Duration = Duration::from_secs(3);

/// As [`open`], with what registries have said before kept in `documents`: what is known by its
/// digest needs no registry, and neither does a tag that was seen before, where the registry says
/// nothing or lets us in no more.
///
/// # Errors
///
/// As [`open`].
pub fn open_remembering(
    source: &Source,
    client: &Client,
    documents: &Documents,
) -> Result<Opened, Error> {
    let Source::Registry(reference) = source else {
        let (provider, root) = open(source, client)?;
        return Ok(Opened { provider, root, recalled: None });
    };
    let name = reference.to_string();
    let repository = client.repository(reference).map_err(content::Error::from)?;
    let provider = Arc::new(Remembered::new(documents.clone(), Arc::new(repository.clone())));
    let known = documents.recall(&name).filter(|known| documents.read(&known.root).is_some());
    let before = known.as_ref().map(|known| known.root.digest.clone());
    let (root, recalled) = match known {
        Some(known) if reference.digest().is_some() => (known.root, None),
        None => (repository.resolve().map_err(content::Error::from)?, None),
        Some(known) => match repository.resolve_again(PATIENCE) {
            Ok(root) => (root, None),
            Err(error) if is_silence(error.kind()) => {
                tracing::info!(name, %error, "the registry is not asked what the name means now");
                (known.root.clone(), Some(known))
            }
            Err(error) => return Err(content::Error::from(error).into()),
        },
    };
    // Also where it is the same: it is as fresh as that.
    let is_new = reference.digest().is_none() || before.as_ref() != Some(&root.digest);
    if recalled.is_none()
        && is_new
        && let Err(error) = documents.remember(&name, &root)
    {
        tracing::warn!(name, %error, "what the name means is not remembered");
    }
    Ok(Opened { provider, root, recalled })
}

/// Whether an error says nothing about what was asked.
fn is_silence(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unavailable
            | Kind::DeadlineExceeded
            | Kind::Unauthenticated
            | Kind::PermissionDenied
            | Kind::DataLoss
    )
}

/// The root that is meant.
fn pick(
    store: &dyn Provider,
    roots: &[Descriptor],
    select: &Selector,
) -> Result<Descriptor, Error> {
    if let Selector::Digest(digest) = select {
        return match way_to(store, roots, digest)?.and_then(|mut way| way.pop()) {
            Some(found) => Ok(found),
            None => Err(no_such(store.name(), digest, &offers(roots))),
        };
    }
    let images: Vec<&Descriptor> = roots.iter().filter(|d| is_image(d)).collect();
    let names: Vec<Vec<&str>> = images.iter().map(|d| names_of(d)).collect();
    let fits = match select {
        Selector::Name(name) => best_fits(&names, name),
        Selector::Only | Selector::Digest(_) => (0..images.len()).collect(),
    };
    // Several names of one image are one image.
    let mut distinct: Vec<&Descriptor> = Vec::new();
    for at in fits {
        if distinct.iter().all(|d| d.digest != images[at].digest) {
            distinct.push(images[at]);
        }
    }
    match (&distinct[..], select) {
        ([one], _) => Ok((*one).clone()),
        ([], Selector::Name(name)) => Err(no_such(store.name(), name, &offers(roots))),
        ([], _) => Err(no_such(store.name(), "at all", &offers(roots))),
        _ => Err(Error::Ambiguous {
            store: store.name().to_owned(),
            offered: offers(&distinct.into_iter().cloned().collect::<Vec<_>>()),
        }),
    }
}

fn pick_docker(
    archive: &DockerArchive,
    source: &Source,
    select: &Selector,
) -> Result<DockerImage, Error> {
    let names: Vec<Vec<&str>> =
        archive.names().map(|names| names.iter().map(String::as_str).collect()).collect();
    let store = source.to_string();
    let offered: Vec<String> = names
        .iter()
        .map(|names| {
            names.first().map_or_else(|| "an image without a name".into(), |n| (*n).into())
        })
        .collect();
    let fits = match select {
        Selector::Only => (0..names.len()).collect(),
        Selector::Name(name) => best_fits(&names, name),
        Selector::Digest(digest) => {
            for at in 0..names.len() {
                let image = archive.image(at)?;
                let fits =
                    |i: &DockerImage| i.config().digest == *digest || i.root().digest == *digest;
                if let Some(image) = image.filter(fits) {
                    return Ok(image);
                }
            }
            Vec::new()
        }
    };
    match (&fits[..], select) {
        ([at], _) => match archive.image(*at)? {
            Some(image) => Ok(image),
            None => Err(no_such(&store, "at all", &offered)),
        },
        ([], Selector::Name(name)) => Err(no_such(&store, name, &offered)),
        ([], Selector::Digest(digest)) => Err(no_such(&store, digest, &offered)),
        ([], Selector::Only) => Err(no_such(&store, "at all", &offered)),
        _ => Err(Error::Ambiguous { store, offered }),
    }
}

/// The positions in `names` that `wanted` fits best: the whole name, else the name without the
/// default tag, else the name without its registry, else the tag alone.
fn best_fits(names: &[Vec<&str>], wanted: &str) -> Vec<usize> {
    let with_latest = format!("{wanted}:latest");
    let tail = format!("/{wanted}");
    let tail_latest = format!("/{with_latest}");
    let tag = |name: &str| name.rsplit_once(':').map(|(_, tag)| tag.to_owned());
    let tiers: [&dyn Fn(&str) -> bool; 4] = [
        &|name| name == wanted,
        &|name| name == with_latest,
        &|name| name.ends_with(&tail) || name.ends_with(&tail_latest),
        &|name| tag(name).as_deref() == Some(wanted),
    ];
    let fitting = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let any = |at: &usize| names[*at].iter().any(|name| fits(name));
        (0..names.len()).filter(any).collect()
    };
    tiers.into_iter().map(fitting).find(|fits| !fits.is_empty()).unwrap_or_default()
}

/// Whether a root may be an image: a manifest or index that is not marked as an artifact.
fn is_image(d: &Descriptor) -> bool {
    matches!(classify(&d.media_type), Class::Manifest | Class::Index | Class::Schema1)
        && d.artifact_type.is_none()
}

fn names_of(d: &Descriptor) -> Vec<&str> {
    [REF_NAME, IMAGE_NAME].iter().filter_map(|key| d.annotations.get(*key)).map(|s| &**s).collect()
}

/// What a user may choose from.
fn offers(roots: &[Descriptor]) -> Vec<String> {
    roots
        .iter()
        .filter(|d| is_image(d))
        .map(|d| match names_of(d).first() {
            Some(name) => (*name).to_owned(),
            None => format!("@{}", d.digest),
        })
        .collect()
}

fn no_such(store: &str, wanted: impl ToString, offered: &[String]) -> Error {
    Error::NoSuchName {
        store: store.to_owned(),
        wanted: wanted.to_string(),
        offered: offered.to_vec(),
    }
}

#[cfg(test)]
mod tests;
