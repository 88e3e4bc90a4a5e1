//! The console's keymap: a file of the initramfs, by the kernel's calls for virtual consoles.

use crate::boot::pure::keymap::{self, rank};
use crate::files;
use crate::report::Report;
use crate::sys::{fs as sysfs, io_text, tty, EINVAL};
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/usr/share/keymaps";
/// The virtual console that is shown. The tables are those of all of them.
const CONSOLE: &str = "/dev/tty0";
/// How deep keymaps may lie: kbd's are three directories down.
const DEPTH_MAX: usize = 8;

/// Loads the keymap `name`, or warns why it cannot be had.
pub fn load(name: &str, report: &Report) {
    match loaded(Path::new(DIRECTORY), name) {
        Ok(what) => report.line("keymap", [name, ": ", &what].concat()),
        Err(why) => report.warn("keymap", [name, ": ", &why].concat()),
    }
}

fn loaded(directory: &Path, name: &str) -> Result<String, String> {
    let mut best = None;
    find(directory, name, DEPTH_MAX, &mut best);
    let Some((_, path)) = best else {
        return Err(["no file ", name, ".kmap in ", DIRECTORY, " of the initramfs"].concat());
    };
    let shown = path.to_string_lossy();
    let of_file = |why: &str| [&*shown, ": ", why].concat();
    let bytes = files::read(&path, keymap::SIZE_MAX).map_err(|why| of_file(&why))?;
    let tables = keymap::parse(&bytes).map_err(|error| of_file(error.text()))?;
    let console = OpenOptions::new().write(true).custom_flags(sysfs::O_NOCTTY).open(CONSOLE);
    let console = console.map_err(|error| [CONSOLE, ": ", &io_text(&error)].concat())?;
    for (table, entries) in &tables {
        for (key, value) in (0..=u8::MAX).zip(entries) {
            // As loadkmap does it: where a table cannot be had, the others can.
            match tty::set_key(console.as_fd(), *table, key, *value) {
                Err(error) if error.errno != EINVAL => {
                    return Err([CONSOLE, ": ", &error.to_string()].concat());
                }
                _ => {}
            }
        }
    }
    Ok(of_file(&[&tables.len().to_string(), " tables"].concat()))
}

/// Finds the file below `directory` whose name is the best for the keymap `name`; of several the first by their paths.
fn find(directory: &Path, name: &str, depth: usize, best: &mut Option<(usize, PathBuf)>) {
    for path in files::entries(directory) {
        // Links to directories are not followed: they may lead round in a circle.
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            if depth > 0 {
                find(&path, name, depth - 1, best);
            }
        } else if let Some(rank) = rank(&files::name(&path), name) {
            if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                *best = Some((rank, path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Promise: keymap
    #[test]
    fn what_is_wrong_is_told_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("i386/qwertz")).unwrap();
        assert_eq!(loaded(dir.path(), "de").unwrap_err(), "no file de.kmap in /usr/share/keymaps of the initramfs");
        // A name is no path.
        fs::write(dir.path().join("x.kmap"), "x").unwrap();
        assert!(loaded(&dir.path().join("i386"), "../x").unwrap_err().starts_with("no file ../x.kmap in "));
        let path = dir.path().join("i386/qwertz/de.kmap");
        fs::write(&path, "keymaps 0-2\n").unwrap();
        fs::write(dir.path().join("de.bmap"), "").unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("i386/circle")).unwrap();
        let told = loaded(dir.path(), "de").unwrap_err();
        assert_eq!(told, format!("{}: not a binary keymap: loadkeys -b FILE makes one", path.display()));
        fs::write(&path, vec![0; keymap::SIZE_MAX as usize + 1]).unwrap();
        assert_eq!(loaded(dir.path(), "de").unwrap_err(), format!("{}: larger than 64 KiB", path.display()));
        fs::write(&path, [&b"bkeymap"[..], &[0; 256]].concat()).unwrap();
        // There may be no virtual console here.
        match loaded(dir.path(), "de") {
            Ok(told) => assert_eq!(told, format!("{}: 0 tables", path.display())),
            Err(why) => assert!(why.starts_with("/dev/tty0: "), "{why}"),
        }
    }
}
