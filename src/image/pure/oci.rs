//! OCI and Docker documents: index, manifest, image configuration.

use crate::pure::digest::{self, Digest};
use crate::pure::json::{self, Value};

/// The largest manifest or configuration.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// The most `[`, `{`, `,` and `:` outside of strings. 4 MiB of `[[],[],...]` would become 90 MB of values; 500 layers
/// take about 5 000.
const STRUCTURE_MAX: usize = 100_000;
/// The most layers of an image: the limit of overlayfs (Linux, `OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;
/// The most indexes on the way to a manifest: an index in an index.
pub const INDEX_DEPTH_MAX: usize = 2;

/// How many characters of a platform's name a message shows.
const PLATFORM_CHARS: usize = 32;

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
    /// An error counts only if the entry is chosen: other entries may be for other tools, and of any form.
    pub descriptor: Result<Descriptor, Error>,
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
    /// What it was built for, in Go's words; empty where it does not say.
    pub os: String,
    pub architecture: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Json,
    TooManyValues,
    /// A member is missing or of another type.
    Member(&'static str),
    Digest(digest::Error),
    Schema1,
    /// `manifests` beside `layers` or `config`: readers could disagree on whether that is an index or a manifest.
    Ambiguous,
    TooManyLayers,
    NotAnImage,
    /// The configuration and the manifest have different numbers of layers.
    LayerCount,
}

impl Error {
    pub fn text(self) -> String {
        match self {
            Error::Json => "not valid JSON".into(),
            Error::TooManyValues => "more than 100 000 values, which no image needs".into(),
            Error::Member(name) => ["'", name, "' is missing or of another type"].concat(),
            Error::Digest(error) => error.text().into(),
            Error::Schema1 => "a manifest of schema 1, which is deprecated since 2017: push the image again".into(),
            Error::Ambiguous => {
                "'manifests' beside 'layers' or 'config': an index has only the one, a manifest only the others".into()
            }
            Error::TooManyLayers => "more than 500 layers, which overlayfs cannot stack".into(),
            Error::NotAnImage => "an artifact, not an image: its configuration has no root file system".into(),
            Error::LayerCount => "names a different number of layers than the manifest".into(),
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
    json::parse(bytes).ok_or(Error::Json)
}

/// Reads an index or a manifest. Their members tell which it is, since registries and layouts have wrong media types.
pub fn document(bytes: &[u8]) -> Result<Document, Error> {
    let value = json(bytes)?;
    let (config, layers) = (value.get("config"), value.get("layers"));
    if value.get("fsLayers").is_some() || value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Err(Error::Schema1);
    }
    match (value.get("manifests"), config.or(layers)) {
        (Some(_), Some(_)) => Err(Error::Ambiguous),
        (Some(manifests), None) => index(manifests).map(Document::Index),
        (None, None) if value.members().is_some() => Ok(Document::Index(Vec::new())),
        (None, _) => {
            config.ok_or(Error::Member("config"))?;
            let config = descriptor(&value.object("config"))?;
            let layers = value.list("layers").ok_or(Error::Member("layers"))?;
            if layers.len() > LAYERS_MAX {
                return Err(Error::TooManyLayers);
            }
            let mut descriptors = Vec::new();
            for layer in layers {
                descriptors.push(descriptor(layer)?);
            }
            Ok(Document::Manifest { config, layers: descriptors })
        }
    }
}

fn index(manifests: &Value) -> Result<Vec<Choice>, Error> {
    let manifests = manifests.as_array().ok_or(Error::Member("manifests"))?;
    let mut choices = Vec::new();
    for entry in manifests {
        let platform = entry.object("platform");
        let platform = |name| string(platform.get(name));
        choices.push(Choice {
            descriptor: descriptor(entry),
            os: platform("os"),
            architecture: platform("architecture"),
            variant: platform("variant"),
            ref_name: entry
                .object("annotations")
                .entry("org.opencontainers.image.ref.name")
                .and_then(Value::as_str)
                .map(String::from),
        });
    }
    Ok(choices)
}

pub(super) fn descriptor(value: &Value) -> Result<Descriptor, Error> {
    let digest = value.text("digest").ok_or(Error::Member("digest"))?;
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
/// runs (`v7`); older ones fit as well. An entry without a platform is used if no other fits; one that cannot be used
/// is then the last choice.
pub fn choose<'a>(choices: &'a [Choice], architecture: &str, variant: &str) -> Option<&'a Choice> {
    let fits = |choice: &&Choice| {
        let known = choice.os.is_empty() || choice.os == "linux";
        known && choice.architecture == architecture && choice.variant.as_str() <= variant
    };
    let best = choices.iter().filter(fits).reduce(|best, next| if next.variant > best.variant { next } else { best });
    let bare = || choices.iter().filter(|choice| choice.architecture.is_empty() && choice.os.is_empty());
    best.or_else(|| bare().find(|choice| choice.descriptor.is_ok())).or_else(|| bare().next())
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

/// Reads an image configuration. An image may have no layers: a volume or `--layer` then brings what runs.
pub fn image_config(bytes: &[u8]) -> Result<ImageConfig, Error> {
    let value = json(bytes)?;
    value.members().ok_or(Error::NotAnImage)?;
    let rootfs = value.object("rootfs");
    let digests = rootfs.texts("diff_ids").ok_or(Error::Member("diff_ids"))?;
    if digests.len() > LAYERS_MAX {
        return Err(Error::TooManyLayers);
    }
    let mut diff_ids = Vec::new();
    for digest in digests {
        diff_ids.push(Digest::parse(digest).map_err(Error::Digest)?);
    }
    let config = &value.object("config");
    config.members().ok_or(Error::Member("config"))?;
    let volumes = config.object("Volumes");
    let volumes = volumes.members().ok_or(Error::Member("Volumes"))?;
    Ok(ImageConfig {
        diff_ids,
        env: strings(config, "Env")?,
        entrypoint: words(config, "Entrypoint")?,
        command: words(config, "Cmd")?,
        user: text(config, "User")?,
        working_dir: text(config, "WorkingDir")?,
        volumes: volumes.iter().map(|(path, _)| path.clone()).collect(),
        stop_signal: text(config, "StopSignal")?,
        os: text(&value, "os")?,
        architecture: text(&value, "architecture")?,
    })
}

impl ImageConfig {
    /// What the image says that it was built for, as `OS/ARCHITECTURE`, if that is not Linux on `wanted`.
    pub fn other_platform(&self, wanted: &str) -> Option<String> {
        // A document may be as large as its limit, and this goes to the console.
        let shown = |text: &str| text.chars().take(PLATFORM_CHARS).collect::<String>();
        let of = |text: &str, default: &str| shown(if text.is_empty() { default } else { text });
        let (os, architecture) = (of(&self.os, "linux"), of(&self.architecture, wanted));
        let is_wanted = os.eq_ignore_ascii_case("linux") && platform(&architecture).0 == wanted;
        (!is_wanted).then(|| [&os, "/", &architecture].concat())
    }

    /// Checks that the configuration describes as many layers as the manifest has.
    pub fn has_layers(&self, count: usize) -> Result<(), Error> {
        match self.diff_ids.len() {
            own if own == count => Ok(()),
            0 => Err(Error::NotAnImage),
            _ => Err(Error::LayerCount),
        }
    }
}

/// A text, empty if it is absent or null. Another type is an error, as in Go: a user that is a number must not become
/// root.
fn text(value: &Value, name: &'static str) -> Result<String, Error> {
    value.get(name).map_or(Some(""), Value::as_str).map(String::from).ok_or(Error::Member(name))
}

/// A list of strings, none if it is absent or null. An item that is null is an empty string, as in Go.
fn strings(value: &Value, name: &'static str) -> Result<Vec<String>, Error> {
    let mut strings = Vec::new();
    for item in value.list(name).ok_or(Error::Member(name))? {
        let text = if *item == Value::Null { Some("") } else { item.as_str() };
        strings.push(text.ok_or(Error::Member(name))?.into());
    }
    Ok(strings)
}

/// The words of a command. A string is one word: docker's own type for these two members takes both.
fn words(value: &Value, name: &'static str) -> Result<Vec<String>, Error> {
    match value.text(name) {
        Some(word) => Ok(vec![word.into()]),
        None => strings(value, name),
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
            ("[]".into(), Error::Member("config")),
            (r#"{"layers":[]}"#.into(), Error::Member("config")),
            (r#"{"config":null,"layers":[]}"#.into(), Error::Member("config")),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.into(), Error::Schema1),
            (r#"{"SchemaVersion":1}"#.into(), Error::Schema1),
            (r#"{"FSLAYERS":[]}"#.into(), Error::Schema1),
            (r#"{"manifests":[],"layers":[]}"#.into(), Error::Ambiguous),
            (r#"{"manifests":[],"Layers":[]}"#.into(), Error::Ambiguous),
            (r#"{"MANIFESTS":[],"layers":[]}"#.into(), Error::Ambiguous),
            ("{\"manifests\":[],\"layer\u{17f}\":[]}".into(), Error::Ambiguous),
            // Without layers it could still be a manifest.
            (format!(r#"{{"manifests":[],"config":{},"layers":null}}"#, blob("a")), Error::Ambiguous),
            (r#"{"manifests":{}}"#.into(), Error::Member("manifests")),
            (format!(r#"{{"config":{},"layers":[{many}]}}"#, blob("a")), Error::TooManyLayers),
            (format!(r#"{{"config":{},"layers":[{{"size":1}}]}}"#, blob("a")), Error::Member("digest")),
            (format!(r#"{{"config":{},"layers":[]}}"#, blob("A")), Error::Digest(digest::Error::Hex)),
            (format!(r#"{{"config":{{"digest":"{}","size":-1}},"layers":[]}}"#, hex("a")), Error::Member("size")),
        ] {
            assert_eq!(document(text.as_bytes()), Err(error), "{text:.80}");
        }
    }

    /// Promise: json-as-go
    /// Input: json-keys, null-documents
    #[test]
    fn manifests_as_go_reads_them() {
        let (a, b) = (blob("a"), blob("b"));
        let layers = |text: String| match document(text.as_bytes()) {
            Ok(Document::Manifest { config, layers }) if config.digest.text() == hex("a") => layers.len(),
            other => panic!("{text}: {other:?}"),
        };
        for empty in ["", r#","layers":null"#, r#","layers":[]"#, r#","manifests":null,"fsLayers":null,"history":null"#]
        {
            assert_eq!(layers(format!(r#"{{"config":{a}{empty}}}"#)), 0, "{empty}");
        }
        let cased = b.replace("digest", "Digest").replace("size", "SIZE").replace("mediaType", "mediatype");
        assert_eq!(layers(format!(r#"{{"Config":{a},"LAYERS":[{cased}],"annotations":null}}"#)), 1);
        assert_eq!(layers(format!(r#"{{"config":{a},"Config":{b},"layers":[{b}],"Layers":[]}}"#)), 1);
        assert_eq!(layers(format!(r#"{{"config":{a},"layers":null,"Layers":[{b}]}}"#)), 1);
        for empty in ["{}", r#"{"manifests":null}"#, r#"{"Manifests":[]}"#, r#"{"schemaVersion":2,"annotations":null}"#]
        {
            assert_eq!(document(empty.as_bytes()), Ok(Document::Index(Vec::new())), "{empty}");
        }
    }

    /// Promise: index-entries
    /// Input: index-entries
    #[test]
    fn entries_that_are_not_chosen_refuse_nothing() {
        let good =
            format!(r#"{},"platform":{{"os":"linux","architecture":"amd64"}}}}"#, blob("a").trim_end_matches('}'));
        let arm = |entry: &str| format!(r#"{{{entry}"platform":{{"os":"linux","architecture":"arm64"}}}}"#);
        let digest = |text: &str| format!(r#""digest":"{text}","size":3,"#);
        let (sha512, blake3) = (["sha512:", &"a".repeat(128)].concat(), ["blake3:", &"a".repeat(64)].concat());
        let odd = [
            (arm(&digest(&sha512)), Error::Digest(digest::Error::Algorithm)),
            (arm(&digest(&blake3)), Error::Digest(digest::Error::Algorithm)),
            (arm(&digest(&hex("A"))), Error::Digest(digest::Error::Hex)),
            (arm(""), Error::Member("digest")),
            (arm(r#""digest":null,"size":null,"#), Error::Member("digest")),
            (arm(&format!(r#""digest":"{}","#, hex("b"))), Error::Member("size")),
            (arm(&format!(r#""digest":"{}","size":-1,"#, hex("b"))), Error::Member("size")),
            (arm(&format!(r#""digest":"{}","size":"3","#, hex("b"))), Error::Member("size")),
            (arm(&format!(r#""digest":"{}","size":1e400,"#, hex("b"))), Error::Member("size")),
        ];
        for (entry, error) in &odd {
            for list in [[entry, &good], [&good, entry]] {
                let text = format!(r#"{{"manifests":[{},{}]}}"#, list[0], list[1]);
                let Ok(Document::Index(all)) = document(text.as_bytes()) else { panic!("{text}") };
                let chosen =
                    |arch| choose(&all, arch, "v8").map(|choice| choice.descriptor.clone().map(|d| d.digest.text()));
                assert_eq!(chosen("amd64"), Some(Ok(hex("a"))), "{text}");
                assert_eq!(chosen("arm64"), Some(Err(*error)), "{text}");
                assert_eq!(chosen("riscv64"), None, "{text}");
            }
        }
        // Without a platform: one that can be used comes first, and the other only where it is all there is.
        for odd in ["null", "7", "[]", "{}", r#"{"platform":null}"#, r#"{"digest":"sha512:0"}"#] {
            let pick = |list: &[&str]| {
                let text = format!(r#"{{"manifests":[{}]}}"#, list.join(","));
                let Ok(Document::Index(all)) = document(text.as_bytes()) else { panic!("{text}") };
                choose(&all, "amd64", "v1").map(|choice| choice.descriptor.clone().map(|d| d.digest.text()).ok())
            };
            assert_eq!(pick(&[odd, &blob("b"), &good]), Some(Some(hex("a"))), "{odd}");
            assert_eq!(pick(&[odd, &blob("b")]), Some(Some(hex("b"))), "{odd}");
            assert_eq!(pick(&[odd]), Some(None), "{odd}");
        }
    }

    #[test]
    fn a_document_of_empty_lists_does_not_fill_the_memory() {
        let lists = |count: usize| format!(r#"{{"\"[[[[":[{}]}}"#, vec!["[]"; count].join(","));
        assert_eq!(document(lists(2_000_000).as_bytes()), Err(Error::TooManyValues));
        assert_eq!(image_config(lists(50_000).as_bytes()), Err(Error::TooManyValues));
        assert_eq!(image_config(lists(49_000).as_bytes()), Ok(ImageConfig::default()));
        // What a string holds is no structure.
        let text = format!(r#"{{"comment":"{}"}}"#, r#"\"[,"#.repeat(200_000));
        assert_eq!(image_config(text.as_bytes()), Ok(ImageConfig::default()));
    }

    fn choice(os: &str, architecture: &str, variant: &str) -> Choice {
        Choice {
            descriptor: Ok(Descriptor { digest: Digest([0; 32]), size: 0, media_type: String::new() }),
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
        assert_eq!(image_config(b"[]"), Err(Error::NotAnImage));
        for none in ["{}", r#"{"rootfs":null}"#, r#"{"rootfs":{}}"#, r#"{"rootfs":{"diff_ids":null},"history":null}"#] {
            let config = image_config(none.as_bytes()).unwrap();
            assert_eq!((config.has_layers(0), config.has_layers(1)), (Ok(()), Err(Error::NotAnImage)), "{none}");
        }
        assert_eq!(image_config(text.as_bytes()).unwrap().has_layers(2), Err(Error::LayerCount));
        for member in
            ["Env", "Entrypoint", "Cmd", "Volumes", "Labels", "User", "WorkingDir", "StopSignal", "ExposedPorts"]
        {
            let text = format!(r#"{{"os":null,"architecture":null,"config":{{"{member}":null}}}}"#);
            assert_eq!(image_config(text.as_bytes()), Ok(ImageConfig::default()), "{member}");
        }
        assert_eq!(image_config(br#"{"config":null}"#), Ok(ImageConfig::default()));
        for wrong in [
            r#"{"Env":"A=b"}"#,
            r#"{"Env":{}}"#,
            r#"{"Cmd":[7]}"#,
            r#"{"Entrypoint":{}}"#,
            r#"{"User":1000}"#,
            r#"{"WorkingDir":5}"#,
            r#"{"StopSignal":15}"#,
            r#"{"Volumes":["/a"]}"#,
            "[]",
            "\"x\"",
        ] {
            assert!(image_config(format!(r#"{{"config":{wrong}}}"#).as_bytes()).is_err(), "{wrong}");
        }
    }

    /// Promise: json-as-go
    /// Input: json-keys, entry-points
    #[test]
    fn configurations_as_go_reads_them() {
        let text = format!(
            r#"{{"OS":"linux","Architecture":"arm64","CONFIG":{{"env":["A=b",null],"entrypoint":"/one word","cmd":["c"],
            "user":"7","workingdir":"/w","volumes":{{"/V":{{}},"/v":null}},"stopsignal":"9"}},
            "rootfS":{{"DIFF_IDS":["{}"]}}}}"#,
            hex("d")
        );
        let config = image_config(text.as_bytes()).unwrap();
        assert_eq!((config.os.as_str(), config.architecture.as_str()), ("linux", "arm64"));
        assert_eq!(
            (config.env, config.entrypoint, config.command),
            (vec!["A=b".into(), String::new()], vec!["/one word".to_string()], vec!["c".to_string()])
        );
        assert_eq!((config.user.as_str(), config.working_dir.as_str(), config.stop_signal.as_str()), ("7", "/w", "9"));
        assert_eq!((config.volumes, config.diff_ids.len()), (vec!["/V".to_string(), "/v".into()], 1));
        // A later object sets what it names, and leaves the rest.
        let text = format!(
            r#"{{"config":{{"User":"7","Cmd":["a","b"],"Volumes":{{"/a":{{}}}}}},"rootfs":{{"diff_ids":["{}"]}},
            "config":{{"Cmd":["c"],"Volumes":{{"/b":{{}}}}}},"rootfs":{{"type":"layers"}}}}"#,
            hex("d")
        );
        let config = image_config(text.as_bytes()).unwrap();
        assert_eq!((config.user.as_str(), config.command), ("7", vec!["c".to_string()]));
        assert_eq!((config.volumes, config.diff_ids.len()), (vec!["/a".to_string(), "/b".into()], 1));
        assert_eq!(image_config(br#"{"config":{},"config":[]}"#), Err(Error::Member("config")));
    }

    /// Input: other-platform
    #[test]
    fn what_an_image_was_built_for() {
        let other = |os: &str, architecture: &str| {
            ImageConfig { os: os.into(), architecture: architecture.into(), ..ImageConfig::default() }
                .other_platform("amd64")
        };
        for (os, architecture) in [("", ""), ("linux", "amd64"), ("", "amd64"), ("linux", ""), ("Linux", "x86_64")] {
            assert_eq!(other(os, architecture), None, "{os}/{architecture}");
        }
        for (os, architecture, shown) in [
            ("linux", "arm64", "linux/arm64"),
            ("", "386", "linux/386"),
            ("windows", "amd64", "windows/amd64"),
            ("darwin", "", "darwin/amd64"),
            ("wasi", "wasm", "wasi/wasm"),
            (&"o".repeat(99), &"é".repeat(99), &["o".repeat(32), "é".repeat(32)].join("/")),
        ] {
            assert_eq!(other(os, architecture).as_deref(), Some(shown));
        }
    }
}
