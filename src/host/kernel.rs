//! A kernel to boot: the user's, or Debian's cloud kernel, downloaded as a package
//! and unpacked into a directory. Nothing is installed.

use super::cache::one_download;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package that depends on the newest kernel's package. That kernel is small, and
/// has virtio and overlayfs as modules, like a distribution's kernel in a lab.
const CLOUD: &str = "linux-image-cloud-amd64";
/// The same with all drivers, seven times as large.
const GENERAL: &str = "linux-image-amd64";

/// A kernel image and its modules.
pub struct Kernel {
    /// `vmlinuz` or `bzImage`.
    pub image: PathBuf,
    /// `…/lib/modules/RELEASE`; none if all drivers are built in.
    pub modules: Option<PathBuf>,
}

/// The user's kernel; without `image` Debian's, which is kept in `cache`.
pub fn find(image: Option<&Path>, modules: Option<&Path>, cache: &Path) -> Result<Kernel, String> {
    match image {
        Some(image) if image.is_file() => {
            Ok(Kernel { image: image.to_path_buf(), modules: modules.map(Path::to_path_buf) })
        }
        Some(image) => Err(format!("{}: no such kernel", image.display())),
        None => debian(cache),
    }
}

/// Debian's cloud kernel: from `cache`, or downloaded into it (which needs apt's package lists).
pub fn debian(cache: &Path) -> Result<Kernel, String> {
    of_package(CLOUD, cache, "debian")
}

/// Debian's general kernel, for hardware that the cloud kernel has no modules for.
pub fn debian_general(cache: &Path) -> Result<Kernel, String> {
    of_package(GENERAL, cache, "debian-general")
}

fn of_package(package: &str, cache: &Path, name: &str) -> Result<Kernel, String> {
    let _alone = one_download();
    if let Some(kernel) = unpacked(&cache.join(name)) {
        return Ok(kernel);
    }
    let hint = "give --kernel FILE (and --kernel-modules DIR)";
    if !cfg!(target_arch = "x86_64") {
        return Err(format!("Debian's kernel can only be fetched for x86-64: {hint}"));
    }
    let package = concrete_package(package).map_err(|error| format!("{error}: {hint}"))?;
    eprintln!("downloading Debian's package {package} into {}, once", cache.join(name).display());
    // Unpacked beside its final name and then renamed: a second run must not see half of it.
    let aside = cache.join(format!("{name}.{}", std::process::id()));
    std::fs::create_dir_all(&aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    let result = fetch(&package, &aside);
    if result.is_ok() {
        let _ = std::fs::rename(&aside, cache.join(name));
    }
    let _ = std::fs::remove_dir_all(&aside);
    result.map_err(|error| format!("{error}: {hint}"))?;
    unpacked(&cache.join(name)).ok_or_else(|| format!("{package}: the package contains no kernel: {hint}"))
}

fn unpacked(dir: &Path) -> Option<Kernel> {
    let first = |dir: PathBuf, prefix: &str| {
        let mut found: Vec<PathBuf> = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
        found.sort();
        found.pop()
    };
    Some(Kernel { image: first(dir.join("boot"), "vmlinuz-")?, modules: first(dir.join("lib/modules"), "") })
}

/// The package that contains the kernel: `package` depends on it.
fn concrete_package(package: &str) -> Result<String, String> {
    let text = run(Command::new("apt-cache").args(["depends", "--no-recommends", "--no-suggests", package]))?;
    let depends = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let image = depends.map(str::trim).find(|name| name.starts_with("linux-image-"));
    image.map(str::to_string).ok_or_else(|| format!("apt-cache: no package {package} (on Debian: run apt-get update)"))
}

fn fetch(package: &str, into: &Path) -> Result<(), String> {
    run(Command::new("apt-get").args(["download", "-q", package]).current_dir(into))?;
    let entries = std::fs::read_dir(into).map_err(|error| format!("{}: {error}", into.display()))?;
    let deb = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ext| ext == "deb"));
    let deb = deb.ok_or_else(|| format!("{package}: apt-get download wrote no file"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
    std::fs::remove_file(&deb).map_err(|error| format!("{}: {error}", deb.display()))
}

/// Runs a tool and returns its output, or the last line of its error messages if it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{tool}: {}", text.lines().last().unwrap_or("failed").trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_package_is_used_as_it_is() {
        let cache = std::env::temp_dir().join(format!("ocinit-kernel-{}", std::process::id()));
        std::fs::create_dir_all(cache.join("debian/boot")).unwrap();
        std::fs::create_dir_all(cache.join("debian/lib/modules/6.1.0-1-cloud")).unwrap();
        std::fs::write(cache.join("debian/boot/vmlinuz-6.1.0-1-cloud"), "").unwrap();
        std::fs::write(cache.join("debian/boot/config-6.1.0-1-cloud"), "").unwrap();
        let kernel = find(None, None, &cache).unwrap();
        let gone = find(Some(&cache.join("none")), None, &cache).err().unwrap();
        std::fs::remove_dir_all(&cache).unwrap();
        assert_eq!(kernel.image, cache.join("debian/boot/vmlinuz-6.1.0-1-cloud"));
        assert_eq!(kernel.modules, Some(cache.join("debian/lib/modules/6.1.0-1-cloud")));
        assert!(gone.ends_with("none: no such kernel"), "{gone}");
    }
}
