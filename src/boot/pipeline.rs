//! The containers of a boot, one after the other, and what each tells the next.

use crate::boot::early_mounts;
use crate::boot::prefetch::{self, Ahead};
use crate::boot::pure::options::{Config, OnFail};
use crate::boot::services::Services;
use crate::boot::shutdown::Ending;
use crate::container::host_context::HostContext;
use crate::container::pure::spec::{parse, ContainerSpec};
use crate::container::run::{self, Exit, RebootRequest};
use crate::image::pull::{self, Image, PullContext};
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::Store;
use crate::store::volumes::Volumes;
use std::cell::RefCell;

/// What the pipeline knows of itself: the variables of the dialect.
#[derive(Default)]
pub struct Status {
    /// 0, or the first failing exit code.
    pub code: i32,
    failed_by: String,
    previous: String,
    previous_code: i32,
    asked: Option<RebootRequest>,
    /// A failure of our own is among them.
    failed_ourselves: bool,
    /// The machine was told to stop.
    stopped: bool,
}

impl Status {
    /// `NAME=value` for containers and for the shutdown command.
    pub fn env(&self) -> Vec<String> {
        let mode = match self.asked {
            None => "default",
            Some(RebootRequest::PowerOff) => "poweroff",
            Some(RebootRequest::Reboot) => "reboot",
        };
        vec![
            ["B2C_PIPELINE_STATUS=", &self.code.to_string()].concat(),
            ["B2C_PIPELINE_FAILED_BY=", &self.failed_by].concat(),
            ["B2C_PIPELINE_PREV_CONTAINER=", &self.previous].concat(),
            ["B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE=", &self.previous_code.to_string()].concat(),
            ["B2C_PIPELINE_SHUTDOWN_MODE=", mode].concat(),
        ]
    }

    /// How the machine ends after this: in order, unless a failure was our own
    /// and the user wants to see or repeat those.
    pub fn ending(&self, config: &Config) -> Ending {
        if self.failed_ourselves && config.on_fail != OnFail::PowerOff {
            return Ending::Failed;
        }
        Ending::Orderly { reboot: self.asked == Some(RebootRequest::Reboot), env: self.env() }
    }

    /// Whether no further container of the pipeline is to run.
    fn is_over(&self, pipefail: bool) -> bool {
        self.stopped || self.asked.is_some() || (pipefail && self.code != 0)
    }

    fn after(&mut self, line: &str, code: i32) {
        if code != 0 && self.code == 0 {
            self.code = code;
            self.failed_by = line.into();
        }
        self.previous = line.into();
        self.previous_code = code;
    }
}

/// Exit code of a failure of our own (podman's).
const OUR_FAILURE: i32 = 125;

/// What all containers of a boot share.
pub struct Machine<'a> {
    pub config: &'a Config,
    pub store: &'a Store,
    pub context: PullContext,
    pub resolv_conf: String,
    pub report: &'a Report,
}

/// The dialect's order, from the volumes on: services, the pipeline, the post
/// containers, whatever came before them.
pub fn run(machine: &Machine) -> Status {
    let config = machine.config;
    let volumes = Volumes {
        dir: machine.store.volumes(),
        declared: &config.volumes,
        filesystems: &config.filesystems,
        resolver: &machine.context.resolver,
        report: machine.report,
    };
    let mut run = Run {
        machine,
        volumes: &volumes,
        status: Status::default(),
        services: Services::default(),
        images: Vec::new(),
        stop_ms: 0,
        ahead: RefCell::new(None),
    };
    // Hook point `volumes`: each is made when a container first names it.
    // Hook point `pipeline_start`.
    for line in &config.run_service {
        if !run.status.is_over(config.pipefail) {
            run.service(line);
        }
    }
    run.pipeline();
    run.stop_services();
    // Hook point `pipeline_end`: nobody writes to a volume any more.
    volumes.expire();
    run.status
}

struct Run<'a> {
    machine: &'a Machine<'a>,
    volumes: &'a Volumes<'a>,
    status: Status,
    services: Services,
    /// Of the services: they are brought to the disk meanwhile.
    images: Vec<Image>,
    /// How long the most patient of the services may take to stop.
    stop_ms: u64,
    /// Pulls the next images, and the number of its first line among all.
    ahead: RefCell<Option<(Ahead, usize)>>,
}

/// A container line, read, with its image.
struct Ready {
    container: ContainerSpec,
    image: Image,
    /// The pipeline's variables, and what else every container gets.
    env: Vec<String>,
    /// The variables alone.
    own_env: Vec<String>,
}

impl Run<'_> {
    /// The containers of the pipeline, then the post containers.
    fn pipeline(&mut self) {
        let config = self.machine.config;
        let all: Vec<&String> = config.run.iter().chain(&config.run_post).collect();
        let mut at = 0;
        while at < config.run.len() && !self.status.is_over(config.pipefail) {
            self.one(&all, at);
            at += 1;
        }
        if at < config.run.len() {
            // What is on its way may be of a container that does not run any more.
            self.stop_ahead();
        }
        for at in config.run.len()..all.len() {
            if !self.status.stopped {
                self.one(&all, at);
            }
        }
        self.stop_ahead();
    }

    /// Runs line `at` of `all` to its end.
    fn one(&mut self, all: &[&String], at: usize) {
        let report = self.machine.report;
        let Some(line) = all.get(at) else { return };
        let code = match self.pull_and_run(line, all.get(at + 1..).unwrap_or_default(), at) {
            Ok(exit) => {
                self.status.asked = exit.reboot.or(self.status.asked);
                self.status.stopped |= exit.stopped;
                report.line("container", format_args!("exit code {}", exit.code));
                exit.code
            }
            Err(failure) => self.failed(&failure),
        };
        self.status.asked = self.services.asked().or(self.status.asked);
        self.status.after(&parse::shown(line), code);
    }

    fn failed(&mut self, failure: &Failure) -> i32 {
        self.machine.report.fail(failure);
        self.status.failed_ourselves = true;
        OUR_FAILURE
    }

    fn pull_and_run(&mut self, line: &str, next: &[&String], at: usize) -> Outcome<Exit> {
        if let Some(stopped) = run::asked_to_stop() {
            return Ok(stopped);
        }
        if let Some((ahead, first)) = self.ahead.get_mut() {
            ahead.wait_for(at - *first, self.machine.report);
        }
        let ready = self.ready("b2c.run", line)?;
        let exit = self.run_image(&ready, next, at);
        // The machine may be switched off as soon as it has said its last word.
        ready.image.synced(self.machine.report);
        exit
    }

    /// Reads a line of `option`, and pulls its image.
    fn ready(&self, option: &str, line: &str) -> Outcome<Ready> {
        let Machine { store, context, report, .. } = self.machine;
        let own_env = self.status.env();
        let container = parse(line, &own_env);
        let fail = |why: String| Failure::new("container", [option, "='", &parse::shown(line), "': ", &why].concat());
        let container = container.map_err(fail)?;
        report.section("pull", true);
        let image = pull::image(&container.pull, store, context, report);
        report.end_section("pull");
        let mut image = image?;
        pull::add_layers(&mut image, &container.pull, store, context, report)?;
        let mut env = own_env.clone();
        if container.http_proxy {
            env.extend(context.proxies.env());
        }
        Ok(Ready { container, image, env, own_env })
    }

    fn run_image(&self, ready: &Ready, next: &[&String], at: usize) -> Outcome<Exit> {
        if let Some(stopped) = run::asked_to_stop() {
            return Ok(stopped);
        }
        let store = self.machine.store;
        let spare = prefetch::memory_bytes(store).filter(|_| !next.is_empty());
        let started = || {
            early_mounts::set_rcu_expedited(false);
            ready.image.sync();
            if let Some(bytes) = spare {
                self.pull_ahead(&ready.container, next, at + 1, bytes);
            }
        };
        // What is pulled to a disk takes no memory that could not be had back.
        let kept_bytes = spare.filter(|_| !store.is_durable()).unwrap_or_default();
        self.machine.report.section("container", false);
        let exit = run::run(
            &ready.container,
            &ready.image,
            store,
            &HostContext { kept_bytes, ..self.host_context(ready, false, &started) },
        );
        early_mounts::set_rcu_expedited(true);
        self.machine.report.end_section("container");
        exit
    }

    fn host_context<'s>(&'s self, ready: &Ready, service: bool, started: &'s dyn Fn()) -> HostContext<'s> {
        HostContext {
            hostname: &self.machine.config.hostname,
            resolv_conf: self.machine.resolv_conf.clone(),
            env: ready.env.clone(),
            own_env: ready.own_env.clone(),
            forward_signals: false,
            service,
            kept_bytes: 0,
            volumes: self.volumes,
            started,
            report: self.machine.report,
        }
    }

    /// While a container `running` runs: begins to pull the images of `next`,
    /// the first of which has the number `first`.
    fn pull_ahead(&self, running: &ContainerSpec, next: &[&String], first: usize, bytes: u64) {
        if self.ahead.borrow().is_some() {
            return;
        }
        let Machine { store, context, report, .. } = self.machine;
        let env = self.status.env();
        let lines = prefetch::to_pull(next.iter().map(|line| parse(line, &env).ok()).collect(), running);
        if lines.iter().any(Option::is_some) {
            *self.ahead.borrow_mut() =
                Ahead::start(&lines, store, context, bytes, report).map(|started| (started, first));
        }
    }

    fn stop_ahead(&mut self) {
        if let Some((ahead, _)) = self.ahead.take() {
            ahead.stop(self.machine.store, self.machine.report);
        }
    }

    /// Starts a service. One that cannot be had counts as a container that
    /// failed: what relies on it would fail, too, with a worse reason.
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
        let ready = self.ready("b2c.run_service", line)?;
        let name = ready.container.pull.image.shown();
        let mut services = std::mem::take(&mut self.services);
        let started = services.start(name, self.machine.report, &mut |started| {
            let host = self.host_context(&ready, true, started);
            run::run(&ready.container, &ready.image, self.machine.store, &host)
        });
        self.services = services;
        self.stop_ms = self.stop_ms.max(run::stop_timeout_ms(&ready.container));
        ready.image.sync();
        self.images.push(ready.image);
        started.map_err(|error| Failure::new("service", error.to_string()))
    }

    fn stop_services(&mut self) {
        std::mem::take(&mut self.services).stop(self.stop_ms, self.machine.report);
        for image in &self.images {
            image.synced(self.machine.report);
        }
    }
}

fn parse(line: &str, env: &[String]) -> Result<ContainerSpec, String> {
    let variable = |name: &str| env.iter().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.into()));
    parse::parse_line(line, &variable)
}
