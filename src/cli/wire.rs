//! Builds concrete types from the configuration: the only place of the program that does.

use std::cell::OnceCell;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::{self, Chain, Store, Trust};
use crate::content::{Descriptor, Documents, Ingester, Layout, Provider, registry};
use crate::digest::{ChainId, DiffId, Digest};
use crate::erofs;
use crate::error::Kind;
use crate::fs::MountedTree;
use crate::image::{self, Image, Manifest, Source};
use crate::service::{self, Daemon, PullOptions, PullSecrets, Pulled, PulledLayer};
use crate::snapshot::{self, Backend};
use crate::tree::Tree;

use super::advice;
use super::chains::Chains;
use super::config::Config;
use super::destination::Destination;
use super::failure::Failure;
use super::progress::Progress;
use super::serve_config::ServeConfig;

/// What the verbs are built from, made when it is first needed.
pub(crate) struct Wire {
    config: Config,
    store: OnceCell<Store>,
    registries: registry::Client,
}

/// An image that was found.
pub(crate) struct Found {
    /// Where its blobs are.
    pub(crate) provider: Arc<dyn Provider>,
    /// The image.
    pub(crate) image: Image,
}

/// An image, or one layer of it, to look into.
pub(crate) struct View {
    chain: Chain,
    /// The place of the only layer that is looked at.
    layer: Option<usize>,
}

impl Wire {
    /// Nothing is built yet.
    pub(crate) fn new(config: Config) -> Self {
        let registries = registry::Client::new(registries(&config));
        Self { config, store: OnceCell::new(), registries }
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The store of the state root.
    pub(crate) fn store(&self) -> Result<&Store, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = self.open_store()?;
        Ok(self.store.get_or_init(|| store))
    }

    /// What registries have said before.
    fn documents(&self) -> Documents {
        Documents::new(&self.config.root.join("documents"))
    }

    fn trust(&self) -> Trust {
        Trust::new(self.config.trust.clone())
    }

    fn open_store(&self) -> Result<Store, Failure> {
        let store = Store::open(&self.config.root)?.trusting(self.trust());
        Ok(match self.config.cache_limit {
            Some(limit) => store.with_cache_limit(limit.as_u64()),
            None => store,
        })
    }

    /// What was asked of registries so far.
    pub(crate) fn traffic(&self) -> &registry::Traffic {
        self.registries.traffic()
    }

    /// The snapshots of the state root, whose lazy chains `layers` shows.
    pub(crate) fn snapshots(&self, layers: Chains) -> Result<Arc<Backend>, Failure> {
        // A command ends soon: what it removed is deleted before that, not by a thread.
        let options = snapshot::Options { delete_in_background: false, ..Default::default() };
        Ok(Backend::open(&self.config.root, Arc::new(layers), options)?)
    }

    /// The daemon of the state root; `file` says where its registries are and who knows secrets.
    pub(crate) fn daemon(
        &self,
        mut options: service::Options,
        file: &ServeConfig,
    ) -> Result<Daemon, Failure> {
        let mut registry = registries(&self.config);
        registry.plain_http.clone_from(&file.registry.plain_http);
        if let Some(dirs) = &file.registry.hosts_dirs {
            registry.hosts_dirs.clone_from(dirs);
        }
        if file.kubelet.image_service {
            let secrets = Arc::new(PullSecrets::new(registry.credentials));
            options.pull_secrets = Some(secrets.clone());
            registry.credentials = secrets;
        }
        let store = self.open_store()?;
        Ok(Daemon::start(&options, store, registry::Client::new(registry))?)
    }

    /// Where what `text` names is, and its manifest or index.
    pub(crate) fn open(&self, text: &str) -> Result<(Arc<dyn Provider>, Descriptor), Failure> {
        let source: Source = text.parse()?;
        let opened = image::open_remembering(&source, &self.registries, &self.documents());
        let opened = opened.map_err(|e| advice::explain_source(&source, e))?;
        if let Some(recalled) = &opened.recalled {
            let age = humantime::format_duration(Duration::from_secs(recalled.age().as_secs()));
            tracing::warn!("{text} is what it was {age} ago: the registry says nothing");
        }
        Ok((opened.provider, opened.root))
    }

    /// What says that it is about `digest`, in the store that `text` names.
    pub(crate) fn referrers(
        &self,
        text: &str,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, Failure> {
        Ok(image::referrers(&text.parse()?, &self.registries, digest)?)
    }

    /// Where images are written to: a layout folder, which is made, or a registry.
    pub(crate) fn destination(&self, text: &str) -> Result<Destination, Failure> {
        Destination::open(text, &self.registries)
    }

    /// Registers an image in containerd; `told` is told of each layer.
    pub(crate) async fn rpull(
        &self,
        reference: &registry::Reference,
        options: &PullOptions,
        told: impl FnMut(&PulledLayer) + Send,
    ) -> Result<Pulled, Failure> {
        Ok(service::rpull(reference, &self.registries, options, told).await?)
    }

    /// The image that `text` names.
    pub(crate) fn image(&self, text: &str) -> Result<Found, Failure> {
        let (provider, root) = self.open(text)?;
        let platform = self.config.platform.as_deref().map(image::parse_platform).transpose()?;
        let (documents, is_trusted) = (self.documents(), self.trust().is_any());
        let told = |at: &Descriptor, manifest: &Manifest| {
            // An image that is seen for the first time: what is beside it will be looked into.
            if is_trusted && documents.read(&manifest.config).is_none() {
                provider.expect_referrers(&at.digest);
            }
        };
        let image = image::resolve_telling(&*provider, &root, platform.as_ref(), &told)?;
        Ok(Found { provider, image })
    }

    /// The chain of the image that `text` names, indexed if it is not yet.
    pub(crate) fn chain(&self, text: &str) -> Result<Chain, Failure> {
        self.chain_of(&self.image(text)?)
    }

    /// The chain of an image that was found, indexed if it is not yet.
    pub(crate) fn chain_of(&self, found: &Found) -> Result<Chain, Failure> {
        Ok(self.store()?.chain(&found.provider, &found.image, &self.progress())?)
    }

    /// Indexes the image that `text` names, so that [`Wire::chain`] has nothing to do.
    pub(crate) fn prepare(&self, text: &str) -> Result<(), Failure> {
        self.prepare_found(&self.image(text)?)
    }

    /// Indexes `found`, where it is not yet.
    pub(crate) fn prepare_found(&self, found: &Found) -> Result<(), Failure> {
        Ok(self.store()?.prepare(&found.provider, &found.image, &self.progress())?)
    }

    /// Writes the indexes of the layers of the image that `text` names beside it. Returns the artifact
    /// and how many layers it is of; `None` where there is nothing to write.
    pub(crate) fn push_index(&self, text: &str) -> Result<Option<(Descriptor, usize)>, Failure> {
        let found = self.image(text)?;
        let store = self.store()?;
        let push = |target: &dyn Ingester| {
            let traces = store.traces(&found.image);
            store.push_index(&found.provider, &found.image, target, &traces, &self.progress())
        };
        match text.parse()? {
            Source::Registry(reference) => Ok(push(&self.registries.repository(&reference)?)?),
            Source::Oci { path, .. } => {
                let layout = Layout::open(path)?;
                let pushed = push(&layout)?;
                if let Some((artifact, _)) = &pushed {
                    layout.set_root(artifact, None)?;
                }
                Ok(pushed)
            }
            Source::OciArchive { .. } | Source::DockerArchive { .. } => {
                Err(Failure::new(Kind::InvalidArgument, format!("{text} cannot be written to"))
                    .hint("push the indexes of an image in a registry or in oci:DIR"))
            }
        }
    }

    /// As [`Wire::chain`], of the layers up to `chain` only, where one is given.
    pub(crate) fn chain_up_to(
        &self,
        text: &str,
        chain: Option<&ChainId>,
    ) -> Result<Chain, Failure> {
        let Some(chain_id) = chain else { return self.chain(text) };
        let found = self.image(text)?;
        let image = found.image.prefix(chain_id).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("{text} has no chain {chain_id}"))
                .hint("the image has changed since its layers were registered: register it again")
        })?;
        Ok(self.store()?.chain(&found.provider, &image, &self.progress())?)
    }

    /// Which way this process would mount images, and why.
    pub(crate) fn mount_choice(&self) -> Result<erofs::Choice, Failure> {
        Ok(erofs::Choice::of(self.config.mode.into(), &self.store()?.erofs_dir())?)
    }

    /// Bars for what takes long.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.config.progress)
    }

    /// The image, or the layer of an image, that `text` names: `IMAGE` or `IMAGE:LAYER`.
    pub(crate) fn view(&self, text: &str) -> Result<View, Failure> {
        let whole = self.chain(text);
        let (Err(failure), Some((image, layer))) = (&whole, text.rsplit_once(':')) else {
            return Ok(View { chain: whole?, layer: None });
        };
        if failure.kind() != Kind::NotFound || !names_a_layer(layer) {
            return Ok(View { chain: whole?, layer: None });
        }
        let chain = self.chain(image)?;
        let place = place_of(&chain, layer).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("{image} has no layer {layer}"))
                .hint(format!("stratafs inspect {image} lists its layers"))
        })?;
        Ok(View { chain, layer: Some(place) })
    }

    /// The same image, for a process in another folder.
    pub(crate) fn absolute_image(&self, text: &str) -> Result<String, Failure> {
        let mut source: Source = text.parse()?;
        match &mut source {
            Source::Oci { path, .. }
            | Source::OciArchive { path, .. }
            | Source::DockerArchive { path, .. } => *path = std::path::absolute(&*path)?,
            Source::Registry(_) => {}
        }
        Ok(source.to_string())
    }

    /// Where a process in the background logs.
    pub(crate) fn log_file(&self) -> Result<Stdio, Failure> {
        fs::create_dir_all(&self.config.run_root)?;
        let path = self.config.run_root.join("log");
        Ok(fs::OpenOptions::new().create(true).append(true).open(path)?.into())
    }
}

/// How registries are found, and who we are to them.
fn registries(config: &Config) -> registry::Config {
    let credentials = registry::AuthFiles { files: config.auth_files.clone() };
    let mut made = registry::Config::new(config.root.join("cache"), Arc::new(credentials));
    made.uploads_dir = Some(config.root.join("uploads"));
    if !config.hosts_dirs.is_empty() {
        made.hosts_dirs.clone_from(&config.hosts_dirs);
    }
    made
}

/// Whether `text` may be a layer: a number, or the start of a digest.
fn names_a_layer(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit()) && !text.is_empty()
}

fn place_of(chain: &Chain, layer: &str) -> Option<usize> {
    let of_digest = |diff_id: &DiffId| diff_id.digest().hex().starts_with(layer);
    let by_number = layer.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    by_number
        .filter(|&place| place < chain.layers.len())
        .or_else(|| chain.layers.iter().position(|l| of_digest(&l.diff_id)))
}

impl View {
    /// What is looked at.
    pub(crate) fn tree(&self) -> &Tree {
        match self.layer {
            None => &self.chain.tree,
            Some(place) => &self.chain.layers[place].raw,
        }
    }

    /// The same with its content.
    pub(crate) fn mounted_tree(&self) -> MountedTree {
        match self.layer {
            None => self.chain.mounted_tree(),
            Some(place) => self.chain.layers[place].mounted_tree(),
        }
    }

    /// The number that a user knows a layer of the tree by: 1 is the bottom of the image.
    pub(crate) fn layer_number(&self, layer: u16) -> usize {
        self.layer.unwrap_or(usize::from(layer)) + 1
    }
}

impl chain::Progress for Progress {
    fn layer(&self, label: &str, total: u64) -> Box<dyn Fn(u64) + Send + Sync> {
        let bar = self.bar(label.to_owned(), total);
        Box::new(move |done| {
            bar.set_position(done);
            if done >= total {
                bar.finish_and_clear();
            }
        })
    }
}
