//! Archives of `docker save`: `manifest.json` names, for each image, the files of its configuration and of its layers
//! (moby, image/spec/v1.2.md, 'Combined Image JSON + Filesystem Changeset Format').

use crate::image::pure::oci::{json, Descriptor, Error, LAYERS_MAX};
use crate::image::pure::reference;
use crate::pure::digest::Digest;
use crate::pure::json::Value;

/// The list of the archive's images.
pub const MANIFEST: &str = "manifest.json";
/// Media types in the manifest that [`manifest`] makes; a layer's compression is detected when it is read.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image of the archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The file of its configuration.
    pub config: String,
    /// Its full names.
    pub names: Vec<String>,
    /// The files of its layers, lowest first.
    pub layers: Vec<String>,
}

/// Reads `manifest.json`.
pub fn images(bytes: &[u8]) -> Result<Vec<Image>, Error> {
    let value = json(bytes)?;
    let all = value.as_array().ok_or(Error::Member("[{Config, RepoTags, Layers}]"))?;
    let mut images = Vec::new();
    for value in all {
        images.push(image(value)?);
    }
    Ok(images)
}

fn image(value: &Value) -> Result<Image, Error> {
    let config = value.text("Config").ok_or(Error::Member("Config"))?;
    let layers = strings(value, "Layers")?;
    if layers.len() > LAYERS_MAX {
        return Err(Error::TooManyLayers);
    }
    let names = strings(value, "RepoTags")?.into_iter().map(reference::full_name).collect();
    Ok(Image { config: config.into(), names, layers: layers.into_iter().map(String::from).collect() })
}

/// A list of strings; Go writes null for an empty one.
fn strings<'a>(value: &'a Value, name: &'static str) -> Result<Vec<&'a str>, Error> {
    value.texts(name).ok_or(Error::Member(name))
}

/// The digest in the name of a configuration's file, if there is one: `HEX.json`, or `blobs/sha256/HEX` since docker
/// 25.
pub fn named_digest(file: &str) -> Option<Digest> {
    let name = file.rsplit('/').next().unwrap_or_default();
    let hex = name.strip_suffix(".json").unwrap_or(name);
    Digest::parse(&["sha256:", hex].concat()).ok()
}

/// An OCI manifest of these blobs, for the rest of the pull.
pub fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let mut text = String::from(r#"{"schemaVersion":2,"config":"#);
    push(&mut text, config);
    text.push_str(r#","layers":["#);
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push(&mut text, layer);
    }
    text.push_str("]}");
    text.into_bytes()
}

/// Appends a descriptor; the media type is one of ours and needs no escapes.
fn push(text: &mut String, blob: &Descriptor) {
    let (digest, size) = (blob.digest.text(), blob.size.to_string());
    for part in [r#"{"mediaType":""#, &blob.media_type, r#"","digest":""#, &digest, r#"","size":"#, &size, "}"] {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pure::oci::{document, Document};

    #[test]
    fn a_manifest_of_docker() {
        let text = r#"[{"Config":"c.json","RepoTags":["alpine:3","a.b/c:1","no name"],"Layers":["l/layer.tar","m.tar"]},
            {"Config":"d","RepoTags":null,"Layers":null}]"#;
        let images = images(text.as_bytes()).unwrap();
        assert_eq!(images[0].names, ["docker.io/library/alpine:3", "a.b/c:1", "no name"]);
        assert_eq!((images[0].config.as_str(), images[0].layers.join(" ").as_str()), ("c.json", "l/layer.tar m.tar"));
        assert_eq!((images[1].names.len(), images[1].layers.len(), images.len()), (0, 0, 2));
    }

    /// Promise: json-as-go
    /// Input: json-keys, null-documents
    #[test]
    fn a_list_as_go_reads_it() {
        let text = r#"[{"config":"c","repotags":["a.b/c:1"],"LAYERS":["l"],"Parent":null,"LayerSources":null},{"CONFIG":"d"}]"#;
        let all = images(text.as_bytes()).unwrap();
        assert_eq!((all[0].config.as_str(), all[0].names.len(), all[0].layers.len()), ("c", 1, 1));
        assert_eq!((all[1].config.as_str(), all[1].names.len(), all[1].layers.len()), ("d", 0, 0));
    }

    #[test]
    fn manifests_that_are_refused() {
        let many = vec![r#""l""#; 501].join(",");
        for (text, error) in [
            ("", Error::Json),
            ("{}", Error::Member("[{Config, RepoTags, Layers}]")),
            ("[7]", Error::Member("Config")),
            (r#"[{"Config":"c","Layers":"l"}]"#, Error::Member("Layers")),
            (r#"[{"Config":"c","Layers":[7]}]"#, Error::Member("Layers")),
            (r#"[{"Config":"c","RepoTags":[null]}]"#, Error::Member("RepoTags")),
            (&format!(r#"[{{"Config":"c","Layers":[{many}]}}]"#), Error::TooManyLayers),
            (&format!("[{}]", vec!["[]"; 60_000].join(",")), Error::TooManyValues),
        ] {
            assert_eq!(images(text.as_bytes()), Err(error), "{text:.80}");
        }
    }

    #[test]
    fn our_manifest_is_read_as_it_was_meant() {
        let blob = |byte, media: &str| Descriptor { digest: Digest([byte; 32]), size: 7, media_type: media.into() };
        for count in 0..3 {
            let all: Vec<_> = (0..count).map(|n| blob(n, LAYER)).collect();
            let Ok(Document::Manifest { config, layers }) = document(&manifest(&blob(9, "c"), &all)) else { panic!() };
            assert_eq!((config, layers), (blob(9, "c"), all));
        }
    }

    #[test]
    fn digests_in_names() {
        let hex = "ab".repeat(32);
        let digest = Some(Digest([0xab; 32]));
        assert_eq!(named_digest(&[&hex, ".json"].concat()), digest);
        assert_eq!(named_digest(&["blobs/sha256/", &hex].concat()), digest);
        assert_eq!(named_digest("config.json"), None);
        assert_eq!(named_digest(""), None);
    }
}
