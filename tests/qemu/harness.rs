//! What public CI systems match on a machine's serial line, and the log sections that GitLab reads there: over the
//! bytes of real machines, which end their lines in CR LF.

use crate::lab::{lab, Lab, Seen, POWER_DOWN, RESTART};
use ocinit::host::qemu::{Machine, Network};
use std::io::Write;
use std::process::{Command, Stdio};

/// The regular expressions of harnesses. They see a line at a time, with its CR LF.
const REGEXES: [&str; 17] = [
    r"\[.*\]: Execution is over, pipeline status: 0\r$",
    r"^.*Execution is over, pipeline status: 0\r$",
    r"Execution is over, pipeline status: 0\r?$",
    r"^.*It's now safe to turn off your computer\r$",
    r"^.*It's now safe to turn off your computer\r?$",
    r"^\[[\d \.]{12}\] reboot: .*$",
    r"^JOB_RESULT=0\r$",
    // With and without a terminal, a container's line has one CR, which is the console's.
    r"^MaRS: Registration complete\r$",
    r"^\[\d+\.\d\d\]: Execution is over, pipeline status: \d+\r$",
    r"^\[\d+\.\d\d\]: Rebooting the computer\r$",
    r"\[\d+\.\d\d\]: About to start executing a container\r$",
    r"^Linux version: [0-9].*\r$",
    r"^Boot2container version: ocinit [0-9].*\r$",
    r"^Architecture: x86_64\r$",
    r"^CPU: \S.*\r$",
    r"^RAM: \d+ kB\r$",
    r"^Block devices: vda=64M\r$",
];

struct Case {
    name: &'static str,
    words: &'static str,
    change: fn(&mut Machine),
    /// The kernel's last line.
    end: &'static str,
    /// How many lines each expression matches.
    matches: [usize; REGEXES.len()],
}

const CASES: [Case; 5] = [
    Case {
        name: "success",
        words: r#"b2c.run="-ti pull:payload echo MaRS: Registration complete"
            b2c.run="-t pull:payload echo MaRS: Registration complete"
            b2c.run="pull:payload echo MaRS: Registration complete" b2c.poweroff_delay=1
            b2c.shutdown_cmd="echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff -f""#,
        change: |_| (),
        end: POWER_DOWN,
        matches: [1, 1, 1, 1, 1, 1, 1, 3, 1, 0, 3, 1, 1, 1, 1, 1, 1],
    },
    Case {
        name: "failure",
        words: r#"b2c.pipefail b2c.run="-ti pull:payload exit 3" b2c.run="pull:payload echo not reached"
            b2c.shutdown_cmd="echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff -f""#,
        change: |_| (),
        end: POWER_DOWN,
        matches: [0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1],
    },
    Case {
        name: "restart",
        // Of the delay nothing is seen: the test would be too slow.
        words: r#"b2c.run="-ti pull:payload reboot" b2c.poweroff_delay=600
            b2c.shutdown_cmd="echo JOB_RESULT=0; poweroff -f""#,
        change: |_| (),
        end: RESTART,
        matches: [0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    },
    Case {
        name: "no_network",
        words: r#"b2c.run="pull:payload hello""#,
        change: |machine| machine.network = Network::None,
        end: POWER_DOWN,
        matches: [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
    },
    Case {
        name: "panic",
        words: r#"b2c.run="-v /proc:/machine pull:payload break-init /machine""#,
        change: |_| (),
        end: POWER_DOWN,
        matches: [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1],
    },
];

/// Boots the case's machine, and compares what each expression matches.
fn check(lab: &Lab, case: &Case, log: &str) -> Seen {
    let name = format!("{}_{log}", case.name);
    let disk = lab.dir.join(&name);
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let seen = lab.boot(&name, &format!("b2c.log={log} {}", case.words), |machine| {
        crate::cache::with_disk(&disk)(machine);
        (case.change)(machine);
    });
    assert!(!seen.boot.timed_out && seen.boot.status.is_some_and(|status| status.success()));
    let found: Vec<usize> = REGEXES.iter().map(|regex| lines_with(regex, &seen.boot.raw)).collect();
    for ((regex, found), want) in REGEXES.iter().zip(found).zip(case.matches) {
        assert_eq!(found, want, "{name}: {regex}");
    }
    let last = seen.lines().filter(|line| !line.is_empty()).last().unwrap();
    assert!(last.ends_with(case.end), "{name}: {last}");
    seen
}

/// How many lines the expression matches, by perl, whose expressions are those of Python here.
fn lines_with(regex: &str, bytes: &[u8]) -> usize {
    let mut command = Command::new("perl");
    command.args(["-ne", "$n++ if /$ENV{REGEX}/; END { print $n + 0 }"]).env("REGEX", regex);
    let mut perl = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("perl");
    perl.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(perl.wait_with_output().unwrap().stdout).unwrap().parse().unwrap()
}

/// Promise: console-texts
#[test]
fn without_sections() {
    let Some(lab) = lab() else { return };
    for case in &CASES {
        let seen = check(&lab, case, "plain");
        assert!(!seen.boot.raw.contains(&0x1b), "{}: b2c.log=plain has no escapes", case.name);
    }
}

/// The names that a script of GitLab's knows.
const NAMES: [&str; 18] = [
    "b2c_kernel_boot",
    "b2c_setup",
    "runtime_info",
    "load_modules",
    "mount_cache_partition",
    "connect",
    "ntp_set",
    "parse_extra_cmdline",
    "set_hostname",
    "set_keymap",
    "start_pipeline",
    "execute_hooks",
    "start_service_container",
    "create_container",
    "container_run",
    "b2c_post_container",
    "cleanup",
    "unmount_cache_partition",
];

/// Promise: console-texts
#[test]
fn with_sections() {
    let Some(lab) = lab() else { return };
    for case in &CASES {
        let seen = check(&lab, case, "sections");
        let sections = sections(&seen.boot.raw);
        let run = sections.iter().filter(|name| *name == "container_run").count();
        assert_eq!(run, case.matches[10], "{}", case.name);
        let known = sections.iter().all(|name| NAMES.contains(&name.as_str()));
        assert!(known && sections.starts_with(&["b2c_setup".into()]), "{}: {sections:?}", case.name);
        if case.name == "success" {
            let once = ["create_container", "container_run", "b2c_post_container"];
            let before = ["load_modules", "runtime_info", "connect", "mount_cache_partition", "set_hostname"];
            let before = ["b2c_setup"].iter().chain(&before).chain(&["start_pipeline"]);
            let all = before.chain(&once).chain(&once).chain(&once).chain(&["cleanup", "unmount_cache_partition"]);
            assert_eq!(sections, all.copied().collect::<Vec<_>>());
        }
        if case.name == "no_network" {
            assert_eq!(sections[3..], ["connect", "cleanup", "unmount_cache_partition"]);
        }
        if case.name == "panic" {
            // PID 1 ends what the boot has left open, before it says anything.
            let raw = String::from_utf8_lossy(&seen.boot.raw).into_owned();
            let after = raw.rsplit("\x1b[0Ksection_end:").next().unwrap();
            assert!(after.contains(":container_run\r\x1b[0K\r\nFAIL init  crashed"), "{after}");
        }
    }
}

/// The sections, each of which is started and ended, one after the other, to the byte. The first end is that of the
/// section which the lab's own script has started.
fn sections(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    let mut markers = text.split("\x1b[0Ksection_").skip(1);
    let end = |marker: &str, name: &str| {
        let rest = marker.strip_prefix("end:").unwrap_or_else(|| panic!("{name} goes on: {marker:?}"));
        assert!(after_time(rest).starts_with(&format!(":{name}\r\x1b[0K\r\n")), "end of {name}: {rest:?}");
    };
    end(markers.next().unwrap(), "b2c_kernel_boot");
    let mut names = Vec::new();
    while let Some(marker) = markers.next() {
        let rest = marker.strip_prefix("start:").unwrap_or_else(|| panic!("ended twice: {marker:?}"));
        let (name, _) = after_time(rest)[1..].split_once(['[', '\r']).unwrap();
        let folded = if name == "container_run" { "" } else { "[collapsed=true]" };
        assert!(after_time(rest).starts_with(&format!(":{name}{folded}\r\x1b[0K[")), "start of {name}: {rest:?}");
        end(markers.next().unwrap_or_else(|| panic!("{name} has no end")), name);
        names.push(name.to_string());
    }
    assert_eq!(raw.iter().filter(|byte| **byte == 0x1b).count(), 2 * (2 * names.len() + 1), "other escapes");
    names
}

/// What follows the time, which is that of a clock of today.
fn after_time(text: &str) -> &str {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap();
    let seconds: u64 = text[..digits].parse().unwrap();
    assert!((1_700_000_000..10_000_000_000).contains(&seconds), "{seconds}");
    &text[digits..]
}

/// The file in the initramfs says what the console looks like from its first line on, and after an error, too.
/// Promise: console-texts
#[test]
fn plain_by_the_initramfs() {
    let Some(lab) = lab() else { return };
    let initramfs = lab.build("plain", |spec| spec.cmdline = Some(b"b2c.log=plain\n".to_vec()));
    let seen = lab.boot("plain_by_file", r#"b2c.run="pull:payload echo open"#, |machine| {
        machine.initrd = initramfs;
        machine.append = machine.append.replace(" b2c.log=plain", "");
    });
    seen.ends(POWER_DOWN);
    seen.says("FAIL options");
    assert!(!seen.boot.raw.contains(&0x1b));
}

/// Nothing runs without what the volumes lie on, and the harness is told who has failed.
/// Promise: pipeline-variables
#[test]
fn a_volume_that_cannot_be_set_up() {
    let Some(lab) = lab() else { return };
    let words = r#"b2c.filesystem=none,type=nosuchtype,src=x b2c.volume=lost,filesystem=none
        b2c.run_service="pull:payload sleep 100" b2c.run="pull:payload echo not reached"
        b2c.shutdown_cmd="echo $B2C_PIPELINE_STATUS by $B2C_PIPELINE_FAILED_BY; echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff""#;
    let seen = lab.boot("volume_setup", words, |_| ());
    seen.over(1, POWER_DOWN);
    seen.in_order(&["1 by Volume setup", "JOB_RESULT="]);
    seen.says("FAIL filesystem  none: nosuchtype x: mount: no such device");
    seen.never("not reached");
    seen.never("pull  ");
}
