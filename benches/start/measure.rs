//! One boot in which the runtimes take turns at starting the same process, and the times on its console.

use super::guest::{self, KERNEL_OPTIONS};
use super::numbers::median;
use super::podman::{add_directory, PODMANS};
use ocinit::host::image::{self, tar, Entry, Image};
use ocinit::host::kernel::Kernel;
use ocinit::host::qemu::{Accel, Machine, Network};
use ocinit::host::{cpio::Archive, peer};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The runtimes, in the order of the report.
pub const CONTENDERS: [&str; 4] = ["ocinit", "crun", "runc", "podman"];
const MEMORY_MB: u32 = 2048;
/// Counting instructions makes a guest three times slower, and podman takes seconds without it.
const LIMIT: Duration = Duration::from_secs(3600);
/// All capabilities of Linux, which `--privileged` grants.
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT",
    "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The times of one start, in milliseconds.
#[derive(Clone, Copy)]
pub struct Start {
    /// From the call to the container's first instruction.
    pub first_ms: f64,
    /// From the call to its end.
    pub end_ms: f64,
}

/// The starts of each contender; the first round is left out.
pub struct Outcome {
    pub starts: BTreeMap<String, Vec<Start>>,
    pub versions: Vec<(String, String)>,
}

impl Outcome {
    pub fn median(&self, name: &str, of: fn(&Start) -> f64) -> f64 {
        median(self.starts.get(name).into_iter().flatten().map(of).collect())
    }

    /// How many times as long as `below` the runtime `above` takes to the first instruction.
    pub fn ratio(&self, above: &str, below: &str) -> f64 {
        self.median(above, |start| start.first_ms) / self.median(below, |start| start.first_ms)
    }
}

/// Boots, and reads the times from the console's lines `start NAME/ROUND FIRST END`, in nanoseconds.
pub fn run(kernel: &Kernel, init: &Path, payload: &[u8], dir: &Path, rounds: u32) -> Result<Outcome, String> {
    let peer::Programs { mut archive, versions } = guest::skeleton(&PODMANS, kernel.modules.as_deref())?;
    fill(&mut archive, init, payload, dir, rounds)?;
    let initrd = dir.join("initramfs");
    std::fs::write(&initrd, archive.to_bytes(0)).map_err(|error| format!("{}: {error}", initrd.display()))?;
    let mut machine = Machine::on(Accel::Tcg, kernel.image.clone(), initrd, KERNEL_OPTIONS.into());
    machine.memory_mb = MEMORY_MB;
    machine.icount = true;
    machine.network = Network::None;
    machine.timeout = LIMIT;
    let boot = machine.boot(&mut |_, line| eprintln!("{line}")).map_err(|error| error.to_string())?;
    boot.find("all is measured").ok_or_else(|| format!("the guest did not get through: {}", boot.complaint))?;
    let mut starts: BTreeMap<String, Vec<Start>> = BTreeMap::new();
    for (_, line) in &boot.lines {
        let Some(rest) = line.strip_prefix("start ") else { continue };
        let (who, numbers) = rest.split_once(' ').ok_or("a line without numbers")?;
        let (name, round) = who.split_once('/').ok_or("a line without its round")?;
        let milliseconds: Vec<f64> = numbers.split(' ').filter_map(|word| word.parse::<f64>().ok()).collect();
        let [first, end] = milliseconds[..] else { return Err(format!("{name}: {numbers}")) };
        if round != "first" {
            starts.entry(name.into()).or_default().push(Start { first_ms: first / 1e6, end_ms: end / 1e6 });
        }
    }
    match CONTENDERS.iter().find(|name| !starts.contains_key(**name)) {
        Some(name) => Err(format!("{name} was not measured")),
        None => Ok(Outcome { starts, versions }),
    }
}

/// Adds the image for the runtimes with a store, the bundle for those without, and the script.
fn fill(archive: &mut Archive, init: &Path, payload: &[u8], dir: &Path, rounds: u32) -> Result<(), String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    archive.file("init", 0o755, include_str!("init"));
    archive.file("ocinit", 0o755, read(init)?);
    archive.symlink("bin/runc", "/usr/sbin/runc");
    archive.file("start/payload", 0o755, payload);
    archive.file("start/rounds", 0o644, (1..=rounds).map(|round| format!("{round}\n")).collect::<String>());
    let capabilities: Vec<String> = CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect();
    let config = include_str!("config.json").replace("CAPABILITIES", &json!(capabilities).to_string());
    archive.file("bundle/config.json", 0o644, config);
    archive.file("bundle/rootfs/payload", 0o755, payload);
    let config = json!({"Entrypoint": ["/payload"], "Cmd": ["clock"], "Env": ["PATH=/bin:/"]});
    let layout = dir.join("images");
    let written = image::write(&layout, &[Image::new(vec![tar(&[Entry::file("payload", 0o755, payload)])], config)]);
    written
        .and_then(|_| add_directory(archive, &layout, "images"))
        .map_err(|error| format!("{}: {error}", layout.display()))
}
