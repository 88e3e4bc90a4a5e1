//! The host tool: `build` makes the initramfs, `boot` boots it in QEMU, `serve`
//! serves an OCI image layout as a registry.

mod boot;
mod progress;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ocinit::host::compress::{Compression, Effort};
use ocinit::host::initramfs::{self, Spec};
use ocinit::host::modules::{self, Profile};
use ocinit::host::serve::Server;
use ocinit::host::size;
use ocinit::host::{check, docs, elf, promises};
use ocinit::sys::signal;
use progress::Progress;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "ocinit-host", version, about = "Makes ocinit's initramfs, boots it in QEMU, serves images")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an initramfs; the same input gives the same bytes
    Build(Build),
    /// Boot a machine in QEMU into a container, and print how long each step took
    Boot(boot::Boot),
    /// Serve an OCI image layout as a read-only registry, under any name
    Serve(Serve),
    /// Measure the release by crate and function, and fail if it is over its budget
    Size(Size),
    /// Update the generated parts of the documentation: tables of options and flags, and which tests keep a promise
    Docs,
}

#[derive(Args)]
struct Size {
    /// The directory of ocinit, ocinit.debug and initramfs.cpio.xz
    #[arg(long, value_name = "DIR", default_value = "target/ocinit/x86_64")]
    release: PathBuf,
    /// The directory of budget.toml, and with --write of the report
    #[arg(long, value_name = "DIR", default_value = "size-report")]
    report: PathBuf,
    /// Update the report of the repository; otherwise it is written to target/size-report
    #[arg(long)]
    write: bool,
}

#[derive(Args)]
struct Build {
    /// The static binary that becomes PID 1
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// The machine's architecture, as `uname -m` has it
    #[arg(long, value_name = "ARCH", default_value = std::env::consts::ARCH)]
    arch: String,
    /// Where to write the initramfs
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Take kernel modules from here: lib/modules/RELEASE, or a directory above it
    #[arg(long, value_name = "DIR")]
    kernel_modules: Option<PathBuf>,
    /// Which of them: those of a virtual machine, of a lab's machines, or only those of --module [default: vm]
    #[arg(long, value_enum)]
    profile: Option<ProfileName>,
    /// A further module, by name; its dependencies are added
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// Remove the modules' signatures: smaller, and loaded five times faster; not for Secure Boot
    #[arg(long)]
    strip_signatures: bool,
    /// Certificates (PEM) of authorities for registries, beside the built-in ones
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Further options for the init, for boards whose boot loader cannot hold a long line
    #[arg(long, value_name = "FILE")]
    cmdline: Option<PathBuf>,
    /// A file or directory of this host, and its path in the initramfs
    #[arg(long, value_name = "SRC:DST")]
    add: Vec<String>,
    #[arg(long, value_enum, default_value = "xz")]
    compress: CompressName,
    /// Compress once instead of searching for the smallest result
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    None,
    Vm,
    Lab,
}

#[derive(Clone, Copy, ValueEnum)]
enum CompressName {
    Xz,
    Zstd,
    Gzip,
    None,
}

#[derive(Args)]
struct Serve {
    /// A directory with oci-layout, index.json and blobs/
    dir: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5000")]
    listen: String,
}

fn size(args: &Size) -> Result<(), String> {
    let into = if args.write { &args.report } else { Path::new("target/size-report") };
    size::run(&args.release, &args.report, into)
}

fn main() -> ExitCode {
    // `| head` closes our standard output: println! would panic.
    signal::end_on_broken_pipe();
    let result = match Cli::parse().command {
        Command::Build(args) => build(&args).map(|()| ExitCode::SUCCESS),
        Command::Boot(args) => boot::boot(&args),
        Command::Serve(args) => serve(&args),
        Command::Size(args) => size(&args).map(|()| ExitCode::SUCCESS),
        Command::Docs => refresh_docs().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("ocinit-host: {error}");
        ExitCode::FAILURE
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The bytes of a file that an option names.
fn read_for(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    read(path).map_err(|error| format!("{option} {error}"))
}

/// Puts the option and its file before an error.
fn of_file<'a>(option: &'a str, path: &'a Path) -> impl Fn(String) -> String + 'a {
    move |error| format!("{option} {}: {error}", path.display())
}

/// Whether a file can be written there: told before the work whose result it is to hold.
fn writable(option: &str, path: &Path) -> Result<(), String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(directory) {
        Ok(_) if path.is_dir() => Err(format!("{option} {}: a directory", path.display())),
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(format!("{option} {}: {} is not a directory", path.display(), directory.display())),
        Err(error) => Err(format!("{option} {}: {error}", path.display())),
    }
}

fn build(args: &Build) -> Result<(), String> {
    let spec = spec(args)?;
    writable("--output", &args.output)?;
    let mut progress = Progress::new();
    let made = initramfs::build_telling(&spec, &mut |segment, done, bytes| progress.tell(segment, done, bytes))?;
    progress.end();
    write(&args.output, &made.bytes).map_err(|error| format!("--output {error}"))?;
    println!("{}: {} bytes, {} unpacked", args.output.display(), made.bytes.len(), made.raw_len);
    println!("  init and files: {} bytes ({})", made.base_len, made.how[0]);
    if let Some(set) = &spec.modules {
        let bytes = made.bytes.len() - made.base_len;
        println!("  {} kernel modules of {}: {bytes} bytes ({})", set.len(), set.release, made.how[1]);
    }
    Ok(())
}

/// What goes into the initramfs. Nothing that cannot boot does.
fn spec(args: &Build) -> Result<Spec, String> {
    let effort = if args.quick { Effort::Quick } else { Effort::Best };
    let compression = match args.compress {
        CompressName::Xz => Compression::Xz(effort),
        CompressName::Zstd => Compression::Zstd,
        CompressName::Gzip => Compression::Gzip,
        CompressName::None => Compression::None,
    };
    let init = read_for("--init", &args.init)?;
    elf::check(&init, &args.arch).map_err(of_file("--init", &args.init))?;
    let mut spec = Spec::new(init, compression);
    if let Some(path) = &args.cmdline {
        let bytes = read_for("--cmdline", path)?;
        for warning in check::cmdline(&bytes).map_err(of_file("--cmdline", path))? {
            eprintln!("ocinit-host: warning: --cmdline {}: {warning}", path.display());
        }
        spec.cmdline = Some(bytes);
    }
    if let Some(path) = &args.ca {
        let pem = read_for("--ca", path)?;
        check::certificates(&pem).map_err(of_file("--ca", path))?;
        spec.ca = Some(pem);
    }
    for pair in &args.add {
        let (source, target) = pair.split_once(':').ok_or_else(|| format!("--add {pair}: not SRC:DST"))?;
        spec.added.push((source.into(), target.into()));
    }
    spec.modules = modules(args)?;
    Ok(spec)
}

fn modules(args: &Build) -> Result<Option<modules::Set>, String> {
    let (name, profile) = match args.profile {
        Some(ProfileName::None) => ("none", Profile::None),
        Some(ProfileName::Vm) | None => ("vm", Profile::Vm),
        Some(ProfileName::Lab) => ("lab", Profile::Lab),
    };
    let Some(dir) = &args.kernel_modules else {
        let given = [
            (args.profile.is_some() && profile != Profile::None, "--profile"),
            (!args.module.is_empty(), "--module"),
            (args.strip_signatures, "--strip-signatures"),
        ];
        return match given.iter().find(|(is_given, _)| *is_given) {
            Some((_, option)) => Err(format!("{option} needs --kernel-modules DIR")),
            None => Ok(None),
        };
    };
    eprintln!("selecting kernel modules from {}", dir.display());
    let mut set = modules::select(dir, profile, &args.module).map_err(|error| format!("--kernel-modules {error}"))?;
    if let Some(other) = set.architecture().filter(|architecture| *architecture != args.arch) {
        let what = format!("{}: modules for {other}, and --init is for {}", dir.display(), args.arch);
        return Err(format!("--kernel-modules {what}"));
    }
    if set.is_empty() && profile != Profile::None {
        let what = format!("{}: no module of --profile {name}", dir.display());
        eprintln!("ocinit-host: warning: --kernel-modules {what}: the drivers must be built into the kernel");
    }
    if args.strip_signatures {
        set.strip_signatures();
    }
    Ok(Some(set))
}

fn refresh_docs() -> Result<(), String> {
    for path in docs::PAGES {
        refresh_page(path, docs::refresh)?;
    }
    let sources = promises::sources(Path::new(".")).map_err(|error| error.to_string())?;
    for page in promises::PAGES {
        let tests = promises::tagged(page.tag, &sources)?;
        refresh_page(page.path, |text| promises::refresh(text, &tests))?;
    }
    Ok(())
}

fn refresh_page(path: &str, refresh: impl Fn(&str) -> Result<String, String>) -> Result<(), String> {
    let text = String::from_utf8(read(Path::new(path))?).map_err(|error| format!("{path}: {error}"))?;
    write(Path::new(path), refresh(&text).map_err(|error| format!("{path}: {error}"))?.as_bytes())
}

fn serve(args: &Serve) -> Result<ExitCode, String> {
    let addresses = args.listen.to_socket_addrs();
    addresses.map_err(|error| format!("--listen {}: {error}: write ADDRESS:PORT", args.listen))?;
    let server = Server::start(&args.dir, &args.listen).map_err(|error| error.to_string())?;
    println!("serving {} on port {}", args.dir.display(), server.port());
    server.wait();
    Ok(ExitCode::SUCCESS)
}
