//! A virtual machine that runs all combinations, with the same kernel and script for podman and for ocinit. The answers
//! come back on a disk: under software emulation a serial line takes longer than the containers do.

use super::compare::{self, Updated};
use super::more;
use super::podman::{add_directory, Parts, NEWEST, ZONE};
use super::table::{self, Input};
use ocinit::host::qemu::{Boot, Disk, Machine};
use ocinit::host::{image, kernel, modules, peer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const KERNELS: &str = "target/kernel";
/// What our guest has of Debian's packages.
const OURS: Parts = Parts {
    cache: "target/guest-ours",
    suite: None,
    packages: &["busybox-static", "tzdata"],
    programs: &["bin/busybox"],
    data: &[ZONE],
};
/// Whose versions the golden files tell.
pub const TOLD: &[&str] = &["podman", "crun", "conmon", "golang-github-containers-common"];
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "overlay"];
/// Emulated timers come late on a busy host: the kernel must not take that for a broken board.
pub const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 no_timer_check";
const MEMORY_MB: u32 = 2048;
const DISK_BYTES: u64 = 16 << 20;
/// The field separator of the script.
const UNIT: char = '\u{1f}';

const TEXTS: &[(&str, u32, &str)] = &[
    ("init", 0o755, include_str!("guest/init")),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n192.0.2.9 of-the-machine\n"),
    ("etc/resolv.conf", 0o644, "nameserver 192.0.2.1\nsearch lab.example\noptions ndots:2\n"),
    ("parity/env", 0o644, "# a comment\n\nA=file\nB=two words\nC=\"quoted\"\nFROM_CALLER\n"),
    ("parity/seccomp.json", 0o644, include_str!("guest/seccomp.json")),
];

/// Who runs the containers.
pub enum Side<'a> {
    /// Our binary.
    Ours(&'a Path),
    Podman,
}

impl Side<'_> {
    fn parts(&self) -> &'static Parts {
        match self {
            Side::Ours(_) => &OURS,
            Side::Podman => &NEWEST,
        }
    }
}

/// What came of one combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    /// What the payload said.
    pub lines: Vec<String>,
    /// What the runtime said.
    pub errors: Vec<String>,
}

/// Answers by combination; that of `machine` is the payload's outside of any container.
pub struct Answers {
    pub by_name: BTreeMap<String, Answer>,
    /// Package and version of the programs.
    pub versions: Vec<(String, String)>,
    pub updated: Updated,
    /// Seconds from QEMU's start to its end.
    pub wall_s: f64,
}

impl Answers {
    /// Those of the combinations, with their lines in normal form.
    pub fn normal(&self) -> Result<BTreeMap<String, Answer>, String> {
        let machine = self.by_name.get("machine").ok_or("the machine itself has not answered")?;
        let normal = |answer: &Answer| Answer {
            status: answer.status,
            lines: compare::normal(answer, machine, &self.updated),
            errors: answer.errors.iter().map(|line| compare::without_numbers(line)).collect(),
        };
        let combinations = self.by_name.iter().filter(|(name, _)| *name != "machine");
        Ok(combinations.map(|(name, answer)| (name.clone(), normal(answer))).collect())
    }
}

/// Boots the guest of one side, to its end; it runs the combinations of these names.
pub fn run(side: &Side, names: &[&str], payload: &[u8], dir: &Path, limit: Duration) -> Result<Answers, String> {
    let text = |error: std::io::Error| format!("{}: {error}", dir.display());
    let kernel = kernel::debian(Path::new(KERNELS))?;
    let (initrd, versions) = initramfs(side, names, payload, dir, kernel.modules.as_deref())?;
    let disk = dir.join("answers");
    std::fs::File::create(&disk).and_then(|file| file.set_len(DISK_BYTES)).map_err(text)?;
    let mut machine = Machine::new(&kernel.image, &initrd, KERNEL_OPTIONS);
    machine.memory_mb = MEMORY_MB;
    machine.cpus = 2;
    machine.network = ocinit::host::qemu::Network::None;
    machine.disks = vec![Disk::new(&disk)];
    machine.timeout = limit;
    let told = std::env::var_os("PARITY_SHOW").is_some();
    let boot = machine.boot(&mut |at, line| {
        if told {
            eprintln!("{:7.1} {line}", at.as_secs_f64());
        }
    });
    let boot = boot.map_err(text)?;
    if boot.find("all is answered").is_none() {
        return Err(format!("the guest did not get through its table; the last lines:\n{}", last_lines(&boot)));
    }
    let answers = String::from_utf8_lossy(&std::fs::read(&disk).map_err(text)?).into_owned();
    let release = kernel.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let zone = Path::new(side.parts().cache).join("root").join(ZONE);
    let zone_bytes = std::fs::metadata(&zone).map_err(|error| format!("{}: {error}", zone.display()))?.len();
    Ok(Answers {
        by_name: parse(answers.trim_end_matches('\0'))?,
        versions,
        updated: Updated { kernel: release.trim_start_matches("vmlinuz-").into(), zone_bytes: zone_bytes.to_string() },
        wall_s: boot.wall.as_secs_f64(),
    })
}

fn last_lines(boot: &Boot) -> String {
    let last = boot.lines.iter().rev().take(12).rev();
    last.map(|(_, line)| format!("  {line}\n")).collect::<String>() + &boot.complaint
}

/// Programs, modules, images and the table.
fn initramfs(
    side: &Side,
    names: &[&str],
    payload: &[u8],
    dir: &Path,
    modules: Option<&Path>,
) -> Result<(PathBuf, Vec<(String, String)>), String> {
    let peer::Programs { mut archive, versions } = skeleton(side.parts(), modules)?;
    if let Side::Ours(init) = side {
        let init = std::fs::read(init).map_err(|error| format!("{}: {error}", init.display()))?;
        archive.file("ocinit", 0o755, init);
    }
    archive.file("parity/payload", 0o755, payload);
    archive.file("parity/combinations", 0o644, combinations(names));
    let images = table::images(payload);
    archive.file("parity/images", 0o644, images.iter().map(|image| format!("{}\n", image.tag)).collect::<String>());
    let layout = dir.join("images");
    image::write(&layout, &images).map_err(|error| format!("{}: {error}", layout.display()))?;
    add_directory(&mut archive, &layout, "images").map_err(|error| format!("{}: {error}", layout.display()))?;
    // Not compressed: what a boot would gain, packing costs.
    let bytes = archive.to_bytes(0);
    let path = dir.join("initramfs");
    std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((path, versions))
}

/// A guest's root: programs of Debian's, what they read, and the script of this module as its init.
pub fn skeleton(parts: &Parts, modules: Option<&Path>) -> Result<peer::Programs, String> {
    let directory = modules.ok_or("the kernel has no modules")?;
    let mut all = parts.gather(APPLETS)?;
    let archive = &mut all.archive;
    archive.directory("var/lib/ocinit", 0o755);
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    for (path, mode, text) in TEXTS {
        archive.file(path, *mode, *text);
    }
    archive.symlink("etc/localtime", &format!("/{ZONE}"));
    let drivers: Vec<String> = MODULES.iter().map(|name| name.to_string()).collect();
    let mut set = modules::select(directory, modules::Profile::None, &drivers)?;
    set.strip_signatures();
    peer::add_modules(archive, &set);
    Ok(all)
}

/// busybox's, those that the script names.
const APPLETS: &[&str] = &[
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "hostname",
    "insmod",
    "ip",
    "mkdir",
    "mount",
    "poweroff",
    "rm",
    "sed",
    "sh",
    "stty",
    "switch_root",
    "sync",
    "tr",
];

/// The table, a line a combination.
fn combinations(names: &[&str]) -> String {
    let line = |row: &table::Combination| {
        let input = match row.input {
            Input::Nothing => "null",
            Input::Console => "console",
            Input::Pipe => "pipe",
        };
        let fields = [row.name, row.image, input, row.flags, row.command];
        fields.join(&UNIT.to_string()) + "\n"
    };
    more::all().into_iter().filter(|row| names.contains(&row.name)).map(line).collect()
}

/// What the script has written: `=== NAME`, the payload's lines, `--- STATUS`, then the runtime's after `! `.
pub fn parse(text: &str) -> Result<BTreeMap<String, Answer>, String> {
    let mut answers = BTreeMap::new();
    let mut parts = text.split("=== ");
    parts.next();
    let mut ended = false;
    for part in parts {
        let (name, rest) = part.split_once('\n').ok_or("an answer without lines")?;
        if name == "end" {
            ended = true;
            continue;
        }
        let named = |what: &str| format!("{name}: {what}");
        let (seen, told) = rest.rsplit_once("--- ").ok_or_else(|| named("no status"))?;
        let mut told = told.lines();
        let status = told.next().and_then(|text| text.parse().ok()).ok_or_else(|| named("no number as its status"))?;
        let lines = seen.lines().map(|line| line.trim_end().to_string()).collect();
        let errors = told.map(|line| line.trim_start_matches("! ").to_string()).collect();
        answers.insert(name.to_string(), Answer { status, lines, errors });
    }
    if ended {
        Ok(answers)
    } else {
        Err("the answers are cut off".into())
    }
}
