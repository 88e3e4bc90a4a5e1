//! Where the host tool keeps what it downloads, and finds what was built.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The user's cache: `$XDG_CACHE_HOME/ocinit` or `~/.cache/ocinit` (XDG Base Directory Specification); without either
/// the temporary directory.
pub fn dir() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("ocinit")
}

/// The file `name` of a release build: beside `program`, which is the host tool, or in the checkout that it was built
/// in, or in that of the current directory.
pub fn built(program: &Path, name: &str) -> Option<PathBuf> {
    let below = Path::new("target/ocinit").join(std::env::consts::ARCH).join(name);
    let beside = program.parent().map(|dir| dir.join(name)).filter(|path| is_release(path));
    let above = program.ancestors().skip(1).map(|dir| dir.join(&below));
    let here = std::env::current_dir().unwrap_or_default();
    beside.or_else(|| above.chain(here.ancestors().map(|dir| dir.join(&below))).find(|path| path.is_file()))
}

/// Whether it is a file that a machine can start: what cargo builds beside the host tool is linked to libraries.
fn is_release(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| super::elf::check(&bytes, std::env::consts::ARCH).is_ok())
}
/// Held while something is downloaded into a cache: threads of one process that want the same would remove each other's
/// files. Other processes have directories of their own.
pub fn one_download() -> MutexGuard<'static, ()> {
    static DOWNLOAD: Mutex<()> = Mutex::new(());
    DOWNLOAD.lock().unwrap_or_else(PoisonError::into_inner)
}
