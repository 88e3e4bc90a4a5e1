//! `ocinit run`: what a container gets on a host, and what ocinit gets back from it.

use super::{images, Ended, Host};
use ocinit::host::image::Entry;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
fn environment_directory_user_and_name() {
    let Some(host) = Host::new("process") else { return };
    let image = host.layout("guest", images::guest(&host.payload));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat()).out;
    let env = run(&["-e", "A=1", "--env=FROM=line", &image, "env"]);
    for line in ["PATH=/bin:/", "A=1", "FROM=line", "HOME=/home/guest", "container=podman"] {
        assert!(env.lines().any(|other| other == line), "{line}");
    }
    assert_eq!(run(&[&image, "cwd"]), "/home/guest\n");
    assert_eq!(run(&["-w", "/data", &image, "cwd"]), "/data\n");
    assert_eq!(run(&[&image, "id"]), "Uid: 1000 1000 1000 1000\nGid: 100 100 100 100\nGroups: 77 100\n");
    assert_eq!(run(&["--user=0", &image, "id"]), "Uid: 0 0 0 0\nGid: 0 0 0 0\nGroups: 0\n");
    assert_eq!(run(&["--hostname=other", &image, "hostname"]), "other\n");
    assert_eq!(run(&["--net=none", &image, "ls", "/sys/class/net"]), "lo\n");
    assert_eq!(run(&["--net=none", &image, "cat", "/sys/class/net/lo/flags"]), "0x9\n", "up");
    assert_eq!(run(&[&image, "pid1"]), "1 /payload pid1\n");
    let link = [Entry::symlink("srv", "/var/made")];
    let through = host.layout("through", images::odd(&host.payload, &link, "5:6", "/srv/app"));
    assert_eq!(run(&[&through, "cwd"]), "/var/made/app\n");
    assert!(run(&[&through, "stat", "/srv/app"]).starts_with("/srv/app directory 0755 5:6 "));
    let ended = host.ocinit(&["run", "-w", "/not/there", &image, "cwd"]);
    assert_eq!((ended.code, ended.out.as_str()), (126, ""), "{}", ended.err);
    assert!(ended.err.contains("working directory /not/there") && ended.err.contains("--workdir"), "{}", ended.err);
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(run(&[&image, "hostname"]), host_name, "the host's own name, and the host keeps it");
}

/// Files, the host's own variables, and what is unset, in podman's order.
#[test]
fn environment_from_elsewhere() {
    let Some(host) = Host::new("environment") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let file = host.dir.join("job.env");
    std::fs::write(&file, "# a job\nFROM=file\nKEY=\"one\ntwo\"\nOCINIT_A\n").unwrap();
    let run = |words: &[&str]| {
        let mut command = host.command(&[&["run"], words, &[&image, "env"]].concat());
        command.env_clear().env("OCINIT_A", "1").env("OCINIT_B", "2").env("PATH", "/none");
        Ended::new(&command.output().unwrap())
    };
    let file = file.to_string_lossy();
    let out = run(&["-e", "FROM=line", "--env-file", &file]).out;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let want = ["PATH=/bin:/", "container=podman", "FROM=line", "KEY=one", "two", "OCINIT_A=1"];
    let end = [&format!("HOSTNAME={}", name.trim_end()), "HOME=/root"];
    assert_eq!(out.lines().collect::<Vec<_>>(), [&want[..], &end].concat());
    let named = run(&["-e", "OCINIT_*", "--unsetenv", "FROM", "-e", "OCINIT_NONE"]).out;
    let lines: Vec<&str> = named.lines().take(4).collect();
    assert_eq!(lines, ["PATH=/bin:/", "container=podman", "OCINIT_A=1", "OCINIT_B=2"]);
    let own = run(&["--unsetenv-all", "--env-host"]).out;
    assert_eq!(own.lines().take(3).collect::<Vec<_>>(), ["OCINIT_A=1", "OCINIT_B=2", "PATH=/none"]);
    let missing = run(&["--env-file", "/nowhere/job.env"]);
    assert!(
        missing.code == 125 && missing.err.contains("--env-file /nowhere/job.env: no such file"),
        "{}",
        missing.err
    );
    std::fs::write(host.dir.join("bad.env"), "=x\n").unwrap();
    let bad = run(&["--env-file", &host.dir.join("bad.env").to_string_lossy()]);
    assert!(bad.code == 125 && bad.err.contains("bad.env: '=***' has no name"), "{}", bad.err);
}

/// A line of one of our own files in `/proc`, blanks made single.
fn line_of(text: &str, start: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn groups_mask_limits_and_score() {
    let Some(host) = Host::new("attributes") else { return };
    let image = host.layout("guest", images::guest(&host.payload));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat());
    let groups = run(&["--group-add", "7", "--group-add=root", "--group-add", "wheel", &image, "id"]).out;
    assert_eq!(line_of(&groups, "Groups:"), "Groups: 0 7 77 100");
    assert!(run(&["--group-add", "nosuch", &image]).err.contains("--group-add: no group 'nosuch' in the image's"));
    let status = |words: &[&str]| run(&[words, &[&image, "cat", "/proc/self/status"]].concat()).out;
    assert_eq!(line_of(&status(&[]), "Umask:"), "Umask: 0022");
    assert_eq!(line_of(&status(&["--umask", "0077", "--umask=27"]), "Umask:"), "Umask: 0027");
    let limits = |words: &[&str]| run(&[words, &[&image, "cat", "/proc/self/limits"]].concat()).out;
    let some = limits(&["--ulimit", "nofile=100:200", "--ulimit=core=0", "--ulimit", "nofile=64:128"]);
    assert_eq!(line_of(&some, "Max open files"), "Max open files 64 128 files");
    assert_eq!(line_of(&some, "Max core file size"), "Max core file size 0 0 bytes");
    // podman raises its own limits before it gives them to the container.
    let (host_limits, default) = (limits(&["--ulimit", "host"]), limits(&[]));
    for name in ["Max open files", "Max processes"] {
        assert_eq!(line_of(&host_limits, name), line_of(&default, name));
    }
    let score = |words: &[&str]| run(&[words, &[&image, "cat", "/proc/self/oom_score_adj"]].concat()).out;
    assert_eq!(score(&["--oom-score-adj", "500"]), "500\n");
    assert_eq!(score(&[]), std::fs::read_to_string("/proc/self/oom_score_adj").unwrap());
}

/// The time zone of the host, of the image, or of neither.
#[test]
fn time_zones() {
    let Some(host) = Host::new("zones") else { return };
    let zone = |bytes: &str| ocinit::host::image::Entry::file("usr/share/zoneinfo/Mars/Base", 0o644, bytes);
    // Where the image's own leads the zone is mounted, as podman has it.
    let link = ocinit::host::image::Entry::symlink("etc/localtime", "/data/plain");
    let good = host.layout("good", images::odd(&host.payload, &[zone("TZif of Mars"), link], "", "/"));
    let bad = host.layout("bad", images::odd(&host.payload, &[zone("no zone")], "", "/"));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat());
    assert_eq!(run(&["--tz", "Mars/Base", &good, "cat", "/etc/localtime"]).out, "TZif of Mars");
    assert_eq!(run(&["--tz=Mars/Base", &good, "cat", "/data/plain"]).out, "TZif of Mars");
    assert_eq!(run(&[&good, "cat", "/data/plain"]).out, "no program\n");
    assert!(run(&["--tz=Mars/Base", &good, "stat", "/etc/localtime"]).out.ends_with(" /data/plain\n"));
    for (zone, image) in [("Mars/Base", &bad), ("Mars/Other", &good)] {
        let ended = run(&["--tz", zone, image, "hello"]);
        assert!(ended.code == 125 && ended.err.contains("no such time zone"), "{}", ended.err);
    }
    let own = std::fs::read("/etc/localtime").ok();
    let seen = run(&["--tz", "local", &good, "cat", "/etc/localtime"]).out;
    let image_own = "no program\n".to_string();
    assert_eq!(seen, own.map_or(image_own, |bytes| String::from_utf8_lossy(&bytes).into_owned()));
}

#[test]
fn names_of_host_and_container() {
    let Some(host) = Host::new("names") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat()).out;
    let ns = |text: &str| line_of(text, "uts ");
    let own = std::fs::read_link("/proc/self/ns/uts").unwrap();
    let own = format!("uts {}", own.display());
    assert_eq!(ns(&run(&["--uts=host", &image, "ns"])), own);
    assert_ne!(ns(&run(&[&image, "ns"])), own);
    // As podman has it: in the host's network its own names are not the container's.
    let hosts = run(&["--name", "db-1", "-h", "box", "--net=none", &image, "cat", "/etc/hosts"]);
    assert!(hosts.ends_with("127.0.0.1\tbox db-1\n"), "{hosts}");
}

/// Our program, mounted in the container, is its process 1.
#[test]
fn an_init_in_the_container() {
    let Some(host) = Host::new("init") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let words = [vec!["run".to_string()], super::init_flags()].concat();
    let run = |rest: &[&str]| {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(rest.iter().copied()).collect();
        host.ocinit(&words)
    };
    let init = run(&["--entrypoint", "payload", &image, "pid1"]);
    assert_eq!(init.out, "2 /run/podman-init -- payload pid1\n", "{}", init.err);
    assert_eq!(run(&[&image, "exit", "42"]).code, 42);
    // Process 1 itself would have survived it.
    assert_eq!(run(&[&image, "kill", "15"]).code, 143);
    assert_eq!(run(&["--entrypoint", "/missing", &image]).code, 1, "as catatonit has it");
    assert_eq!(run(&["--entrypoint", "/data/plain", &image]).code, 1);
    assert_eq!(run(&[&image, "orphan"]).out, "orphaned parent=0 zombies=0\n");
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        let rest = [image.as_str(), "trap", &signal.to_string()].map(String::from);
        let words: Vec<&str> = words.iter().chain(&rest).map(String::as_str).collect();
        let mut child = host.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // SAFETY: takes two numbers; the process is our child and was not waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        assert_eq!((line.as_str(), end_of(child).code), ("waiting\n", signal), "its handler's exit code");
    }
}

#[test]
fn a_container_that_runs_too_long() {
    let Some(host) = Host::new("timeout") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let ended = host.ocinit(&["run", "--timeout", "1", &image, "sleep", "60"]);
    assert_eq!((ended.code, ended.out.as_str()), (255, "sleeping\n"));
    assert!(ended.err.contains("killed: it ran for 1 s (--timeout)"), "{}", ended.err);
    assert_eq!(host.ocinit(&["run", "--timeout", "600", &image, "exit", "3"]).code, 3);
    assert_eq!(host.ocinit(&["run", "--timeout", "0", &image, "exit", "4"]).code, 4);
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
        skip!("there is no script(1) here");
    };
    let ended = Ended::new(&output);
    // script(1) may hand on the end of its own input, and the terminal echoes that.
    let out = ended.out.replace("^@", "");
    assert!(out.contains("0 /dev/pts/0\r\n1 /dev/pts/0\r\n2 /dev/pts/0\r\n"), "{out}");
}

/// Waits for a command that might hang, and then ends it.
fn end_of(child: Child) -> Ended {
    let id = child.id() as i32;
    let (to, from) = std::sync::mpsc::channel();
    std::thread::spawn(move || to.send(child.wait_with_output()));
    let Ok(output) = from.recv_timeout(Duration::from_secs(super::PATIENCE_S)) else {
        // SAFETY: takes two numbers; the process is our child and was not waited for.
        unsafe { libc::kill(id, libc::SIGKILL) };
        panic!("it hung");
    };
    Ended::new(&output.unwrap())
}

/// More input than a terminal holds, which the container does not read: signals must still arrive, and the end be seen.
/// Promise: request-to-end
#[test]
fn input_that_is_not_read() {
    let Some(host) = Host::new("unread") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let input = host.dir.join("input");
    std::fs::write(&input, "more\n".repeat(200_000)).unwrap();
    let mut command = host.command(&["run", "-ti", &image, "trap", "15"]);
    command.stdin(std::fs::File::open(&input).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.trim_end().ends_with("waiting")));
    let reader = std::thread::spawn(move || lines.for_each(drop));
    // SAFETY: takes two numbers; the process is our child and was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(end_of(child).code, 15, "its handler's exit code");
    reader.join().unwrap();
}

/// A terminal's input arrives whole, however slowly it is read.
/// Promise: non-blocking-console, input
#[test]
fn input_arrives_whole() {
    let Some(host) = Host::new("input") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let input = host.dir.join("input");
    let lines: String = (0..8000).map(|n| format!("line {n:06}\n")).collect();
    std::fs::write(&input, lines.clone() + "\x04").unwrap();
    let mut command =
        host.command(&["run", "-ti", "-v", &format!("{}:/w", host.dir.display()), &image, "take", "/w/taken"]);
    command.stdin(std::fs::File::open(&input).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = end_of(command.spawn().unwrap());
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(std::fs::read_to_string(host.dir.join("taken")).unwrap() == lines, "the bytes that arrived");
}

/// Numbers that the image's files do not know are written there, and nowhere else.
/// Promise: unnamed-users
#[test]
fn users_without_a_name() {
    let Some(host) = Host::new("nameless") else { return };
    let bare = host.layout("bare", images::odd(&host.payload, &[], "", "/data"));
    let passwd = [Entry::file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh")];
    let named = host.layout("named", images::odd(&host.payload, &passwd, "", "/data"));
    let show = |image: &str, user: &str, file: &str| host.ocinit(&["run", "-u", user, image, "cat", file]);
    let line = "4321:*:4321:0:container user:/data:/bin/sh\n";
    assert_eq!(show(&named, "4321", "/etc/passwd").out, format!("root:x:0:0:root:/root:/bin/sh\n{line}"));
    let before = show(&bare, "0", "/etc/group").out;
    assert_eq!(show(&bare, "7:4321", "/etc/group").out, format!("{before}4321:x:4321:7\n"));
    assert_eq!(show(&named, "0", "/etc/passwd").out, "root:x:0:0:root:/root:/bin/sh");
    // What the line mounts there tells who a user is, and is left as it is.
    let file = host.dir.join("users");
    std::fs::write(&file, "ann:x:4321:9:::\n").unwrap();
    let volume = format!("{}:/etc/../etc/./passwd", file.display());
    let ended = host.ocinit(&["run", "-v", &volume, "-u", "ann", &bare, "id"]);
    assert_eq!(ended.out, "Uid: 4321 4321 4321 4321\nGid: 9 9 9 9\nGroups: 9\n", "{}", ended.err);
    assert_eq!(host.ocinit(&["run", "-v", &volume, "-u", "8", &bare, "exit", "0"]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "ann:x:4321:9:::\n");
}

/// More than a pipe holds, and its end; and a container that reads nothing of it.
/// Promise: input
#[test]
fn input_reaches_the_container() {
    let Some(host) = Host::new("input") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let lines: String = (0..50_000).map(|n| format!("line {n:06}\n")).collect();
    let file = host.dir.join("lines");
    std::fs::write(&file, &lines).unwrap();
    let run = |words: &[&str]| {
        let mut command = host.command(&[&["run"], words].concat());
        Ended::new(&command.stdin(std::fs::File::open(&file).unwrap()).output().unwrap())
    };
    let ended = run(&["-i", &image, "cat", "/proc/self/fd/0"]);
    assert!(ended.code == 0 && ended.out == lines, "{} bytes, {}", ended.out.len(), ended.err);
    assert_eq!(run(&["-i", &image, "exit", "3"]).code, 3);
    assert_eq!(run(&[&image, "cat", "/proc/self/fd/0"]).out, "", "not without -i");
}

/// One open file as input, output and error, which the container makes non-blocking: nothing of what it writes is lost.
/// Promise: non-blocking-console
#[test]
fn a_container_that_makes_the_console_non_blocking() {
    let Some(host) = Host::new("nonblocking") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let (from, to) = std::os::unix::net::UnixStream::pair().unwrap();
    let end = || Stdio::from(OwnedFd::from(to.try_clone().unwrap()));
    let mut command = host.command(&["run", "-i", &image, "flood", "100000"]);
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop((command, to));
    let lines = BufReader::new(from).lines().map_while(Result::ok).filter(|line| line.starts_with("line "));
    let numbers: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!((0..100_000).map(|n| format!("line {n:06}")).eq(numbers), "every line, in order");
}

/// In the host's PID namespace processes that a container leaves behind do not end with it, and may write on.
/// Promise: left-behind
#[test]
fn what_is_left_behind_and_writes_holds_nobody() {
    let Some(host) = Host::new("writer") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let mut command = host.command(&["run", "--pid=host", &image, "leave-flood", "7"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(end_of(child).code, 7);
}

/// Killed with its output in pipes that nobody reads: exit code and output are whole.
#[test]
fn killed_while_output_is_pending() {
    let Some(host) = Host::new("pending") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    // One pipe holds 64 KiB, and there are two with a buffer between them.
    let flooded = host.dir.join("flooded");
    let volume = format!("{}:/w", host.dir.display());
    let mut command = host.command(&["run", "-v", &volume, &image, "flood", "10000", "/w/flooded"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = std::time::Instant::now();
    while !flooded.exists() {
        assert!(start.elapsed().as_secs() < super::PATIENCE_S, "it does not write all");
        std::thread::yield_now();
    }
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    // Another may be syncing the store.
    let inside = children.split_whitespace().next().unwrap().parse().unwrap();
    // SAFETY: takes two numbers; it is the child of our child, which has not waited for it.
    unsafe { libc::kill(inside, libc::SIGKILL) };
    let ended = end_of(child);
    assert_eq!(ended.code, 137);
    assert!((0..10_000).map(|n| format!("line {n:06}")).eq(ended.out.lines()), "every line, in order");
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

/// Input: nothing-inherited
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

/// A host may lack what ocinit has at boot: a warning says so, and the container runs.
#[test]
fn what_the_host_lacks_is_told() {
    let Some(host) = Host::new("lacks") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let ended = host.ocinit(&["run", &image, "echo", "runs"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "runs\n"));
    let cgroup_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(ended.err.contains("there is no cgroup v2 here"), !cgroup_v2, "{}", ended.err);
    // A limit above the host's own takes CAP_SYS_RESOURCE, the 24th.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let may = u64::from_str_radix(caps.trim(), 16).unwrap() >> 24 & 1 == 1;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into a value of its own type.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let needed = !may && limit.rlim_max < 1 << 20;
    assert_eq!(ended.err.contains("left out: limit nofile=1048576"), needed, "{}", ended.err);
}
