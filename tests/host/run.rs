//! `ocinit run`: what a container is given on a host, and what comes back.

use super::{images, Ended, Host};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn exit_codes() {
    let Some(host) = Host::new("codes") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat()).code;
    assert_eq!(run(&[&image, "exit", "0"]), 0);
    assert_eq!(run(&[&image, "exit", "42"]), 42);
    assert_eq!(run(&["--entrypoint", "/missing", &image]), 127);
    assert_eq!(run(&["--entrypoint", "/data/plain", &image]), 126);
    assert_eq!(run(&["--entrypoint", "/data", &image]), 126);
    assert_eq!(run(&["--no-such-flag", &image]), 125);
    assert_eq!(run(&["oci:/nowhere"]), 125);
    assert!(host.stored("containers").is_empty() && host.stored("tmp").is_empty(), "nothing is left behind");
    assert_eq!(host.mounts(), Vec::<String>::new());
}

#[test]
fn environment_folder_user_and_name() {
    let Some(host) = Host::new("process") else { return };
    let image = host.layout("guest", images::guest(&host.payload));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat()).out;
    let env = run(&["-e", "A=1", "--env=FROM=line", &image, "env"]);
    for line in ["PATH=/bin:/", "A=1", "FROM=line", "HOME=/home/guest", "container=oci"] {
        assert!(env.lines().any(|other| other == line), "{line}");
    }
    assert_eq!(run(&[&image, "cwd"]), "/home/guest\n");
    assert_eq!(run(&["-w", "/data", &image, "cwd"]), "/data\n");
    assert_eq!(run(&[&image, "id"]), "Uid: 1000 1000 1000 1000\nGid: 100 100 100 100\nGroups: 77 100\n");
    assert_eq!(run(&["--user=0", &image, "id"]), "Uid: 0 0 0 0\nGid: 0 0 0 0\nGroups: 0\n");
    assert_eq!(run(&["--hostname=other", &image, "hostname"]), "other\n");
    assert_eq!(run(&["--net=none", &image, "ls", "/sys/class/net"]), "lo\n");
    assert_eq!(run(&[&image, "pid1"]), "1 /payload pid1\n");
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(run(&[&image, "hostname"]), host_name, "the host's own name, and the host keeps it");
}

#[test]
fn volumes() {
    let Some(host) = Host::new("volumes") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let shared = host.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    let volume = |rest: &str| format!("{}:{rest}", shared.display());
    assert_eq!(host.ocinit(&["run", "-v", &volume("/w"), &image, "write", "/w/a", "kept"]).code, 0);
    assert_eq!(std::fs::read_to_string(shared.join("a")).unwrap(), "kept\n");
    assert_eq!(host.ocinit(&["run", "-v", &volume("/deep/er:ro"), &image, "cat", "/deep/er/a"]).out, "kept\n");
    let refused = host.ocinit(&["run", "-v", &volume("/r:ro"), &image, "write", "/r/b", "no"]);
    assert!(refused.code == 1 && refused.out.contains("Read-only file system"), "{}", refused.out);
    assert!(!shared.join("b").exists());
    assert_eq!(host.mounts(), Vec::<String>::new(), "no mount of a container reaches the host");
}

/// script(1) gives the command a terminal.
#[test]
fn terminals() {
    let Some(host) = Host::new("terminal") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["run", &image, "tty"]).out, "false false false\n");
    assert_eq!(host.ocinit(&["run", "-t", &image, "tty"]).out, "true true true\r\n");
    let command =
        format!("{} run --store {} -ti {image} fds", env!("CARGO_BIN_EXE_ocinit"), host.store().to_string_lossy());
    let script = Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output();
    let Ok(output) = script else {
        println!("skipped: there is no script here");
        return;
    };
    let ended = Ended::new(&output);
    assert!(ended.out.contains("0 /dev/pts/0\r\n1 /dev/pts/0\r\n2 /dev/pts/0\r\n"), "{}", ended.out);
}

#[test]
fn signals_reach_the_container() {
    let Some(host) = Host::new("signals") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1] {
        let mut command = host.command(&["run", &image, "trap", &signal.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "waiting\n");
        // SAFETY: takes two numbers; the process is our child and was not waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!(child.wait().unwrap().code(), Some(signal), "its handler's exit code");
    }
}

#[test]
fn only_the_three_standard_streams_are_inherited() {
    let Some(host) = Host::new("descriptors") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let command = format!(
        "exec 7</etc/passwd 9</; exec {} run --store {} {image} fds",
        env!("CARGO_BIN_EXE_ocinit"),
        host.store().to_string_lossy()
    );
    let ended = Ended::new(&Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output().unwrap());
    let numbers: Vec<&str> = ended.out.lines().map(|line| &line[..2]).collect();
    assert_eq!(numbers, ["0 ", "1 ", "2 "], "{}{}", ended.out, ended.err);
}

/// A host may lack what a machine of ours has: it is said, and the container runs.
#[test]
fn what_the_host_lacks_is_told() {
    let Some(host) = Host::new("lacks") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let ended = host.ocinit(&["run", &image, "echo", "runs"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "runs\n"));
    let cgroup_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(ended.err.contains("WARN no cgroup v2 here"), !cgroup_v2, "{}", ended.err);
    // A limit above the host's own takes CAP_SYS_RESOURCE, the 24th.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let may = u64::from_str_radix(caps.trim(), 16).unwrap() >> 24 & 1 == 1;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into a value of its own type.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let needed = !may && limit.rlim_max < 1 << 20;
    assert_eq!(ended.err.contains("left out: limit of 1048576 open files"), needed, "{}", ended.err);
}

#[test]
fn help_and_wrong_commands() {
    let run = |words: &[&str]| Ended::new(&Command::new(env!("CARGO_BIN_EXE_ocinit")).args(words).output().unwrap());
    let help = run(&["help"]);
    assert!(help.code == 0 && help.out.contains("ocinit mount [--store DIR]"));
    let wrong = run(&["rum"]);
    assert!(wrong.code == 125 && wrong.err.contains("FAIL usage  no command «rum»"), "{}", wrong.err);
}
