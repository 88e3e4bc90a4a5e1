//! `ocinit-host boot`: boots an image in QEMU, and prints a table of the steps' times.

use clap::Args;
use ocinit::host::cache;
use ocinit::host::compress::{Compression, Effort};
use ocinit::host::image;
use ocinit::host::initramfs::{self, Spec};
use ocinit::host::kernel::{self, Kernel};
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::{self, Accel, Disk, Machine};
use ocinit::host::serve::Server;
use ocinit::host::{check, elf};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The host's address in QEMU's user network.
const HOST: &str = "10.0.2.2";

/// The arguments of `boot`.
#[derive(Args)]
pub struct Boot {
    /// An image as in b2c.run, or `oci:DIR[:TAG]` of this host [default: a demo image]
    image: Option<String>,
    /// The container's command; our own options stand before it
    #[arg(value_name = "COMMAND", allow_hyphen_values = true)]
    command: Vec<String>,
    /// The static binary that becomes PID 1 [default: that of a release build]
    #[arg(long, value_name = "FILE", conflicts_with = "initramfs")]
    init: Option<PathBuf>,
    /// Boot this initramfs instead of building one
    #[arg(long, value_name = "FILE")]
    initramfs: Option<PathBuf>,
    /// The kernel [default: Debian's cloud kernel, downloaded once into the user's cache]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The directory of its modules: lib/modules/RELEASE, or a directory above it
    #[arg(long, value_name = "DIR", requires = "kernel")]
    kernel_modules: Option<PathBuf>,
    #[arg(long, value_name = "MB", default_value = "256")]
    memory: u32,
    /// The demo image's program: a static binary [default: ocinit-payload of a release build]
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
    // Mistakes are told before anything is downloaded or started.
    let init = if args.initramfs.is_some() { Vec::new() } else { init(args)? };
    let scratch = Scratch::new()?;
    let (run, server) = source(args, &scratch.0)?;
    let command_line = command_line(args, run.as_deref())?;
    for path in &args.disk {
        std::fs::metadata(path).map_err(|error| format!("--disk {}: {error}", path.display()))?;
    }
    if let Some(path) = &args.initramfs {
        std::fs::metadata(path).map_err(|error| format!("--initramfs {}: {error}", path.display()))?;
    }
    if let Some(path) = &args.console {
        super::writable("--console", path)?;
    }
    let kernel = find_kernel(args)?;
    let made = initramfs(args, init, &kernel, &scratch.0)?;
    let mut machine = Machine::new(kernel.image, &made.path, command_line);
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
        super::write(path, &boot.raw).map_err(|error| format!("--console {error}"))?;
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

/// Debian's kernel is kept in the user's cache, or is already in the checkout.
fn find_kernel(args: &Boot) -> Result<Kernel, String> {
    let option = if args.kernel.is_some() { "--kernel " } else { "" };
    let checkout = Path::new("target/kernel");
    let cache = if checkout.is_dir() { checkout.to_path_buf() } else { cache::dir().join("kernel") };
    let found = kernel::find(args.kernel.as_deref(), args.kernel_modules.as_deref(), &cache);
    found.map_err(|error| format!("{option}{error}"))
}

/// The value of b2c.run, and the registry that serves its image if the image is a layout of this host.
fn source(args: &Boot, scratch: &Path) -> Result<(Option<String>, Option<Server>), String> {
    let has_run = args.options().any(|word| ["b2c.run=", "b2c.container="].iter().any(|key| word.starts_with(key)));
    let (dir, tag) = match &args.image {
        None if has_run => return Ok((None, None)),
        None => {
            let binary = built("--payload", args.payload.as_deref(), "ocinit-payload")?;
            let dir = scratch.join("demo");
            image::write(&dir, &[image::demo(binary)]).map_err(|error| format!("{}: {error}", dir.display()))?;
            (dir, "latest".to_string())
        }
        Some(name) => match name.strip_prefix("oci:") {
            Some(rest) => {
                let (dir, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
                (PathBuf::from(dir), tag.to_string())
            }
            None => return Ok((Some(line(std::slice::from_ref(name), args.words())?), None)),
        },
    };
    let server = Server::start(&dir, "127.0.0.1:0").map_err(|error| format!("oci:{}: {error}", dir.display()))?;
    let image = format!("docker://{HOST}:{}/demo:{tag}", server.port());
    Ok((Some(line(&["--tls-verify=false".into(), image], args.words())?), Some(server)))
}

impl Boot {
    /// The container's command. What stands behind a `--` in it are options of the kernel's line.
    fn words(&self) -> &[String] {
        self.command.split(|word| word == "--").next().unwrap_or_default()
    }

    fn options(&self) -> impl Iterator<Item = &String> {
        self.command.iter().skip(self.words().len() + 1).chain(&self.options)
    }
}

/// A container line of these words, quoted as the init reads them.
fn line(flags: &[String], command: &[String]) -> Result<String, String> {
    let quoted = |word: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%_+=:,./-".contains(c);
        match word.chars().all(is_plain) && !word.is_empty() {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    };
    match command.iter().find(|word| word.contains(|c: char| c == '"' || c.is_control())) {
        Some(word) => Err(format!("COMMAND: {word:?}: the kernel's line holds no double quote and no line feed")),
        None => Ok(flags.iter().chain(command).map(quoted).collect::<Vec<_>>().join(" ")),
    }
}

/// A file of the release build, which must be a static binary: the initramfs has no libraries. `given` is `option`'s.
fn built(option: &str, given: Option<&Path>, name: &str) -> Result<Vec<u8>, String> {
    let program = std::env::current_exe().unwrap_or_default();
    let found = given.map(Path::to_path_buf).or_else(|| cache::built(&program, name));
    let found = found.ok_or_else(|| {
        format!(
            "{option}: no {name} is beside this program or in a checkout: ./dev build makes it, or give {option} FILE"
        )
    })?;
    let bytes = super::read_for(option, &found)?;
    elf::check(&bytes, std::env::consts::ARCH).map_err(super::of_file(option, &found))?;
    Ok(bytes)
}

fn init(args: &Boot) -> Result<Vec<u8>, String> {
    built("--init", args.init.as_deref(), "ocinit")
}

struct Made {
    path: PathBuf,
    /// All bytes, and (if known) those without kernel modules.
    bytes: usize,
    base: Option<usize>,
    modules: usize,
}

fn initramfs(args: &Boot, init: Vec<u8>, kernel: &Kernel, scratch: &Path) -> Result<Made, String> {
    if let Some(path) = &args.initramfs {
        let bytes = super::read_for("--initramfs", path)?.len();
        return Ok(Made { path: path.clone(), bytes, base: None, modules: 0 });
    }
    let mut spec = Spec::new(init, Compression::Xz(Effort::Quick));
    let select =
        |dir: &Path| modules::select(dir, Profile::Vm, &[]).map_err(|error| format!("--kernel-modules {error}"));
    spec.modules = kernel.modules.as_deref().map(select).transpose()?;
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
fn command_line(args: &Boot, run: Option<&str>) -> Result<String, String> {
    let mut words = vec!["console=ttyS0".to_string(), "quiet".into(), "panic=-1".into()];
    let logged = args.options().any(|word| word.starts_with("b2c.log="));
    if !logged && std::env::var_os("GITLAB_CI").is_none() {
        words.push("b2c.log=plain".into());
    }
    words.extend(run.map(|run| format!("b2c.run=\"{run}\"")));
    // An option with a blank was quoted for the shell: the kernel needs quotes too.
    words.extend(args.options().map(|word| {
        if word.contains(char::is_whitespace) && !word.contains('"') {
            format!("\"{word}\"")
        } else {
            word.clone()
        }
    }));
    let line = words.join(" ");
    // To see what the machine says of it may be the purpose.
    for warning in check::kernel_line(&line).unwrap_or_else(|error| vec![error]) {
        eprintln!("ocinit-host: warning: {warning}");
    }
    // QEMU passes a longer one, and such a kernel says nothing at all.
    match line.len() {
        0..=LINE_MAX => Ok(line),
        bytes => Err(format!(
            "the kernel's line would have {bytes} bytes, and it keeps {LINE_MAX}: put options into a file of the initramfs \
             (build --cmdline FILE, boot --initramfs)"
        )),
    }
}

/// The longest line that x86's kernel keeps (Linux, COMMAND_LINE_SIZE without the NUL).
const LINE_MAX: usize = 2047;

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
