//! The attacks of tests/escapes in a virtual machine of their own: Linux 6.1, control groups version 2, and a disk that
//! no container was given.

use crate::evil;
use crate::lab::{lab, Lab, Seen, POWER_DOWN};
use crate::support::images;
use crate::table::{self, judge, Attack, Site, TEXT};
use ocinit::host::qemu::Disk;
use std::time::Duration;

/// Where the canaries are in the initramfs, and the numbers of the first virtio disk.
const CANARY: &str = "/canary";
const DISK: (u32, u32) = (254, 0);
const DISK_BYTES: usize = 1 << 20;
/// Long, as every file of the kernel is tried and the processor may be emulated.
const LIMIT: Duration = Duration::from_secs(600);
/// Starts that a neighbour watches.
const STARTS: usize = 20;

/// What a privileged container sees of the canaries and of the host's own nodes.
const LOOK: &str = "-v /canary:/look:ro -v /dev:/machine pull:payload stat /look /look/file /look/ptmx /look/secret \
                    /look/program /look/dev /look/dev/console /look/dev/pts /machine/null /machine/zero /machine/full \
                    /machine/tty /machine/console /machine/ptmx /machine/vda";

/// A machine whose pipeline is `lines`, each of them the value of an option.
fn boot(lab: &Lab, name: &str, lines: &[(&str, String)]) -> Seen {
    let dir = lab.dir.join(format!("canary-{name}"));
    std::fs::create_dir_all(dir.join("dev/pts")).unwrap();
    for file in ["file", "ptmx", "secret"] {
        std::fs::write(dir.join(file), TEXT).unwrap();
    }
    std::fs::write(dir.join("program"), &lab.payload).unwrap();
    std::fs::set_permissions(dir.join("program"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for link in ["console", "null", "ptmx", "pts/ptmx", "pts/0", "tty"] {
        let _ = std::os::unix::fs::symlink("/ro/file", dir.join("dev").join(link));
    }
    let host = lab.registry.for_guest();
    let pull = format!("--tls-verify=false docker://{host}/");
    let text: Vec<String> =
        lines.iter().map(|(option, line)| format!("{option}=\"{}\"\n", line.replace("pull:", &pull))).collect();
    let initramfs = lab.build(&format!("escapes-{name}"), |spec| {
        spec.cmdline = Some(text.concat().into_bytes());
        spec.added.push((dir, CANARY[1..].into()));
    });
    let disk = lab.dir.join(format!("disk-{name}"));
    let content = TEXT.repeat(DISK_BYTES / TEXT.len() + 1).into_bytes();
    std::fs::write(&disk, &content[..DISK_BYTES]).unwrap();
    let seen = lab.boot(&format!("escapes_{name}"), "", |machine| {
        machine.initrd = initramfs;
        machine.memory_mb = 512;
        machine.timeout = LIMIT;
        machine.disks.push(Disk::new(&disk));
    });
    assert!(std::fs::read(&disk).unwrap() == content[..DISK_BYTES], "the disk was written");
    seen
}

/// The differences between two such reports: in the canaries all, in the host's nodes those of kind, mode and owner (a
/// console that was written to has another time).
fn touched(seen: &Seen) -> Vec<String> {
    let words = |line: &str, count| line.split(' ').take(count).collect::<Vec<_>>().join(" ");
    let looks = seen.lines().filter(|line| line.starts_with("/look") || line.starts_with("/machine"));
    let looks: Vec<String> = looks.map(|line| words(line, if line.starts_with("/look") { 9 } else { 4 })).collect();
    let (first, last) = looks.split_at(looks.len() / 2);
    assert!(first.len() > 10 && first.len() == last.len(), "the looks: {looks:#?}");
    let pairs = first.iter().zip(last).filter(|(before, now)| before != now);
    pairs.map(|(before, now)| format!("a canary was touched: {before} is now {now}")).collect()
}

/// Boots a machine whose pipeline is these attacks, between two looks at the canaries.
fn held(name: &str, attacks: &[Attack]) {
    let Some(lab) = lab() else { return };
    let site = Site { payload: lab.payload.clone(), canary: CANARY.into(), disk: DISK };
    let mut lines = vec![("b2c.run", LOOK.to_string())];
    for attack in attacks {
        images::push(&lab.registry, &lab.dir, attack.name, (attack.image)(&site));
        let words = |words: &[&str]| {
            let words = words.iter().filter(|word| **word != "LIBRARIES").map(|word| {
                let word = word.replace("CANARY", CANARY).replace("MAJOR", &DISK.0.to_string());
                format!("'{}'", word.replace("MINOR", &DISK.1.to_string()))
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let (flags, command) = (words(attack.flags), words(attack.command));
        lines.push(("b2c.run", format!("--privileged=false {flags} pull:{} {command}", attack.name)));
        let end = format!("pull:payload echo end-of {} $B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE", attack.name);
        lines.push(("b2c.run", end));
    }
    lines.push(("b2c.run", LOOK.to_string()));
    let seen = boot(&lab, name, &lines);
    // The lines of the boot itself are not a container's.
    let mut rest: Vec<&str> = seen.lines().skip_while(|line| !line.starts_with("/machine/vda ")).collect();
    let mut escaped = Vec::new();
    for attack in attacks {
        let mark = format!("end-of {} ", attack.name);
        let end = rest.iter().position(|line| line.starts_with(&mark));
        let end = end.unwrap_or_else(|| panic!("{} did not end", attack.name));
        let text: Vec<&str> = rest.drain(..=end).collect();
        let code = text[end][mark.len()..].trim().parse().unwrap_or(-1);
        match judge(attack, &text[..end].join("\n"), code) {
            Ok(()) => println!("held     {}", attack.name),
            Err(why) => escaped.push(format!("{}: {why}", attack.name)),
        }
    }
    seen.ends(POWER_DOWN);
    assert!(seen.says("/machine/vda block").contains(&format!(" {}:{} ", DISK.0, DISK.1)), "the disk's numbers");
    escaped.extend(touched(&seen));
    assert!(escaped.is_empty(), "{} of {} escaped:\n{}", escaped.len(), attacks.len(), escaped.join("\n"));
}

/// Promise: known-escapes
#[test]
fn descriptors() {
    held("descriptors", table::DESCRIPTORS);
}

/// Promise: known-escapes
#[test]
fn mounts() {
    held("mounts", table::MOUNTS);
}

/// Promise: known-escapes
#[test]
fn devices() {
    held("devices", table::DEVICES);
}

/// Promise: known-escapes
#[test]
fn kernel() {
    held("kernel", table::KERNEL);
}

/// Promise: known-escapes
#[test]
fn identity() {
    held("identity", table::IDENTITY);
}

/// CVE-2024-21626 in all its forms: entry point, `#!` line and working directory by each descriptor.
/// Promise: known-escapes
#[test]
fn every_descriptor() {
    let Some(lab) = lab() else { return };
    let site = Site { payload: lab.payload.clone(), canary: CANARY.into(), disk: DISK };
    images::push(&lab.registry, &lab.dir, "by-descriptors", evil::by_descriptors(&site));
    let mut lines = vec![("b2c.run", LOOK.to_string())];
    for number in 0..16 {
        for entry in [evil::through(number, "/canary/program"), format!("/e{number}"), format!("/s{number}")] {
            let line = format!("--privileged=false --entrypoint={entry} pull:by-descriptors echo {}", evil::RAN);
            lines.push(("b2c.run", line));
        }
        for dir in [format!("/proc/self/fd/{number}"), format!("/w{number}")] {
            let line = format!("--privileged=false --workdir={dir} pull:by-descriptors attack working-directory");
            lines.push(("b2c.run", line));
        }
    }
    lines.push(("b2c.run", LOOK.to_string()));
    let seen = boot(&lab, "every-descriptor", &lines);
    seen.ends(POWER_DOWN);
    seen.never("escaped: ");
    assert_eq!(touched(&seen), Vec::<String>::new());
    assert!(!seen.lines().any(|line| line.ends_with(evil::RAN)), "a program of the machine's ran");
}

/// Not tried on a real host, as it would stop the console of whoever runs the tests.
/// Promise: known-escapes
#[test]
fn a_node_of_the_console_does_not_stop_it() {
    let Some(lab) = lab() else { return };
    let site = Site { payload: lab.payload.clone(), canary: CANARY.into(), disk: DISK };
    images::push(&lab.registry, &lab.dir, "console-node", evil::nodes(&site));
    let stop = |flags: &str| format!("--privileged=false {flags} pull:console-node attack stop-console /nodes/console");
    let lines = ["", "-t", "--user=1000:100"].map(|flags| ("b2c.run", stop(flags)));
    let seen = boot(&lab, "console", &lines);
    seen.ends(POWER_DOWN);
    assert_eq!(seen.count("held: /nodes/console: "), lines.len());
}

/// A service that shares its PID namespace with the containers of the pipeline, or has the host's, watches them start;
/// and the host's null device cannot be changed through a descriptor.
/// Promise: known-escapes
#[test]
fn a_service_that_watches() {
    let Some(lab) = lab() else { return };
    let init = std::env::var("OCINIT_INIT").unwrap_or_else(|_| crate::lab::INIT.into());
    let bytes = std::fs::metadata(&init).unwrap().len();
    for (name, service, started) in
        [("container", "--name=watcher", "--pid=container:watcher"), ("host", "--pid=host", "--pid=host")]
    {
        let watch =
            format!("--privileged=false {service} -v shared:/shared pull:payload attack watch /shared/stop {bytes}");
        let mut lines = vec![("b2c.run_service", watch), ("b2c.run", LOOK.to_string())];
        let start = format!("--privileged=false {started} pull:payload attack streams change");
        lines.extend((0..STARTS).map(|_| ("b2c.run", start.clone())));
        lines.push(("b2c.run", "-v shared:/shared pull:payload write /shared/stop x".into()));
        lines.push(("b2c.run", "-v shared:/shared pull:payload await /shared/stop.done".into()));
        lines.push(("b2c.run", LOOK.to_string()));
        let seen = boot(&lab, &format!("watch-{name}"), &lines);
        seen.ends(POWER_DOWN);
        seen.at("done: watch");
        seen.never("escaped: ");
        assert_eq!(seen.count("done: streams"), STARTS);
        assert_eq!(touched(&seen), Vec::<String>::new());
    }
}
