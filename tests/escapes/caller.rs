//! What the caller has and its container must not get: keys, descriptors, groups, capabilities, a terminal, sockets;
//! and what flags with odd names and values reach.

use super::evil;
use super::site::{write_program, Ended, Host};
use super::table::{judge, Attack};
use ocinit::host::image::{Entry, Image};
use ocinit::sys::tty;
use std::ffi::CString;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Linux, keyctl.h.
const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SESSION_KEYRING: libc::c_long = -3;

/// A row of its own, for a caller that is made ready first.
const fn row(name: &'static str, image: fn(&super::table::Site) -> Image, command: &'static [&'static str]) -> Attack {
    Attack { name, image, flags: &[], command, must_run: true }
}

/// Runs a row by a caller that has done `ready`; the verdict is the row's.
fn run_by(
    host: &Host,
    attack: &Attack,
    flags: &[&str],
    ready: impl Fn() -> std::io::Result<()> + Send + Sync + 'static,
) -> Result<Ended, String> {
    let image = host.layout(attack.name, (attack.image)(&host.site));
    let words = [&["run", "--privileged=false"], flags, &[&image], attack.command].concat();
    let mut command = host.command(&words);
    // SAFETY: what is done between fork and exec is system calls, which take no memory.
    unsafe { command.pre_exec(ready) };
    let ended = Ended::new(&command.output().unwrap());
    println!("{}: {}\n{}", attack.name, ended.code, ended.text);
    let touched = host.look();
    println!("{touched:?}");
    judge(attack, &ended.text, ended.code).and(touched).map(|()| ended)
}

fn check(result: libc::c_long) -> std::io::Result<()> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// A keyring of a session of its own, with a key in it: the test's own session is left alone.
fn with_a_key(name: &CString) -> std::io::Result<()> {
    // SAFETY: keyctl(2) and add_key(2); the strings are NUL-terminated and live through the calls.
    unsafe {
        check(libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0))?;
        let (kind, length) = (c"user".as_ptr(), 6_usize);
        check(libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), c"secret".as_ptr(), length, SESSION_KEYRING))
    }
}

/// Issue 10's ninth row: containers joined the caller's session keyring.
/// Promise: known-escapes
#[test]
fn keys_of_the_callers_session() {
    let Some(host) = Host::new("keyring") else { return };
    const NAME: &str = "ocinit-canary";
    let name = CString::new(NAME).unwrap();
    let attack = row("keyring", evil::plain, &["attack", "keyring", NAME]);
    // What a process that is in no container finds: the attack is one.
    let program = host.dir.join("program");
    write_program(&program, &host.site.payload);
    let (mut control, key) = (Command::new(&program), name.clone());
    // SAFETY: two system calls.
    unsafe { control.args(attack.command).pre_exec(move || with_a_key(&key)) };
    let found = Ended::new(&control.output().unwrap());
    assert!(found.text.contains("escaped: the session's keyring: key "), "{}", found.text);
    for flags in [&[][..], &["--security-opt=seccomp=unconfined"], &["--user=1000:100"], &["--ipc=host", "--pid=host"]]
    {
        let key = name.clone();
        run_by(&host, &attack, flags, move || with_a_key(&key)).unwrap();
    }
}

/// Descriptors that a careless caller left open (CVE-2024-21626 with anybody's descriptor).
/// Promise: known-escapes
#[test]
fn descriptors_of_the_caller() {
    let Some(host) = Host::new("caller-descriptors") else { return };
    let leave_open = |host: &Host| {
        let path = CString::new(host.site.canary.clone()).unwrap();
        move || {
            for number in [3, 9, 63] {
                // SAFETY: open(2) and dup2(2); the path is NUL-terminated.
                unsafe {
                    let dir = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
                    check(libc::dup2(dir, number).into())?;
                    if dir != number {
                        libc::close(dir);
                    }
                }
            }
            Ok(())
        }
    };
    let attack = row("caller-descriptors", evil::plain, &["attack", "descriptors"]);
    run_by(&host, &attack, &[], leave_open(&host)).unwrap();
    run_by(&host, &attack, &["-t"], leave_open(&host)).unwrap();
    let attack = Attack { must_run: false, ..row("caller-path", evil::path_by_descriptors, &[]) };
    run_by(&host, &attack, &[], leave_open(&host)).unwrap();
}

/// Groups (CVE-2022-2989) and capabilities that are inherited (CVE-2022-24769).
/// Promise: known-escapes
#[test]
fn groups_and_capabilities_of_the_caller() {
    let Some(host) = Host::new("caller-rights") else { return };
    let ready = || {
        /// Version 3 of capset(2)'s structures.
        const VERSION: u32 = 0x2008_0522;
        let header = [VERSION, 0];
        let mut sets = [[0u32; 3]; 2];
        // SAFETY: both structures are ours and as large as their version has them; the groups are one slice.
        unsafe {
            check(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()))?;
            sets.iter_mut().for_each(|set| set[2] = set[1]);
            check(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()))?;
            check(libc::setgroups(2, [4, 27].as_ptr()).into())
        }
    };
    let attack = row("caller-rights", evil::plain, &["attack", "rights"]);
    for flags in [&[][..], &["--user=1000:100"], &["--user=4321"], &["--cap-drop=ALL"]] {
        run_by(&host, &attack, flags, ready).unwrap();
    }
}

/// Issue 10's tenth row: descriptor 0 was the host's own `/dev/null`. The host's is a canary here, in a mount
/// namespace of the caller's.
/// Promise: known-escapes
#[test]
fn the_hosts_null_device_is_not_changed() {
    let Some(host) = Host::new("null") else { return };
    let node = CString::new(host.dir.join("canary/node").to_string_lossy().into_owned()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mknod(node.as_ptr(), libc::S_IFCHR, libc::makedev(1, 3)) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::chmod(node.as_ptr(), 0o666) }, 0);
    let _ = host.look();
    let attack = row("streams-change", evil::plain, &["attack", "streams", "change"]);
    for flags in [&[][..], &["-i"], &["-t"], &["--user=1000:100"], &["--ipc=host", "--uts=host", "--pid=host"]] {
        let node = node.clone();
        let ready = move || {
            let (none, private) = (std::ptr::null::<libc::c_char>(), libc::MS_REC | libc::MS_PRIVATE);
            // SAFETY: unshare(2) and two mounts; the paths are NUL-terminated.
            unsafe {
                check(libc::unshare(libc::CLONE_NEWNS).into())?;
                check(libc::mount(none, c"/".as_ptr(), none, private, none.cast()).into())?;
                check(libc::mount(node.as_ptr(), c"/dev/null".as_ptr(), none, libc::MS_BIND, none.cast()).into())
            }
        };
        run_by(&host, &attack, flags, ready).unwrap();
    }
}

/// TIOCSTI through any descriptor types nothing into the caller's terminal (CVE-2016-2568's class).
/// Promise: known-escapes
#[test]
fn the_callers_terminal_is_not_typed_into() {
    let Some(host) = Host::new("terminal") else { return };
    let attack = row("terminal", evil::plain, &["attack", "terminal"]);
    for flags in [&[][..], &["-t"], &["-i"], &["-t", "-i"]] {
        let master = tty::open_master(c"/dev/ptmx").unwrap();
        let slave = tty::open_slave(master.as_fd()).unwrap();
        let image = host.layout(attack.name, evil::plain(&host.site));
        let mut command = host.command(&[&["run", "--privileged=false"], flags, &[&image], attack.command].concat());
        command.stdin(slave.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: two system calls, which take numbers only.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                tty::set_controlling(std::io::stdin().as_fd()).map_err(|error| std::io::Error::other(error.to_string()))
            })
        };
        let ended = Ended::new(&command.output().unwrap());
        judge(&attack, &ended.text, ended.code).unwrap();
        let mut waiting = 0;
        // SAFETY: an integer of ours is written.
        assert_eq!(unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&slave), libc::FIONREAD, &mut waiting) }, 0);
        assert_eq!(waiting, 0, "{flags:?}: something was typed\n{}", ended.text);
    }
}

/// The caller's own group in a hierarchy of control groups; none where it cannot be had.
fn own_group(hierarchy: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let is_it = |words: &[&str]| match hierarchy {
        "" => words[2] == "cgroup2",
        name => words[2] == "cgroup" && words[3].split(',').any(|option| option == name),
    };
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = lines.filter(|words| words.len() > 3).find(|words| is_it(words))?[1].to_string();
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut groups = groups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let own =
        groups.find(|words| words.len() == 3 && words[1].split(',').any(|name| name == hierarchy))?[2].to_string();
    Some(Path::new(&mount).join(own.trim_start_matches('/')))
}

/// In a user namespace of its own a container's root mounts the hierarchies of control groups: they show none of the
/// host's groups, which it could stop or end (`cgroup.kill`).
/// Promise: known-escapes
#[test]
fn control_groups_of_the_host() {
    let Some(host) = Host::new("groups") else { return };
    let attack = row("groups", evil::plain, &["attack", "user-namespace"]);
    let name = format!("ocinit-canary-{}", std::process::id());
    let canaries: Vec<PathBuf> = ["", "freezer", "memory", "devices"]
        .iter()
        .filter_map(|hierarchy| Some(own_group(hierarchy)?.join(&name)))
        .filter(|dir| std::fs::create_dir(dir).is_ok())
        .collect();
    let ended = run_by(&host, &attack, &[], || Ok(()));
    for dir in &canaries {
        std::fs::remove_dir(dir).unwrap();
    }
    println!("{canaries:?}");
    ended.unwrap();
}

/// Nothing of ours listens where a container that shares the host's network could reach it (CVE-2020-15257).
/// Promise: known-escapes
#[test]
fn no_socket_of_ours_has_a_name() {
    let Some(host) = Host::new("sockets") else { return };
    let image = host.layout("plain", evil::plain(&host.site));
    let mut child = host
        .command(&["run", "--privileged=false", "--name=one", &image, "trap", "15"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "waiting\n");
    let links = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().flatten();
    let links: Vec<String> =
        links.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned())).collect();
    let inodes: Vec<&str> = links.iter().filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']')).collect();
    let mut named = Vec::new();
    for table in ["unix", "tcp", "udp", "tcp6", "udp6"] {
        for line in std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (inode, has_name) = match table {
                "unix" => (words.get(6), words.len() > 7),
                _ => (words.get(9), true),
            };
            if inode.is_some_and(|inode| inodes.contains(inode)) && has_name {
                named.push(line.to_string());
            }
        }
    }
    // SAFETY: takes two numbers; the process is our child and was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    child.wait().unwrap();
    assert_eq!(named, Vec::<String>::new());
}

/// Names of parameters that lead out of what is a container's own (CVE-2022-0811). Should one be taken, it sets what
/// is set already.
/// Promise: known-escapes
#[test]
fn parameters_by_odd_names() {
    let Some(host) = Host::new("sysctl") else { return };
    let image = host.layout("plain", evil::plain(&host.site));
    let now = std::fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    for name in [
        "kernel.panic",
        "net/../kernel/panic",
        "net.ipv4/../../kernel/panic",
        "net...kernel.panic",
        "net.ipv4.ip_forward=1+kernel.panic",
        "kernel.msgmax/../panic",
        "fs.mqueue/../../kernel/panic",
        "/proc/sys/kernel/panic",
        "net/ipv4/../../../../self/oom_score_adj",
    ] {
        let set = format!("--sysctl={name}={}", now.trim());
        let ended = host.run(&["run", "--privileged=false", "--net=none", &set, &image, "echo", "it-started"]);
        assert!(ended.code == 125 && !ended.text.contains("it-started"), "{name}: {} {}", ended.code, ended.text);
    }
}

/// Where a user of the host finds nothing of root's: the store (CVE-2021-41091, CVE-2021-41103, CVE-2024-25621), while
/// a container runs, and what was mounted by `ocinit mount`.
/// Promise: other-users
#[test]
fn the_store_and_other_users() {
    const NOBODY: u32 = 65_534;
    let Some(host) = Host::new("users") else { return };
    let entries = |site: &super::table::Site| {
        let mut image = evil::nodes(site);
        let setuid = [Entry::file("setuid", 0o6755, site.payload.clone())];
        image.layers.push(ocinit::host::image::tar(&setuid));
        image
    };
    let image = host.layout("setuid", entries(&host.site));
    let program = host.dir.join("walker");
    write_program(&program, &host.site.payload);
    let walk = |dir: &Path| {
        let dir = dir.to_string_lossy().into_owned();
        let output = Command::new(&program).args(["attack", "walk", &dir]).uid(NOBODY).gid(NOBODY).output().unwrap();
        Ended::new(&output).text
    };
    // The way there is open, and a walk finds what is there to be found.
    let control = host.dir.join("control");
    std::fs::create_dir(&control).unwrap();
    write_program(&control.join("setuid"), &host.site.payload);
    let path = CString::new(control.join("setuid").to_string_lossy().into_owned()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::chmod(path.as_ptr(), 0o4755) }, 0);
    assert!(walk(&control).contains("escaped: "), "the test itself is wrong: {}", walk(&control));

    let mut child = host
        .command(&["run", "--privileged=false", "-v", "named:/kept", &image, "trap", "15"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let walked = walk(&host.dir.join("store"));
    // SAFETY: takes two numbers; the process is our child and was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    child.wait().unwrap();
    assert_eq!(line, "waiting\n");
    let after = walk(&host.dir.join("store"));
    let point = host.dir.join("mounted");
    std::fs::create_dir(&point).unwrap();
    let mounted = host.run(&["mount", &image, &point.to_string_lossy()]);
    let ran = Command::new(point.join("setuid")).arg("id").uid(NOBODY).gid(NOBODY).output();
    let is_open = std::fs::File::open(point.join("nodes/other-null")).is_ok();
    let unmounted = Command::new("umount").arg(&point).status().unwrap();
    assert!(unmounted.success() && mounted.code == 0, "{}", mounted.text);
    assert!(!walked.contains("escaped: ") && !after.contains("escaped: "), "{walked}{after}");
    let ran = ran.map(|output| Ended::new(&output).text).unwrap_or_default();
    assert!(!ran.contains(" 0"), "a set-user-id program of an image runs as root on the host: {ran}");
    assert!(!is_open, "a device of an image can be opened on the host");
}
