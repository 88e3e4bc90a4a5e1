//! Reads what the initramfs and the kernel's line say about modules.

use crate::files;
use crate::kernel::pure::modprobe;
use std::path::Path;

/// Where the directories are; of files with one name the first counts, as modprobe.d(5) and modules-load.d(5) have it.
const PARENTS: [&str; 3] = ["/etc/", "/usr/lib/", "/lib/"];
/// The kernel's line, and the initramfs's own file of options, which may have comments.
const LINES: [(&str, bool); 2] = [("/proc/cmdline", false), ("/etc/ocinit/cmdline", true)];
/// The largest file that is read.
const FILE_MAX: u64 = 64 << 20;

/// What is wanted of modules.
#[derive(Default)]
pub struct Settings {
    /// Lines as in modprobe.d.
    pub conf: String,
    /// Lines as in modules-load.d: the modules to load by name, first those of `modules_load=`.
    pub wanted: String,
}

/// Reads the settings.
pub fn read() -> Settings {
    let mut settings = Settings::default();
    for_files("modprobe.d/", &mut |text| modprobe::add_file(&mut settings.conf, text));
    for (path, is_file) in LINES {
        let line = text(path).unwrap_or_default();
        modprobe::add_cmdline(&mut settings.conf, &mut settings.wanted, &line, is_file);
    }
    for_files("modules-load.d/", &mut |text| settings.wanted.extend([text, "\n"]));
    settings
}

/// The text of a regular file.
pub fn text(path: &str) -> Option<String> {
    let bytes = files::read(Path::new(path), FILE_MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls `each` with the text of every file NAME.conf of the directories, in the order of their names.
fn for_files(directory: &str, each: &mut dyn FnMut(&str)) {
    let mut names: Vec<String> = Vec::new();
    for parent in PARENTS {
        for path in files::entries(Path::new(&[parent, directory].concat())) {
            let name = files::name(&path);
            let at = names.partition_point(|other| *other < name);
            if name.ends_with(".conf") && names.get(at) != Some(&name) {
                names.insert(at, name);
            }
        }
    }
    for name in names {
        let mut paths = PARENTS.iter().map(|parent| [parent, directory, &name].concat());
        // A link to /dev/null, which is no regular file, masks the others.
        if let Some(text) = paths.find(|path| Path::new(path).exists()).and_then(|path| text(&path)) {
            each(&text);
        }
    }
}
