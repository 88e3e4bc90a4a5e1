//! The containers of a boot, one after the other, and what each tells the next.

use super::container::{self, Asked, Exit, Surroundings};
use super::early;
use super::end::Ending;
use super::pull::{self, Access, Image};
use super::store::Store;
use crate::proto::flags::{self, Container};
use crate::proto::options::{Config, OnFail};
use crate::report::{Failure, Outcome, Report};

/// What the pipeline knows of itself: the variables of the dialect.
#[derive(Default)]
pub struct Status {
    /// 0, or the first failing exit code.
    pub code: i32,
    failed_by: String,
    previous: String,
    previous_code: i32,
    asked: Option<Asked>,
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
            Some(Asked::PowerOff) => "poweroff",
            Some(Asked::Reboot) => "reboot",
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
        Ending::Orderly { reboot: self.asked == Some(Asked::Reboot), env: self.env() }
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
    pub access: Access,
    pub resolv_conf: String,
    pub report: &'a Report,
}

/// Runs the pipeline, then the post containers, whatever its outcome.
pub fn run(machine: &Machine) -> Status {
    let mut status = Status::default();
    for line in &machine.config.run {
        one(machine, line, &mut status);
        if status.stopped || status.asked.is_some() || (machine.config.pipefail && status.code != 0) {
            break;
        }
    }
    for line in &machine.config.run_post {
        if !status.stopped {
            one(machine, line, &mut status);
        }
    }
    status
}

fn one(machine: &Machine, line: &str, status: &mut Status) {
    let report = machine.report;
    let code = match pull_and_run(machine, line, status) {
        Ok(exit) => {
            status.asked = exit.reboot.or(status.asked);
            status.stopped |= exit.stopped;
            report.line("container", format_args!("exit code {}", exit.code));
            exit.code
        }
        Err(failure) => {
            report.fail(&failure);
            status.failed_ourselves = true;
            OUR_FAILURE
        }
    };
    status.after(&flags::shown(line), code);
}

fn pull_and_run(machine: &Machine, line: &str, status: &Status) -> Outcome<Exit> {
    let report = machine.report;
    if let Some(stopped) = container::asked_to_stop() {
        return Ok(stopped);
    }
    let env = status.env();
    let variable = |name: &str| env.iter().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.into()));
    let container = flags::parse_line(line, &variable);
    let fail = |why: String| Failure::new("container", ["b2c.run=«", &flags::shown(line), "»: ", &why].concat());
    let container = container.map_err(fail)?;
    report.section("pull", true);
    let image = pull::image(&container, machine.store, &machine.access, report);
    report.end_section("pull");
    let mut image = image?;
    pull::add_layers(&mut image, &container, machine.store, &machine.access, report)?;
    let exit = run_image(machine, &container, &image, env);
    // The machine may be switched off as soon as it has said its last word.
    image.synced(report);
    exit
}

fn run_image(machine: &Machine, container: &Container, image: &Image, env: Vec<String>) -> Outcome<Exit> {
    if let Some(stopped) = container::asked_to_stop() {
        return Ok(stopped);
    }
    let own_env = env.clone();
    let mut env = env;
    if container.http_proxy {
        env.extend(machine.access.proxies.env());
    }
    let started = || {
        early::hurry(false);
        image.sync();
    };
    let surroundings = Surroundings {
        hostname: &machine.config.hostname,
        resolv_conf: machine.resolv_conf.clone(),
        env,
        own_env,
        forward_signals: false,
        started: &started,
        report: machine.report,
    };
    machine.report.section("container", false);
    let exit = container::run(container, image, machine.store, &surroundings);
    early::hurry(true);
    machine.report.end_section("container");
    exit
}
