//! The containers of a boot, one after the other, and what each tells the next.

use crate::boot::early_mounts;
use crate::boot::prefetch::{self, Prefetch};
use crate::boot::pure::options::{Config, OnFail};
use crate::boot::root::{self, Root};
use crate::boot::services::Services;
use crate::boot::shutdown::Ending;
use crate::boot::storage;
use crate::container::host_context::HostContext;
use crate::container::pure::spec::{parse, ContainerSpec};
use crate::container::run::{self, Exit, RebootRequest};
use crate::image::pull::{self, Image, PullContext};
use crate::net::task::Kept;
use crate::report::{Failure, Outcome, Report, Section};
use crate::store::layers::Store;
use crate::store::volumes::Volumes;
use std::cell::RefCell;

/// The state of the pipeline, which containers see as the variables of boot2container's command line.
#[derive(Default)]
pub struct Status {
    /// 0, or the first failing exit code.
    pub code: i32,
    failed_by: String,
    previous: String,
    /// None if no container has run.
    previous_code: Option<i32>,
    reboot_request: Option<RebootRequest>,
    /// A container failed because of ocinit, and not by its exit code.
    failed_ourselves: bool,
    /// Something outside asked for the end of the boot (Ctrl-Alt-Del, a signal to PID 1).
    stopped: bool,
    /// The machine's root from now on.
    pub root: Option<Root>,
}

impl Status {
    /// `NAME=value` for containers and for the shutdown command.
    pub fn env(&self) -> Vec<String> {
        let mode = match self.reboot_request {
            None => "default",
            Some(RebootRequest::PowerOff) => "poweroff",
            Some(RebootRequest::Reboot) => "reboot",
        };
        let previous_code = self.previous_code.map_or(String::new(), |code| code.to_string());
        vec![
            ["B2C_PIPELINE_STATUS=", &self.code.to_string()].concat(),
            ["B2C_PIPELINE_FAILED_BY=", &self.failed_by].concat(),
            ["B2C_PIPELINE_PREV_CONTAINER=", &self.previous].concat(),
            ["B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE=", &previous_code].concat(),
            ["B2C_PIPELINE_SHUTDOWN_MODE=", mode].concat(),
        ]
    }

    /// How the machine ends: by the user's commands, unless ocinit itself failed and `b2c.onfail` says otherwise.
    pub fn ending(&self, config: &Config) -> Ending {
        if self.failed_ourselves && config.on_fail != OnFail::PowerOff {
            return Ending::Failed;
        }
        Ending::Orderly { reboot: self.reboot_request == Some(RebootRequest::Reboot), env: self.env() }
    }

    /// Whether no further container of the pipeline is to run.
    fn is_over(&self, pipefail: bool) -> bool {
        self.stopped || self.reboot_request.is_some() || (pipefail && self.code != 0)
    }

    fn after(&mut self, line: &str, code: i32) {
        if code != 0 && self.code == 0 {
            self.code = code;
            self.failed_by = line.into();
        }
        self.ran(line, code);
    }

    /// What the next containers get to know. The status is the pipeline's, whatever post containers end with, as in
    /// boot2container.
    fn ran(&mut self, line: &str, code: i32) {
        self.previous = line.into();
        self.previous_code = Some(code);
    }
}

/// The exit code where ocinit itself failed; podman has the same.
const OUR_FAILURE: i32 = 125;

/// The option of the machine's root.
const ROOT: &str = "b2c.root";

/// boot2container's status where the pipeline could not begin.
const SETUP_FAILURE: i32 = 1;

/// What all containers of a boot share.
pub struct BootContext<'a> {
    pub config: &'a Config,
    pub store: &'a Store,
    pub context: PullContext,
    pub network: &'a RefCell<Kept>,
    pub report: &'a Report,
}

/// Runs all containers in the order of boot2container: the services start, then the pipeline runs, then the post
/// containers, even if the pipeline failed.
pub fn run(boot: &BootContext) -> Status {
    let config = boot.config;
    let volumes = Volumes {
        dir: boot.store.volumes(),
        declared: &config.volumes,
        filesystems: &config.filesystems,
        resolver: &boot.context.resolver,
        report: boot.report,
    };
    let mut run = Run {
        boot,
        volumes: &volumes,
        status: Status::default(),
        services: Services::default(),
        images: Vec::new(),
        stop_ms: 0,
        prefetch: RefCell::new(None),
    };
    boot.report.section(Section::StartPipeline);
    // A volume is made when a container first names it. What it lies on must be there before any container runs.
    let is_set_up = volumes.mount_all();
    match &is_set_up {
        // Hook point `pipeline_start`.
        Ok(()) => run.services_and_pipeline(),
        Err(failure) => run.setup_failed("Volume setup", failure),
    }
    // Hook point `pipeline_end`: no container is left that writes to a volume.
    volumes.expire();
    if is_set_up.is_ok() {
        run.root();
    }
    run.status
}

struct Run<'a> {
    boot: &'a BootContext<'a>,
    volumes: &'a Volumes<'a>,
    status: Status,
    services: Services,
    /// The services' images, which are written to the disk while containers run.
    images: Vec<Image>,
    /// The longest `--stop-timeout` of the services.
    stop_ms: u64,
    /// The prefetch that runs, and the number of its first line among all.
    prefetch: RefCell<Option<(Prefetch, usize)>>,
}

/// A parsed container line and its image.
struct Ready {
    spec: ContainerSpec,
    image: Image,
    /// The pipeline's variables, and those of the proxies.
    env: Vec<String>,
    /// The pipeline's variables alone.
    own_env: Vec<String>,
}

impl Run<'_> {
    fn services_and_pipeline(&mut self) {
        let config = self.boot.config;
        for line in &config.run_service {
            if !self.status.is_over(config.pipefail) {
                self.service(line);
            }
        }
        self.pipeline();
        if !config.run_service.is_empty() {
            self.boot.report.section(Section::Cleanup);
            self.stop_services();
        }
    }

    /// No container can run: `failed_by` is boot2container's name of what failed.
    fn setup_failed(&mut self, failed_by: &str, failure: &Failure) {
        self.failed(failure);
        (self.status.code, self.status.failed_by) = (SETUP_FAILURE, failed_by.into());
    }

    /// The containers of the pipeline, then the post containers.
    fn pipeline(&mut self) {
        let config = self.boot.config;
        let containers = config.run.len() + config.run_post.len();
        // The root's image is pulled meanwhile, too.
        let all: Vec<&String> = config.run.iter().chain(&config.run_post).chain(&config.root).collect();
        let mut at = 0;
        while at < config.run.len() && !self.status.is_over(config.pipefail) {
            self.run_line(&all, at);
            at += 1;
        }
        if at < config.run.len() {
            // It may pull for a container that will not run.
            self.stop_prefetch();
        }
        for at in config.run.len()..containers {
            if !self.status.stopped {
                self.run_line(&all, at);
            }
        }
        if config.root.is_some() && !self.status.is_over(config.pipefail) {
            self.wait_for_prefetch(containers);
        }
        self.stop_prefetch();
    }

    /// Waits until line `at` of all is pulled, if a prefetch is at it.
    fn wait_for_prefetch(&mut self, at: usize) {
        if let Some((prefetch, first)) = self.prefetch.get_mut() {
            prefetch.wait_for(at - *first, self.boot.report);
        }
    }

    /// Runs line `at` of `all` to its end.
    fn run_line(&mut self, all: &[&String], at: usize) {
        let report = self.boot.report;
        let Some(line) = all.get(at) else { return };
        let code = match self.pull_and_run(line, all.get(at + 1..).unwrap_or_default(), at) {
            Ok(exit) => {
                self.status.reboot_request = exit.reboot.or(self.status.reboot_request);
                self.status.stopped |= exit.stopped;
                report.line("container", format_args!("exit code {}", exit.code));
                exit.code
            }
            Err(failure) => self.failed(&failure),
        };
        self.status.reboot_request = self.services.reboot_request().or(self.status.reboot_request);
        let shown = parse::shown(line);
        if at < self.boot.config.run.len() {
            self.status.after(&shown, code);
        } else {
            self.status.ran(&shown, code);
        }
    }

    fn failed(&mut self, failure: &Failure) -> i32 {
        self.boot.report.fail(failure);
        self.status.failed_ourselves = true;
        OUR_FAILURE
    }

    fn pull_and_run(&mut self, line: &str, next: &[&String], at: usize) -> Outcome<Exit> {
        if let Some(stopped) = run::asked_to_stop() {
            return Ok(stopped);
        }
        self.wait_for_prefetch(at);
        self.boot.report.section(Section::CreateContainer);
        let ready = self.ready("b2c.run", line)?;
        let exit = self.run_image(&ready, next, at);
        // After its last line of output the machine may be switched off, so the image must be on the disk.
        ready.image.synced(self.boot.report);
        exit
    }

    /// Parses a line of `option`, and pulls its image.
    fn ready(&self, option: &str, line: &str) -> Outcome<Ready> {
        let BootContext { store, context, report, .. } = self.boot;
        let own_env = self.status.env();
        let spec = parse(line, &own_env, option == ROOT);
        let fail = |why: String| Failure::new("container", [option, "='", &parse::logged(line), "': ", &why].concat());
        let spec = spec.map_err(fail)?;
        storage::make_sources(&spec)?;
        let mut kept = self.boot.network.borrow_mut();
        if let Some(network) = kept.change(report) {
            context.resolver.replace(&network.nameservers, &network.search);
        }
        drop(kept);
        let mut image = pull::image(&spec.pull, store, context, report)?;
        pull::add_layers(&mut image, &spec.pull, store, context, report)?;
        let mut env = own_env.clone();
        if spec.http_proxy {
            env.extend(context.proxies.env());
        }
        Ok(Ready { spec, image, env, own_env })
    }

    fn run_image(&self, ready: &Ready, next: &[&String], at: usize) -> Outcome<Exit> {
        if let Some(stopped) = run::asked_to_stop() {
            return Ok(stopped);
        }
        let store = self.boot.store;
        let spare = prefetch::memory_bytes(store).filter(|_| !next.is_empty());
        let started = || {
            early_mounts::set_rcu_expedited(false);
            ready.image.sync();
            if let Some(bytes) = spare {
                self.start_prefetch(&ready.spec, next, at + 1, bytes);
            }
        };
        // A prefetch to a disk needs nothing kept free: the kernel can reclaim its pages.
        let kept_bytes = spare.filter(|_| !store.is_durable()).unwrap_or_default();
        self.boot.report.section(Section::ContainerRun);
        self.boot.network.borrow_mut().take(self.boot.report);
        let exit = run::run(
            &ready.spec,
            &ready.image,
            store,
            &HostContext { kept_bytes, ..self.host_context(ready, false, &started) },
        );
        early_mounts::set_rcu_expedited(true);
        self.boot.report.section(Section::PostContainer);
        exit
    }

    fn host_context<'s>(&'s self, ready: &Ready, service: bool, started: &'s dyn Fn()) -> HostContext<'s> {
        HostContext {
            hostname: &self.boot.config.hostname,
            resolv_conf: self.boot.network.borrow().resolv_conf(),
            env: ready.env.clone(),
            own_env: ready.own_env.clone(),
            forward_signals: false,
            service,
            kept_bytes: 0,
            volumes: self.volumes,
            started,
            report: self.boot.report,
        }
    }

    /// Begins to pull the images of `next` while the container `running` runs. `first` is the number of the first line
    /// of `next` among all.
    fn start_prefetch(&self, running: &ContainerSpec, next: &[&String], first: usize, bytes: u64) {
        if self.prefetch.borrow().is_some() {
            return;
        }
        let BootContext { store, context, report, .. } = self.boot;
        let env = self.status.env();
        let specs = prefetch::to_pull(next.iter().map(|line| parse(line, &env, false).ok()).collect(), running);
        if specs.iter().any(Option::is_some) {
            *self.prefetch.borrow_mut() =
                Prefetch::start(&specs, store, context, bytes, report).map(|started| (started, first));
        }
    }

    fn stop_prefetch(&mut self) {
        if let Some((prefetch, _)) = self.prefetch.take() {
            prefetch.stop(self.boot.store, self.boot.report);
        }
    }

    /// Starts a service. One that cannot start counts as a failed container: the containers that need it would fail,
    /// too, with a less helpful message.
    fn service(&mut self, line: &str) {
        let code = match self.start_service(line) {
            Ok(true) => return,
            Ok(false) => {
                self.status.failed_ourselves = true;
                OUR_FAILURE
            }
            Err(failure) => self.failed(&failure),
        };
        self.status.after(&parse::shown(line), code);
    }

    fn start_service(&mut self, line: &str) -> Outcome<bool> {
        self.boot.report.section(Section::StartServiceContainer);
        let ready = self.ready("b2c.run_service", line)?;
        let name = ready.spec.pull.image.shown();
        let mut services = std::mem::take(&mut self.services);
        let started = services.start(name, self.boot.report, &mut |started| {
            let host = self.host_context(&ready, true, started);
            run::run(&ready.spec, &ready.image, self.boot.store, &host)
        });
        self.services = services;
        self.stop_ms = self.stop_ms.max(run::stop_timeout_ms(&ready.spec));
        ready.image.sync();
        self.images.push(ready.image);
        started.map_err(|error| Failure::new("service", error.to_string()))
    }

    /// Prepares the root that the machine is to have after the containers. One that fails counts as a failed container.
    fn root(&mut self) {
        let config = self.boot.config;
        let Some(line) = config.root.as_ref().filter(|_| !self.status.is_over(config.pipefail)) else { return };
        let code = match run::asked_to_stop() {
            Some(stopped) => {
                self.status.stopped = true;
                stopped.code
            }
            None => match self.prepare_root(line) {
                Ok(root) => {
                    self.status.root = Some(root);
                    return;
                }
                Err(failure) => self.failed(&failure),
            },
        };
        self.status.after(&parse::shown(line), code);
    }

    fn prepare_root(&self, line: &str) -> Outcome<Root> {
        self.boot.report.section(Section::CreateContainer);
        let mut ready = self.ready(ROOT, line)?;
        ready.image.synced(self.boot.report);
        let host = self.host_context(&ready, false, &|| ());
        let root = root::prepare(&mut ready.spec, &ready.image, self.boot.store, &host)?;
        ready.image.keep();
        Ok(root)
    }

    fn stop_services(&mut self) {
        std::mem::take(&mut self.services).stop(self.stop_ms, self.boot.report);
        for image in &self.images {
            image.synced(self.boot.report);
        }
    }
}

fn parse(line: &str, env: &[String], is_root: bool) -> Result<ContainerSpec, String> {
    let variable = |name: &str| env.iter().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.into()));
    if is_root {
        parse::parse_root(line, &variable)
    } else {
        parse::parse_line(line, &variable)
    }
}
