//! The images: a Debian system in eight layers, as gzip and as zstd; one of a hundred
//! layers; one of 200 000 small files. They are built once; the same packages give the same bytes.

use ocinit::host::image::{self, Entry, Layer};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory where the images, and the tree that they are made of, are kept between runs.
const CACHE: &str = "target/bench-pull";
/// Packages beside debootstrap's minbase. ping has a capability, perl a hard link.
const PACKAGES: &str = "git,python3,perl,iputils-ping,curl,ca-certificates,openssh-client,binutils";
const SUITE: &str = "bookworm";
/// Newer files get this time (2025-01-01), so that a second build gives the same bytes.
const MTIME_MAX_S: &str = "@1735689600";
/// Paths that depend on the day of the build, and those that images do not have.
const LEFT_OUT: &[&str] =
    &["dev/", "proc/", "sys/", "run/", "tmp/", "var/cache/", "var/lib/apt/", "var/log/", "var/backups/"];
/// The layers above the base of the eight, each with the prefixes of its paths. A path is in the first
/// layer that has a prefix of it.
const UPPER: &[&[&str]] = &[
    &["usr/share/locale/", "usr/share/i18n/"],
    &["usr/lib/python3"],
    &["usr/lib/git-core/", "usr/share/git"],
    &["usr/share/perl/", "usr/lib/x86_64-linux-gnu/perl"],
    &["usr/share/doc/", "usr/share/man/"],
    &["var/"],
    &["etc/"],
];
/// The base of the hundred layers.
const MIDDLE: &str = "usr/bin/";
/// The files of the 99 layers above it, and the text of the 200 000 files.
const SOURCES: &str = "usr/lib/python3.11/";
const DIRECTORIES: usize = 2000;
const FILES_PER_DIRECTORY: usize = 100;
const FILE_MAX_BYTES: u64 = 8192;

/// An image, as an OCI layout with the tag `latest`.
pub struct Image {
    pub name: &'static str,
    /// Its name in the report.
    pub title: &'static str,
    pub layout: PathBuf,
    /// The files of its layers, lowest first.
    pub blobs: Vec<PathBuf>,
    pub zstd: bool,
    pub compressed_bytes: u64,
    pub raw_bytes: u64,
    /// The number of regular files and hard links of all layers.
    pub files: u64,
}

/// How an image is made.
struct Recipe {
    name: &'static str,
    title: &'static str,
    make: fn(&Tree, &mut Writer) -> io::Result<()>,
}

const RECIPES: &[Recipe] = &[
    Recipe { name: "layers8", title: "8 layers", make: layers8 },
    Recipe { name: "layers100", title: "100 layers", make: layers100 },
    Recipe { name: "files", title: "200 000 files", make: files },
    Recipe { name: "zstd", title: "8 layers, zstd", make: layers8_zstd },
];

/// All images, or the one named `only`; those that are missing are built.
pub fn all(only: Option<&str>) -> Result<Vec<Image>, String> {
    let chosen: Vec<&Recipe> = RECIPES.iter().filter(|recipe| only.is_none_or(|name| name == recipe.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
        return Err(format!("no such image; there are: {}", names.join(", ")));
    }
    std::fs::create_dir_all(CACHE).map_err(|error| format!("{CACHE}: {error}"))?;
    chosen.into_iter().map(|recipe| recipe.image().map_err(|error| format!("{}: {error}", recipe.name))).collect()
}

impl Recipe {
    fn image(&self) -> io::Result<Image> {
        let (layout, facts) = (Path::new(CACHE).join(self.name), Path::new(CACHE).join(self.name).join("facts"));
        if !facts.is_file() {
            eprintln!("building the image {} in {}", self.name, layout.display());
            let _ = std::fs::remove_dir_all(&layout);
            let mut writer = Writer::default();
            (self.make)(&Tree::open()?, &mut writer)?;
            image::write_layers(&layout, &mut writer.layers.into_iter().map(Ok))?;
            // Written last: its presence means that the rest is complete.
            std::fs::write(&facts, format!("{} {}", writer.raw_bytes, writer.files))?;
        }
        let text = std::fs::read_to_string(&facts)?;
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [raw_bytes, files] = numbers[..] else { return Err(io::Error::other(format!("{}: bad", facts.display()))) };
        let blobs = blobs(&layout)?;
        let compressed_bytes = blobs.iter().map(|blob| blob.metadata().map_or(0, |meta| meta.len())).sum();
        let zstd = self.name == "zstd";
        Ok(Image { name: self.name, title: self.title, layout, blobs, zstd, compressed_bytes, raw_bytes, files })
    }
}

/// The files of the layers in an image's manifest.
fn blobs(layout: &Path) -> io::Result<Vec<PathBuf>> {
    let json = |path: &Path| -> io::Result<serde_json::Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let file = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let index = json(&layout.join("index.json"))?;
    let manifest = json(&file(&index["manifests"][0]))?;
    Ok(manifest["layers"].as_array().into_iter().flatten().map(file).collect())
}

/// Collects layers.
#[derive(Default)]
struct Writer {
    layers: Vec<Layer>,
    raw_bytes: u64,
    files: u64,
}

impl Writer {
    /// Adds `tar`, compressed as builders do: by gzip -6 or zstd -3, from a pipe.
    fn add(&mut self, tar: &Path, zstd: bool, files: usize) -> io::Result<()> {
        let raw = std::fs::read(tar)?;
        self.raw_bytes += raw.len() as u64;
        self.files += files as u64;
        let diff_id = format!("sha256:{}", image::sha256(&raw));
        let (media, words) = if zstd { (Layer::ZSTD, "zstd -q -3 -c") } else { (Layer::GZIP, "gzip -6 -n -c") };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("cat \"$0\" | {words}")]).arg(tar);
        self.layers.push(Layer { media: media.into(), bytes: output(&mut command)?, diff_id });
        std::fs::remove_file(tar)
    }
}

/// The files of a Debian system that debootstrap has made.
struct Tree {
    root: PathBuf,
    /// Sorted paths below the root; directories end with a slash.
    paths: Vec<String>,
}

impl Tree {
    fn open() -> io::Result<Tree> {
        let root = Path::new(CACHE).join("tree");
        if !root.is_dir() {
            debootstrap(&root)?;
        }
        let mut paths = Vec::new();
        walk(&root, "", &mut paths)?;
        paths.retain(|path| !LEFT_OUT.iter().any(|prefix| path.starts_with(prefix) && path.len() > prefix.len()));
        paths.sort();
        Ok(Tree { root, paths })
    }

    /// Adds a layer of these paths and of the directories above them.
    fn layer(&self, writer: &mut Writer, paths: &[&str], zstd: bool) -> io::Result<()> {
        let (list, tar) = (Path::new(CACHE).join("list"), Path::new(CACHE).join("layer.tar"));
        let mut all: Vec<&str> = paths.to_vec();
        for path in paths {
            all.extend(path.match_indices('/').map(|(at, _)| &path[..=at]));
        }
        all.sort_unstable();
        all.dedup();
        std::fs::write(&list, all.join("\n"))?;
        let mut command = Command::new("tar");
        command.args(["--format=posix", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]);
        command.args(["--mtime", MTIME_MAX_S, "--clamp-mtime", "--numeric-owner"]);
        command.args(["--xattrs", "--xattrs-include=*", "--no-recursion", "--verbatim-files-from"]);
        command.arg("-C").arg(&self.root).arg("-cf").arg(&tar).arg("-T").arg(&list);
        output(&mut command)?;
        std::fs::remove_file(&list)?;
        let regular = |path: &&&str| self.root.join(path).symlink_metadata().is_ok_and(|meta| meta.is_file());
        writer.add(&tar, zstd, all.iter().filter(regular).count())
    }

    fn below(&self, prefix: &str) -> Vec<&str> {
        self.paths.iter().map(String::as_str).filter(|path| path.starts_with(prefix)).collect()
    }
}

/// Runs debootstrap with the server that apt uses.
fn debootstrap(root: &Path) -> io::Result<()> {
    let format = "$(CODENAME) $(COMPONENT) $(REPO_URI)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let targets = String::from_utf8_lossy(&targets).into_owned();
    let server = targets.lines().find_map(|line| line.strip_prefix(SUITE)?.strip_prefix(" main "));
    let server = server.ok_or_else(|| io::Error::other(format!("apt knows no server of Debian {SUITE}")))?;
    eprintln!("debootstrap: {SUITE} with {PACKAGES}, once");
    let part = root.with_extension("part");
    let _ = std::fs::remove_dir_all(&part);
    let mut command = Command::new("debootstrap");
    let unpacked = Path::new("target/tools/usr/share/debootstrap").canonicalize();
    if let Ok(scripts) = unpacked {
        command.env("DEBOOTSTRAP_DIR", scripts);
    }
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]).arg(&part).arg(server);
    output(&mut command)?;
    std::fs::rename(&part, root)
}

fn walk(dir: &Path, prefix: &str, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            let below = format!("{path}/");
            walk(&entry.path(), &below, paths)?;
            paths.push(below);
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn layers8(tree: &Tree, writer: &mut Writer) -> io::Result<()> {
    eight(tree, writer, false)
}

fn layers8_zstd(tree: &Tree, writer: &mut Writer) -> io::Result<()> {
    eight(tree, writer, true)
}

fn eight(tree: &Tree, writer: &mut Writer, zstd: bool) -> io::Result<()> {
    let mut parts: Vec<Vec<&str>> = vec![Vec::new(); UPPER.len() + 1];
    for path in &tree.paths {
        let upper = UPPER.iter().position(|prefixes| prefixes.iter().any(|prefix| path.starts_with(prefix)));
        parts[upper.map_or(0, |index| index + 1)].push(path);
    }
    parts.iter().try_for_each(|paths| tree.layer(writer, paths, zstd))
}

fn layers100(tree: &Tree, writer: &mut Writer) -> io::Result<()> {
    tree.layer(writer, &tree.below(MIDDLE), false)?;
    let sources = tree.below(SOURCES);
    let mut at = sources.iter().filter(|path| !path.ends_with('/')).cycle();
    for index in 0..99 {
        let paths: Vec<&str> = at.by_ref().take(1 + index * 7 % 20).copied().collect();
        tree.layer(writer, &paths, false)?;
    }
    Ok(())
}

/// Most files are small, as in a tree of sources: sizes are the cube of an even distribution.
fn files(tree: &Tree, writer: &mut Writer) -> io::Result<()> {
    let mut text = Vec::new();
    for path in tree.below(SOURCES).iter().filter(|path| path.ends_with(".py")) {
        text.extend_from_slice(&std::fs::read(tree.root.join(path))?);
    }
    let mut state = 1u64;
    let mut random = |below: u64| {
        // Knuth's MMIX generator; its high bits are the random ones.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut entries = Vec::new();
    for directory in 0..DIRECTORIES {
        entries.push(Entry::directory(&format!("files/{directory:04}"), 0o755));
        for file in 0..FILES_PER_DIRECTORY {
            let part = random(FILE_MAX_BYTES + 1);
            let size = (part * part / FILE_MAX_BYTES * part / FILE_MAX_BYTES) as usize;
            let at = random((text.len() - size) as u64) as usize;
            entries.push(Entry::file(&format!("files/{directory:04}/{file:02}"), 0o644, &text[at..at + size]));
        }
    }
    entries.insert(0, Entry::directory("files", 0o755));
    let tar = Path::new(CACHE).join("layer.tar");
    std::fs::write(&tar, image::tar(&entries))?;
    writer.add(&tar, false, DIRECTORIES * FILES_PER_DIRECTORY)
}

/// Runs a command; returns its standard output, or the last line of its messages if it fails.
pub fn output(command: &mut Command) -> io::Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    // debootstrap writes its errors to standard output.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Err(io::Error::other(format!("{name}: {}", text.trim_end().lines().last().unwrap_or("failed"))))
}
