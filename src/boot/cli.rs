//! The command line on a host: run, pull, mount and sweep, by the same code as at boot.

use crate::container::host_context::HostContext;
use crate::container::pure::spec::{parse, ContainerSpec};
use crate::container::{own_program, run};
use crate::image::pull::{self, PullContext};
use crate::image::pure::mirror::Mirrors;
use crate::layer::overlay;
use crate::net::dns::Resolver;
use crate::net::pure::proxy::Proxies;
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::{Store, STORE};
use crate::store::volumes::Volumes;
use crate::sys::{io_text, last_words, signal};
use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};

const USAGE: &str = "\
ocinit: boots a machine straight into a container; on a host (as root):

  ocinit run [--store DIR] [--sync=false] [flags] IMAGE [COMMAND...]
                                 run a container; flags as in b2c.run
  ocinit pull [--store DIR] [--sync=false] [flags] IMAGE
                                 pull an image into the store
  ocinit mount [--store DIR] [--sync=false] [flags] IMAGE DIR
                                 mount an image read-only at DIR, until umount DIR
  ocinit sweep [--store DIR]     remove what killed commands left in the store

--store: the directory of images and volumes. Default /var/lib/ocinit
--sync=false: do not wait until the image is on the disk; podman does not wait either.
What a power cut or a reboot loses is pulled again.
IMAGE: [docker://]HOST[:PORT]/PATH[:TAG][@sha256:...], a short name of docker.io,
oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME[:TAG]].
";

/// The exit code of a wrong command line and of a failure of ocinit itself; podman has the same for both.
const OUR_FAILURE: i32 = 125;

/// Runs the command line, and returns the exit code.
pub fn main() -> i32 {
    signal::expect_children();
    let report = Report::on_host();
    let arguments: Option<Vec<String>> = std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect();
    let Some(arguments) = arguments else {
        report.fail(&Failure::new("usage", "an argument is not UTF-8"));
        return OUR_FAILURE;
    };
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome = match command {
        "run" => seal(rest).and_then(|()| run(rest, &report)),
        "pull" => pull(rest, &report),
        "mount" => mount(rest, &report),
        "sweep" => sweep(rest, &report),
        "help" | "-h" | "--help" => {
            print(USAGE);
            Ok(0)
        }
        "version" | "-V" | "--version" => {
            print(concat!("ocinit ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(0)
        }
        other => Err(usage(&["no command '", other, "'"].concat())),
    };
    outcome.unwrap_or_else(|failure| {
        report.fail(&failure);
        OUR_FAILURE
    })
}

fn usage(what: &str) -> Failure {
    Failure::new("usage", what).hint("ocinit help")
}

/// Prints to standard output, which may be closed.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The parsed arguments of a command.
struct Arguments<'a> {
    store: &'a str,
    /// Whether to wait until the image is on the disk.
    sync: bool,
    spec: ContainerSpec,
}

/// The last argument of a `sweep` that replaces a command which ran out of memory or crashed.
const AFTER_FAILURE: &str = "--after-failure";

/// Lets `sweep` replace this process if it runs out of memory or crashes.
fn sweep_after_failure(store: &str) {
    let words = ["ocinit", "sweep", "--store", store, AFTER_FAILURE];
    let words = words.map(|word| CString::new(word).unwrap_or_default());
    last_words::set_successor(c"/proc/self/exe".into(), words.into());
}

/// Removes what killed commands left in the store. If it replaces a command, it also removes what that command made
/// outside of the store.
fn sweep(words: &[String], report: &Report) -> Outcome<i32> {
    let (store, after_failure) = match words {
        [] => (STORE, false),
        [flag, store] if flag == "--store" => (store.as_str(), false),
        [flag, store, last] if flag == "--store" && last == AFTER_FAILURE => (store.as_str(), true),
        [store] if store.starts_with("--store=") => (store.get(8..).unwrap_or_default(), false),
        _ => return Err(usage("sweep takes no argument but --store DIR")),
    };
    if after_failure {
        signal::reset();
        run::end_of_process();
    } else if !Path::new(store).is_dir() {
        return Err(Failure::new("store", [store, ": no such directory"].concat()));
    }
    drop(open_store(store, report)?);
    Ok(if after_failure { OUR_FAILURE } else { 0 })
}

/// Parses `--store DIR` and `--sync=BOOL`, which come first, and then the flags, image and command. Opens no file.
fn parse(words: &[String]) -> Outcome<Arguments<'_>> {
    let (mut store, mut sync, mut rest) = (STORE, true, words);
    loop {
        match rest {
            [flag, value, after @ ..] if flag == "--store" => (store, rest) = (value, after),
            [flag, after @ ..] if flag.starts_with("--store=") => {
                (store, rest) = (flag.get(8..).unwrap_or_default(), after);
            }
            [flag, after @ ..] if flag == "--sync=false" || flag == "--sync=true" => {
                (sync, rest) = (flag == "--sync=true", after);
            }
            _ => break,
        }
    }
    let spec = parse::parse(rest).map_err(|why| usage(&why))?;
    Ok(Arguments { store, sync, spec })
}

impl Arguments<'_> {
    fn open_store(&self, report: &Report) -> Outcome<Store> {
        sweep_after_failure(self.store);
        open_store(self.store, report)
    }
}

fn open_store(path: &str, report: &Report) -> Outcome<Store> {
    let store = Store::open(Path::new(path), true, report);
    store.map_err(|error| Failure::new("store", [path, ": ", &io_text(&error)].concat()))
}

/// A variable as `NAME=value`; None if it is not UTF-8.
fn pair((name, value): (OsString, OsString)) -> Option<String> {
    Some([name.to_str()?, "=", value.to_str()?].concat())
}

/// Pulls use the proxies of the environment, as podman's do. Mirrors and keys are options of a boot.
fn context() -> Outcome<PullContext> {
    let variable = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok());
    let value = |key: &str, names| variable(names).map(|value| [key, &value].concat());
    let values = [
        value("http=", ["http_proxy", "HTTP_PROXY"]),
        value("https=", ["https_proxy", "HTTPS_PROXY"]),
        value("no=", ["no_proxy", "NO_PROXY"]),
    ];
    let values: Vec<String> = values.into_iter().flatten().collect();
    let proxies = Proxies::parse(&values);
    let proxies = proxies.map_err(|error| usage(&["http_proxy, https_proxy or no_proxy: ", error.text()].concat()))?;
    let resolver = Resolver::from_host().into();
    Ok(PullContext { resolver, proxies, mirrors: Mirrors::default(), keys: Vec::new() })
}

/// Replaces this process by a sealed copy of its program if the container is unprivileged. This comes before anything
/// is opened or started, since the copy begins anew.
fn seal(words: &[String]) -> Outcome<()> {
    match parse(words)?.spec.rights.privileged {
        true => Ok(()),
        false => own_program::seal(),
    }
}

/// Runs `ocinit run` with the arguments `words`, and returns the exit code.
pub fn run(words: &[String], report: &Report) -> Outcome<i32> {
    let arguments = parse(words)?;
    let spec = &arguments.spec;
    let quiet = Report { quiet: true, ..*report };
    let context = context()?;
    let store = arguments.open_store(report)?;
    let mut image = pull::image(&spec.pull, &store, &context, &quiet)?;
    pull::add_layers(&mut image, &spec.pull, &store, &context, &quiet)?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let volumes =
        Volumes { dir: store.volumes(), declared: &[], filesystems: &[], resolver: &context.resolver, report };
    let host = HostContext {
        hostname: hostname.trim_end(),
        // The host's own, as podman has it.
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        env: if spec.http_proxy { context.proxies.env() } else { Vec::new() },
        own_env: std::env::vars_os().filter_map(pair).collect(),
        forward_signals: true,
        service: false,
        kept_bytes: 0,
        volumes: &volumes,
        started: &|| image.sync(),
        report,
    };
    let exit = run::run(spec, &image, &store, &host);
    if arguments.sync {
        image.synced(report);
    }
    exit.map(|exit| exit.code)
}

fn pull(words: &[String], report: &Report) -> Outcome<i32> {
    let arguments = parse(words)?;
    if !arguments.spec.command.is_empty() {
        return Err(usage("pull takes one image"));
    }
    let context = context()?;
    let store = arguments.open_store(report)?;
    let image = pull::image(&arguments.spec.pull, &store, &context, report)?;
    if arguments.sync {
        image.synced(report);
    }
    Ok(0)
}

fn mount(words: &[String], report: &Report) -> Outcome<i32> {
    let arguments = parse(words)?;
    let [target] = arguments.spec.command.as_slice() else {
        return Err(usage("mount takes one image and one directory"));
    };
    let fail = |what: &str, why: &str| Failure::new("mount", [what, ": ", why].concat());
    let target: PathBuf = Path::new(target).canonicalize().map_err(|error| fail(target, &io_text(&error)))?;
    let context = context()?;
    let store = arguments.open_store(report)?;
    let image = pull::image(&arguments.spec.pull, &store, &context, report)?;
    let dir = store.begin_container().map_err(|error| fail("its directory in the store", &io_text(&error)))?;
    let mounted = overlay::mount_read_only(&image.layers, &dir, &target, report);
    if arguments.sync {
        image.synced(report);
    }
    // The mount holds the layers now, and no longer needs this directory.
    if let Err(why) = dir.end() {
        report.warn("mount", why);
    }
    mounted.map_err(|error| fail(&target.to_string_lossy(), &error.text).hint_of(error.hint))?;
    Ok(0)
}
