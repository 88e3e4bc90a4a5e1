//! `ocinit-host boot`: boots an image in QEMU, and prints a table of the steps' times.

use clap::Args;
use ocinit::host::compress::{Compression, Effort};
use ocinit::host::image;
use ocinit::host::initramfs::{self, Spec};
use ocinit::host::kernel::{self, Kernel};
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::{self, Accel, Disk, Machine};
use ocinit::host::serve::Server;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The host's address in QEMU's user network.
const HOST: &str = "10.0.2.2";
/// The directory for what is kept between runs.
const CACHE: &str = "target";

/// The arguments of `boot`.
#[derive(Args)]
pub struct Boot {
    /// An image as in b2c.run, or `oci:DIR[:TAG]` of this host [default: a demo image]
    image: Option<String>,
    /// The static binary that becomes PID 1 [default: target/ocinit/ARCH/ocinit]
    #[arg(long, value_name = "FILE", conflicts_with = "initramfs")]
    init: Option<PathBuf>,
    /// Boot this initramfs instead of building one
    #[arg(long, value_name = "FILE")]
    initramfs: Option<PathBuf>,
    /// The kernel [default: Debian's cloud kernel, fetched as a package]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The directory of its modules: lib/modules/RELEASE, or a directory above it
    #[arg(long, value_name = "DIR", requires = "kernel")]
    kernel_modules: Option<PathBuf>,
    #[arg(long, value_name = "MB", default_value = "256")]
    memory: u32,
    /// The demo image's program: a static binary [default: target/ocinit/ARCH/ocinit-payload]
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// A disk, as a raw image file; the guest may write to it
    #[arg(long, value_name = "FILE")]
    disk: Vec<PathBuf>,
    /// Boot with the network cable unplugged
    #[arg(long)]
    unplugged: bool,
    /// End the machine after this time; 0: never
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    timeout: u64,
    /// Also write the console's bytes to this file
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    /// b2c options and kernel arguments; if b2c.run is among them, IMAGE is not needed
    #[arg(last = true)]
    options: Vec<String>,
}

/// Boots, copies the console to standard output, prints the table; succeeds if the pipeline's status is 0.
pub fn boot(args: &Boot) -> Result<ExitCode, String> {
    let cache = Path::new(CACHE);
    let kernel = kernel::find(args.kernel.as_deref(), args.kernel_modules.as_deref(), &cache.join("kernel"))?;
    let scratch = Scratch::new()?;
    let (run, server) = source(args, &scratch.0)?;
    let made = initramfs(args, &kernel, &scratch.0)?;
    let mut machine = Machine::new(kernel.image, &made.path, command_line(args, run.as_deref()));
    machine.memory_mb = args.memory;
    machine.timeout =
        if args.timeout == 0 { Duration::from_secs(86400 * 365) } else { Duration::from_secs(args.timeout) };
    machine.capture = Some(scratch.0.join("wire.pcap"));
    machine.echo = true;
    machine.cable = !args.unplugged;
    machine.disks = args.disk.iter().map(|path| Disk::new(path)).collect();
    machine.interactive = args.image.is_some() && std::io::stdin().is_terminal();
    let how = if machine.accel == Accel::Kvm { "KVM" } else { "software emulation" };
    println!("q35 by {how}, {} MB, {}", args.memory, machine.append);
    let boot = machine.boot(&mut |_, _| {}).map_err(|error| error.to_string())?;
    if let Some(path) = &args.console {
        super::write(path, &boot.raw)?;
    }
    table(&made, &boot, server.as_ref());
    let good = boot.ended_in_order() && boot.pipeline_status() == Some(0);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A temporary directory for this run, removed at its end (but not if a signal ends us).
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, String> {
        let dir = std::env::temp_dir().join(format!("ocinit-boot-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The value of b2c.run, and the registry that serves its image if the image is a layout of this host.
fn source(args: &Boot, scratch: &Path) -> Result<(Option<String>, Option<Server>), String> {
    let has_run =
        args.options.iter().any(|word| ["b2c.run=", "b2c.container="].iter().any(|key| word.starts_with(key)));
    let (dir, tag) = match &args.image {
        None if has_run => return Ok((None, None)),
        None => {
            let binary = static_binary(&args.payload.clone().unwrap_or_else(|| built("ocinit-payload")))?;
            let dir = scratch.join("demo");
            image::write(&dir, &[image::demo(binary)]).map_err(|error| format!("{}: {error}", dir.display()))?;
            (dir, "latest".to_string())
        }
        Some(name) => match name.strip_prefix("oci:") {
            Some(rest) => {
                let (dir, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
                (PathBuf::from(dir), tag.to_string())
            }
            None => return Ok((Some(name.clone()), None)),
        },
    };
    let server = Server::start(&dir, "127.0.0.1:0").map_err(|error| error.to_string())?;
    let run = format!("--tls-verify=false docker://{HOST}:{}/demo:{tag}", server.port());
    Ok((Some(run), Some(server)))
}

/// `target/ocinit/ARCH/NAME`: a file of the release build.
fn built(name: &str) -> PathBuf {
    Path::new(CACHE).join("ocinit").join(std::env::consts::ARCH).join(name)
}

/// Reads a binary that must be statically linked, since the initramfs has no libraries.
fn static_binary(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = super::read(path)?;
    if !bytes.starts_with(b"\x7fELF") {
        return Err(format!("{}: not an ELF binary", path.display()));
    }
    if has_interpreter(&bytes) {
        return Err(format!("{}: not statically linked: the initramfs has no loader for it", path.display()));
    }
    Ok(bytes)
}

/// Whether a 64-bit ELF file names an interpreter (program header type 3).
fn has_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        elf.get(at..at + len).map_or(0, |bytes| bytes.iter().rev().fold(0usize, |sum, byte| sum << 8 | *byte as usize))
    };
    let (start, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).any(|index| number(start.saturating_add(index * size), 4) == 3)
}

struct Made {
    path: PathBuf,
    /// All bytes, and (if known) those without kernel modules.
    bytes: usize,
    base: Option<usize>,
    modules: usize,
}

fn initramfs(args: &Boot, kernel: &Kernel, scratch: &Path) -> Result<Made, String> {
    if let Some(path) = &args.initramfs {
        let bytes = super::read(path)?.len();
        return Ok(Made { path: path.clone(), bytes, base: None, modules: 0 });
    }
    let init = args
        .init
        .clone()
        .unwrap_or_else(|| Path::new(CACHE).join("ocinit").join(std::env::consts::ARCH).join("ocinit"));
    let mut spec = Spec::new(static_binary(&init)?, Compression::Xz(Effort::Quick));
    spec.modules = kernel.modules.as_deref().map(|dir| modules::select(dir, Profile::Vm, &[])).transpose()?;
    if let Some(set) = &mut spec.modules {
        set.strip_signatures();
    }
    let made = initramfs::build(&spec)?;
    let path = scratch.join("initramfs");
    super::write(&path, &made.bytes)?;
    let modules = spec.modules.as_ref().map_or(0, modules::Set::len);
    Ok(Made { path, bytes: made.bytes.len(), base: Some(made.base_len), modules })
}

/// The kernel's command line. GitLab's log sections are turned off outside of GitLab.
fn command_line(args: &Boot, run: Option<&str>) -> String {
    let mut words = vec!["console=ttyS0".to_string(), "quiet".into(), "panic=-1".into()];
    let logged = args.options.iter().any(|word| word.starts_with("b2c.log="));
    if !logged && std::env::var_os("GITLAB_CI").is_none() {
        words.push("b2c.log=plain".into());
    }
    words.extend(run.map(|run| format!("b2c.run=\"{run}\"")));
    // An option with a blank was quoted for the shell: the kernel needs quotes too.
    words.extend(args.options.iter().map(|word| {
        if word.contains(char::is_whitespace) && !word.contains('"') {
            format!("\"{word}\"")
        } else {
            word.clone()
        }
    }));
    words.join(" ")
}

fn table(made: &Made, boot: &qemu::Boot, server: Option<&Server>) {
    println!();
    let row = |name: &str, value: String| println!("{name:<28} {value:>12}");
    match made.base {
        Some(base) => {
            row("initramfs, bytes", base.to_string());
            row(&format!("  with {} kernel modules", made.modules), made.bytes.to_string());
        }
        None => row("initramfs, bytes", made.bytes.to_string()),
    }
    let mut before = 0.0;
    for (step, at) in steps(&boot.lines) {
        row(&format!("{step}, done at s"), format!("{at:.2} +{:.2}", at - before));
        before = at;
    }
    row("power on to off, s", format!("{:.2}", boot.wall.as_secs_f64()));
    if let Some(bytes) = boot.wire_bytes {
        row("on the wire, bytes", bytes.to_string());
    }
    if let Some(server) = server {
        row("  of them from the registry", format!("{}", server.bytes()));
    }
    row("pipeline status", boot.pipeline_status().map_or("none".into(), |status| status.to_string()));
    if boot.timed_out {
        println!("the machine did not end in time, and was killed");
    }
    if !boot.complaint.is_empty() {
        println!("QEMU's messages: {}", boot.complaint);
    }
}

/// The steps in the init's own lines (`[   1.02] network    …`), in the order of their
/// last lines, each with the time of that line in seconds since the kernel's start.
fn steps(lines: &[(Duration, String)]) -> Vec<(String, f64)> {
    let mut steps: Vec<(String, f64)> = Vec::new();
    for (_, line) in lines {
        let Some((time, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else { continue };
        let Ok(at) = time.trim().parse() else { continue };
        // The kernel's own lines have six digits after the point.
        if time.rsplit('.').next().is_none_or(|digits| digits.len() != 2) {
            continue;
        }
        let Some(step) = rest.split_whitespace().next().filter(|step| !matches!(*step, "FAIL" | "hint")) else {
            continue;
        };
        steps.retain(|(known, _)| known != step);
        steps.push((step.to_string(), at));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_with_their_last_line() {
        let lines: Vec<_> = [
            "[    0.512345] Run /init as init process",
            "[   1.02] drivers    virtio_net",
            "[   1.10] network    eth0 up",
            "Hello",
            "[   1.25] network    eth0 10.0.2.15/24",
            "[   2.00] pull       done",
            "[   2.10] FAIL run  x",
        ]
        .iter()
        .map(|line| (Duration::ZERO, line.to_string()))
        .collect();
        let expected = [("drivers", 1.02), ("network", 1.25), ("pull", 2.0)];
        assert_eq!(steps(&lines), expected.map(|(step, at)| (step.to_string(), at)));
    }
}
