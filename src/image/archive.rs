//! Images in one file: `oci-archive:` and `docker-archive:`, from a path or from a server. The tar's headers are read
//! once to find its members; blobs are then read at their offsets.

mod file_section;

use crate::files;
use crate::image::archive::file_section::{FileSection, HashingReader};
use crate::image::layout::{self, read_limited};
use crate::image::pure::archive::{self, Body, Index, Scan};
use crate::image::pure::docker_archive as docker;
use crate::image::pure::docker_archive::MANIFEST;
use crate::image::pure::oci::{self, Descriptor};
use crate::image::pure::reference::{self, Form};
use crate::image::source::{BlobReader, Error, OpenUrl, Source};
use crate::inflate::{self, Inflate};
use crate::layer::window;
use crate::pure::digest::{hash, hash_of, Digest};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at a time while the members are looked for: a header or two, since their bodies are skipped.
const SCAN_BYTES: usize = 8 << 10;

/// How much of a member's name an error shows.
const NAME_CHARS: usize = 100;

/// An archive. It is fetched and read when its manifest is asked for.
#[derive(Clone)]
pub struct Archive {
    reference: reference::Archive,
    scratch: PathBuf,
    open: OpenUrl,
    contents: Option<Arc<Contents>>,
}

/// What was found in an archive.
struct Contents {
    file: Arc<File>,
    index: Index,
    /// The manifest or index of the image that the reference selects.
    root: Vec<u8>,
    /// Blobs that do not have the names of a layout, by digest.
    blobs: Vec<(Digest, Body)>,
}

impl Archive {
    /// An archive that must be fetched or unpacked is kept in an unlinked file in `scratch`.
    pub fn new(reference: &reference::Archive, scratch: &Path, open: OpenUrl) -> Archive {
        Archive { reference: reference.clone(), scratch: scratch.into(), open, contents: None }
    }

    fn contents(&mut self) -> Result<Arc<Contents>, Error> {
        if let Some(contents) = &self.contents {
            return Ok(contents.clone());
        }
        let file = self.file()?;
        let index = scan(&file)?;
        let mut contents = Contents { file: Arc::new(file), index, root: Vec::new(), blobs: Vec::new() };
        let image = self.reference.image.as_deref();
        match self.reference.form {
            Form::Oci => contents.read_layout(image)?,
            Form::Docker => contents.read_docker(image)?,
        }
        let contents = Arc::new(contents);
        self.contents = Some(contents.clone());
        Ok(contents)
    }

    /// The archive as a plain tar in a file.
    fn file(&self) -> Result<File, Error> {
        let location = &self.reference.location;
        if self.reference.is_remote() {
            return self.fetch((self.open)(location)?);
        }
        let mut file = files::open(Path::new(location)).map_err(|why| Error::refused(&why))?;
        let mut start = [0; inflate::START_BYTES];
        let count = file.read_at(&mut start, 0).map_err(Error::local)?;
        match inflate::is_compressed(start.get(..count).unwrap_or_default()) {
            true => self.unpack(&mut file),
            false => Ok(file),
        }
    }

    /// Fetches the archive into a file for as long as the pull takes: its list of images may be at its end, and layers
    /// are read in parallel.
    fn fetch(&self, body: BlobReader) -> Result<File, Error> {
        let mut body = HashingReader::new(body);
        let unpacked = self.unpack(&mut body);
        if let Some(error) = body.error {
            return Err(Error::temporary(&error));
        }
        let file = unpacked?;
        match (hash_of(body.context), self.reference.digest) {
            (got, Some(wanted)) if got != wanted => Err(Error::damaged(&["has the digest ", &got.text()].concat())),
            _ => Ok(file),
        }
    }

    /// Writes the raw bytes of `source` to an unlinked file, which is gone when it is closed. The store's free space is
    /// their limit.
    fn unpack(&self, source: &mut dyn Read) -> Result<File, Error> {
        let file = unlinked_file(&self.scratch);
        let mut file = file.map_err(|error| Error::local(error).context(&["scratch file"]))?;
        let mut window = window::check_window;
        files::copy(&mut Inflate::new(source, &mut window), &mut file).map_err(Error::local)?;
        Ok(file)
    }
}

impl Source for Archive {
    fn manifest(&mut self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        let contents = self.contents()?;
        match digest {
            None => Ok(contents.root.clone()),
            Some(digest) => contents.document(contents.body(digest)?),
        }
    }

    /// None: the digest in the archive's own index is checked when that is read.
    fn pinned_digest(&self) -> Option<Digest> {
        None
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let contents = self.contents()?;
        contents.document(contents.body(&descriptor.digest)?)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<BlobReader, Error> {
        let contents = self.contents()?;
        let body = contents.body(&descriptor.digest)?;
        // The whole archive is local, so a retry would not find a longer blob.
        if body.size != descriptor.size {
            let (is, says) = (body.size.to_string(), descriptor.size.to_string());
            return Err(Error::refused(
                &["has ", &is, " bytes in the archive, and ", &says, " in the manifest"].concat(),
            ));
        }
        Ok(Box::new(contents.section(body)))
    }

    fn clone_box(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }
}

impl Contents {
    fn find(&self, name: &str) -> Result<Body, Error> {
        self.index.find(name.as_bytes()).map_err(|error| Error::refused(&[name, ": ", error.text()].concat()))
    }

    /// The list of the images. If it is missing and `other` is there, the error names the right transport.
    fn list(&self, name: &str, other: &str, transport: &str) -> Result<Vec<u8>, Error> {
        let body = self.find(name).map_err(|error| match self.find(other) {
            Ok(_) => Error::refused(&[&error.text, ", but ", other, " is: write ", transport].concat()),
            Err(_) => error,
        })?;
        self.document(body).map_err(|error| error.of(name))
    }

    fn body(&self, digest: &Digest) -> Result<Body, Error> {
        match self.blobs.iter().find(|(known, _)| known == digest) {
            Some((_, body)) => Ok(*body),
            None => self.find(&layout::blob_name(digest)),
        }
    }

    fn section(&self, body: Body) -> FileSection {
        FileSection::new(&self.file, body)
    }

    fn document(&self, body: Body) -> Result<Vec<u8>, Error> {
        read_limited(&mut self.section(body))
    }

    fn read_layout(&mut self, image: Option<&str>) -> Result<(), Error> {
        let list = self.list(layout::INDEX, MANIFEST, "docker-archive:FILE")?;
        let digest = layout::chosen(&list, image).map_err(|error| error.of(layout::INDEX))?;
        self.root = self.document(self.body(&digest)?)?;
        match hash(&self.root) {
            got if got == digest => Ok(()),
            got => Err(Error::damaged(&["manifest: has the digest ", &got.text()].concat())),
        }
    }

    /// Makes an OCI manifest of docker's list, so that the rest of the pull is the same. docker's format has no digests
    /// of blobs except that of the configuration (the image ID) and the diff IDs in it.
    fn read_docker(&mut self, image: Option<&str>) -> Result<(), Error> {
        let refused = |error: oci::Error| Error::refused(&error.text());
        let list = self.list(MANIFEST, layout::INDEX, "oci-archive:FILE")?;
        let mut images = docker::images(&list).map_err(|error| refused(error).of(MANIFEST))?;
        let names: Vec<_> = images.iter_mut().map(|image| std::mem::take(&mut image.names)).collect();
        let at = archive::pick(&names, image).map_err(|why| Error::refused(&why).of(MANIFEST))?;
        let image = images.get(at).ok_or_else(|| Error::refused("contains no image").of(MANIFEST))?;
        let body = self.find(&image.config)?;
        let bytes = self.document(body).map_err(|error| error.of(&image.config))?;
        let config = Descriptor { digest: hash(&bytes), size: body.size, media_type: docker::CONFIG.into() };
        if docker::named_digest(&image.config).is_some_and(|named| named != config.digest) {
            return Err(Error::damaged(&["has the digest ", &config.digest.text()].concat()).of(&image.config));
        }
        let parsed = oci::image_config(&bytes).and_then(|config| {
            config.has_layers(image.layers.len())?;
            Ok(config)
        });
        let diff_ids = parsed.map_err(|error| refused(error).of(&image.config))?.diff_ids;
        self.blobs.push((config.digest, body));
        let mut layers = Vec::new();
        for (file, diff_id) in image.layers.iter().zip(&diff_ids) {
            let body = self.find(file)?;
            let digest = self.layer_digest(body, diff_id).map_err(|error| error.of(file))?;
            self.blobs.push((digest, body));
            layers.push(Descriptor { digest, size: body.size, media_type: docker::LAYER.into() });
        }
        self.root = docker::manifest(&config, &layers);
        Ok(())
    }

    /// The digest that the layer's bytes must have. For a plain tar that is the diff ID. For a compressed one the
    /// archive has no digest, so it is computed from the bytes; the diff ID is checked when the layer is unpacked.
    fn layer_digest(&self, body: Body, diff_id: &Digest) -> Result<Digest, Error> {
        if let Some((known, _)) = self.blobs.iter().find(|(_, known)| *known == body) {
            return Ok(*known);
        }
        let mut section = self.section(body);
        let mut start = [0; inflate::START_BYTES];
        let count = section.read(&mut start).map_err(Error::local)?;
        if !inflate::is_compressed(start.get(..count).unwrap_or_default()) {
            return Ok(*diff_id);
        }
        let mut whole = HashingReader::new(Box::new(self.section(body)));
        files::copy(&mut whole, &mut io::sink()).map_err(Error::local)?;
        Ok(hash_of(whole.context))
    }
}

/// Finds the archive's members.
fn scan(file: &File) -> Result<Index, Error> {
    let length = file.metadata().map_err(Error::local)?.len();
    let mut scan = Scan::new();
    let mut buffer = vec![0; SCAN_BYTES];
    while scan.at() < length {
        let count = file.read_at(&mut buffer, scan.at()).map_err(Error::local)?;
        if count == 0 {
            break;
        }
        if let Err(error) = scan.push(buffer.get(..count).unwrap_or_default()) {
            return Err(in_member(error, scan.name()));
        }
    }
    let name = scan.name().to_vec();
    scan.finish(length).map_err(|error| in_member(error, &name))
}

/// Prefixes the error with the member's name.
fn in_member(error: archive::Error, name: &[u8]) -> Error {
    if error == archive::Error::NotATar {
        return Error::refused(error.text());
    }
    let mut text: String = String::from_utf8_lossy(name).chars().take(NAME_CHARS).collect();
    text.push_str(": ");
    text.push_str(error.text());
    Error::refused(&text)
}

/// A new file in `directory` whose name is removed at once.
fn unlinked_file(directory: &Path) -> io::Result<File> {
    for number in 0..=u32::MAX {
        let path = directory.join(["archive.", &number.to_string()].concat());
        match File::options().read(true).write(true).create_new(true).open(&path) {
            // Another pull has created that name and not removed it yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => return fs::remove_file(&path).map(|()| file),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pure::archive::tests::member;
    use crate::image::pure::reference::Reference;
    use std::sync::atomic::{AtomicU32, Ordering};

    const LAYER: &[u8] = &[0; 1024];

    /// An archive of docker's with one empty layer.
    fn docker_archive() -> Vec<u8> {
        let diff_id = hash(LAYER).text();
        let config = ["{\"rootfs\":{\"diff_ids\":[\"", &diff_id, "\"]}}"].concat();
        let list = r#"[{"Config":"c.json","RepoTags":["a.b/c:1"],"Layers":["l.tar"]}]"#;
        let file = |name, body| member(name, b'0', "", body);
        [file("l.tar", LAYER), file("c.json", config.as_bytes()), file("manifest.json", list.as_bytes()), vec![0; 1024]]
            .concat()
    }

    fn archive(name: &str, scratch: &Path, open: OpenUrl) -> Archive {
        let Ok(Reference::Archive(reference)) = Reference::parse(name) else { panic!("{name}") };
        Archive::new(&reference, scratch, open)
    }

    /// A body that ends with an error.
    struct Cut(io::Cursor<Vec<u8>>);

    impl Read for Cut {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("connection reset")),
                count => Ok(count),
            }
        }
    }

    /// Promise: archive-memory
    #[test]
    fn a_remote_archive_is_fetched_once_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (body, asked) = (docker_archive(), Arc::new(AtomicU32::new(0)));
        let digest = hash(&body).text();
        let count = asked.clone();
        let open: OpenUrl = Arc::new(move |url| {
            assert_eq!(url, "https://a.b/x.tar");
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(io::Cursor::new(body.clone())))
        });
        let name = ["docker-archive:https://a.b/x.tar:a.b/c:1#", &digest].concat();
        let mut source = archive(&name, dir.path(), open);
        let manifest = source.manifest(None).unwrap();
        let Ok(oci::Document::Manifest { config, layers }) = oci::document(&manifest) else { panic!() };
        assert_eq!(hash(&source.document(&config).unwrap()), config.digest);
        let (mut other, mut bytes) = (source.clone_box(), Vec::new());
        other.blob(&layers[0]).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes, layers[0].digest), (LAYER.to_vec(), hash(LAYER)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn remote_archives_that_fail() {
        let dir = tempfile::tempdir().unwrap();
        let body = docker_archive();
        let whole = body.clone();
        let good: OpenUrl = Arc::new(move |_| Ok(Box::new(io::Cursor::new(whole.clone()))));
        let cut: OpenUrl = Arc::new(move |_| Ok(Box::new(Cut(io::Cursor::new(body[..900].to_vec())))));
        let away: OpenUrl = Arc::new(|_| Err(Error::temporary("away")));
        let try_it = |name: &str, open: &OpenUrl| {
            let error = archive(name, dir.path(), open.clone()).manifest(None).unwrap_err();
            (error.text.clone(), error.is_unreachable())
        };
        let url = "docker-archive:http://a.b/x.tar";
        assert_eq!(try_it(url, &away), ("away".into(), true));
        assert_eq!(try_it(url, &cut), ("connection reset".into(), true));
        let wrong = [url, "#", &Digest([7; 32]).text()].concat();
        let (text, unreachable) = try_it(&wrong, &good);
        assert!(text.starts_with("has the digest sha256:") && !unreachable, "{text}");
        let (text, _) = try_it("oci-archive:http://a.b/x.tar", &good);
        assert_eq!(text, "index.json: is not in the archive, but manifest.json is: write docker-archive:FILE");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_store_that_takes_nothing_is_no_fault_of_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let open: OpenUrl = Arc::new(|_| Ok(Box::new(io::repeat(0))));
        let missing = dir.path().join("missing");
        let error = archive("oci-archive:http://a.b/x.tar", &missing, open).manifest(None).unwrap_err();
        assert_eq!((error.text.as_str(), error.is_unreachable()), ("scratch file: no such file or directory", false));
    }
}
