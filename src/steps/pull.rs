//! From an image's name to complete layers in the store.

mod layers;
mod pipe;
mod stream;

use super::archive::Archive;
use super::layer::Layer;
use super::layout::Layout;
use super::registry::Registry;
use super::resolver::Resolver;
use super::source::{Error, Source};
use super::store::journal::Journal;
use super::store::Store;
use crate::proto::digest::Digest;
use crate::proto::oci::{self, Descriptor, Document, ImageConfig};
use crate::proto::progress::size;
use crate::proto::reference::Reference;
use crate::report::{Failure, Outcome, Report};
use crate::sys::{self, io_text, machine, EDQUOT, EIO, ENOSPC, EROFS};
use layers::Wanted;
use ring::digest::{digest, Context, SHA256};
use std::sync::Arc;

/// An image that is complete in the store.
pub struct Image {
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Where the store is on a disk and has changed: what is not safe there yet.
    journal: Option<Journal>,
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

/// What pulling needs to know beside the name.
pub struct Access {
    pub tls_verify: bool,
    pub resolver: Arc<Resolver>,
}

/// How often what arrives damaged is asked for.
const TRIES: u32 = 3;

/// Brings `reference` into the store. Where its registry cannot be reached and
/// the store has the image from an earlier pull, that one is taken.
pub fn image(reference: &Reference, store: &Store, access: &Access, report: &Report) -> Outcome<Image> {
    let start_ms = machine::uptime_ms();
    let mut pull = Pull { name: reference.name(), source: source(reference, store, access), store, report, bytes: 0 };
    let (digest, config) = match pull.config() {
        Ok(found) => found,
        Err(error) => return pull.fall_back(error),
    };
    let (config_digest, layers) = (digest.0, digest.1);
    let wanted = pull.wanted(&config, &layers);
    let is_new = store.image(&pull.name) != Some(config_digest);
    let journal = match is_new || wanted.iter().any(|layer| layer.here.is_none()) {
        true => pull.begin(&config_digest, &wanted)?,
        false => None,
    };
    let fetched = match layers::fetch(&wanted, &*pull.source, store, report) {
        Ok((fetched, bytes)) => {
            pull.bytes = bytes;
            fetched
        }
        Err(error) => {
            // Those that are complete stay.
            finish(journal.as_ref(), report);
            return pull.fall_back(error);
        }
    };
    if is_new {
        store.put_image(&pull.name, &config_digest).map_err(|error| pull.failure("image record", &io_text(&error)))?;
    }
    let what = match (pull.bytes, fetched.len()) {
        (0, _) => "all layers are here already".into(),
        (bytes, 1) => ["1 layer, ", &size(bytes)].concat(),
        (bytes, count) => [&count.to_string(), " layers, ", &size(bytes)].concat(),
    };
    let took_ms = machine::uptime_ms() - start_ms;
    report.line("pull", format_args!("{} {}, {what} in {took_ms} ms", pull.name, config_digest.short()));
    Ok(Image { config, layers: fetched, journal })
}

fn source(reference: &Reference, store: &Store, access: &Access) -> Box<dyn Source> {
    match reference {
        Reference::Registry(remote) => Box::new(Registry::new(remote, access.tls_verify, &access.resolver)),
        Reference::Layout { dir, tag } => Box::new(Layout::new(dir, tag.as_deref())),
        Reference::Archive(archive) => Box::new(Archive::new(archive, store.scratch(), None)),
    }
}

struct Pull<'a> {
    name: String,
    source: Box<dyn Source>,
    store: &'a Store,
    report: &'a Report,
    /// Compressed bytes of layers that were fetched.
    bytes: u64,
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
            return Err(error.of(object));
        }
        report.warn("pull", format_args!("{object}: {}; try {tries} of {TRIES}", error.text));
        tries += 1;
    }
}

type Found = ((Digest, Vec<Descriptor>), ImageConfig);

impl Pull<'_> {
    /// The configuration of the image for this machine, and its layers.
    fn config(&mut self) -> Result<Found, Error> {
        let (config, layers) = self.manifest()?;
        let object = ["configuration ", &config.digest.short()].concat();
        let refused = |why: &str| Error::refused(why).of(&object);
        let bytes = match self.store.config(&config.digest) {
            Some(bytes) if hash(&bytes) == config.digest => bytes,
            _ => {
                let bytes = again(self.report, &object, &mut || self.document(&config))?;
                self.store.put_config(&config.digest, &bytes).map_err(|error| refused(&io_text(&error)))?;
                bytes
            }
        };
        let parsed = oci::image_config(&bytes).map_err(|error| refused(&error.text()))?;
        if parsed.diff_ids.len() != layers.len() {
            return Err(refused("names another number of layers than the manifest"));
        }
        Ok(((config.digest, layers), parsed))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > oci::DOCUMENT_MAX {
            return Err(Error::refused("larger than 4 MiB"));
        }
        let bytes = self.source.document(descriptor)?;
        match hash(&bytes) {
            got if got == descriptor.digest => Ok(bytes),
            got => Err(Error::damaged(&["has the digest ", &got.text()].concat())),
        }
    }

    /// The manifest for this machine, through an index where there is one.
    fn manifest(&mut self) -> Result<(Descriptor, Vec<Descriptor>), Error> {
        let mut wanted = self.source.wanted();
        for _ in 0..=oci::INDEX_DEPTH_MAX {
            let bytes = self.source.manifest(wanted.as_ref())?;
            let digest = hash(&bytes);
            if wanted.is_some_and(|wanted| wanted != digest) {
                return Err(Error::refused(&["manifest: has the digest ", &digest.text()].concat()));
            }
            let document = oci::document(&bytes);
            let document = document.map_err(|error| Error::refused(&["manifest: ", &error.text()].concat()))?;
            let choices = match document {
                Document::Manifest { config, layers } => return Ok((config, layers)),
                Document::Index(choices) => choices,
            };
            let (architecture, variant) = oci::platform(std::env::consts::ARCH);
            let choice = oci::choose(&choices, architecture, variant);
            let choice = choice.ok_or_else(|| Error::refused(&["no image for linux/", architecture].concat()))?;
            wanted = Some(choice.descriptor.digest);
        }
        Err(Error::refused("an index in an index in an index"))
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
            here: self.store.layer(&chain, &diff_id),
        });
        wanted.collect()
    }

    /// Says what will change before it does.
    fn begin(&self, config: &Digest, wanted: &[Wanted]) -> Outcome<Option<Journal>> {
        let missing = wanted.iter().filter(|layer| layer.here.is_none());
        let mut missing = missing.map(|layer| (layer.chain, layer.diff_id));
        let journal = self.store.begin_pull(&self.name, config, &mut missing);
        journal.map_err(|error| self.failure("the store's journal", &io_text(&error)))
    }

    /// A registry that is away, or goes away in the middle, is no reason not to boot.
    fn fall_back(&self, error: Error) -> Outcome<Image> {
        let digest = self.store.image(&self.name).filter(|_| error.unreachable);
        let config = digest.and_then(|digest| {
            let bytes = self.store.config(&digest).filter(|bytes| hash(bytes) == digest)?;
            oci::image_config(&bytes).ok()
        });
        let Some(config) = config else { return Err(self.failed(&error)) };
        let layers = chain(&config.diff_ids).map(|(diff_id, chain)| self.store.layer(&chain, &diff_id)).collect();
        let Some(layers) = layers else { return Err(self.failed(&error)) };
        let what = self.failed(&error).what;
        self.report.warn("pull", format_args!("{what}; the image of an earlier pull is taken"));
        Ok(Image { config, layers, journal: None })
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
