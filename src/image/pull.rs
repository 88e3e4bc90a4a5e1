//! From an image's name to complete layers in the store.

mod extra_layers;
mod layers;
mod pipe;
mod resolve;
mod stream;
mod trust;
mod workers;

use crate::image::archive::Archive;
use crate::image::layout::Layout;
pub use crate::image::pull::extra_layers::add_layers;
use crate::image::pull::extra_layers::Temporary;
use crate::image::pull::layers::Wanted;
use crate::image::pure::cosign::Key;
use crate::image::pure::mirror::Mirrors;
use crate::image::pure::oci::{self, Descriptor, ImageConfig};
use crate::image::pure::progress::size;
use crate::image::pure::pull_options::{PullOptions, PullPolicy};
use crate::image::pure::reference::Reference;
use crate::image::registry::{self, ClientConfig, Registry};
use crate::image::source::{Error, Source};
use crate::layer::packed::Layer;
use crate::net::dns::Resolver;
use crate::net::pure::proxy::Proxies;
use crate::pure::digest::Digest;
use crate::report::{Failure, Outcome, Report};
use crate::store::journal::Journal;
use crate::store::layers::Store;
use crate::store::record::Record;
use crate::sys::{self, io_text, machine, EDQUOT, EIO, ENOSPC, EROFS};
use ring::digest::{digest, Context, SHA256};
use std::sync::Arc;

/// An image that is complete in the store.
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Where the store is on a disk and has changed: what is not safe there yet.
    journal: Option<Journal>,
    /// Folders of layers that no digest names: they go with this value.
    extra: Vec<Temporary>,
}

impl Image {
    /// Begins to bring the image to the disk, while other things go on.
    pub fn sync(&self) {
        if let Some(journal) = &self.journal {
            journal.start();
        }
    }

    /// Returns when it is there.
    pub fn synced(&self, report: &Report) {
        finish(self.journal.as_ref(), report);
    }
}

fn finish(journal: Option<&Journal>, report: &Report) {
    if let Some(Err(error)) = journal.map(Journal::finish) {
        let what = "the image may not be on the disk, and is fetched again after a power cut";
        report.warn("store", format_args!("{error}: {what}"));
    }
}

/// What pulling needs to know beside the container's options.
pub struct PullContext {
    pub resolver: Arc<Resolver>,
    pub proxies: Proxies,
    pub mirrors: Mirrors,
    /// An image must be signed by one of them, where there are any.
    pub keys: Vec<Key>,
}

/// How often what arrives damaged is asked for.
const TRIES: u32 = 3;

/// Brings the image of `line` into the store, as its `--pull` says. Where its
/// registry cannot be reached and the store has the image from an earlier pull,
/// that one is taken.
pub fn image(options: &PullOptions, store: &Store, context: &PullContext, report: &Report) -> Outcome<Image> {
    let start_ms = machine::uptime_ms();
    let name = options.image.shown();
    let source = source(options, store, context, report);
    let source = source.map_err(|error| Failure::new("pull", [&name, ": ", &error.text].concat()))?;
    let has_keys = !context.keys.is_empty();
    // What lies in the initramfs is trusted as the keys there are.
    let keys = if matches!(options.image, Reference::Registry(_)) { context.keys.as_slice() } else { &[] };
    let own = has_keys && store.is_durable();
    let mut pull = Pull { key: key(options), name, options, keys, own, source, store, report, bytes: 0 };
    if has_keys {
        trust::check_image(options).map_err(|error| pull.failed(&error))?;
    }
    let image = match options.policy {
        PullPolicy::Never => pull
            .stored()
            .map(|stored| stored.image)
            .ok_or_else(|| pull.failure("", "is not stored, and --pull=never forbids to fetch it")),
        PullPolicy::Missing => match pull.stored() {
            Some(stored) => Ok(stored.image),
            None => pull.fetch().or_else(|error| pull.fall_back(error)),
        },
        PullPolicy::Always | PullPolicy::Newer => pull.newest(),
    }?;
    let what = match (pull.bytes, image.layers.len()) {
        (0, _) => "all layers are here already".into(),
        (bytes, 1) => ["1 layer, ", &size(bytes)].concat(),
        (bytes, count) => [&count.to_string(), " layers, ", &size(bytes)].concat(),
    };
    let took_ms = machine::uptime_ms() - start_ms;
    report.line("pull", format_args!("{} {}, {what} in {took_ms} ms", pull.name, image.id.short()));
    Ok(image)
}

fn client_config<'a>(options: &'a PullOptions, context: &'a PullContext, report: &'a Report) -> ClientConfig<'a> {
    ClientConfig {
        resolver: context.resolver.clone(),
        proxies: context.proxies.clone(),
        mirrors: &context.mirrors,
        tls_verify: options.tls_verify,
        cert_dir: options.cert_dir.as_deref(),
        creds: options.creds.as_ref(),
        authfile: options.authfile.as_deref(),
        retry: options.retry,
        report,
    }
}

fn source(
    options: &PullOptions,
    store: &Store,
    context: &PullContext,
    report: &Report,
) -> Result<Box<dyn Source>, Error> {
    let config = client_config(options, context, report);
    Ok(match &options.image {
        Reference::Registry(remote) => Box::new(Registry::new(remote, &config)?),
        Reference::Layout { dir, tag } => Box::new(Layout::new(dir, tag.as_deref())),
        Reference::Archive(archive) => Box::new(Archive::new(archive, store.scratch(), registry::opener(&config))),
    })
}

/// The image's name in the store: one name is another image on another machine, and a disk may serve both.
pub fn key(options: &PullOptions) -> String {
    let (architecture, variant) = options.platform(std::env::consts::ARCH);
    [&options.image.name(), "+", architecture, "+", variant].concat()
}

struct Pull<'a> {
    name: String,
    /// Its name in the store.
    key: String,
    options: &'a PullOptions,
    keys: &'a [Key],
    /// No layer is used that another process, or another boot, has unpacked.
    own: bool,
    source: Box<dyn Source>,
    store: &'a Store,
    report: &'a Report,
    /// Compressed bytes of layers that were fetched.
    bytes: u64,
}

/// An image of an earlier pull.
struct Stored {
    image: Image,
    manifest: Option<Digest>,
}

/// Does `attempt` until it works or is refused, a few times at most.
fn again<T>(report: &Report, object: &str, attempt: &mut dyn FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !error.retry || tries == TRIES {
            return Err(if object.is_empty() { error } else { error.of(object) });
        }
        let colon = if object.is_empty() { "" } else { ": " };
        report.warn("pull", format_args!("{object}{colon}{}; try {tries} of {TRIES}", error.text));
        tries += 1;
    }
}

impl Pull<'_> {
    /// The image that the name stands for now. One that is stored costs a question.
    fn newest(&mut self) -> Outcome<Image> {
        if self.own {
            // To know what is stored means to unpack it.
            if self.store.image(&self.key).is_some() {
                self.source.prefer_cached();
            }
            return self.fetch().or_else(|error| self.fall_back(error));
        }
        if let Some(stored) = self.stored() {
            self.source.prefer_cached();
            match self.source.current() {
                Ok(current) if current.is_some() && current == stored.manifest => return Ok(stored.image),
                Err(error) => return self.fall_back(error),
                // GET tells more.
                Ok(_) => {}
            }
        }
        self.fetch().or_else(|error| self.fall_back(error))
    }

    fn fetch(&mut self) -> Result<Image, Error> {
        let resolved = self.resolve()?;
        let signed = self.verified(&resolved.digests)?;
        let config = self.config(&resolved)?;
        let record = Record { config: resolved.config.digest, manifest: resolved.digests.first().copied(), signed };
        let wanted = self.wanted(&config, &resolved.layers);
        let is_new = self.store.image(&self.key) != Some(record);
        let journal = match is_new || wanted.iter().any(|layer| layer.here.is_none()) {
            true => self.begin(&record.config, &wanted)?,
            false => None,
        };
        let fetched = layers::fetch(&wanted, &*self.source, self.store, self.own, self.report);
        let fetched = fetched.and_then(|(layers, bytes)| {
            self.bytes = bytes;
            let recorded = if is_new { self.store.put_image(&self.key, &record) } else { Ok(()) };
            recorded.map(|()| layers).map_err(|error| Error::refused(&io_text(&error)).of("image record"))
        });
        match fetched {
            Ok(layers) => Ok(Image { id: record.config, config, layers, journal, extra: Vec::new() }),
            Err(error) => {
                // Those that are complete stay.
                finish(journal.as_ref(), self.report);
                Err(error)
            }
        }
    }

    /// All layers, lowest first.
    fn wanted(&self, config: &ImageConfig, layers: &[Descriptor]) -> Vec<Wanted> {
        let count = layers.len();
        let chained = chain(&config.diff_ids).zip(layers).enumerate();
        let wanted = chained.map(|(index, ((diff_id, chain), layer))| Wanted {
            descriptor: layer.clone(),
            diff_id,
            chain,
            object: format!("layer {}/{count} {}", index + 1, layer.digest.short()),
            here: self.layer(&chain, &diff_id),
        });
        wanted.collect()
    }

    fn layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        match self.own {
            true => self.store.own_layer(chain, diff_id),
            false => self.store.layer(chain, diff_id),
        }
    }

    /// Says what will change before it does.
    fn begin(&self, config: &Digest, wanted: &[Wanted]) -> Result<Option<Journal>, Error> {
        let missing = wanted.iter().filter(|layer| layer.here.is_none() && !self.own);
        let mut missing = missing.map(|layer| (layer.chain, layer.diff_id));
        let journal = self.store.begin_pull(&self.key, config, &mut missing);
        journal.map_err(|error| Error::refused(&io_text(&error)).of("the store's journal"))
    }

    /// What the store has of the name, if it is whole, and signed where it has to be.
    fn stored(&self) -> Option<Stored> {
        let Record { config: id, manifest, signed } = self.store.image(&self.key)?;
        let mut descriptors = Vec::new();
        if !self.keys.is_empty() {
            let signed = signed.filter(|signed| self.verified_here(signed))?;
            // The record is only a file of the disk: what it names must be what was signed.
            let resolved = self.resolve_kept(&signed.digest).filter(|resolved| resolved.config.digest == id)?;
            descriptors = resolved.layers;
        } else if self.own {
            return None;
        }
        let bytes = self.store.config(&id).filter(|bytes| hash(bytes) == id)?;
        let config = oci::image_config(&bytes).ok()?;
        let layers = match self.own {
            true => self.unpack_kept(&config, &descriptors)?,
            false => chain(&config.diff_ids).map(|(id, chain)| self.layer(&chain, &id)).collect::<Option<_>>()?,
        };
        Some(Stored { image: Image { id, config, layers, journal: None, extra: Vec::new() }, manifest })
    }

    /// The layers of a stored image, from what was kept of them; what is missing, or damaged, is fetched.
    fn unpack_kept(&self, config: &ImageConfig, descriptors: &[Descriptor]) -> Option<Vec<Layer>> {
        if descriptors.len() != config.diff_ids.len() {
            return None;
        }
        let wanted = self.wanted(config, descriptors);
        let fetched = layers::fetch(&wanted, &*self.source, self.store, self.own, self.report);
        fetched.ok().map(|(layers, _)| layers)
    }

    /// A registry that is away, or goes away in the middle, is no reason not to
    /// boot; one that refuses is, unless only something newer was wanted.
    fn fall_back(&self, error: Error) -> Outcome<Image> {
        let may = error.unreachable || self.options.policy == PullPolicy::Newer;
        let Some(stored) = self.stored().filter(|_| may) else { return Err(self.failed(&error)) };
        let what = self.failed(&error).what;
        self.report.warn("pull", format_args!("{what}; the image of an earlier pull is taken"));
        Ok(stored.image)
    }

    fn failed(&self, error: &Error) -> Failure {
        let failure = self.failure(&error.object, &error.text);
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    fn failure(&self, object: &str, why: &str) -> Failure {
        let separator = if object.is_empty() { "" } else { " " };
        let failure = Failure::new("pull", [&self.name, separator, object, ": ", why].concat());
        if why.contains("no space left on device") {
            return failure.hint("the store is full: give the machine more memory, or a disk by b2c.cache_device=");
        }
        failure
    }
}

/// The diff ID and the chain ID of each layer, lowest first (OCI image spec,
/// config.md, «Layer ChainID»).
fn chain(diff_ids: &[Digest]) -> impl Iterator<Item = (Digest, Digest)> + '_ {
    diff_ids.iter().scan(None, |below: &mut Option<Digest>, diff_id| {
        let next = match below {
            None => *diff_id,
            Some(below) => hash([&below.text(), " ", &diff_id.text()].concat().as_bytes()),
        };
        *below = Some(next);
        Some((*diff_id, next))
    })
}

pub(super) fn hash(bytes: &[u8]) -> Digest {
    to_digest(digest(&SHA256, bytes))
}

pub(super) fn hash_of(context: Context) -> Digest {
    to_digest(context.finish())
}

fn to_digest(digest: ring::digest::Digest) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Digest(bytes)
}

/// Whether unpacking failed where files are kept, whatever the layer holds.
fn is_of_the_store(why: &str) -> bool {
    [ENOSPC, EDQUOT, EROFS, EIO].iter().any(|errno| why.ends_with(&sys::Error::new("", *errno).to_string()))
}
