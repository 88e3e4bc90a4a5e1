//! Pulls an image: from its name to complete layers in the store.

mod context;
mod extra_layers;
mod inspect;
mod job;
mod layers;
mod pipe;
mod pulled;
mod resolve;
mod retry;
mod stream;
mod trust;
mod workers;

pub use crate::image::pull::context::{key, PullContext};
pub use crate::image::pull::extra_layers::add_layers;
pub use crate::image::pull::inspect::{inspect, Inspected};
pub use crate::image::pull::pulled::Image;

use crate::image::pull::context::open;
use crate::image::pull::job::Pull;
use crate::image::pull::layers::LayerPlan;
use crate::image::pull::pulled::finish;
use crate::image::pure::oci::{self, Descriptor, ImageConfig};
use crate::image::pure::progress::size;
use crate::image::pure::pull_options::{PullOptions, PullPolicy};
use crate::image::pure::reference::Reference;
use crate::image::source::Error;
use crate::layer::packed::Layer;
use crate::pure::digest::{hash, Digest};
use crate::report::{Failure, Outcome, Report};
use crate::store::journal::Journal;
use crate::store::layers::Store;
use crate::store::record::Record;
use crate::sys::machine;

/// Brings the image of `options` into the store, as its `--pull` policy says. If its registry cannot be reached and the
/// store has the image from an earlier pull, that one is used.
pub fn image(options: &PullOptions, store: &Store, context: &PullContext, report: &Report) -> Outcome<Image> {
    let start_ms = machine::uptime_ms();
    let report = &report.quieter(options.quiet);
    let name = options.image.shown();
    if report.live {
        report.progress("pull", &name);
    }
    let source = open(options, store.scratch(), context, report);
    let source =
        source.map_err(|error| Failure::new("pull", [&name, ": ", &error.text].concat()).hint_of(error.advice()))?;
    let has_keys = !context.keys.is_empty();
    // Signatures are those of a registry; other images are checked by `trust::check_image`.
    let keys = if matches!(options.image, Reference::Registry(_)) { context.keys.as_slice() } else { &[] };
    let own = has_keys && store.is_durable();
    let mut pull = Pull { key: key(options), name, options, keys, own, source, store, report, bytes: 0 };
    if has_keys {
        trust::check_image(options).map_err(|error| pull.failed(&error))?;
    }
    let image = match options.policy {
        PullPolicy::Never => {
            pull.stored().ok_or_else(|| pull.failure("", "is not stored, and --pull=never forbids fetching it"))
        }
        PullPolicy::Missing => match pull.stored() {
            Some(stored) => Ok(stored),
            None => pull.fetch().or_else(|error| pull.fall_back(error)),
        },
        PullPolicy::Always | PullPolicy::Newer => pull.newest(),
    }?;
    report.end_progress();
    let architecture = options.platform(std::env::consts::ARCH).0;
    if let Some(other) = image.config.other_platform(architecture) {
        let name = &pull.name;
        report.warn("pull", format_args!("{name}: the image is for {other}, and linux/{architecture} was asked for"));
    }
    let what = match (pull.bytes, image.layers.len()) {
        (0, _) => "all layers are stored already".into(),
        (bytes, 1) => ["1 layer, ", &size(bytes)].concat(),
        (bytes, count) => [&count.to_string(), " layers, ", &size(bytes)].concat(),
    };
    let took_ms = machine::uptime_ms() - start_ms;
    let digest = match (&options.image, image.manifest) {
        // Already in the name.
        (Reference::Registry(remote), _) if remote.digest.is_some() => String::new(),
        // In the form that pulls just that again.
        (Reference::Registry(_), Some(manifest)) => ["@", &manifest.text()].concat(),
        _ => [" ", &image.id.short()].concat(),
    };
    report.line("pull", format_args!("{}{digest}, {what} in {took_ms} ms", pull.name));
    Ok(image)
}

impl Pull<'_> {
    /// The image that the name stands for now. If it is stored, one request tells whether it is still the same.
    fn newest(&mut self) -> Outcome<Image> {
        if self.own {
            // Whether a stored image can be used is known only when it is unpacked.
            if self.store.image(&self.key).is_some() {
                self.source.prefer_cached();
            }
            return self.fetch().or_else(|error| self.fall_back(error));
        }
        if let Some(stored) = self.stored() {
            self.source.prefer_cached();
            match self.source.current() {
                Ok(current) if current.is_some() && current == stored.manifest => return Ok(stored),
                Err(error) => return self.fall_back(error),
                // A GET request has the manifest, or the reason of the failure.
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
        let plans = self.plans(&config, &resolved.layers);
        let is_new = self.store.image(&self.key) != Some(record);
        let journal = match is_new || plans.iter().any(|layer| layer.cached.is_none()) {
            true => self.begin(&record.config, &plans)?,
            false => None,
        };
        let fetched = layers::fetch(&plans, &*self.source, self.store, self.own, self.report);
        let fetched = fetched.and_then(|(layers, bytes)| {
            self.bytes = bytes;
            let recorded = if is_new { self.store.put_image(&self.key, &record) } else { Ok(()) };
            recorded.map(|()| layers).map_err(|error| Error::local(error).of("image record"))
        });
        match fetched {
            Ok(layers) => {
                Ok(Image { id: record.config, manifest: record.manifest, config, layers, journal, extra: Vec::new() })
            }
            Err(error) => {
                // Layers that are complete stay in the store.
                finish(journal.as_ref(), self.report);
                Err(error)
            }
        }
    }

    /// A plan for each layer, lowest first.
    fn plans(&self, config: &ImageConfig, layers: &[Descriptor]) -> Vec<LayerPlan> {
        let count = layers.len();
        let chained = chain(&config.diff_ids).zip(layers).enumerate();
        let plans = chained.map(|(index, ((diff_id, chain), layer))| LayerPlan {
            descriptor: layer.clone(),
            diff_id,
            chain,
            object: format!("layer {}/{count} {}", index + 1, layer.digest.short()),
            cached: self.layer(&chain, &diff_id),
        });
        plans.collect()
    }

    fn layer(&self, chain: &Digest, diff_id: &Digest) -> Option<Layer> {
        match self.own {
            true => self.store.own_layer(chain, diff_id),
            false => self.store.layer(chain, diff_id),
        }
    }

    /// Begins the journal's entry with what will change, before it changes.
    fn begin(&self, config: &Digest, plans: &[LayerPlan]) -> Result<Option<Journal>, Error> {
        let missing = plans.iter().filter(|layer| layer.cached.is_none() && !self.own);
        let mut missing = missing.map(|layer| (layer.chain, layer.diff_id));
        let journal = self.store.begin_pull(&self.key, config, &mut missing);
        journal.map_err(|error| Error::local(error).of("the store's journal"))
    }

    /// The stored image of that name, if it is complete, and signed where a signature is required.
    fn stored(&self) -> Option<Image> {
        let Record { config: id, manifest, signed } = self.store.image(&self.key)?;
        let mut descriptors = Vec::new();
        if !self.keys.is_empty() {
            let signed = signed.filter(|signed| self.verified_here(signed))?;
            // The record is a file on the disk that anybody may have written: it must name what was signed.
            let resolved = trust::resolve_kept(&signed.digest, self.options, self.store)
                .filter(|resolved| resolved.config.digest == id)?;
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
        Some(Image { id, manifest, config, layers, journal: None, extra: Vec::new() })
    }

    /// The layers of a stored image, unpacked from the kept blobs; a missing or damaged blob is fetched.
    fn unpack_kept(&self, config: &ImageConfig, descriptors: &[Descriptor]) -> Option<Vec<Layer>> {
        if descriptors.len() != config.diff_ids.len() {
            return None;
        }
        let plans = self.plans(config, descriptors);
        let fetched = layers::fetch(&plans, &*self.source, self.store, self.own, self.report);
        fetched.ok().map(|(layers, _)| layers)
    }

    /// The stored image in place of one that could not be fetched. A registry that cannot be reached does not stop a
    /// boot; one that refuses does, unless the policy is `newer`.
    fn fall_back(&self, error: Error) -> Outcome<Image> {
        let is_allowed = error.is_unreachable() || self.options.policy == PullPolicy::Newer;
        let Some(stored) = self.stored().filter(|_| is_allowed) else { return Err(self.failed(&error)) };
        let failure = self.failed(&error);
        self.report.warn("pull", format_args!("{}; using the image of an earlier pull", failure.what));
        Ok(stored)
    }
}

/// The diff ID and the chain ID of each layer, lowest first (OCI image spec, config.md, 'Layer ChainID').
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
