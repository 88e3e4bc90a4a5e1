//! A container's namespaces: its own, the host's, another container's; and the kernel's parameters that belong to them.

use crate::container::pure::spec::{Namespace, Namespaces};
use crate::container::state::State;
use crate::files;
use crate::report::{Failure, Outcome};
use crate::sys::process;
use std::os::fd::OwnedFd;
use std::path::Path;

/// How a container's namespaces come about.
#[derive(Default)]
pub struct NamespaceSetup {
    /// `CLONE_NEW...` for those that clone(2) makes.
    pub new: i32,
    /// Those that the child joins.
    pub joined: Vec<OwnedFd>,
    /// A PID namespace, which only the parent can join for its children.
    pub pid: Option<OwnedFd>,
    /// The child makes a cgroup namespace once it is in its group.
    pub own_cgroup: bool,
    pub own_hostname: bool,
    /// A new network namespace, whose loopback interface is down.
    pub own_network: bool,
}

/// Finds a container, for a flag, by its name.
pub type Find<'a> = dyn Fn(&'static str, &str) -> Outcome<State> + 'a;

/// Opens the namespaces that are joined.
pub fn choose(asked: &Namespaces, find: &Find) -> Outcome<NamespaceSetup> {
    let mut setup = NamespaceSetup { new: process::CLONE_NEWNS, ..NamespaceSetup::default() };
    let kinds = [
        ("--pid", "pid", &asked.pid, process::CLONE_NEWPID),
        ("--ipc", "ipc", &asked.ipc, process::CLONE_NEWIPC),
        ("--uts", "uts", &asked.uts, process::CLONE_NEWUTS),
        ("--network", "net", &asked.network, process::CLONE_NEWNET),
        ("--cgroupns", "cgroup", &asked.cgroup, 0),
    ];
    for (flag, file, namespace, new) in kinds {
        let path = match namespace {
            Namespace::Private | Namespace::Empty => {
                setup.new |= new;
                setup.own_cgroup |= file == "cgroup";
                setup.own_hostname |= file == "uts";
                setup.own_network |= file == "net";
                continue;
            }
            Namespace::Host => continue,
            Namespace::Container(name) => ["/proc/", &find(flag, name)?.pid.to_string(), "/ns/", file].concat(),
            Namespace::Path(path) => path.clone(),
        };
        let fail = |why: &str| Failure::new("container", [flag, ": ", &path, ": ", why].concat());
        let opened = files::open(Path::new(&path)).map_err(|why| fail(&why))?;
        match file {
            "pid" => setup.pid = Some(opened.into()),
            _ => setup.joined.push(opened.into()),
        }
    }
    Ok(setup)
}

/// Parameters of an IPC namespace (Linux, sysctl/kernel.rst).
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// A parameter's file below `/proc/sys`, if it belongs to one of the container's own namespaces: any other would change
/// the host.
pub fn sysctl_path(key: &str, asked: &Namespaces) -> Result<String, &'static str> {
    // As sysctl(8) has it: with a slash first, dots belong to names.
    let path = match key.find(['.', '/']) {
        Some(at) if key.as_bytes().get(at) == Some(&b'/') => key.into(),
        _ => key.split('/').map(|part| part.replace('.', "/")).collect::<Vec<_>>().join("."),
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("is no parameter");
    }
    let is_own = |namespace: &Namespace| !matches!(namespace, Namespace::Host);
    let (namespace, word) = match path.split_once('/') {
        Some(("net", _)) => (&asked.network, "the network is the host's: add --network=none"),
        Some(("kernel", "domainname")) => (&asked.uts, "the UTS namespace is the host's"),
        Some(("kernel", "hostname")) => return Err("is what --hostname is for"),
        Some(("kernel", name)) if IPC.contains(&name) => (&asked.ipc, "the IPC namespace is the host's"),
        Some(("fs", name)) if name.starts_with("mqueue/") => (&asked.ipc, "the IPC namespace is the host's"),
        _ => return Err("is the host's, not a container's own"),
    };
    match is_own(namespace) {
        true => Ok(["/proc/sys/", &path].concat()),
        false => Err(word),
    }
}

/// podman's, for a network of the container's own: root's group may send a ping without a raw socket.
const PING: (&str, &str) = ("/proc/sys/net/ipv4/ping_group_range", "0 0");

/// The file of a parameter that podman sets by default, and its value.
pub fn default_sysctl(asked: &Namespaces) -> Option<(&'static str, &'static str)> {
    (asked.network == Namespace::Empty).then_some(PING)
}

/// The parameters of `--sysctl`: each one's file, and its value.
pub fn sysctls(asked: &Namespaces) -> Outcome<Vec<(String, String)>> {
    let mut paths = Vec::new();
    for (key, value) in &asked.sysctls {
        let path = sysctl_path(key, asked);
        let path = path.map_err(|why| Failure::new("container", ["--sysctl ", key, ": ", why].concat()))?;
        paths.push((path, value.clone()));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &'static str, _: &str) -> Outcome<State> {
        Err(Failure::new("container", "no such container"))
    }

    #[test]
    fn own_and_the_hosts() {
        let all = Namespaces { network: Namespace::Empty, ..Namespaces::default() };
        let setup = choose(&all, &none).unwrap_or_else(|failure| panic!("{}", failure.what));
        let own = process::CLONE_NEWNS | process::CLONE_NEWPID | process::CLONE_NEWIPC | process::CLONE_NEWUTS;
        assert_eq!(setup.new, own | process::CLONE_NEWNET);
        assert!(setup.own_cgroup && setup.own_hostname && setup.own_network && setup.joined.is_empty());
        let host = || Namespace::Host;
        let shared = Namespaces { pid: host(), ipc: host(), uts: host(), cgroup: host(), ..Namespaces::default() };
        let setup = choose(&shared, &none).unwrap_or_else(|failure| panic!("{}", failure.what));
        assert_eq!(setup.new, process::CLONE_NEWNS);
        assert!(!(setup.own_cgroup || setup.own_hostname || setup.own_network));
    }

    #[test]
    fn joined_by_path_and_name() {
        let path = |path: &str| Namespace::Path(path.into());
        let asked =
            Namespaces { pid: path("/proc/self/ns/pid"), uts: path("/proc/self/ns/uts"), ..Namespaces::default() };
        let setup = choose(&asked, &none).unwrap_or_else(|failure| panic!("{}", failure.what));
        assert!(setup.pid.is_some() && setup.joined.len() == 1 && !setup.own_hostname);
        let asked = Namespaces { ipc: path("/proc/self/ns/none"), ..Namespaces::default() };
        assert!(
            choose(&asked, &none).is_err_and(|failure| failure.what.starts_with("--ipc: /proc/self/ns/none: no such"))
        );
        let asked = Namespaces { ipc: Namespace::Container("db".into()), ..Namespaces::default() };
        assert!(choose(&asked, &none).is_err_and(|failure| failure.what == "no such container"));
        let me = |_: &'static str, _: &str| Ok(State { dir: "".into(), pid: std::process::id(), volumes: Vec::new() });
        assert!(choose(&asked, &me).is_ok_and(|setup| setup.joined.len() == 1));
    }

    /// Promise: sysctl
    #[test]
    fn parameters_that_are_its_own() {
        let own = Namespaces { network: Namespace::Empty, ..Namespaces::default() };
        for (key, path) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ("kernel.shmmax", "/proc/sys/kernel/shmmax"),
            ("fs.mqueue.msg_max", "/proc/sys/fs/mqueue/msg_max"),
            ("kernel.domainname", "/proc/sys/kernel/domainname"),
        ] {
            assert_eq!(sysctl_path(key, &own).as_deref(), Ok(path), "{key}");
        }
        for key in
            ["vm.swappiness", "kernel.panic", "kernel.hostname", "fs.file-max", "net/../kernel/panic", "net..x", ""]
        {
            assert!(sysctl_path(key, &own).is_err(), "{key}");
        }
        let shared = Namespaces { ipc: Namespace::Host, ..Namespaces::default() };
        assert!(sysctl_path("net.ipv4.ip_forward", &shared).is_err_and(|why| why.contains("--network=none")));
        assert!(sysctl_path("kernel.shmmax", &shared).is_err());
    }
}
