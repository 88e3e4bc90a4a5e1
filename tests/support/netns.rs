//! Network namespaces of tests: two that are joined by cables, daemons in one of them, and the test itself again in the
//! other. All of it is gone at the test's end.
#![allow(dead_code)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// What a test that runs itself again is there: `client` or `server`.
const ROLE: &str = "OCINIT_TEST_ROLE";

pub fn role() -> String {
    std::env::var(ROLE).unwrap_or_default()
}

/// Whether this is the test in the client's namespace.
pub fn inside() -> bool {
    role() == "client"
}

/// None, and a line that says why, where there can be no namespace, or one of these daemons is missing.
pub fn possible(daemons: &[&str]) -> Option<()> {
    let usable = Command::new("ip").args(["netns", "list"]).output().is_ok_and(|output| output.status.success());
    if !usable || ocinit::sys::process::effective_user() != 0 || daemons.iter().any(|name| program(name).is_none()) {
        skip!("a network of its own takes root, ip, {}", daemons.join(", "));
    }
    Some(())
}

/// Debian's place for a daemon, or that of `./dev setup`, which does not install all.
fn program(name: &str) -> Option<String> {
    let dirs = ["/usr/sbin", "target/tools/usr/sbin"].map(|dir| Path::new(dir).join(name));
    dirs.iter().find_map(|path| path.canonicalize().ok()?.to_str().map(String::from))
}

pub fn ip(args: &[&str]) -> String {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `ip` shows, with single spaces.
pub fn shown(args: &[&str]) -> String {
    ip(args).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs `work` on a thread in a network namespace.
pub fn within<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let file = File::open(["/run/netns/", namespace].concat()).unwrap();
    std::thread::spawn(move || {
        ocinit::sys::process::setns(file.as_fd()).unwrap();
        work()
    })
}

/// A namespace with daemons in it, and a directory for their files.
pub struct Server {
    pub namespace: String,
    dir: PathBuf,
    daemons: Vec<Child>,
}

impl Server {
    pub fn new(namespace: String) -> Server {
        let dir = std::env::temp_dir().join(&namespace);
        std::fs::create_dir(&dir).unwrap();
        ip(&["netns", "add", &namespace]);
        Server { namespace, dir, daemons: vec![] }
    }

    pub fn ip(&self, args: &[&str]) {
        ip(&[&["-n", &self.namespace], args].concat());
    }

    /// A setting of IPv6.
    pub fn set(&self, name: &str, value: &str) {
        let script = format!("echo {value} >/proc/sys/net/ipv6/conf/{name}");
        ip(&["netns", "exec", &self.namespace, "sh", "-c", &script]);
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_string()
    }

    /// Starts a program and waits until it says `ready` on its standard error.
    pub fn start(&mut self, mut command: Command, ready: &str) {
        let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
        self.daemons.push(daemon);
        let mut said = String::new();
        while !said.contains(ready) {
            let line = lines.next().unwrap_or_else(|| panic!("{command:?} ended: {said}")).unwrap();
            said += &(line + "\n");
        }
        // Reads on, so that the daemon never waits for its log; ends with it.
        std::thread::spawn(move || lines.for_each(drop));
    }

    pub fn daemon(&mut self, name: &str, args: &[&str], ready: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, &program(name).unwrap()]).args(args);
        self.start(command, ready);
    }

    /// dnsmasq, behind `srv0` and the interfaces that `args` name.
    pub fn dnsmasq(&mut self, args: &[&str]) {
        let usual = "--keep-in-foreground --conf-file=/dev/null --log-facility=- --pid-file= --user=root --no-hosts \
                     --no-resolv --no-ping --interface=srv0 --bind-interfaces --leasefile-ro";
        let usual: Vec<&str> = usual.split_whitespace().collect();
        // Its sockets are open by then.
        self.daemon("dnsmasq", &[&usual[..], args].concat(), "started, version");
    }

    /// radvd with these lines for `srv0`.
    pub fn radvd(&mut self, lines: &str) {
        let (conf, pid) = (self.file("radvd.conf"), self.file("radvd.pid"));
        std::fs::write(&conf, format!("interface srv0 {{ AdvSendAdvert on; {lines} }};\n")).unwrap();
        self.daemon("radvd", &["-n", "-m", "stderr", "-d", "2", "-C", &conf, "-p", &pid], "version");
    }

    /// chronyd at this address; it never sets the clock (`-x`).
    pub fn chrony(&mut self, address: &str) {
        let (conf, pid) = (self.file("chrony.conf"), self.file("chrony.pid"));
        let text =
            format!("local stratum 8\nallow\ncmdport 0\nbindcmdaddress /\npidfile {pid}\nbindaddress {address}\n");
        std::fs::write(&conf, text).unwrap();
        self.daemon("chronyd", &["-x", "-d", "-u", "root", "-f", &conf], "chronyd version");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // It may have ended by itself; the wait tells nothing then.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A client's namespace beside a server's.
pub struct Pair {
    pub client: String,
    pub server: Server,
}

impl Pair {
    pub fn new(test: &str) -> Pair {
        let name = format!("ocinit-{}-{test}", std::process::id());
        let client = format!("{name}-c");
        ip(&["netns", "add", &client]);
        Pair { client, server: Server::new(format!("{name}-s")) }
    }

    /// A cable from the client's `near` to the server's `far`, which is up.
    pub fn join(&self, near: &str, far: &str) {
        let server = &self.server.namespace;
        let ends = ["link", "add", near, "netns", &self.client, "type", "veth", "peer", "name", far, "netns", server];
        ip(&ends);
        self.server.ip(&["link", "set", far, "up"]);
    }

    /// The test of this name again, in one of the namespaces.
    fn again(&self, test: &str, role: &str) -> Command {
        let namespace = if role == "client" { &self.client } else { &self.server.namespace };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(ROLE, role);
        command
    }

    /// Runs the test in the client's namespace: its console.
    pub fn enter(&self, test: &str) -> String {
        let output = self.again(test, "client").output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{stdout}\n{stderr}");
        print!("{stderr}");
        stderr
    }

    /// Runs the test beside, in the server's namespace, until it says `ready`.
    pub fn serve(&mut self, test: &str) {
        let command = self.again(test, "server");
        self.server.start(command, "ready");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.client]).status();
    }
}
