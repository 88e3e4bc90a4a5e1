//! What a container shares with the host and with others, seen from inside.

use super::{images, Host};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A named container that waits until it is ended.
struct Service(Child);

impl Service {
    fn start(host: &Host, words: &[&str]) -> Service {
        let mut command = host.command(&[&["run"], words].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "waiting\n");
        Service(child)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // SAFETY: takes two numbers; the process is our child and was not waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

fn own(kind: &str) -> String {
    format!("{kind} {}", std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display())
}

/// Promise: namespaces
#[test]
fn own_and_the_hosts() {
    let Some(host) = Host::new("namespaces") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let ns = |words: &[&str]| {
        let ended = host.ocinit(&[&["run"], words, &[&image, "ns"]].concat());
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err);
        ended.out
    };
    let is_hosts = |out: &str, kind: &str| out.lines().any(|line| line == own(kind));
    let default = ns(&[]);
    for (kind, shared) in
        [("pid", false), ("ipc", false), ("uts", false), ("mnt", false), ("net", true), ("user", true)]
    {
        assert_eq!(is_hosts(&default, kind), shared, "{kind}: {default}");
    }
    for (flag, kind) in
        [("--pid=host", "pid"), ("--ipc=host", "ipc"), ("--uts=host", "uts"), ("--cgroupns=host", "cgroup")]
    {
        assert!(is_hosts(&ns(&[flag]), kind), "{flag}");
    }
    assert!(!is_hosts(&ns(&["--net=none"]), "net"));
    assert!(is_hosts(&ns(&["--userns=host"]), "user"));
    assert!(is_hosts(&ns(&["--pid", "ns:/proc/self/ns/pid"]), "pid"));
    let pid1 = host.ocinit(&["run", "--pid=host", &image, "pid1"]).out;
    assert!(!pid1.starts_with("1 "), "it is one of the host's processes: {pid1}");
    // With processes that are not its own, a signal is no reboot(2).
    assert_eq!(host.ocinit(&["run", "--pid=host", &image, "kill", "1"]).code, 129);
    let missing = host.ocinit(&["run", "--pid=ns:/no/such", &image]);
    assert!(missing.code == 125 && missing.err.contains("--pid: /no/such: no such file"), "{}", missing.err);
}

/// Promise: namespaces
#[test]
fn shared_memory() {
    let Some(host) = Host::new("shm") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let mark = format!("ocinit-test-{}", std::process::id());
    let on_host = std::path::Path::new("/dev/shm").join(&mark);
    std::fs::write(&on_host, "host\n").unwrap();
    let run = |flag: &str| host.ocinit(&["run", flag, &image, "cat", &format!("/dev/shm/{mark}")]);
    let (shared, own) = (run("--ipc=host"), run("--ipc=private"));
    std::fs::remove_file(&on_host).unwrap();
    assert_eq!(shared.out, "host\n", "{}", shared.err);
    assert_eq!(own.code, 1);
    let none = host.ocinit(&["run", "--ipc=none", &image, "stat", "/dev/shm"]);
    assert!(none.out.contains("No such file"), "{}", none.out);
}

/// Promise: services-by-name, namespaces
#[test]
fn containers_by_name() {
    let Some(host) = Host::new("names") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let shared = host.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "shared\n").unwrap();
    let volume = format!("{}:/shared", shared.display());
    let words = ["--name=db", "--net=none", "-v", &volume, "-v", "kept:/kept:ro", &image, "trap", "15"];
    let service = Service::start(&host, &words);
    let ns = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", service.0.id())).unwrap();
    let inside = children.split_whitespace().next().unwrap();
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat());
    let seen =
        run(&["--net=container:db", "--pid=container:db", "--ipc=container:db", "--uts=container:db", &image, "ns"]);
    assert!(seen.out.contains(&format!("net {}", ns(inside).display())), "{}{}", seen.out, seen.err);
    let pid1 = run(&["--pid=container:db", &image, "pid1"]).out;
    assert!(pid1.ends_with(" /payload trap 15\n"), "the first process is the other's: {pid1}");
    // Its memory and its volumes, as it has them.
    assert_eq!(run(&["--ipc=container:db", &image, "write", "/dev/shm/x", "there"]).code, 0);
    assert_eq!(run(&["--ipc=container:db", &image, "cat", "/dev/shm/x"]).out, "there\n");
    assert_eq!(run(&["--volumes-from=db", &image, "cat", "/shared/file"]).out, "shared\n");
    assert_eq!(run(&["--volumes-from=db", &image, "write", "/kept/x", "no"]).code, 1);
    assert_eq!(run(&["--volumes-from=db:ro", &image, "write", "/shared/x", "no"]).code, 1);
    assert_eq!(run(&["--volumes-from=db", &image, "write", "/shared/x", "yes"]).code, 0);
    let twice = run(&["--name=db", &image]);
    assert!(twice.code == 125 && twice.err.contains("is the name of a running container"), "{}", twice.err);
    drop(service);
    for flag in ["--volumes-from=db", "--net=container:db", "--ipc=container:db", "--pid=container:db"] {
        let gone = run(&[flag, &image]);
        assert!(gone.code == 125 && gone.err.contains("no running container is named 'db'"), "{}", gone.err);
    }
    assert_eq!((host.left(), host.mounts()), (Vec::new(), Vec::new()));
}

/// Promise: sysctl
#[test]
fn parameters_of_the_kernel() {
    let Some(host) = Host::new("sysctl") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |words: &[&str]| host.ocinit(&[&["run"], words].concat());
    let forward = "/proc/sys/net/ipv4/ip_forward";
    let before = std::fs::read_to_string(forward).unwrap();
    let other = if before.trim() == "1" { "0" } else { "1" };
    let set = format!("net.ipv4.ip_forward={other}");
    assert_eq!(run(&["--net=none", "--sysctl", &set, &image, "cat", forward]).out.trim(), other);
    assert_eq!(run(&["--sysctl=kernel.msgmax=9000", &image, "cat", "/proc/sys/kernel/msgmax"]).out, "9000\n");
    for (words, why) in [
        (vec!["--sysctl", &set], "--sysctl net.ipv4.ip_forward: the network is the host's"),
        (vec!["--sysctl=vm.swappiness=1"], "--sysctl vm.swappiness: is the host's, not a container's own"),
        (vec!["--ipc=host", "--sysctl=kernel.msgmax=1"], "the IPC namespace is the host's"),
        (vec!["--net=none", "--sysctl=net.no.such=1"], "/proc/sys/net/no/such: no such file"),
    ] {
        let ended = run(&[&words[..], &[&image]].concat());
        assert!(ended.code == 125 && ended.err.contains(why), "{words:?}: {}", ended.err);
    }
    assert_eq!(std::fs::read_to_string(forward).unwrap(), before);
}

/// A process of a container in the host's processes that outlives its first one.
#[test]
fn nothing_is_left_on_the_host() {
    let Some(host) = Host::new("leftover") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["run", "--pid=host", "--ipc=host", "--uts=host", &image, "hello"]).code, 0);
    assert_eq!((host.left(), host.mounts()), (Vec::new(), Vec::new()));
    let name = Command::new("hostname").output().unwrap().stdout;
    let seen = host.ocinit(&["run", "--uts=host", &image, "hostname"]).out;
    assert_eq!(seen.as_bytes(), name);
}

/// podman's default for a network of one's own, as far as the container's /proc has it.
#[test]
fn pings_in_a_network_of_its_own() {
    let Some(host) = Host::new("pings") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |words: &[&str], command: &[&str]| {
        host.ocinit(&[&["run", "--net=none"], words, &[image.as_str()], command].concat())
    };
    let show = ["cat", "/proc/sys/net/ipv4/ping_group_range"];
    assert_eq!(run(&[], &show).out, "0\t0\n");
    assert_eq!(run(&["--sysctl", "net.ipv4.ping_group_range=5 6"], &show).out, "5\t6\n");
    let ended = run(&["--privileged=false", "--security-opt", "proc-opts=subset=pid"], &["exit", "3"]);
    assert_eq!(ended.code, 3, "{}", ended.err);
}
