//! From power-on to a container: this init and its peer (podman in an initramfs), with
//! the same kernel, modules, registry and image, in one run. Writes
//! `size-report/boot.{md,svg,json}`. No test depends on these times.
//!
//! `./dev bench boot [--boots N] [--skip-ram]`

#[path = "boot/chart.rs"]
mod chart;
#[path = "common/draw.rs"]
mod draw;
#[path = "boot/measure.rs"]
mod measure;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "boot/report.rs"]
mod report;

use measure::{Bench, Contender, Contenders};
use ocinit::host::{compress, image, initramfs, kernel, modules, peer, registry};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The files of `./dev build`.
const RELEASE: &str = "target/ocinit/x86_64";
/// The benchmark's own directory.
const WORK: &str = "target/bench-boot";
const PAYLOAD: &str = "tests/payload/payload.rs";
const PEER: &str = "target/peer";
const KERNELS: &str = "target/kernel";
/// The drivers for the machine, and the file system of every container.
const MODULES: &[&str] = &["virtio_pci", "virtio_net", "overlay"];
/// For both sides: the kernel prints only warnings between the lines that are timed.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1";
const BOOTS: u32 = 5;

struct Options {
    boots: u32,
    ram: bool,
}

fn main() -> ExitCode {
    let result = options().and_then(|options| run(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench boot: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { boots: BOOTS, ram: true };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--boots" => {
                let number = words.next().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
                options.boots = number.ok_or("--boots wants a number from 1")?;
            }
            "--skip-ram" => options.ram = false,
            // cargo adds it.
            "--bench" => {}
            _ => return Err(format!("{word}: no such option; there are --boots N and --skip-ram")),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let release = Path::new(RELEASE);
    let init = read(&release.join("ocinit"))?;
    let base_len = read(&release.join("initramfs.cpio.xz"))?.len();
    let kernel = kernel::debian(Path::new(KERNELS))?;
    let module_dir = kernel.modules.as_deref().ok_or("the kernel has no modules")?;
    let names: Vec<String> = MODULES.iter().map(|name| name.to_string()).collect();

    let mut set = modules::select(module_dir, modules::Profile::None, &names)?;
    // `./dev boot` does the same; the peer gets the same modules.
    set.strip_signatures();
    eprintln!("building the peer (podman and what it loads) in {PEER}");
    let theirs = peer::build(Path::new(PEER), &set)?;
    let mut spec = initramfs::Spec::new(init, compress::Compression::Xz(compress::Effort::Quick));
    spec.modules = Some(set);
    let ours = initramfs::build(&spec)?;

    let registry = registry::DockerRegistry::start(&work("registry")?).map_err(|error| error.to_string())?;
    let (layout, payload) = (work("image")?, payload(release)?);
    image::write(&layout, &[image::demo(payload)]).map_err(|error| error.to_string())?;
    registry.push(&layout, "latest", "demo:latest").map_err(|error| error.to_string())?;
    let run = format!("b2c.run=\"--tls-verify=false {}/demo:latest\"", registry.for_guest());

    let us = Contender {
        name: "ocinit",
        first_line: "ocinit ",
        initrd: write("ocinit.cpio.xz", &ours.bytes)?,
        append: format!("{KERNEL_OPTIONS} b2c.log=plain {run}"),
        base_len,
        len: ours.bytes.len(),
        raw_len: ours.raw_len,
    };
    let initrd = write("peer.cpio.xz", &theirs.bytes)?;
    let peer = |name, words: &str| Contender {
        name,
        first_line: "peer init",
        initrd: initrd.clone(),
        append: format!("{KERNEL_OPTIONS} {}{words} {run}", peer::KERNEL_OPTIONS),
        base_len: theirs.base_len,
        len: theirs.bytes.len(),
        raw_len: theirs.raw_len,
    };
    let all = Contenders { us, them: peer("podman", ""), shortest: peer("podman run", " peer.shortest") };
    let bench = Bench { kernel: kernel.image, work: PathBuf::from(WORK) };
    let load = numbers::host_load();
    let outcome = bench.run(&all, options.boots, options.ram)?;
    let facts = report::Facts::gather(&bench, options.boots, &theirs.versions, &layout, load);
    numbers::save("boot.md", &report::markdown(&outcome, &facts))?;
    numbers::save("boot.json", &report::json(&outcome, &facts))?;
    numbers::save("boot.svg", &chart::svg(&outcome, &facts.machine))?;
    println!("{}", report::table(&outcome));
    println!("written: size-report/boot.md, boot.svg, boot.json");
    Ok(())
}

/// The demo image's program, statically linked: that of the release, or one built here, since it needs only std.
fn payload(release: &Path) -> Result<Vec<u8>, String> {
    let ready = release.join("ocinit-payload");
    if ready.is_file() {
        return read(&ready);
    }
    let built = Path::new(WORK).join("payload");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2021", "-Copt-level=z", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static"]);
    let status = rustc.arg("-o").arg(&built).arg(PAYLOAD).status().map_err(|error| format!("rustc: {error}"))?;
    if status.success() {
        read(&built)
    } else {
        Err(format!("rustc: {PAYLOAD}: {status}"))
    }
}

/// An empty directory below [`WORK`].
fn work(name: &str) -> Result<PathBuf, String> {
    let dir = Path::new(WORK).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error} (./dev build makes it)", path.display()))
}

fn write(name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
    let path = Path::new(WORK).join(name);
    std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
