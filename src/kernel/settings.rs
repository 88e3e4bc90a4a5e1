//! Reads what the initramfs and the kernel's line say about modules.

use crate::files;
use crate::kernel::pure::modprobe;
use crate::report::Report;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the directories are; of files with one name the first counts, as modprobe.d(5) and modules-load.d(5) have it.
const PARENTS: [&str; 3] = ["/etc/", "/usr/lib/", "/lib/"];
/// The kernel's line, and the initramfs's own file of options, which may have comments.
const LINES: [(&str, bool); 2] = [("/proc/cmdline", false), ("/etc/ocinit/cmdline", true)];
/// The largest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// What is wanted of modules.
#[derive(Default)]
pub struct Settings {
    /// Lines as in modprobe.d.
    pub conf: String,
    /// The modules to load by name, in order: those of `modules_load=`, then those of modules-load.d.
    pub wanted: Vec<String>,
}

/// Reads the settings; a file that cannot be read is told, where there is a report.
pub fn read(report: Option<&Report>) -> Settings {
    let mut settings = Settings::default();
    let own = |name: &str| name.to_string();
    for_files("modprobe.d", report, &mut |text| modprobe::add_file(&mut settings.conf, text));
    for (path, is_file) in LINES {
        let bytes = files::read(Path::new(path), FILE_MAX).unwrap_or_default();
        let line = String::from_utf8_lossy(&bytes);
        settings.wanted.extend(modprobe::add_cmdline(&mut settings.conf, &line, is_file).into_iter().map(own));
    }
    for_files("modules-load.d", report, &mut |text| settings.wanted.extend(modprobe::names(text).map(own)));
    settings
}

/// Calls `each` with the text of every file NAME.conf of the directories, in the order of their names.
fn for_files(directory: &str, report: Option<&Report>, each: &mut dyn FnMut(&str)) {
    let mut found: BTreeMap<_, PathBuf> = BTreeMap::new();
    for parent in PARENTS {
        for entry in fs::read_dir([parent, directory].concat()).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().ends_with(b".conf") {
                found.entry(entry.file_name()).or_insert_with(|| entry.path());
            }
        }
    }
    // A link to /dev/null masks a file.
    for path in found.values().filter(|path| path.is_file()) {
        match (files::read(path, FILE_MAX), report) {
            (Ok(bytes), _) => each(&String::from_utf8_lossy(&bytes)),
            (Err(why), Some(report)) => report.warn("drivers", [&path.to_string_lossy(), ": ", &*why].concat()),
            _ => {}
        }
    }
}
