//! The command line on a host: run, pull, mount, inspect, check and sweep, by the same code as at boot.

use crate::boot::check;
use crate::boot::pure::arguments::{self, Arguments};
use crate::boot::pure::help::{self, CHECK, COMMANDS, VERSION};
use crate::boot::pure::inspect;
use crate::container::host_context::HostContext;
use crate::container::pure::spec::{parse, ContainerSpec};
use crate::container::{own_program, run};
use crate::image::pull::{self, Image, PullContext};
use crate::image::pure::mirror::Mirrors;
use crate::image::pure::pull_options::PullOptions;
use crate::layer::overlay;
use crate::net::dns::Resolver;
use crate::net::pure::proxy::Proxies;
use crate::pure::suggest::suggest;
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::{Store, STORE};
use crate::store::volumes::Volumes;
use crate::sys::io::{self, Poll};
use crate::sys::{io_text, last_words, process, signal, thread, STDOUT};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The exit code of a wrong command line and of a failure of ocinit itself; podman has the same for both.
const OUR_FAILURE: i32 = 125;

/// Runs the command line, and returns the exit code.
pub fn main() -> i32 {
    signal::expect_children();
    let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    let report = Report { live: is_terminal, ..Report::on_host() };
    let words: Option<Vec<String>> = std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect();
    let arguments = words.ok_or_else(|| "an argument is not UTF-8".into()).and_then(|words| arguments::parse(&words));
    let outcome = arguments.map_err(|why| usage("", &why)).and_then(|arguments| command(&arguments, &report));
    outcome.unwrap_or_else(|failure| {
        report.fail(&failure);
        OUR_FAILURE
    })
}

fn command(arguments: &Arguments, report: &Report) -> Outcome<i32> {
    let name = arguments.command.as_str();
    let topic = if name == "help" { arguments.words.last().map_or("", String::as_str) } else { name };
    let is_known = COMMANDS.iter().any(|command| command.name == topic);
    if !is_known && !topic.is_empty() {
        report.exact(&help::text(""));
        let near = suggest(&mut COMMANDS.iter().map(|command| command.name), topic);
        let near = near.map(|near| [": did you mean ", near, "?"].concat());
        return Err(Failure::new("usage", ["no command '", topic, "'", &near.unwrap_or_default()].concat()));
    }
    if arguments.help || matches!(name, "" | "help") {
        print(&help::text(topic));
        return Ok(0);
    }
    if name == VERSION {
        print(concat!("ocinit version ", env!("CARGO_PKG_VERSION"), "\n"));
        return Ok(0);
    }
    if name == CHECK {
        let checked = check::run(&arguments.words)?;
        print(&checked.text);
        return Ok(checked.fails.into());
    }
    if name != "inspect" && process::effective_user() != 0 {
        let what = ["'ocinit ", name, "' is for root: sudo ocinit ", name, " ..."];
        return Err(Failure::new("usage", what.concat()));
    }
    if name == "sweep" {
        return sweep(arguments, report);
    }
    let spec = parse::parse(&arguments.words).map_err(|why| usage(name, &why))?;
    match name {
        "run" => {
            if !spec.rights.privileged {
                // A sealed copy of this program begins anew, so this comes before anything is opened or started.
                own_program::seal()?;
            }
            run(arguments, &spec, report)
        }
        "pull" => pull(arguments, &spec, report),
        "mount" => mount(arguments, &spec, report),
        _ => inspect(arguments, &spec, report),
    }
}

/// A mistake on the command line of the command `name`, which may be empty.
fn usage(name: &str, what: &str) -> Failure {
    let space = if name.is_empty() { "" } else { " " };
    Failure::new("usage", what).hint(["ocinit", space, name, " --help"].concat())
}

/// Prints to standard output, which may be closed.
fn print(text: &str) {
    let _ = STDOUT.try_clone_to_owned().and_then(|fd| File::from(fd).write_all(text.as_bytes()));
}

/// The last argument of a `sweep` that replaces a command which ran out of memory, crashed or was interrupted, and its
/// exit code.
const AFTER_FAILURE: &str = "--after-failure=";

/// Lets `sweep` replace this process if it runs out of memory or crashes.
fn sweep_after_failure(store: &str, code: i32) {
    let words = ["ocinit", "sweep", "--store", store, &[AFTER_FAILURE, &code.to_string()].concat()];
    let words = words.map(|word| CString::new(word).unwrap_or_default());
    last_words::set_successor(c"/proc/self/exe".into(), words.into());
}

/// Removes what killed commands left in the store. If it replaces a command, it also removes what that command made
/// outside of the store.
fn sweep(arguments: &Arguments, report: &Report) -> Outcome<i32> {
    let store = store_of(arguments);
    let after_failure = match arguments.words.as_slice() {
        [] => None,
        [word] => word.strip_prefix(AFTER_FAILURE).and_then(|code| code.parse().ok()),
        _ => None,
    };
    if after_failure.is_none() && !arguments.words.is_empty() {
        return Err(usage("sweep", "sweep takes no argument but --store DIR"));
    }
    if after_failure.is_some() {
        signal::reset();
        run::end_of_process();
    } else if !Path::new(store).is_dir() {
        return Err(Failure::new("store", [store, ": no such directory"].concat()));
    }
    drop(open_store(store, report)?);
    Ok(after_failure.unwrap_or(0))
}

fn store_of(arguments: &Arguments) -> &str {
    arguments.store.as_deref().unwrap_or(STORE)
}

/// Opens the store for a command that a crash must not leave half done.
fn open_for(arguments: &Arguments, report: &Report) -> Outcome<Store> {
    sweep_after_failure(store_of(arguments), OUR_FAILURE);
    open_store(store_of(arguments), report)
}

/// The signals that end a pull.
const INTERRUPTS: [i32; 2] = [signal::SIGINT, signal::SIGTERM];

/// Pulls an image. A signal ends the pull at once and says what is kept; another process removes the rest.
fn pull_image(
    arguments: &Arguments,
    options: &PullOptions,
    store: &Store,
    context: &PullContext,
    report: &Report,
) -> Outcome<Image> {
    // What the parent process ignores stays ignored.
    let signals: Vec<i32> = INTERRUPTS.into_iter().filter(|signal| !signal::is_ignored(*signal)).collect();
    let mut pulled = None;
    let mut pull = || pulled = Some(pull::image(options, store, context, report));
    if let (Ok(signals_fd), Ok((done, running))) = (signal::descriptor(&signals), io::pipe()) {
        let mut running = Some(running);
        let mut watch = || {
            let wanted = [signals_fd.as_fd(), done.as_fd()].map(|fd| Poll { fd, write: false });
            while matches!(io::poll(&wanted, -1), Ok(0)) {}
            if let Some(signal) = signal::next(signals_fd.as_fd()) {
                interrupted(signal, store_of(arguments), store, report);
            }
        };
        signal::block(&signals);
        // Where no thread can be started, nothing has been pulled, and it is done below.
        let _ = thread::beside(&mut [&mut watch], &mut || {
            pull();
            running.take();
        });
        signal::unblock(&signals);
    }
    pulled.unwrap_or_else(|| pull::image(options, store, context, report))
}

/// Says what the pull that `signal` ends has added to the store, and ends this process.
fn interrupted(signal: i32, path: &str, store: &Store, report: &Report) -> ! {
    let what = match store.added() {
        (_, 0) => "interrupted before any layer was asked for".into(),
        (added, missing) => {
            let (added, missing) = (added.to_string(), missing.to_string());
            ["interrupted; of ", &missing, " missing layers ", &added, " are complete and stay in ", path].concat()
        }
    };
    report.fail(&Failure::new("pull", what).hint("the next pull fetches the others, each from its beginning"));
    sweep_after_failure(path, 128 + signal);
    last_words::succeed()
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
    let proxies =
        proxies.map_err(|error| usage("", &["http_proxy, https_proxy or no_proxy: ", error.text()].concat()))?;
    let resolver = Resolver::from_host().into();
    Ok(PullContext { resolver, proxies, mirrors: Mirrors::default(), keys: Vec::new() })
}

/// Runs `ocinit run`, and returns the exit code.
pub fn run(arguments: &Arguments, spec: &ContainerSpec, report: &Report) -> Outcome<i32> {
    let quiet = Report { quiet: true, ..*report };
    let context = context()?;
    let store = open_for(arguments, report)?;
    let mut image = pull_image(arguments, &spec.pull, &store, &context, &quiet)?;
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
    synced(arguments, &image, report);
    exit.map(|exit| exit.code)
}

fn synced(arguments: &Arguments, image: &Image, report: &Report) {
    if !arguments.no_sync {
        image.synced(report);
    }
}

/// Prints the image's ID, as `podman pull` does.
fn pull(arguments: &Arguments, spec: &ContainerSpec, report: &Report) -> Outcome<i32> {
    if !spec.command.is_empty() {
        return Err(usage("pull", "pull takes one image"));
    }
    let context = context()?;
    let store = open_for(arguments, report)?;
    let image = pull_image(arguments, &spec.pull, &store, &context, report)?;
    synced(arguments, &image, report);
    print(&[&image.id.hex(), "\n"].concat());
    Ok(0)
}

fn mount(arguments: &Arguments, spec: &ContainerSpec, report: &Report) -> Outcome<i32> {
    let [target] = spec.command.as_slice() else {
        return Err(usage("mount", "mount takes one image and one directory"));
    };
    let fail = |what: &str, why: &str| Failure::new("mount", [what, ": ", why].concat());
    let target: PathBuf = Path::new(target).canonicalize().map_err(|error| fail(target, &io_text(&error)))?;
    let context = context()?;
    let store = open_for(arguments, report)?;
    let image = pull_image(arguments, &spec.pull, &store, &context, report)?;
    let dir = store.begin_container().map_err(|error| fail("its directory in the store", &io_text(&error)))?;
    let mounted = overlay::mount_read_only(&image.layers, &dir, &target, report);
    synced(arguments, &image, report);
    // The mount holds the layers now, and no longer needs this directory.
    if let Err(why) = dir.end() {
        report.warn("mount", why);
    }
    mounted.map_err(|error| fail(&target.to_string_lossy(), &error.text).hint_of(error.hint))?;
    Ok(0)
}

/// Prints what is known of an image. A store is looked into if there is one and we may, but none is made.
fn inspect(arguments: &Arguments, spec: &ContainerSpec, report: &Report) -> Outcome<i32> {
    if !spec.command.is_empty() {
        return Err(usage("inspect", "inspect takes one image"));
    }
    let has_store = process::effective_user() == 0 && Path::new(store_of(arguments)).is_dir();
    let store = if has_store { Some(open_for(arguments, report)?) } else { None };
    let image = pull::inspect(&spec.pull, store.as_ref(), &context()?, report)?;
    let manifest = image.manifest.as_ref();
    let shown = inspect::emit(&inspect::Image {
        name: &spec.pull.image.shown(),
        digest: image.digest,
        manifest: manifest.and_then(|manifest| Some((*manifest.digests.last()?, manifest.layers.as_slice()))),
        id: image.id,
        config: &image.config,
    });
    print(&shown.map_err(|error| Failure::new("inspect", ["configuration: ", &error.text()].concat()))?);
    Ok(0)
}
