//! Exit codes, signals, and the ways in which a machine ends.

use crate::lab::{boot, boot_with, lab, POWER_DOWN, REBOOTING, RESTART, SAFE};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;

/// Promise: exit-codes
#[test]
fn exit_codes() {
    let words = r#"b2c.run="pull:payload exit 42" b2c.run="pull:payload crash"
        b2c.run="--entrypoint /missing pull:payload" b2c.run="--entrypoint /data/plain pull:payload"
        b2c.run="--entrypoint /data pull:payload""#;
    let Some(seen) = boot("exit_codes", words) else { return };
    seen.over(42, POWER_DOWN);
    let codes: Vec<&str> = seen.lines().filter_map(|line| line.split("exit code ").nth(1)).collect();
    // SIGABRT is 6; process 1 of a namespace dies of it only by its own hand.
    assert_eq!(codes.len(), 5);
    assert_eq!([codes[0], codes[2], codes[3], codes[4]], ["42", "127", "126", "126"]);
    assert!(["134", "139", "132"].contains(&codes[1]), "abort: {}", codes[1]);
}

/// Each exit code is told on the console and to the next container. A container that a signal ends is not taken for a
/// reboot(2) where it shares the host's PID namespace or has an init: the pipeline goes on.
/// Promise: exit-codes
#[test]
fn codes_and_signals_are_told() {
    let Some(lab) = lab() else { return };
    let exit = |code: i32| ("", format!("exit {code}"), code);
    let mut all = [0, 1, 125, 126, 127, 128, 255].map(exit).to_vec();
    for flags in ["--pid=host", "--init"] {
        all.extend([1, 2, 9, 15].map(|signal| (flags, format!("kill {signal}"), 128 + signal)));
    }
    let image = format!("--tls-verify=false docker://{}/payload", lab.registry.for_guest());
    let told = format!(r#"b2c.run="{image} echo told=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE""#);
    let mut text = String::new();
    for (flags, command, _) in &all {
        text += &format!("b2c.run=\"{flags} {image} {command}\"\n{told}\n");
    }
    // More than the kernel takes on its line.
    let initramfs = lab.build("with-codes", |spec| spec.cmdline = Some(text.into_bytes()));
    let post = r#"b2c.run_post="pull:payload echo first=$B2C_PIPELINE_STATUS mode=$B2C_PIPELINE_SHUTDOWN_MODE""#;
    let seen = lab.boot("codes_and_signals", post, |machine| machine.initrd = initramfs);
    let codes =
        |mark: &str| -> Vec<i32> { seen.lines().filter_map(|line| line.split(mark).nth(1)?.parse().ok()).collect() };
    let want: Vec<i32> = all.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(codes("told="), want);
    let tellers_too: Vec<i32> = want.iter().flat_map(|code| [*code, 0]).chain([0]).collect();
    assert_eq!(codes("exit code "), tellers_too);
    seen.at("first=1 mode=default");
    seen.over(1, POWER_DOWN);
}

/// Promise: exit-codes
#[test]
fn container_that_reboots() {
    let words = r#"b2c.run="pull:payload reboot" b2c.run="pull:payload echo not reached"
        b2c.run_post="pull:payload env B2C_PIPELINE_SHUTDOWN_MODE""#;
    let Some(seen) = boot("reboot", words) else { return };
    seen.over(129, RESTART);
    seen.at(REBOOTING);
    seen.at("reboot");
    seen.never("not reached");
}

/// Promise: exit-codes
#[test]
fn container_that_powers_off() {
    let Some(seen) = boot("poweroff", r#"b2c.run="pull:payload poweroff""#) else { return };
    seen.over(130, POWER_DOWN);
}

/// Promise: console-texts
#[test]
fn shutdown_command() {
    let words = r#"b2c.run="pull:payload exit 4" b2c.poweroff_delay=1
        b2c.shutdown_cmd="echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; reboot -f""#;
    let Some(seen) = boot("shutdown_cmd", words) else { return };
    seen.over(4, RESTART);
    seen.in_order(&[SAFE, "JOB_RESULT=4"]);
    let (safe, job) = (seen.at(SAFE), seen.at("JOB_RESULT=4"));
    let between = seen.boot.lines[job].0 - seen.boot.lines[safe].0;
    assert!(between.as_millis() >= 900, "b2c.poweroff_delay=1 took {between:?}");
}

/// Ctrl-Alt-Del while a registry does not answer: the machine ends, and runs nothing more.
/// Promise: request-to-end
#[test]
fn asked_to_end_during_a_pull() {
    let Some(lab) = lab() else { return };
    let registry = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = format!("10.0.2.2:{}", registry.local_addr().unwrap().port());
    let monitor = lab.dir.join("monitor");
    let path = monitor.clone();
    // Each connection is held until the guest has ended.
    let silent = std::thread::spawn(move || {
        let held = registry.accept().unwrap();
        let mut keys = UnixStream::connect(path).unwrap();
        keys.write_all(b"sendkey ctrl-alt-delete\n").unwrap();
        (held, keys, registry)
    });
    let words = format!(r#"b2c.run="--tls-verify=false {host}/silent" b2c.run="pull:payload echo not reached""#);
    let seen = lab.boot("asked_to_end", &words, |machine| {
        let socket = format!("socket,id=keys,path={},server=on,wait=off", monitor.display());
        machine.extra.extend(["-chardev", &socket, "-mon", "chardev=keys"].map(String::from));
    });
    drop(silent.join().unwrap());
    seen.says("FAIL init  killed: it was asked to end, and did not");
    assert!(seen.lines().all(|line| line != "not reached"));
    seen.ends(POWER_DOWN);
}

/// Ctrl-Alt-Del while a container waits: it gets its own stop signal and its own time to end, and nothing more runs.
#[test]
fn asked_to_end_while_a_container_runs() {
    let Some(lab) = lab() else { return };
    let stop = |name: &str, flags: &str| {
        let monitor = lab.dir.join(name);
        let words = format!(r#"b2c.run="{flags} pull:payload trap 10" b2c.run="pull:payload echo not reached""#);
        let mut keys = None;
        let socket = format!("socket,id=keys,path={},server=on,wait=off", monitor.display());
        let chardev = ["-chardev", &socket, "-mon", "chardev=keys"].map(String::from);
        let seen = lab.boot_watched(name, &words, |machine| machine.extra.extend(chardev), &mut |line| {
            if line == "waiting" {
                let mut stream = UnixStream::connect(&monitor).unwrap();
                stream.write_all(b"sendkey ctrl-alt-delete\n").unwrap();
                keys = Some(stream);
            }
            false
        });
        assert!(keys.is_some() && seen.lines().all(|line| line != "not reached"));
        seen
    };
    stop("stop_signal", "--stop-signal=USR1").over(10, POWER_DOWN);
    stop("stop_init", "--init --stop-signal SIGUSR1").over(10, POWER_DOWN);
    // A process 1 without a handler for TERM ignores it.
    stop("stop_timeout", "--stop-timeout=1").over(137, POWER_DOWN);
}

/// A container that makes its console non-blocking, and what it then writes.
/// Promise: non-blocking-console
#[test]
fn nothing_is_lost_on_a_non_blocking_console() {
    let words = r#"b2c.run="-i pull:payload flood 3000" b2c.run="pull:payload echo -n open" b2c.run="pull:nothing""#;
    let Some(seen) = boot("nonblocking", words) else { return };
    let lines: Vec<&str> = seen.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(lines.len(), 3000);
    assert!(lines.iter().enumerate().all(|(n, line)| *line == format!("line {n:06}")));
    // ocinit's line begins on a new line.
    seen.at("open");
    seen.over(125, POWER_DOWN);
}

/// Promise: 96-mb-of-memory
#[test]
fn with_little_memory() {
    let Some(seen) = boot_with("96_mb", r#"b2c.run="pull:payload hello""#, |machine| machine.memory_mb = 96) else {
        return;
    };
    seen.over(0, POWER_DOWN);
}

/// The machine ends although a container has stopped the console's output, or has written more than the console takes.
/// Promise: stopped-console
#[test]
fn a_console_that_is_stopped() {
    let words = r#"b2c.run="pull:payload hush /dev/ttyS0 3000" b2c.run="pull:payload echo after it"
        b2c.run="-v /dev/console:/console pull:payload hush /console" b2c.run_post="pull:payload echo last""#;
    let Some(seen) = boot("stopped_console", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["after it", "last"]);
}

/// A container with CAP_KILL in the host's PID namespace stops the boot's processes; the boot goes on.
/// Promise: container-stops-boot
#[test]
fn a_container_that_stops_the_boot() {
    let words = r#"b2c.run="--privileged=false --pid=host pull:payload stop-boot" b2c.run="pull:payload echo goes on""#;
    let Some(seen) = boot("stopped_boot", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["stopping it: 0", "goes on"]);
    seen.says("WARN the boot was stopped by a signal");
}
