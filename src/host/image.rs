//! OCI image layouts made from files, for the demo image and for tests. The same
//! input gives the same digests.

use super::compress::gzip;
use crate::disk::pure::superblock;
use ring::digest::{digest, SHA256};
use serde_json::{json, Value};
use std::io;
use std::path::Path;

/// One entry of a layer's tar.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Relative to the root, up to 100 bytes.
    pub path: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    File(Vec<u8>),
    Directory,
    Symlink(String),
    Hardlink(String),
    /// Major and minor number.
    CharacterDevice(u32, u32),
    /// Major and minor number.
    BlockDevice(u32, u32),
    Fifo,
}

impl Entry {
    pub fn file(path: &str, mode: u32, data: impl Into<Vec<u8>>) -> Entry {
        Entry { path: path.into(), mode, uid: 0, gid: 0, mtime: 0, kind: Kind::File(data.into()) }
    }

    pub fn directory(path: &str, mode: u32) -> Entry {
        Entry { path: path.into(), mode, uid: 0, gid: 0, mtime: 0, kind: Kind::Directory }
    }

    pub fn symlink(path: &str, target: &str) -> Entry {
        Entry { path: path.into(), mode: 0o777, uid: 0, gid: 0, mtime: 0, kind: Kind::Symlink(target.into()) }
    }

    pub fn hardlink(path: &str, target: &str) -> Entry {
        Entry { path: path.into(), mode: 0o644, uid: 0, gid: 0, mtime: 0, kind: Kind::Hardlink(target.into()) }
    }

    pub fn owned(mut self, uid: u32, gid: u32) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }
}

/// An image to write.
pub struct Image {
    pub tag: String,
    /// Uncompressed tars, or file systems (squashfs, erofs), lowest first; [`tar`] makes one from entries.
    pub layers: Vec<Vec<u8>>,
    /// The config's `config` object: `{"Entrypoint": ["/hello"], "Env": ["A=b"]}`.
    pub config: Value,
    /// `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// Whether tars are stored as gzip, or as they are.
    pub compressed: bool,
    /// The media type of every layer, if it is to differ from the true one.
    pub media_type: Option<String>,
}

impl Image {
    /// An image for this host's architecture, with the tag `latest` and gzip layers.
    pub fn new(layers: Vec<Vec<u8>>, config: Value) -> Image {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let (tag, architecture) = ("latest".into(), architecture.into());
        Image { tag, layers, config, architecture, compressed: true, media_type: None }
    }
}

/// The entries as a ustar archive, in their order.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let (kind, link, data, device): (u8, &str, &[u8], _) = match &entry.kind {
            Kind::File(data) => (b'0', "", data, None),
            Kind::Hardlink(target) => (b'1', target, &[], None),
            Kind::Symlink(target) => (b'2', target, &[], None),
            Kind::CharacterDevice(major, minor) => (b'3', "", &[], Some((*major, *minor))),
            Kind::BlockDevice(major, minor) => (b'4', "", &[], Some((*major, *minor))),
            Kind::Directory => (b'5', "", &[], None),
            Kind::Fifo => (b'6', "", &[], None),
        };
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, entry.path.as_bytes());
        put(100, format!("{:07o}\0", entry.mode).as_bytes());
        put(108, format!("{:07o}\0", entry.uid).as_bytes());
        put(116, format!("{:07o}\0", entry.gid).as_bytes());
        put(124, format!("{:011o}\0", data.len()).as_bytes());
        put(136, format!("{:011o}\0", entry.mtime).as_bytes());
        // The checksum is computed with its own field as blanks.
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        if let Some((major, minor)) = device {
            put(329, format!("{major:07o}\0").as_bytes());
            put(337, format!("{minor:07o}\0").as_bytes());
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A layer in its stored form.
pub struct Layer {
    /// Its media type.
    pub media: String,
    pub bytes: Vec<u8>,
    /// `sha256:…` of the uncompressed tar.
    pub diff_id: String,
}

impl Layer {
    /// A tar without compression.
    pub const PLAIN: &'static str = "application/vnd.oci.image.layer.v1.tar";
    pub const GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";

    /// Compresses a tar if `image` says so; a file system is stored unchanged.
    fn new(raw: &[u8], image: &Image) -> Layer {
        let (media, bytes) = match superblock::packed(raw) {
            Some(packed) => (["application/vnd.stacker.image.layer.", packed.name()].concat(), raw.to_vec()),
            None if image.compressed => (Layer::GZIP.into(), gzip(raw)),
            None => (Layer::PLAIN.into(), raw.to_vec()),
        };
        let media = image.media_type.clone().unwrap_or(media);
        Layer { media, bytes, diff_id: format!("sha256:{}", sha256(raw)) }
    }
}

/// Writes `images` into `dir` as an OCI image layout; returns each manifest's digest.
pub fn write(dir: &Path, images: &[Image]) -> io::Result<Vec<String>> {
    let mut manifests = Vec::new();
    for image in images {
        let mut layers = image.layers.iter().map(|tar| Ok(Layer::new(tar, image)));
        manifests.push(put_image(dir, &image.tag, &image.architecture, &image.config, &mut layers)?);
    }
    index(dir, &manifests)
}

/// Writes one image with the tag `latest`, from layers in their stored form that are taken one by one.
pub fn write_layers(dir: &Path, layers: &mut dyn Iterator<Item = io::Result<Layer>>) -> io::Result<()> {
    let Image { tag, config, architecture, .. } = Image::new(Vec::new(), json!({}));
    index(dir, &[put_image(dir, &tag, &architecture, &config, layers)?]).map(drop)
}

/// Writes the blobs of an image; returns its manifest's descriptor.
fn put_image(
    dir: &Path,
    tag: &str,
    architecture: &str,
    config: &Value,
    layers: &mut dyn Iterator<Item = io::Result<Layer>>,
) -> io::Result<Value> {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let put = |media: &str, bytes: &[u8]| -> io::Result<Value> {
        let hex = sha256(bytes);
        std::fs::write(blobs.join(&hex), bytes)?;
        Ok(json!({"mediaType": media, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
    };
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let Layer { media, bytes, diff_id } = layer?;
        descriptors.push(put(&media, &bytes)?);
        diff_ids.push(diff_id);
    }
    let config = json!({
        "architecture": architecture, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let media = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": descriptors});
    let mut descriptor = put(media, manifest.to_string().as_bytes())?;
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    Ok(descriptor)
}

/// Writes the files that make a directory of blobs a layout; returns the manifests' digests.
fn index(dir: &Path, manifests: &[Value]) -> io::Result<Vec<String>> {
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    std::fs::write(dir.join("index.json"), index.to_string())?;
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(manifests.iter().map(|manifest| manifest["digest"].as_str().unwrap_or_default().to_string()).collect())
}

/// An image of `binary` as `/hello`, a user database and `/tmp`.
pub fn demo(binary: Vec<u8>) -> Image {
    let layer = tar(&[
        Entry::directory("etc", 0o755),
        Entry::file("etc/group", 0o644, "root:x:0:\nusers:x:100:guest\n"),
        Entry::file("etc/passwd", 0o644, "root:x:0:0:root:/:/hello\nguest:x:1000:100:guest:/tmp:/hello\n"),
        Entry::file("hello", 0o755, binary),
        Entry::directory("tmp", 0o1777),
    ]);
    Image::new(vec![layer], json!({"Entrypoint": ["/hello"], "Cmd": ["hello"], "Env": ["PATH=/"], "WorkingDir": "/"}))
}

/// Lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_digest() {
        let dir = std::env::temp_dir().join(format!("ocinit-image-{}", std::process::id()));
        let one = write(&dir.join("a"), &[demo(b"binary".to_vec())]).unwrap();
        let two = write(&dir.join("b"), &[demo(b"binary".to_vec())]).unwrap();
        let other = write(&dir.join("c"), &[demo(b"another".to_vec())]).unwrap();
        let index: Value = serde_json::from_slice(&std::fs::read(dir.join("a/index.json")).unwrap()).unwrap();
        let manifest = std::fs::read(dir.join("a/blobs/sha256").join(&one[0]["sha256:".len()..])).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_eq!(format!("sha256:{}", sha256(&manifest)), one[0]);
        assert_eq!(index["manifests"][0]["size"], manifest.len());
    }

    /// A second reader checks the archive.
    #[test]
    fn tar_reads_it() {
        let bytes = tar(&[
            Entry::directory("d", 0o1777),
            Entry::file("d/f", 0o4755, "text").owned(7, 8),
            Entry::symlink("l", "d/f"),
            Entry::hardlink("h", "d/f"),
            Entry { kind: Kind::CharacterDevice(5, 1), ..Entry::file("c", 0o600, "") },
        ]);
        let file = std::env::temp_dir().join(format!("ocinit-tar-{}.tar", std::process::id()));
        std::fs::write(&file, bytes).unwrap();
        let output = std::process::Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&file).output();
        std::fs::remove_file(&file).unwrap();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for part in ["drwxrwxrwt", "-rwsr-xr-x 7/8", "l -> d/f", "h link to d/f", "crw------- 0/0             5,1"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    /// A strict second reader checks the layout.
    #[test]
    fn skopeo_takes_it() {
        let dir = std::env::temp_dir().join(format!("ocinit-skopeo-{}", std::process::id()));
        write(&dir.join("a"), &[demo(b"binary".to_vec())]).unwrap();
        let from = format!("oci:{}:latest", dir.join("a").display());
        let to = format!("dir:{}", dir.join("b").display());
        let output = std::process::Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to]).output();
        let Ok(output) = output else {
            std::fs::remove_dir_all(&dir).unwrap();
            skip!("there is no skopeo here (./dev setup brings it)");
        };
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let copied = dir.join("b/manifest.json").is_file();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(output.status.success() && copied, "{text}");
    }
}
