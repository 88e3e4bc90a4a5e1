//! The file systems that images are unpacked to: a tmpfs and an ext4. They are in namespaces of the
//! benchmark: the mounts and the loop device end with its last process, and all processes with its first.

use super::images::output;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const WORK: &str = "target/bench-pull";
const EXT4_BYTES: u64 = 6 << 30;
/// Set in the process that is in the namespaces.
const INSIDE: &str = "OCINIT_BENCH_PULL_INSIDE";

/// A file system.
pub struct Place {
    pub name: &'static str,
    pub dir: PathBuf,
}

/// Starts this program again in its own namespaces; returns only there.
pub fn enter() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1");
    Err(format!("unshare: {} (this takes root)", command.exec()))
}

/// Mounts all file systems, or the one named `only`.
pub fn all(only: Option<&str>) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    for (name, make) in [("tmpfs", tmpfs as fn(&Path) -> io::Result<()>), ("ext4", ext4)] {
        if only.is_none_or(|wanted| wanted == name) {
            let dir = Path::new(WORK).join(name);
            make(&dir).map_err(|error| format!("{name}: {error}"))?;
            places.push(Place { name, dir });
        }
    }
    if places.is_empty() {
        return Err("no such file system; there are: tmpfs, ext4".into());
    }
    Ok(places)
}

/// A tmpfs at `target/bench-pull/NAME`, for files whose disk must not be measured.
pub fn scratch(name: &str) -> Result<PathBuf, String> {
    let dir = Path::new(WORK).join(name);
    tmpfs(&dir).map_err(|error| format!("{name}: {error}"))?;
    Ok(dir)
}

fn tmpfs(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    output(Command::new("mount").args(["-t", "tmpfs", "-o", "size=75%,mode=755", "tmpfs"]).arg(dir)).map(drop)
}

/// An ext4 that is fully initialized: otherwise the kernel would do that during the measurement.
fn ext4(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let file = Path::new(WORK).join("ext4.img");
    std::fs::File::create(&file)?.set_len(EXT4_BYTES)?;
    let now = "lazy_itable_init=0,lazy_journal_init=0";
    output(Command::new("mkfs.ext4").args(["-q", "-F", "-E", now]).arg(&file))?;
    output(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&file).arg(dir))?;
    // The mount keeps the file until it ends.
    std::fs::remove_file(&file)
}
