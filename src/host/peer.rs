//! The peer of the benchmarks: podman, crun and conmon from Debian's packages in an
//! initramfs, with an init script that does what boot2container does. It is as small
//! as packages can be made without a compiler: only the libraries that are loaded,
//! stripped, and compressed as well as our own initramfs.

use super::cache::one_download;
use super::compress::{compress, Compression, Effort};
use super::cpio::Archive;
use super::modules::Set;
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages of its programs. podman's network plugins are not among them: containers use the host's network.
const PACKAGES: &[&str] = &["podman", "crun", "conmon", "busybox-static"];
const PROGRAMS: &[&str] = &["usr/bin/podman", "usr/bin/crun", "usr/bin/conmon"];
const APPLETS: &[&str] =
    &["sh", "cat", "echo", "insmod", "ip", "mkdir", "mount", "poweroff", "sleep", "sync", "udhcpc", "umount"];
/// Empty directories that the script mounts on or podman writes to.
const DIRECTORIES: &[&str] = &["proc", "sys", "dev", "run", "tmp", "root", "var/tmp", "var/lib/containers"];

const TEXTS: &[(&str, u32, &str)] = &[
    ("init", 0o755, include_str!("../../benches/peer/init")),
    ("etc/udhcpc.sh", 0o755, include_str!("../../benches/peer/udhcpc.sh")),
    ("etc/containers/containers.conf", 0o644, include_str!("../../benches/peer/containers.conf")),
    ("etc/containers/storage.conf", 0o644, include_str!("../../benches/peer/storage.conf")),
    ("etc/containers/policy.json", 0o644, "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n"),
    ("etc/containers/registries.conf", 0o644, "unqualified-search-registries = [\"docker.io\"]\n"),
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", 0o644, "root:x:0:\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n"),
];

/// Limit of the rounds in which the dependencies of what was just downloaded are downloaded; five are usual.
const ROUNDS_MAX: u32 = 16;

/// The dictionary. With 64 MiB the result is smaller by less than a percent, but the kernel
/// allocates it beside the unpacked files, and the peer's smallest RAM depends on it.
const DICT_BYTES: u32 = 8 << 20;

/// The kernel option with which the peer needs the least RAM: the default tmpfs holds half of
/// the RAM at most, and with less than 160 MB podman's binary does not fit into it.
pub const KERNEL_OPTIONS: &str = "rootfstype=ramfs";

/// The peer, ready to boot.
pub struct Peer {
    /// Bytes of the compressed initramfs without kernel modules.
    pub base_len: usize,
    /// The initramfs with kernel modules, as it is booted.
    pub bytes: Vec<u8>,
    /// The unpacked size, without kernel modules.
    pub raw_len: usize,
    /// Package and version of the programs.
    pub versions: Vec<(String, String)>,
}

/// Builds the peer below `cache`, where its packages and compressed bytes are kept between runs.
pub fn build(cache: &Path, modules: &Set) -> Result<Peer, String> {
    let packages = Packages::fetch(cache, None, PACKAGES)?;
    let raw = packages.archive(&cache.join("stripped"))?.to_bytes(0);
    let base = compressed(&raw, cache)?;
    let mut archive = Archive::new();
    add_modules(&mut archive, modules);
    let (packed, _) = compress(&archive.to_bytes(0), Compression::Xz(Effort::Quick))?;
    let mut bytes = base.clone();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(&packed);
    Ok(Peer { base_len: base.len(), bytes, raw_len: raw.len(), versions: packages.versions })
}

/// Adds kernel modules and `/etc/modules`, a list of their files in the order for insmod:
/// busybox's modprobe expects all dependencies of a module on its line of `modules.dep`.
pub fn add_modules(archive: &mut Archive, modules: &Set) {
    modules.add_to(archive);
    let order: String =
        modules.load_order().iter().map(|path| format!("/lib/modules/{}/{path}\n", modules.release)).collect();
    archive.file("etc/modules", 0o644, order);
}

/// What the guests of tests take from Debian's packages.
pub struct Selection<'a> {
    /// Where the packages are kept.
    pub cache: &'a Path,
    /// The suite that they come from; the host's own where there is none.
    pub suite: Option<&'a str>,
    pub packages: &'a [&'a str],
    /// Taken with the libraries that they load.
    pub programs: &'a [&'a str],
    /// Taken unchanged.
    pub data: &'a [&'a str],
}

/// Programs of Debian's packages with the libraries that they load, for the guests of tests.
pub struct Programs {
    pub archive: Archive,
    /// Package and version.
    pub versions: Vec<(String, String)>,
}

/// Collects a selection as [`build`] does.
pub fn programs(selection: &Selection) -> Result<Programs, String> {
    let packages = Packages::fetch(selection.cache, selection.suite, selection.packages)?;
    let stripped = selection.cache.join("stripped");
    std::fs::create_dir_all(&stripped).map_err(|error| context(&stripped, error))?;
    let mut archive = Archive::new();
    packages.add_programs(&mut archive, selection.programs, &stripped)?;
    for path in selection.data {
        let file = packages.root.join(path);
        archive.file(path, 0o644, std::fs::read(&file).map_err(|error| context(&file, error))?);
    }
    Ok(Programs { archive, versions: packages.versions })
}

/// Debian's packages, unpacked. Nothing is installed, and no file of the host is used.
struct Packages {
    root: PathBuf,
    versions: Vec<(String, String)>,
}

impl Packages {
    fn fetch(cache: &Path, suite: Option<&str>, packages: &[&str]) -> Result<Packages, String> {
        let _alone = one_download();
        let (root, list) = (cache.join("root"), cache.join("versions"));
        if let Ok(text) = std::fs::read_to_string(&list) {
            let versions = text.lines().filter_map(|line| line.split_once(' '));
            let versions: Vec<_> = versions.map(|(name, version)| (name.to_string(), version.to_string())).collect();
            // If a package has been added to the list, all are downloaded again.
            if packages.iter().all(|package| versions.iter().any(|(name, _)| name == package)) {
                return Ok(Packages { root, versions });
            }
        }
        let debs = cache.join("debs");
        for dir in [&root, &debs] {
            let _ = std::fs::remove_dir_all(dir);
            std::fs::create_dir_all(dir).map_err(|error| context(dir, error))?;
        }
        let options = match suite {
            Some(suite) => suite_options(cache, suite)?,
            None => Vec::new(),
        };
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut wanted: BTreeSet<String> = packages.iter().map(|name| name.to_string()).collect();
        let mut versions = Vec::new();
        for _ in 0..ROUNDS_MAX {
            wanted.retain(|name| !known.contains(name));
            if wanted.is_empty() {
                break;
            }
            download(&debs, &options, &wanted)?;
            known.append(&mut wanted);
            for deb in files(&debs)? {
                let fields = run(Command::new("dpkg-deb").arg("-f").arg(&deb))?;
                run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
                std::fs::remove_file(&deb).map_err(|error| context(&deb, error))?;
                let (name, version) = (field(&fields, "Package"), field(&fields, "Version"));
                if packages.contains(&name) {
                    versions.push((name.to_string(), version.to_string()));
                }
                wanted.extend(libraries(field(&fields, "Pre-Depends")));
                wanted.extend(libraries(field(&fields, "Depends")));
            }
        }
        versions.sort();
        let text: String = versions.iter().map(|(name, version)| format!("{name} {version}\n")).collect();
        std::fs::write(&list, text).map_err(|error| context(&list, error))?;
        Ok(Packages { root, versions })
    }

    /// All files of the peer but kernel modules.
    fn archive(&self, stripped: &Path) -> Result<Archive, String> {
        std::fs::create_dir_all(stripped).map_err(|error| context(stripped, error))?;
        let mut archive = Archive::new();
        for path in DIRECTORIES {
            archive.directory(path, 0o755);
        }
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.character_device("dev/null", 0o666, 1, 3);
        for (path, mode, text) in TEXTS {
            archive.file(path, *mode, *text);
        }
        archive.file("bin/busybox", 0o755, strip(&self.root.join("bin/busybox"), stripped)?);
        for applet in APPLETS {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
        self.add_programs(&mut archive, PROGRAMS, stripped)?;
        Ok(archive)
    }

    /// Adds programs and the libraries that they load.
    fn add_programs(&self, archive: &mut Archive, programs: &[&str], stripped: &Path) -> Result<(), String> {
        for program in programs {
            archive.file(program, 0o755, strip(&self.program(program), stripped)?);
        }
        for (name, file) in self.closure(programs)? {
            let dir = if name.starts_with("ld-linux") { "lib64" } else { "lib/x86_64-linux-gnu" };
            archive.file(&format!("{dir}/{name}"), 0o755, strip(&file, stripped)?);
        }
        Ok(())
    }

    /// Where a program lies: later releases have all of them below `/usr`.
    fn program(&self, path: &str) -> PathBuf {
        let own = self.root.join(path);
        if own.exists() {
            own
        } else {
            self.root.join("usr").join(path)
        }
    }

    /// All libraries that the programs load, directly or through others, by name.
    fn closure(&self, programs: &[&str]) -> Result<BTreeMap<String, PathBuf>, String> {
        let mut there = BTreeMap::new();
        shared_objects(&self.root, &mut there)?;
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut queue: Vec<PathBuf> = programs.iter().map(|program| self.program(program)).collect();
        while let Some(file) = queue.pop() {
            for name in needed(&run(Command::new("readelf").arg("-d").arg(&file))?) {
                if found.contains_key(name) {
                    continue;
                }
                let library = there
                    .get(name)
                    .ok_or_else(|| format!("{}: needs {name}, which is in none of the packages", file.display()))?;
                found.insert(name.to_string(), library.clone());
                queue.push(library.clone());
            }
        }
        Ok(found)
    }
}

fn download(into: &Path, options: &[String], names: &BTreeSet<String>) -> Result<(), String> {
    // Apt's own user may not write into the working tree.
    let words = ["download", "-q", "-o", "APT::Sandbox::User=root"];
    run(Command::new("apt-get").args(words).args(options).args(names).current_dir(into)).map(|_| ())
}

/// Apt's options for another suite of the host's own mirror, whose lists are kept below `cache`.
fn suite_options(cache: &Path, suite: &str) -> Result<Vec<String>, String> {
    let apt = std::path::absolute(cache.join("apt")).map_err(|error| context(cache, error))?;
    let (list, lists) = (apt.join("sources.list"), apt.join("lists"));
    std::fs::create_dir_all(lists.join("partial")).map_err(|error| context(&lists, error))?;
    let format = ["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"];
    let targets = run(Command::new("apt-get").args(format))?;
    let mirror = targets.lines().find_map(|line| line.strip_prefix("Debian main "));
    let mirror = mirror.ok_or("apt-get indextargets: no mirror of Debian's")?;
    let text = format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n");
    std::fs::write(&list, text).map_err(|error| context(&list, error))?;
    let options = [
        format!("Dir::Etc::sourcelist={}", list.display()),
        "Dir::Etc::sourceparts=/dev/null".into(),
        format!("Dir::State::lists={}", lists.display()),
        format!("Dir::Cache={}", apt.display()),
    ];
    let options: Vec<String> = options.into_iter().flat_map(|option| ["-o".into(), option]).collect();
    run(Command::new("apt-get").args(["update", "-q", "-o", "APT::Sandbox::User=root"]).args(&options))?;
    Ok(options)
}

/// The value of a field in a package's control file.
fn field<'a>(control: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':').map(str::trim);
    control.lines().find_map(value).unwrap_or("")
}

/// The libraries in a list of dependencies, without versions; of alternatives the first.
fn libraries(depends: &str) -> impl Iterator<Item = String> + '_ {
    let first = |group: &str| group.split(['|', '(', ':']).next().unwrap_or("").trim().to_string();
    depends.split(',').map(first).filter(|name| name.starts_with("lib"))
}

/// The names in `readelf -d`: `0x01 (NEEDED) Shared library: [libc.so.6]`.
fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    let name = |line: &'_ str| -> Option<(usize, usize)> { Some((line.find('[')? + 1, line.find(']')?)) };
    let lines = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(move |line| name(line).and_then(|(start, end)| line.get(start..end)))
}

/// Files and links below `dir` that may be libraries, by name. A link to an absolute
/// path is left out: it would lead to a file of the host.
fn shared_objects(dir: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<(), String> {
    for path in files(dir)? {
        let meta = path.symlink_metadata().map_err(|error| context(&path, error))?;
        if meta.is_dir() {
            shared_objects(&path, found)?;
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let leads_out = std::fs::read_link(&path).is_ok_and(|target| target.is_absolute());
        if name.contains(".so") && !leads_out {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// The contents of a program or library without symbols and debugging information.
fn strip(file: &Path, into: &Path) -> Result<Vec<u8>, String> {
    let target = into.join(file.file_name().unwrap_or_default());
    run(Command::new("strip").arg("--strip-unneeded").arg("-o").arg(&target).arg(file))?;
    std::fs::read(&target).map_err(|error| context(&target, error))
}

/// Compresses `raw` by xz. This takes half a minute, so the result is kept in `cache`.
fn compressed(raw: &[u8], cache: &Path) -> Result<Vec<u8>, String> {
    let (plain, packed) = (cache.join("base.cpio"), cache.join("base.cpio.xz"));
    if std::fs::read(&plain).is_ok_and(|before| before == raw) {
        if let Ok(bytes) = std::fs::read(&packed) {
            return Ok(bytes);
        }
    }
    let bytes = xz(raw).map_err(|error| format!("xz: {error}"))?;
    std::fs::write(&packed, &bytes).map_err(|error| context(&packed, error))?;
    // Written last: its presence means that the compressed file is complete.
    std::fs::write(&plain, raw).map_err(|error| context(&plain, error))?;
    Ok(bytes)
}

/// Compresses with those settings of our own search that give the fewest bytes here.
fn xz(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut options = LzmaOptions::new_preset(9 | (1 << 31))?;
    options.dict_size(DICT_BYTES);
    let mut filters = Filters::new();
    filters.x86().lzma2(&options);
    let stream = Stream::new_stream_encoder(&filters, Check::Crc32)?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(raw)?;
    encoder.finish()
}

/// The entries of a directory, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| context(dir, error))?;
    let mut list: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    list.sort();
    Ok(list)
}

fn run(command: &mut Command) -> Result<String, String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output =
        command.env("LC_ALL", "C").stdin(Stdio::null()).output().map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{tool}: {}", text.lines().last().unwrap_or("failed").trim()))
}

fn context(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_libraries_without_versions() {
        let control = "Package: crun\nVersion: 1.8\nPre-Depends: init\n\
                       Depends: libc6 (>= 2.34), libsystemd0 | libelogind0, runc, libyajl2:any\nDescription: x\n";
        assert_eq!(field(control, "Version"), "1.8");
        assert_eq!(field(control, "Recommends"), "");
        let names: Vec<String> = libraries(field(control, "Depends")).collect();
        assert_eq!(names, ["libc6", "libsystemd0", "libyajl2"]);
    }

    #[test]
    fn only_needed_libraries_are_read() {
        let text = "Dynamic section at offset 0x1 contains 3 entries:\n \
                    0x0000000000000001 (NEEDED)   Shared library: [libgpgme.so.11]\n \
                    0x000000000000000e (SONAME)   Library soname: [libx.so.1]\n \
                    0x0000000000000001 (NEEDED)   Shared library: [libc.so.6]\n";
        assert_eq!(needed(text).collect::<Vec<_>>(), ["libgpgme.so.11", "libc.so.6"]);
    }

    #[test]
    fn a_link_to_the_host_is_no_library() {
        let dir = std::env::temp_dir().join(format!("ocinit-peer-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("lib")).unwrap();
        std::fs::write(dir.join("lib/liba.so.1.2"), "").unwrap();
        std::os::unix::fs::symlink("liba.so.1.2", dir.join("lib/liba.so.1")).unwrap();
        std::os::unix::fs::symlink("/lib/libb.so.1", dir.join("lib/libb.so.1")).unwrap();
        let mut found = BTreeMap::new();
        shared_objects(&dir, &mut found).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["liba.so.1", "liba.so.1.2"]);
    }

    #[test]
    fn the_script_calls_podman_as_boot2container_does() {
        let init = TEXTS.iter().find(|(path, ..)| *path == "init").unwrap().2;
        for words in ["--rm --privileged --pull=always --network=host", "Execution is over, pipeline status: $status"] {
            assert!(init.contains(words), "{words}");
        }
        let commands = init.lines().filter_map(|line| line.split_whitespace().next());
        for command in commands.filter(|word| ["mount", "insmod", "ip", "udhcpc", "poweroff"].contains(word)) {
            assert!(APPLETS.contains(&command), "{command}");
        }
    }
}
