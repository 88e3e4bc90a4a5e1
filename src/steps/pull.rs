//! From an image's name to complete layers in the store.

use super::inflate::Inflate;
use super::layer::{self, Layer, Stack};
use super::layout::Layout;
use super::registry::Registry;
use super::resolver::Resolver;
use super::source::{Error, Source};
use super::store::Store;
use super::unpack;
use crate::proto::digest::Digest;
use crate::proto::oci::{self, Descriptor, Document, ImageConfig};
use crate::proto::reference::Reference;
use crate::proto::superblock;
use crate::report::{Failure, Outcome, Report};
use crate::sys::{self, io_text, machine, EDQUOT, EIO, ENOSPC, EROFS};
use ring::digest::{digest, Context, SHA256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// An image that is complete in the store.
pub struct Image {
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
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
    let mut pull = Pull { name: reference.name(), source: source(reference, access), store, report, bytes: 0 };
    let (digest, config) = match pull.config() {
        Ok(found) => found,
        Err(error) => return pull.fall_back(error),
    };
    let (config_digest, layers) = (digest.0, digest.1);
    let fetched = match pull.layers(&config, &layers) {
        Ok(fetched) => fetched,
        Err(error) => return pull.fall_back(error),
    };
    store.put_image(&pull.name, &config_digest).map_err(|error| pull.failure("image record", &io_text(&error)))?;
    let what = match (pull.bytes, fetched.len()) {
        (0, _) => "all layers are here already".into(),
        (bytes, 1) => ["1 layer, ", &size(bytes)].concat(),
        (bytes, count) => [&count.to_string(), " layers, ", &size(bytes)].concat(),
    };
    let took_ms = machine::uptime_ms() - start_ms;
    report.line("pull", format_args!("{} {}, {what} in {took_ms} ms", pull.name, config_digest.short()));
    Ok(Image { config, layers: fetched })
}

fn source(reference: &Reference, access: &Access) -> Box<dyn Source> {
    match reference {
        Reference::Registry(remote) => Box::new(Registry::new(remote, access.tls_verify, &access.resolver)),
        Reference::Layout { dir, tag } => Box::new(Layout::new(dir, tag.as_deref())),
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
                let bytes = self.again(&object, &mut |pull| pull.document(&config))?;
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

    /// Does `attempt` until it works or is refused, a few times at most.
    fn again<T>(&mut self, object: &str, attempt: &mut dyn FnMut(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let mut tries = 1;
        loop {
            let error = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !error.retry || tries == TRIES {
                return Err(error.of(object));
            }
            self.report.warn("pull", format_args!("{object}: {}; try {tries} of {TRIES}", error.text));
            tries += 1;
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

    /// All layers, lowest first; those that the store lacks are fetched.
    fn layers(&mut self, config: &ImageConfig, layers: &[Descriptor]) -> Result<Vec<Layer>, Error> {
        let mut stack = Stack::default();
        let mut chain: Option<Digest> = None;
        for (index, (diff_id, layer)) in config.diff_ids.iter().zip(layers).enumerate() {
            let next = chain_id(chain.as_ref(), diff_id);
            let object = format!("layer {}/{} {}", index + 1, layers.len(), layer.digest.short());
            let complete = match self.store.layer(&next, diff_id) {
                Some(layer) => layer,
                None => self.again(&object, &mut |pull| pull.layer(layer, diff_id, &next, &mut stack))?,
            };
            stack.layers.push(complete);
            chain = Some(next);
        }
        Ok(stack.layers)
    }

    /// Fetches one layer, and keeps or unpacks it, whatever its content asks for.
    fn layer(
        &mut self,
        layer: &Descriptor,
        diff_id: &Digest,
        chain: &Digest,
        below: &mut Stack,
    ) -> Result<Layer, Error> {
        let mut blob = self.source.blob(layer)?;
        let mut compressed = Checked::new(&mut *blob, layer.size);
        let complete = match layer::start_of(&mut compressed) {
            Err(_) => Err(arrived(&mut compressed, layer).err().unwrap_or_else(|| Error::temporary("no data"))),
            Ok(start) => match superblock::layer_form(&layer.media_type, &start) {
                Ok(None) => self.unpack(layer, diff_id, chain, below, &start, &mut compressed),
                // As stacker writes it: what is not packed once more is its own diff ID.
                Ok(Some(_)) if layer.digest != *diff_id => Err(Error::refused("its digest is not its diff ID")),
                Ok(Some(_)) => self.keep(layer, &start, &mut compressed),
                // What is damaged is not what the media type speaks of.
                Err(why) => arrived(&mut compressed, layer).and(Err(Error::refused(why))),
            },
        };
        self.bytes += complete.as_ref().map_or(0, |_| layer.size);
        complete
    }

    /// Into a file as it comes: a file system that is mounted later.
    fn keep(&mut self, layer: &Descriptor, start: &[u8], compressed: &mut Checked) -> Result<Layer, Error> {
        let made = self.store.begin_layer(&layer.digest).map_err(local)?;
        let mut file = File::create(made.join(layer::BLOB)).map_err(local)?;
        let written = file.write_all(start).and_then(|()| io::copy(compressed, &mut file));
        drop(file);
        let full = written.err().filter(|_| compressed.error.is_none());
        let complete = match full {
            Some(error) => Err(Error::refused(&["write: ", &io_text(&error)].concat())),
            None => arrived(compressed, layer),
        };
        let complete = complete.and_then(|()| Ok(self.store.commit_blob(&made, &layer.digest, self.report)?));
        if complete.is_err() {
            self.store.abandon(&made);
        }
        complete
    }

    /// Into a folder.
    fn unpack(
        &mut self,
        layer: &Descriptor,
        diff_id: &Digest,
        chain: &Digest,
        below: &mut Stack,
        start: &[u8],
        compressed: &mut Checked,
    ) -> Result<Layer, Error> {
        let below = below.open(self.store, self.report)?;
        let made = self.store.begin_layer(chain).map_err(local)?;
        let folder = File::open(&made).map_err(local)?;
        let lowers: Vec<BorrowedFd> = below.iter().rev().map(|root| root.as_fd()).collect();
        if let Err(error) = self.fetch(layer, diff_id, folder.as_fd(), &lowers, start, compressed) {
            self.store.abandon(&made);
            return Err(error);
        }
        self.store.commit_layer(&made, chain).map_err(local)
    }

    /// Socket → SHA-256 → inflate → SHA-256 → tar → files, in one pass.
    fn fetch(
        &mut self,
        layer: &Descriptor,
        diff_id: &Digest,
        folder: BorrowedFd,
        lowers: &[BorrowedFd],
        start: &[u8],
        compressed: &mut Checked,
    ) -> Result<(), Error> {
        let mut whole = start.chain(&mut *compressed);
        let mut inflate = Inflate::new(&mut whole);
        let mut raw = Checked::new(&mut inflate, u64::MAX);
        let report = self.report;
        let unpacked = unpack::apply(&mut raw, folder, lowers, &mut |warning| report.warn("pull", warning));
        let unpacked = unpacked.and_then(|_| raw.finish());
        let raw_digest = raw.digest();
        // The rest of the download would say nothing about a store that is full.
        if let Some(why) = unpacked.as_ref().err().filter(|why| is_of_the_store(why)) {
            return Err(Error::refused(why));
        }
        // Whatever went wrong above: a damaged or cut download explains it best.
        arrived(compressed, layer)?;
        unpacked.map_err(|error| Error::refused(&error))?;
        if raw_digest != *diff_id {
            return Err(Error::refused(&["unpacks to ", &raw_digest.text(), ", not to its diff ID"].concat()));
        }
        Ok(())
    }

    /// A registry that is away, or goes away in the middle, is no reason not to boot.
    fn fall_back(&self, error: Error) -> Outcome<Image> {
        let digest = self.store.image(&self.name).filter(|_| error.unreachable);
        let config = digest.and_then(|digest| oci::image_config(&self.store.config(&digest)?).ok());
        let Some(config) = config else { return Err(self.failed(&error)) };
        let mut chain: Option<Digest> = None;
        let mut layers = Vec::new();
        for diff_id in &config.diff_ids {
            let next = chain_id(chain.as_ref(), diff_id);
            let Some(layer) = self.store.layer(&next, diff_id) else { return Err(self.failed(&error)) };
            layers.push(layer);
            chain = Some(next);
        }
        let what = self.failed(&error).what;
        self.report.warn("pull", format_args!("{what}; the image of an earlier pull is taken"));
        Ok(Image { config, layers })
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

impl From<layer::Error> for Error {
    fn from(error: layer::Error) -> Error {
        Error { hint: error.hint, ..Error::refused(&error.text) }
    }
}

fn local(error: io::Error) -> Error {
    Error::refused(&io_text(&error))
}

/// Reads a layer's blob to its end, and checks that it is what was asked for.
fn arrived(compressed: &mut Checked, layer: &Descriptor) -> Result<(), Error> {
    let arrived = compressed.finish();
    if let Some(error) = compressed.error.take() {
        return Err(Error::temporary(&error));
    }
    arrived.map_err(|error| Error::temporary(&error))?;
    match compressed.digest() {
        got if got == layer.digest => Ok(()),
        got => Err(Error::damaged(&["has the digest ", &got.text()].concat())),
    }
}

/// OCI image spec, config.md, «Layer ChainID».
fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => *diff_id,
        Some(below) => hash([&below.text(), " ", &diff_id.text()].concat().as_bytes()),
    }
}

fn hash(bytes: &[u8]) -> Digest {
    to_digest(digest(&SHA256, bytes))
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

/// `12.3 MB`, for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// Hashes and counts what passes; more than `max` bytes are an error.
struct Checked<'a> {
    inner: &'a mut dyn Read,
    context: Context,
    count: u64,
    max: u64,
    /// The first error of the source itself.
    error: Option<String>,
}

impl<'a> Checked<'a> {
    fn new(inner: &'a mut dyn Read, max: u64) -> Checked<'a> {
        Checked { inner, context: Context::new(&SHA256), count: 0, max, error: None }
    }

    /// Reads on to the end.
    fn finish(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; 1 << 16];
        while self.read(&mut buffer).map_err(|error| io_text(&error))? > 0 {}
        if self.max != u64::MAX && self.count != self.max {
            return Err(format!("ends after {} of {} bytes", self.count, self.max));
        }
        Ok(())
    }

    fn digest(&self) -> Digest {
        to_digest(self.context.clone().finish())
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Ok(count) => count,
            Err(error) => {
                self.error.get_or_insert_with(|| io_text(&error));
                return Err(error);
            }
        };
        self.count += count as u64;
        if self.count > self.max {
            self.error.get_or_insert_with(|| "is longer than its descriptor says".into());
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.context.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A tar of one file that no disk has room for, and all its zeros.
    struct Endless(Rc<Cell<u64>>, Vec<u8>);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = if self.1.is_empty() { buffer.len() } else { self.1.len().min(buffer.len()) };
            buffer[..count].fill(0);
            let header: Vec<u8> = self.1.drain(..count.min(self.1.len())).collect();
            buffer[..header.len()].copy_from_slice(&header);
            self.0.set(self.0.get() + count as u64);
            assert!(self.0.get() < 64 << 20, "the download goes on");
            Ok(count)
        }
    }

    struct Only(Rc<Cell<u64>>);

    impl Source for Only {
        fn manifest(&mut self, _: Option<&Digest>) -> Result<Vec<u8>, Error> {
            Err(Error::refused("none"))
        }
        fn wanted(&self) -> Option<Digest> {
            None
        }
        fn document(&mut self, _: &Descriptor) -> Result<Vec<u8>, Error> {
            Err(Error::refused("none"))
        }
        fn blob(&mut self, _: &Descriptor) -> Result<super::super::source::Fetched, Error> {
            let mut header = vec![0; 512];
            header[..4].copy_from_slice(b"huge");
            header[100..107].copy_from_slice(b"0000644");
            // Base 256: 1 PiB.
            header[124] = 0x80;
            header[129] = 4;
            header[148..156].fill(b' ');
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            Ok(Box::new(Endless(self.0.clone(), header)))
        }
    }

    #[test]
    fn a_full_store_ends_the_download() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report { quiet: true, ..Report::on_host() };
        let store = Store::open(dir.path(), false, &report).unwrap();
        let read = Rc::new(Cell::new(0));
        let source = Box::new(Only(read.clone()));
        let mut pull = Pull { name: "x".into(), source, store: &store, report: &report, bytes: 0 };
        let digest = Digest([0; 32]);
        let layer = Descriptor { digest, size: u64::MAX - 1, media_type: String::new() };
        let error = pull.layer(&layer, &digest, &digest, &mut Stack::default()).err().unwrap();
        assert_eq!(error.text, "huge: write: no space left on device");
        assert!(!error.retry && !error.unreachable && read.get() < 1 << 20);
        assert!(pull.failed(&error).hint.is_some_and(|hint| hint.contains("the store is full")));
        assert_eq!(dir.path().join("layers").read_dir().unwrap().count(), 0);
    }
}
