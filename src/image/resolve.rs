use parking_lot::Mutex;

use crate::content::{Descriptor, Platform, Provider};
use crate::digest::{ChainId, DiffId, chain_ids};

use super::media_type::{self as mt, Class, classify, is_encrypted};
use super::{
    Cancel, Config, Error, Handler, Manifest, Matcher, Step, children, filter_platforms,
    limit_manifests, walk,
};

/// The most layers of an image. Docker allows 127; squashing tools and tests go beyond.
pub const MAX_LAYERS: usize = 4096;
/// The most documents that are read to find the image of one platform.
const MAX_DOCUMENTS: usize = 512;

/// The annotation on what BuildKit puts beside an image, about it.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// One image for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// The descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: Config,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// The chain ID of all layers; `None` for an image without layers.
    pub fn chain_id(&self) -> Option<&ChainId> {
        self.layers.last().map(|layer| &layer.chain_id)
    }

    /// The same image without the layers above those of `chain_id`; `None` where it is no chain of
    /// this image.
    pub fn prefix(&self, chain_id: &ChainId) -> Option<Self> {
        let top = self.layers.iter().position(|layer| layer.chain_id == *chain_id)?;
        let mut prefix = self.clone();
        prefix.layers.truncate(top + 1);
        Some(prefix)
    }
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob as it is stored.
    pub descriptor: Descriptor,
    /// The digest of the blob uncompressed.
    pub diff_id: DiffId,
    /// The digest of this layer and all below it.
    pub chain_id: ChainId,
}

/// Follows `root`, a manifest or an image index, to the image for `platform`.
///
/// `None` is the platform of this machine; a root that is a manifest is then taken for whatever
/// platform it is, as containerd does. In an index the best fitting entry is taken, and entries
/// without a platform are judged by their config.
///
/// # Errors
///
/// [`Error::NoPlatform`], which lists the platforms there are; [`Error::NotAnImage`] for
/// artifacts; [`Error::LayerCount`], [`Error::UnsupportedLayer`], [`Error::TooMany`]; what parsing
/// and reading the documents gives.
pub fn resolve(
    provider: &dyn Provider,
    root: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Image, Error> {
    resolve_telling(provider, root, platform, &|_, _| {})
}

/// As [`resolve`]; `told` is told of a manifest that may be the image's before its configuration is
/// read, so that what else that manifest leads to can be asked for meanwhile.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_telling(
    provider: &dyn Provider,
    root: &Descriptor,
    platform: Option<&Platform>,
    told: &(dyn Fn(&Descriptor, &Manifest) + Sync),
) -> Result<Image, Error> {
    let matcher = platform.map_or_else(Matcher::host, Matcher::new);
    let search = Search {
        provider,
        told,
        matcher: &matcher,
        root,
        anything: platform.is_none() && classify(&root.media_type) == Class::Manifest,
        state: Mutex::default(),
    };
    let entries = |at: &Descriptor, _: &Cancel| search.entries(at);
    // Those that fit best come first, and those that do not say last.
    let fitting = filter_platforms(entries, matcher.clone());
    let fitting = limit_manifests(fitting, matcher.clone(), 0);
    let visit = |at: &Descriptor, cancel: &Cancel| search.visit(at, &fitting, cancel);
    walk(&visit, std::slice::from_ref(root), &Cancel::new())?;
    let State { found, offered, .. } = std::mem::take(&mut *search.state.lock());
    found.ok_or_else(|| {
        let wanted = matcher.wanted().to_string();
        Error::NoPlatform { digest: root.digest.clone(), wanted, offered }
    })
}

/// The search for one image below a root.
struct Search<'a> {
    provider: &'a dyn Provider,
    told: &'a (dyn Fn(&Descriptor, &Manifest) + Sync),
    matcher: &'a Matcher,
    root: &'a Descriptor,
    /// Whether any platform is right.
    anything: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    found: Option<Image>,
    documents: usize,
    /// The platforms that were seen and do not fit.
    offered: Vec<String>,
}

impl Search<'_> {
    /// Goes down where an index is, and looks at a manifest; once an image is found, at nothing.
    fn visit(
        &self,
        at: &Descriptor,
        fitting: &dyn Handler,
        cancel: &Cancel,
    ) -> Result<Step, Error> {
        if self.state.lock().found.is_some() {
            return Ok(Step::Skip);
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "only two classes lead to an image; schema 1 is told apart when parsed"
        )]
        match classify(&at.media_type) {
            Class::Manifest => {
                let found = self.manifest(at)?;
                self.state.lock().found = found;
                Ok(Step::Skip)
            }
            Class::Index => fitting.handle(at, cancel),
            Class::Schema1 => Err(Error::Schema1 { digest: at.digest.clone() }),
            _ => {
                let reason = format!("its media type is {}", at.media_type);
                Err(Error::NotAnImage { digest: at.digest.clone(), reason })
            }
        }
    }

    /// One more document is read.
    fn count(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.documents += 1;
        if state.documents > MAX_DOCUMENTS {
            let digest = self.root.digest.clone();
            return Err(Error::TooMany { digest, what: "documents", limit: MAX_DOCUMENTS });
        }
        Ok(())
    }

    /// What of an index may be the image, for whatever platform.
    fn entries(&self, at: &Descriptor) -> Result<Step, Error> {
        self.count()?;
        let mut entries = children(self.provider, at)?;
        entries.retain(may_be_image);
        let platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
        let others = platforms.filter(|p| self.matcher.rank(p).is_none()).map(ToString::to_string);
        self.state.lock().offered.extend(others);
        Ok(Step::Children(entries))
    }

    fn manifest(&self, at: &Descriptor) -> Result<Option<Image>, Error> {
        self.count()?;
        let manifest = Manifest::parse(at, self.provider.read(at)?)?;
        if let Some(reason) = artifact(&manifest) {
            if at.digest != self.root.digest && at.platform.is_none() {
                return Ok(None);
            }
            return Err(Error::NotAnImage { digest: at.digest.clone(), reason });
        }
        self.count()?;
        (self.told)(at, &manifest);
        let config = Config::parse(&manifest.config, self.provider.read(&manifest.config)?)?;
        let fits = self.anything
            || at.platform.is_some()
            || self.matcher.rank(&config.platform()).is_some();
        if !fits {
            self.state.lock().offered.push(config.platform().to_string());
            return Ok(None);
        }
        assemble(at, manifest, config).map(Some)
    }
}

/// Whether an entry of an index may be the image, rather than something about one.
fn may_be_image(entry: &Descriptor) -> bool {
    matches!(classify(&entry.media_type), Class::Manifest | Class::Index | Class::Schema1)
        && entry.artifact_type.is_none()
        && !entry.annotations.contains_key(REFERENCE_TYPE)
}

/// Why a manifest is no container image, if it is none.
fn artifact(manifest: &Manifest) -> Option<String> {
    if let Some(kind) = manifest.artifact_type.as_deref().filter(|kind| !kind.is_empty()) {
        return Some(format!("it is an artifact of type {kind}"));
    }
    match classify(&manifest.config.media_type) {
        Class::Config => None,
        Class::Manifest
        | Class::Index
        | Class::Layer
        | Class::Attestation
        | Class::Checkpoint
        | Class::Schema1
        | Class::Unknown => Some(format!("its config has type {}", manifest.config.media_type)),
    }
}

/// Puts manifest and config together, layer by layer.
fn assemble(at: &Descriptor, manifest: Manifest, config: Config) -> Result<Image, Error> {
    let diff_ids = &config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(Error::LayerCount {
            manifest: at.digest.clone(),
            layers: manifest.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    for layer in &manifest.layers {
        check_layer(layer)?;
    }
    let ids = diff_ids.iter().zip(chain_ids(diff_ids));
    let layers = manifest.layers.iter().zip(ids).map(|(descriptor, (diff_id, chain_id))| Layer {
        descriptor: descriptor.clone(),
        diff_id: diff_id.clone(),
        chain_id,
    });
    let layers = layers.collect();
    Ok(Image { descriptor: at.clone(), manifest, config, layers })
}

fn check_layer(layer: &Descriptor) -> Result<(), Error> {
    let reason = match layer.media_type.as_str() {
        encrypted if is_encrypted(encrypted) => "it is encrypted: decrypt the image first",
        mt::EROFS_LAYER => "it is no tar: pull the image in a tar-based variant",
        other if classify(other) == Class::Layer => return Ok(()),
        _ => "that is no image layer",
    };
    let media_type = layer.media_type.clone();
    Err(Error::UnsupportedLayer { digest: layer.digest.clone(), media_type, reason })
}

#[cfg(test)]
mod tests;
