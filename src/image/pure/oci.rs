//! OCI and Docker documents: index, manifest, image configuration.

use crate::pure::digest::{self, Digest};
use serde_json::Value;

/// The largest manifest or configuration.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// The most `[`, `{`, `,` and `:` outside of strings. 4 MiB of `[[],[],...]` would become 90 MB of values; 500 layers
/// take about 5 000.
const STRUCTURE_MAX: usize = 100_000;
/// The most layers of an image: the limit of overlayfs (Linux, `OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;
/// The most indexes on the way to a manifest: an index in an index.
pub const INDEX_DEPTH_MAX: usize = 2;

/// The media types that a registry may answer with.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A blob's digest, length in bytes and media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Document {
    Index(Vec<Choice>),
    Manifest { config: Descriptor, layers: Vec<Descriptor> },
}

/// One entry of an index.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    pub descriptor: Descriptor,
    pub os: String,
    pub architecture: String,
    pub variant: String,
    /// The tag, in an image layout's index.
    pub ref_name: Option<String>,
}

/// An image's configuration: its layers and the defaults of its containers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub user: String,
    pub working_dir: String,
    /// Paths that get an anonymous volume unless something else is mounted there.
    pub volumes: Vec<String>,
    /// A signal's name or number; empty for the default.
    pub stop_signal: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Json,
    TooManyValues,
    /// A member is missing or of another type.
    Member(&'static str),
    Digest(digest::Error),
    Schema1,
    /// `manifests` and `layers`: readers could disagree on whether that is an index or a manifest.
    Ambiguous,
    TooManyLayers,
    NotAnImage,
}

impl Error {
    pub fn text(self) -> String {
        match self {
            Error::Json => "not valid JSON".into(),
            Error::TooManyValues => "more than 100 000 values, which no image needs".into(),
            Error::Member(name) => ["'", name, "' is missing or of another type"].concat(),
            Error::Digest(error) => error.text().into(),
            Error::Schema1 => "a manifest of schema 1, which is deprecated since 2017: push the image again".into(),
            Error::Ambiguous => "both 'manifests' and 'layers' are there: an index or a manifest has only one".into(),
            Error::TooManyLayers => "more than 500 layers, which overlayfs cannot stack".into(),
            Error::NotAnImage => "an artifact, not an image: its configuration has no root file system".into(),
        }
    }
}

/// Parses JSON from the network, unless its values would take too much memory.
pub fn json(bytes: &[u8]) -> Result<Value, Error> {
    let (mut structure, mut in_string, mut escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' | b',' | b':' if !in_string => structure += 1,
            _ => {}
        }
    }
    if structure > STRUCTURE_MAX {
        return Err(Error::TooManyValues);
    }
    serde_json::from_slice(bytes).map_err(|_| Error::Json)
}

/// Reads an index or a manifest. Their members tell which it is, since registries and layouts have wrong media types.
pub fn document(bytes: &[u8]) -> Result<Document, Error> {
    let value = json(bytes)?;
    let manifests = value.get("manifests");
    let layers = value.get("layers");
    if value.get("fsLayers").is_some() || value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Err(Error::Schema1);
    }
    match (manifests, layers) {
        (Some(_), Some(_)) => Err(Error::Ambiguous),
        (Some(manifests), None) => index(manifests).map(Document::Index),
        (None, layers) => {
            let config = descriptor(value.get("config").ok_or(Error::Member("config"))?)?;
            let layers = layers.and_then(Value::as_array).ok_or(Error::Member("layers"))?;
            if layers.len() > LAYERS_MAX {
                return Err(Error::TooManyLayers);
            }
            let layers = layers.iter().map(descriptor).collect::<Result<_, _>>()?;
            Ok(Document::Manifest { config, layers })
        }
    }
}

fn index(manifests: &Value) -> Result<Vec<Choice>, Error> {
    let manifests = manifests.as_array().ok_or(Error::Member("manifests"))?;
    let mut choices = Vec::new();
    for entry in manifests {
        let platform = |name| string(entry.get("platform").and_then(|platform| platform.get(name)));
        choices.push(Choice {
            descriptor: descriptor(entry)?,
            os: platform("os"),
            architecture: platform("architecture"),
            variant: platform("variant"),
            ref_name: entry
                .get("annotations")
                .and_then(|all| all.get("org.opencontainers.image.ref.name"))
                .and_then(Value::as_str)
                .map(String::from),
        });
    }
    Ok(choices)
}

pub(super) fn descriptor(value: &Value) -> Result<Descriptor, Error> {
    let digest = value.get("digest").and_then(Value::as_str).ok_or(Error::Member("digest"))?;
    Ok(Descriptor {
        digest: Digest::parse(digest).map_err(Error::Digest)?,
        size: value.get("size").and_then(Value::as_u64).ok_or(Error::Member("size"))?,
        media_type: string(value.get("mediaType")),
    })
}

fn string(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().into()
}

/// Picks the image for a platform. `architecture` is Go's name (`amd64`), `variant` the newest one that the machine
/// runs (`v7`); older ones fit as well. An entry without a platform is used if no other fits.
pub fn choose<'a>(choices: &'a [Choice], architecture: &str, variant: &str) -> Option<&'a Choice> {
    let fits = |choice: &&Choice| {
        let known = choice.os.is_empty() || choice.os == "linux";
        known && choice.architecture == architecture && choice.variant.as_str() <= variant
    };
    let best = choices.iter().filter(fits).reduce(|best, next| if next.variant > best.variant { next } else { best });
    best.or_else(|| choices.iter().find(|choice| choice.architecture.is_empty() && choice.os.is_empty()))
}

/// Go's name of the architecture that Rust or Go calls `arch`, and its newest variant.
pub fn platform(arch: &str) -> (&str, &'static str) {
    match arch {
        "x86_64" | "amd64" => ("amd64", "v1"),
        "aarch64" | "arm64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        "x86" => ("386", ""),
        "powerpc64" => ("ppc64le", ""),
        other => (other, ""),
    }
}

/// Reads an image configuration.
pub fn image_config(bytes: &[u8]) -> Result<ImageConfig, Error> {
    let value = json(bytes)?;
    let rootfs = value.get("rootfs").ok_or(Error::NotAnImage)?;
    let diff_ids = rootfs.get("diff_ids").and_then(Value::as_array).ok_or(Error::Member("diff_ids"))?;
    if diff_ids.len() > LAYERS_MAX {
        return Err(Error::TooManyLayers);
    }
    let digest = |value: &Value| {
        let text = value.as_str().ok_or(Error::Member("diff_ids"))?;
        Digest::parse(text).map_err(Error::Digest)
    };
    let diff_ids = diff_ids.iter().map(digest).collect::<Result<_, _>>()?;
    let config = value.get("config").unwrap_or(&Value::Null);
    Ok(ImageConfig {
        diff_ids,
        env: strings(config, "Env")?,
        entrypoint: strings(config, "Entrypoint")?,
        command: strings(config, "Cmd")?,
        user: string(config.get("User")),
        working_dir: string(config.get("WorkingDir")),
        volumes: config
            .get("Volumes")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect(),
        stop_signal: string(config.get("StopSignal")),
    })
}

/// A list of strings; absent and null are empty.
fn strings(value: &Value, name: &'static str) -> Result<Vec<String>, Error> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(String::from).ok_or(Error::Member(name))).collect()
        }
        Some(_) => Err(Error::Member(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digit: &str) -> String {
        ["sha256:", &digit.repeat(64)].concat()
    }

    fn blob(digit: &str) -> String {
        format!(r#"{{"mediaType":"m","digest":"{}","size":3}}"#, hex(digit))
    }

    #[test]
    fn a_manifest() {
        let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#, blob("a"), blob("b"), blob("c"));
        let Document::Manifest { config, layers } = document(text.as_bytes()).unwrap() else { panic!() };
        assert_eq!((config.digest.text(), layers.len(), layers[1].size), (hex("a"), 2, 3));
    }

    /// Promise: 500-of-any-kind
    /// Input: two-kinds-of-manifest
    #[test]
    fn documents_that_are_refused() {
        let many = vec![blob("b"); 501].join(",");
        for (text, error) in [
            ("{".into(), Error::Json),
            ("{}".into(), Error::Member("config")),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.into(), Error::Schema1),
            (r#"{"manifests":[],"layers":[]}"#.into(), Error::Ambiguous),
            (r#"{"manifests":{}}"#.into(), Error::Member("manifests")),
            (format!(r#"{{"config":{},"layers":[{many}]}}"#, blob("a")), Error::TooManyLayers),
            (format!(r#"{{"config":{},"layers":[{{"size":1}}]}}"#, blob("a")), Error::Member("digest")),
            (format!(r#"{{"config":{},"layers":[]}}"#, blob("A")), Error::Digest(digest::Error::Hex)),
            (format!(r#"{{"config":{{"digest":"{}","size":-1}},"layers":[]}}"#, hex("a")), Error::Member("size")),
        ] {
            assert_eq!(document(text.as_bytes()), Err(error), "{text:.80}");
        }
    }

    #[test]
    fn a_document_of_empty_lists_does_not_fill_the_memory() {
        let lists = |count: usize| format!(r#"{{"\"[[[[":[{}]}}"#, vec!["[]"; count].join(","));
        assert_eq!(document(lists(2_000_000).as_bytes()), Err(Error::TooManyValues));
        assert_eq!(image_config(lists(50_000).as_bytes()), Err(Error::TooManyValues));
        assert_eq!(image_config(lists(49_000).as_bytes()), Err(Error::NotAnImage));
        // What a string holds is no structure.
        let text = format!(r#"{{"comment":"{}"}}"#, r#"\"[,"#.repeat(200_000));
        assert_eq!(image_config(text.as_bytes()), Err(Error::NotAnImage));
    }

    fn choice(os: &str, architecture: &str, variant: &str) -> Choice {
        Choice {
            descriptor: Descriptor { digest: Digest([0; 32]), size: 0, media_type: String::new() },
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
            ref_name: None,
        }
    }

    #[test]
    fn the_best_variant_that_the_machine_runs() {
        let all = [
            choice("linux", "arm", "v5"),
            choice("linux", "arm", "v7"),
            choice("linux", "arm64", "v8"),
            choice("windows", "amd64", ""),
            choice("linux", "amd64", ""),
            choice("linux", "amd64", "v3"),
            choice("unknown", "unknown", ""),
        ];
        let pick = |arch| {
            let (architecture, variant) = platform(arch);
            choose(&all, architecture, variant).map(|c| (c.os.as_str(), c.architecture.as_str(), c.variant.as_str()))
        };
        assert_eq!(pick("arm"), Some(("linux", "arm", "v7")));
        assert_eq!(pick("aarch64"), Some(("linux", "arm64", "v8")));
        assert_eq!(pick("x86_64"), Some(("linux", "amd64", "")));
        assert_eq!(pick("riscv64"), None);
    }

    /// Input: null-documents
    #[test]
    fn a_configuration_with_nulls() {
        let text = format!(
            r#"{{"config":{{"Env":["A=b"],"Cmd":null,"User":"7","StopSignal":"SIGUSR1"}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            hex("d")
        );
        let config = image_config(text.as_bytes()).unwrap();
        assert_eq!((config.env.len(), config.command.len(), config.user.as_str()), (1, 0, "7"));
        assert_eq!((config.stop_signal.as_str(), config.working_dir.as_str()), ("SIGUSR1", ""));
        assert_eq!(image_config(b"{}"), Err(Error::NotAnImage));
    }
}
