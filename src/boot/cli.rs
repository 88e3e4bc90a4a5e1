//! The command line on a host: run, pull, mount, sweep. The same code as at boot.

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

/// A wrong command line, and our own failures (podman's number for both).
const OUR_FAILURE: i32 = 125;

/// Runs the command line; the answer is the exit code.
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

/// A closed standard output is nobody's loss.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// What a command line says: the store, whether to wait for its disk, and the container.
struct Line<'a> {
    store: &'a str,
    sync: bool,
    container: ContainerSpec,
}

/// The last word of a command that takes the place of another one, which ran out of memory or crashed.
const AFTER_FAILURE: &str = "--after-failure";

/// Has `sweep` take our place, should we run out of memory or crash.
fn sweep_after_failure(store: &str) {
    let words = ["ocinit", "sweep", "--store", store, AFTER_FAILURE];
    let words = words.map(|word| CString::new(word).unwrap_or_default());
    last_words::set_successor(c"/proc/self/exe".into(), words.into());
}

/// Removes what commands have left in the store that were killed; and, in the place of one, what that had made beside.
fn sweep(words: &[String], report: &Report) -> Outcome<i32> {
    let (store, after_failure) = match words {
        [] => (STORE, false),
        [flag, store] if flag == "--store" => (store.as_str(), false),
        [flag, store, last] if flag == "--store" && last == AFTER_FAILURE => (store.as_str(), true),
        [store] if store.starts_with("--store=") => (store.get(8..).unwrap_or_default(), false),
        _ => return Err(usage("sweep takes no more than --store")),
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

/// Takes `--store DIR` and `--sync=BOOL` out of the front of `words`. Nothing is opened before all of them are read.
fn parse(words: &[String]) -> Outcome<Line<'_>> {
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
    let container = parse::parse(rest).map_err(|why| usage(&why))?;
    Ok(Line { store, sync, container })
}

impl Line<'_> {
    fn open_store(&self, report: &Report) -> Outcome<Store> {
        sweep_after_failure(self.store);
        open_store(self.store, report)
    }
}

fn open_store(path: &str, report: &Report) -> Outcome<Store> {
    let store = Store::open(Path::new(path), true, report);
    store.map_err(|error| Failure::new("store", [path, ": ", &io_text(&error)].concat()))
}

/// A variable as `NAME=value`; one that is not UTF-8 is none of ours.
fn pair((name, value): (OsString, OsString)) -> Option<String> {
    Some([name.to_str()?, "=", value.to_str()?].concat())
}

/// As podman does, by the environment's proxies; mirrors and keys are a machine's.
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

/// Before anything is opened: an unprivileged container is started by a copy of this program. Nothing else of ours may
/// be under way in this process, whose place the copy takes.
fn seal(words: &[String]) -> Outcome<()> {
    match parse(words)?.container.rights.privileged {
        true => Ok(()),
        false => own_program::seal(),
    }
}

/// `ocinit run` with these words behind it; the answer is the exit code.
pub fn run(words: &[String], report: &Report) -> Outcome<i32> {
    let line = parse(words)?;
    let container = &line.container;
    let quiet = Report { quiet: true, ..*report };
    let context = context()?;
    let store = line.open_store(report)?;
    let mut image = pull::image(&container.pull, &store, &context, &quiet)?;
    pull::add_layers(&mut image, &container.pull, &store, &context, &quiet)?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let volumes =
        Volumes { dir: store.volumes(), declared: &[], filesystems: &[], resolver: &context.resolver, report };
    let host = HostContext {
        hostname: hostname.trim_end(),
        // As podman has it on a host: the host's own.
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        env: if container.http_proxy { context.proxies.env() } else { Vec::new() },
        own_env: std::env::vars_os().filter_map(pair).collect(),
        forward_signals: true,
        service: false,
        kept_bytes: 0,
        volumes: &volumes,
        started: &|| image.sync(),
        report,
    };
    let exit = run::run(container, &image, &store, &host);
    if line.sync {
        image.synced(report);
    }
    exit.map(|exit| exit.code)
}

fn pull(words: &[String], report: &Report) -> Outcome<i32> {
    let line = parse(words)?;
    if !line.container.command.is_empty() {
        return Err(usage("pull takes one image"));
    }
    let context = context()?;
    let store = line.open_store(report)?;
    let image = pull::image(&line.container.pull, &store, &context, report)?;
    if line.sync {
        image.synced(report);
    }
    Ok(0)
}

fn mount(words: &[String], report: &Report) -> Outcome<i32> {
    let line = parse(words)?;
    let [target] = line.container.command.as_slice() else {
        return Err(usage("mount takes one image and one directory"));
    };
    let fail = |what: &str, why: &str| Failure::new("mount", [what, ": ", why].concat());
    let target: PathBuf = Path::new(target).canonicalize().map_err(|error| fail(target, &io_text(&error)))?;
    let context = context()?;
    let store = line.open_store(report)?;
    let image = pull::image(&line.container.pull, &store, &context, report)?;
    let dir = store.begin_container().map_err(|error| fail("its directory in the store", &io_text(&error)))?;
    let mounted = overlay::mount_read_only(&image.layers, &dir, &target, report);
    if line.sync {
        image.synced(report);
    }
    // The kernel has looked the names up: the container's directory in the store is not needed any more.
    if let Err(why) = dir.end() {
        report.warn("mount", why);
    }
    mounted.map_err(|error| Failure {
        hint: error.hint.map(String::from),
        ..fail(&target.to_string_lossy(), &error.text)
    })?;
    Ok(0)
}
