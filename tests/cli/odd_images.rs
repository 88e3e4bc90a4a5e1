//! Images as they are, which podman takes: keys in another case, lists that are null, entries of an index that are for
//! other tools, no layers, another architecture, compressions that are told by name. Each as a layout, in archives and
//! in a real registry.

use super::{images, Ended, Host};
use ocinit::host::compress::{compress, gzip, Compression};
use ocinit::host::image::{sha256, tar, Entry, Image};
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A blob's descriptor, in the usual spelling.
fn descriptor(bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"x","digest":"sha256:{}","size":{}}}"#, sha256(bytes), bytes.len())
}

/// The documents of an image, as texts: `$CONFIG`, `$LAYERS` and `$DIFF_IDS` stand for descriptors and digests.
struct Documents<'a> {
    config: &'a str,
    manifest: &'a str,
    /// `manifest.json` of a docker archive.
    list: &'a str,
    layers: Vec<Vec<u8>>,
}

/// The same image in all the places that it can be pulled from.
struct Places {
    names: Vec<String>,
    layout: PathBuf,
    manifest: String,
    _registry: ocinit::host::registry::DockerRegistry,
}

impl Documents<'_> {
    fn write(&self, host: &Host, name: &str) -> Places {
        let layout = host.dir.join(name);
        let blobs = layout.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| format!("\"sha256:{}\"", sha256(layer))).collect();
        let config = self.config.replace("$DIFF_IDS", &diff_ids.join(","));
        let layers: Vec<_> = self.layers.iter().map(|layer| descriptor(layer)).collect();
        let manifest = self.manifest.replace("$CONFIG", &descriptor(config.as_bytes()));
        let manifest = manifest.replace("$LAYERS", &layers.join(","));
        let documents = [config.clone().into_bytes(), manifest.clone().into_bytes()];
        for bytes in self.layers.iter().chain(&documents) {
            std::fs::write(blobs.join(sha256(bytes)), bytes).unwrap();
        }
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(manifest.as_bytes()));
        std::fs::write(layout.join("index.json"), index).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let oci = host.dir.join(format!("{name}.oci.tar"));
        archive(&layout, &oci);
        let mut members = vec![Entry::file("c.json", 0o644, config.clone())];
        let files = (0..self.layers.len()).map(|n| format!("\"{n}.tar\"")).collect::<Vec<_>>().join(",");
        members.push(Entry::file("manifest.json", 0o644, self.list.replace("$LAYERS", &files)));
        members.extend(
            self.layers.iter().enumerate().map(|(n, layer)| Entry::file(&format!("{n}.tar"), 0o644, layer.clone())),
        );
        let docker = host.dir.join(format!("{name}.docker.tar"));
        std::fs::write(&docker, tar(&members)).unwrap();
        let registry =
            ocinit::host::registry::DockerRegistry::start(&host.dir.join(format!("{name}.registry"))).unwrap();
        self.layers.iter().for_each(|layer| images::put_blob(&registry, name, layer));
        images::put_blob(&registry, name, config.as_bytes());
        images::put_manifest(&registry, name, MANIFEST, manifest.as_bytes());
        let names = vec![
            format!("oci:{}", layout.display()),
            format!("oci-archive:{}", oci.display()),
            format!("docker-archive:{}", docker.display()),
            format!("{}/{name}", registry.here()),
        ];
        Places { names, layout, manifest, _registry: registry }
    }
}

/// Puts the directory's files into an archive.
fn archive(directory: &Path, file: &Path) {
    let status = Command::new("tar").arg("-C").arg(directory).arg("-cf").arg(file).arg(".").status();
    assert!(status.unwrap().success());
}

fn run(host: &Host, words: &[&str]) -> Ended {
    let _ = std::fs::remove_dir_all(host.store());
    let ended = host.ocinit(&[&["run", "--tls-verify=false"], words].concat());
    assert!(host.left().is_empty(), "{words:?}");
    ended
}

/// The warnings of the pull; this host may give the container's start reasons for others.
fn warns(ended: &Ended) -> Vec<String> {
    ended.err.lines().filter(|line| line.starts_with("pull") && line.contains("WARN")).map(String::from).collect()
}

fn base(host: &Host) -> Vec<Vec<u8>> {
    vec![tar(&images::base(&host.payload))]
}

/// Promise: json-as-go
/// Input: json-keys, null-documents, entry-points
#[test]
fn documents_in_the_spellings_that_go_reads() {
    let Some(host) = Host::new("spellings") else { return };
    let usual = Documents {
        config: r#"{"os":"linux","config":{"Entrypoint":["/payload"],"Cmd":["hello"]},
            "rootfs":{"type":"layers","diff_ids":[$DIFF_IDS]}}"#,
        manifest: r#"{"schemaVersion":2,"config":$CONFIG,"layers":[$LAYERS]}"#,
        list: r#"[{"Config":"c.json","RepoTags":null,"Layers":[$LAYERS]}]"#,
        layers: base(&host),
    };
    let cased = Documents {
        config: r#"{"OS":"linux","CONFIG":{"entrypoint":["/payload"],"cmd":["hello"],"ENV":["A=b"]},
            "rootfS":{"type":"layers","Diff_IDs":[$DIFF_IDS]}}"#,
        manifest: r#"{"SchemaVersion":2,"CONFIG":$CONFIG,"Layers":[$LAYERS]}"#,
        list: r#"[{"config":"c.json","repoTags":["a.b/c:1"],"LAYERS":[$LAYERS]}]"#,
        layers: base(&host),
    };
    let nulls = Documents {
        config: r#"{"os":null,"architecture":null,"history":null,
            "config":{"Entrypoint":"/payload","Cmd":["hello"],
            "Env":null,"Labels":null,
            "Volumes":null,"User":null,"WorkingDir":null,
            "ExposedPorts":null},
            "rootfs":{"diff_ids":[$DIFF_IDS]}}"#,
        manifest: r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "manifests":null,"fsLayers":null,
            "config":$CONFIG,"layers":[$LAYERS],"annotations":null,"subject":null}"#,
        list: r#"[{"Config":"c.json","Layers":[$LAYERS],"Parent":null}]"#,
        layers: base(&host),
    };
    // The exact key counts before others, one that is null counts for nothing, and half of a pair is replaced.
    let doubled = Documents {
        config: r#"{"CONFIG":{"Cmd":["wrong"]},
            "config":{"Entrypoint":[""],"Cmd":["/payload","hello"],
            "cmd":["wrong"],"Labels":{"a":"\ud83d","n":1e999}},"rootfs":null,"Rootfs":{"diff_ids":[$DIFF_IDS]}}"#,
        manifest: r#"{"schemaVersion":2,"LAYERS":[],"config":$CONFIG,"layers":[$LAYERS]}"#,
        list: r#"[{"Config":"c.json","Layers":[$LAYERS],"layers":[]}]"#,
        layers: base(&host),
    };
    for (name, documents) in [("usual", usual), ("cased", cased), ("nulls", nulls), ("doubled", doubled)] {
        for place in &documents.write(&host, name).names {
            let ended = run(&host, &[place]);
            assert_eq!(ended.code, 0, "{place}: {}", ended.err);
            assert!(ended.out.starts_with("Hello from a container\n"), "{place}: {}", ended.out);
            assert_eq!(warns(&ended), Vec::<String>::new(), "{place}");
        }
    }
}

/// Input: two-kinds-of-manifest
#[test]
fn what_is_refused_in_any_spelling() {
    let Some(host) = Host::new("refused-spellings") else { return };
    for (number, (manifest, why)) in [
        (r#"{"config":$CONFIG,"layers":[$LAYERS],"Manifests":[]}"#, "'manifests' beside"),
        (r#"{"MANIFESTS":[],"Layers":[$LAYERS]}"#, "'manifests' beside"),
        (r#"{"config":$CONFIG,"layers":null,"manifests":[]}"#, "'manifests' beside"),
        (r#"{"SCHEMAVERSION":1,"config":$CONFIG,"layers":[$LAYERS]}"#, "schema 1"),
        (r#"{"config":$CONFIG,"layers":[$LAYERS,$LAYERS]}"#, "a different number of layers"),
        (r#"{"config":$CONFIG,"LAYERS":{}}"#, "'layers' is missing or of another type"),
    ]
    .into_iter()
    .enumerate()
    {
        let config = r#"{"config":{"Cmd":["/payload"]},"rootfs":{"diff_ids":[$DIFF_IDS]}}"#;
        let layout = host.dir.join(number.to_string());
        let layers = base(&host);
        let blobs = layout.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let config = config.replace("$DIFF_IDS", &format!("\"sha256:{}\"", sha256(&layers[0])));
        let manifest =
            manifest.replace("$CONFIG", &descriptor(config.as_bytes())).replace("$LAYERS", &descriptor(&layers[0]));
        for bytes in [config.as_bytes(), manifest.as_bytes(), &layers[0]] {
            std::fs::write(blobs.join(sha256(bytes)), bytes).unwrap();
        }
        std::fs::write(layout.join("index.json"), format!(r#"{{"manifests":[{}]}}"#, descriptor(manifest.as_bytes())))
            .unwrap();
        let ended = run(&host, &[&format!("oci:{}", layout.display())]);
        assert!(ended.code == 125 && ended.err.contains(why), "{manifest}: {}", ended.err);
    }
}

/// Promise: image-without-layers
/// Input: null-documents
#[test]
fn an_image_without_layers_runs_what_a_volume_or_a_layer_brings() {
    let Some(host) = Host::new("without-layers") else { return };
    let bin = host.dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(ocinit_payload(&host), bin.join("payload")).unwrap();
    let volume = format!("-v={}:/bin", bin.display());
    let layer = host.dir.join("layer.tar");
    std::fs::write(&layer, &base(&host)[0]).unwrap();
    let (layer, payload) = (format!("--layer={}", layer.display()), "/payload");
    let list = r#"[{"Config":"c.json","Layers":null}]"#;
    for (number, (config, manifest)) in [
        (r#"{"rootfs":{"diff_ids":null}}"#, r#"{"config":$CONFIG,"layers":null}"#),
        (r#"{"rootfs":{"type":"layers"},"history":[]}"#, r#"{"config":$CONFIG}"#),
        (
            r#"{"config":{"Cmd":["/nothing"]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"config":$CONFIG,"layers":[]}"#,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // Debian's registry wants the media type of a manifest in it.
        let manifest = manifest.replace('{', &format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","#));
        let name = format!("image{number}");
        let documents = Documents { config, manifest: &manifest, list, layers: Vec::new() };
        for place in &documents.write(&host, &name).names {
            for words in [[volume.as_str(), "--entrypoint=/bin/payload"], [layer.as_str(), "--entrypoint=/payload"]] {
                let ended = run(&host, &[words[0], words[1], place, "hello"]);
                assert_eq!(ended.code, 0, "{place} {words:?}: {}", ended.err);
                assert!(ended.out.starts_with("Hello from a container\n"), "{place}: {}", ended.out);
            }
            let pulled = host.ocinit(&["pull", "--tls-verify=false", place]);
            assert_eq!(pulled.code, 0, "{place}: {}", pulled.err);
            let bare = run(&host, &[place, payload]);
            assert_eq!(bare.code, 127, "{place}: {}", bare.err);
        }
    }
}

/// The payload as a file.
fn ocinit_payload(host: &Host) -> PathBuf {
    let file = host.dir.join("the-payload");
    std::fs::write(&file, &host.payload).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, mode).unwrap();
    file
}

/// An image in a layout and in an archive of it, whose index is written anew for each look.
struct Indexed {
    host: Host,
    layout: PathBuf,
    /// The descriptor of its manifest.
    good: String,
}

impl Indexed {
    fn new(name: &str) -> Option<Indexed> {
        let host = Host::new(name)?;
        let documents = Documents {
            config: r#"{"config":{"Cmd":["/payload","hello"]},"rootfs":{"diff_ids":[$DIFF_IDS]}}"#,
            manifest: r#"{"schemaVersion":2,"config":$CONFIG,"layers":[$LAYERS]}"#,
            list: "[]",
            layers: base(&host),
        };
        let places = documents.write(&host, "image");
        Some(Indexed { host, layout: places.layout, good: descriptor(places.manifest.as_bytes()) })
    }

    fn named(&self, tag: &str) -> String {
        let open = self.good.trim_end_matches('}');
        format!(r#"{open},"annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}"#)
    }

    /// How it ends with this index, in both places.
    fn run(&self, index: &str, image: &str) -> [Ended; 2] {
        std::fs::write(self.layout.join("index.json"), index).unwrap();
        let file = self.host.dir.join("index.tar");
        archive(&self.layout, &file);
        let names = [format!("oci:{}{image}", self.layout.display()), format!("oci-archive:{}{image}", file.display())];
        names.map(|name| run(&self.host, &[&name]))
    }
}

/// Entries that can be of no use here.
fn odd_entries() -> [String; 7] {
    let (sha512, blake3) = (["sha512:", &"a".repeat(128)].concat(), ["blake3:", &"b".repeat(64)].concat());
    let (hex, name) = ("c".repeat(64), r#""annotations":{"org.opencontainers.image.ref.name":"#);
    [
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"{sha512}","size":7}}"#),
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"{blake3}","size":7,{name}"odd"}}}}"#),
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"sha256:{hex}"}}"#),
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"sha256:{hex}","size":-1,"annotations":null}}"#),
        format!(r#"{{"mediaType":"application/x.unknown","platform":null,{name}null}}}}"#),
        "null".into(),
        "{}".into(),
    ]
}

/// Promise: index-entries
/// Input: index-entries
#[test]
fn entries_of_an_index_that_are_for_others() {
    let Some(indexed) = Indexed::new("entries") else { return };
    let (odd, tagged) = (odd_entries(), indexed.named("v1"));
    let all = odd.join(",");
    for entry in odd.iter().chain([&all]) {
        for list in [format!("{entry},{tagged}"), format!("{tagged},{entry}")] {
            for image in ["", ":v1"] {
                for ended in indexed.run(&format!(r#"{{"schemaVersion":2,"manifests":[{list}]}}"#), image) {
                    assert_eq!(ended.code, 0, "{list} {image}: {}", ended.err);
                }
            }
        }
    }
}

/// Chosen by name or number, or all there is: what is wrong with it is told.
/// Promise: index-entries
/// Input: index-entries, null-documents
#[test]
fn entries_of_an_index_that_are_chosen() {
    let Some(indexed) = Indexed::new("chosen") else { return };
    let (odd, tagged) = (odd_entries(), indexed.named("v1"));
    let list = |entries: &[&str]| format!(r#"{{"schemaVersion":2,"Manifests":[{}]}}"#, entries.join(","));
    for (index, image, why) in [
        (list(&[&odd[1], &tagged]), ":odd", "index.json: a digest that is not sha256"),
        (list(&[&odd[0]]), "", "index.json: a digest that is not sha256"),
        (list(&[&odd[2]]), "", "index.json: 'size' is missing or of another type"),
        (list(&[&tagged, &odd[3]]), ":@1", "index.json: 'size' is missing or of another type"),
        (list(&["null"]), "", "index.json: 'digest' is missing or of another type"),
        (list(&[&tagged, &indexed.named("v2")]), "", "holds several images: add one of :v1, :v2"),
        (list(&[]), "", "index.json: contains no image"),
        (r#"{"schemaVersion":2}"#.into(), "", "index.json: contains no image"),
        (r#"{"schemaVersion":2,"manifests":null}"#.into(), "", "index.json: contains no image"),
    ] {
        for ended in indexed.run(&index, image) {
            assert!(ended.code == 125 && ended.err.contains(why), "{index} {image}: {}", ended.err);
        }
    }
}

/// A program for a machine that this is not.
fn foreign_elf() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    (elf[16], elf[18], elf[20], elf[52], elf[54]) =
        (2, if cfg!(target_arch = "aarch64") { 62 } else { 183 }, 1, 64, 56);
    elf
}

/// Promise: other-platform
/// Input: other-platform
#[test]
fn an_image_for_another_machine() {
    let Some(host) = Host::new("machine") else { return };
    let own = ocinit::image::pure::oci::platform(std::env::consts::ARCH).0;
    let other = if own == "arm64" { "amd64" } else { "arm64" };
    let mut entries = images::base(&host.payload);
    entries
        .extend([Entry::file("foreign", 0o755, foreign_elf()), Entry::file("script", 0o755, "echo no interpreter\n")]);
    let image = |name: &str, architecture: &str| {
        let config = json!({"Entrypoint": ["/payload"], "Cmd": ["hello"]});
        let image = Image { architecture: architecture.into(), ..Image::new(vec![tar(&entries)], config) };
        host.layout(name, image)
    };
    let (theirs, ours) = (image("theirs", other), image("ours", own));
    let warning = format!("the image is for linux/{other}, and linux/{own} was asked for");
    let ended = run(&host, &[&theirs]);
    assert_eq!((ended.code, warns(&ended).len()), (0, 1), "{}", ended.err);
    assert!(warns(&ended)[0].ends_with(&warning), "{}", ended.err);
    // Again where the image is stored: its program may still fail.
    let again = host.ocinit(&["run", &theirs]);
    assert!(again.code == 0 && warns(&again).len() == 1 && warns(&again)[0].ends_with(&warning), "{}", again.err);
    let ended = run(&host, &["--entrypoint=/foreign", &theirs]);
    let hint = format!("the image is for linux/{other}, and this machine is linux/{own}");
    assert!(ended.code == 126 && ended.err.contains("exec format error") && ended.err.contains(&hint), "{}", ended.err);
    assert_eq!(warns(&ended).len(), 1, "{}", ended.err);
    // As asked for: no warning, but the reason of a failure.
    let platform = format!("--platform=linux/{other}");
    let ended = run(&host, &[&platform, "--entrypoint=/foreign", &theirs]);
    assert!(ended.code == 126 && ended.err.contains(&hint) && warns(&ended).is_empty(), "{}", ended.err);
    for (program, code) in [("/payload", 0), ("/foreign", 126), ("/script", 126)] {
        let ended = run(&host, &["--entrypoint", program, &ours, "hello"]);
        assert!(ended.code == code && warns(&ended).is_empty(), "{program}: {}", ended.err);
        assert_eq!(ended.err.contains("a program for another architecture, or a script"), code == 126, "{}", ended.err);
    }
}

/// `tar` packed by a program that the host has.
fn packed(program: &str, words: &[&str], tar: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tar).unwrap();
    let output = Command::new(program).args(words).arg("-c").arg(file.path()).stderr(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{program}: {error} (./dev setup brings it)")).stdout
}

/// Promise: foreign-compressions
/// Input: foreign-compressions
#[test]
fn compressions_that_are_not_read_are_told_by_name() {
    let Some(host) = Host::new("packed") else { return };
    let raw = tar(&images::base(&host.payload));
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(host.dir.join(name), bytes).unwrap();
        host.dir.join(name).display().to_string()
    };
    let (layout, digest) = images::write(&host.dir, "good", images::payload(&host.payload));
    let good = format!("oci:{}", layout.display());
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(layout.join("blobs/sha256").join(&digest["sha256:".len()..])).unwrap())
            .unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap()["sha256:".len()..].to_string();
    let config = std::fs::read(layout.join("blobs/sha256").join(config)).unwrap();
    let whole = host.dir.join("whole.tar");
    archive(&layout, &whole);
    let whole = std::fs::read(whole).unwrap();
    for (name, pack) in [
        ("xz", &(|tar: &[u8]| packed("xz", &["-0"], tar)) as &dyn Fn(&[u8]) -> Vec<u8>),
        ("bzip2", &|tar| packed("bzip2", &["-1"], tar)),
        ("lz4", &|tar| [&[0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7], tar].concat()),
    ] {
        let layer = pack(&raw);
        let docker = tar(&[
            Entry::file("c.json", 0o644, config.clone()),
            Entry::file("l.tar", 0o644, layer.clone()),
            Entry::file("manifest.json", 0o644, r#"[{"Config":"c.json","Layers":["l.tar"]}]"#),
        ]);
        let flag = format!("--layer={}", write(&format!("layer.{name}"), &layer));
        let of_registry = Documents {
            config: core::str::from_utf8(&config).unwrap(),
            manifest: r#"{"schemaVersion":2,"config":$CONFIG,"layers":[$LAYERS]}"#,
            list: "[]",
            layers: vec![layer],
        };
        let places = of_registry.write(&host, name);
        for words in [
            vec![format!("oci-archive:{}", write(&format!("oci.{name}"), &pack(&whole)))],
            vec![format!("docker-archive:{}", write(&format!("docker.{name}"), &pack(&docker)))],
            vec![format!("docker-archive:{}", write(&format!("{name}.tar"), &docker))],
            vec![places.names[0].clone()],
            vec![places.names[3].clone()],
            vec![flag.clone(), good.clone()],
        ] {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = run(&host, &words);
            let told = format!("packed with {name}: pack it again with gzip, with zstd or not at all");
            assert!(ended.code == 125 && ended.err.contains(&told), "{name} {words:?}: {}", ended.err);
            assert!(!ended.err.contains("digest sha256"), "{}", ended.err);
        }
    }
    // The benign neighbours: the same, by gzip and by zstd.
    let zstd = |tar: &[u8]| compress(tar, Compression::Zstd).unwrap().0;
    for (name, pack) in [("gzip", &gzip as &dyn Fn(&[u8]) -> Vec<u8>), ("zstd", &zstd)] {
        let archive = format!("oci-archive:{}", write(&format!("oci.{name}"), &pack(&whole)));
        let flag = format!("--layer={}", write(&format!("layer.{name}"), &pack(&raw)));
        assert_eq!((run(&host, &[&archive]).code, run(&host, &[&flag, &good]).code), (0, 0), "{name}");
    }
}
