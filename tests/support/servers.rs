//! Debian's servers, each in a directory and at an address of its own; all but two without root's rights, and none at
//! root's ports.

use ocinit::sys::io::pipe;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// The path of a request that only the tests make.
const FLUSH: &str = "flush";

/// What a program has printed, and whether more may follow.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

/// A server program that is ended when its owner drops it.
pub struct Daemon {
    pub address: SocketAddr,
    child: Child,
    log: Arc<(Mutex<Log>, Condvar)>,
}

impl Daemon {
    /// Returns when it has printed `ready`, which it does after `listen`.
    fn start(mut command: Command, address: SocketAddr, ready: &str) -> Daemon {
        let (read, write) = pipe().unwrap();
        command.stdin(Stdio::null()).stdout(write.try_clone().unwrap()).stderr(write);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        // The pipe ends with the program's own ends of it.
        drop(command);
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        let daemon = Daemon { address, child, log: log.clone() };
        std::thread::spawn(move || {
            for line in BufReader::new(std::fs::File::from(read)).lines().map_while(Result::ok) {
                log.0.lock().unwrap().lines.push(line);
                log.1.notify_all();
            }
            log.0.lock().unwrap().ended = true;
            log.1.notify_all();
        });
        daemon.until(ready);
        daemon
    }

    /// Returns when it has printed that.
    pub fn until(&self, text: &str) {
        let is_silent = |log: &mut Log| !log.ended && !log.lines.iter().any(|line| line.contains(text));
        let waited = self.log.1.wait_timeout_while(self.log.0.lock().unwrap(), super::PATIENCE, is_silent);
        let log = waited.unwrap().0;
        assert!(log.lines.iter().any(|line| line.contains(text)), "no '{text}': {:#?}", log.lines);
    }

    /// The lines of a registry's access log about `method`, those of all requests so far.
    pub fn asked(&self, method: &str) -> Vec<String> {
        self.flush();
        let lines = self.said(&format!("\"{method} /v2/"));
        lines.into_iter().filter(|line| !line.contains(FLUSH)).collect()
    }

    /// Makes a request and waits until the log has it: then the log has all requests before it.
    pub fn flush(&self) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let path = format!("/v2/{FLUSH}-{}-", COUNT.fetch_add(1, Ordering::SeqCst));
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        self.until(&path);
    }

    /// Those lines of its output that contain `text`.
    pub fn said(&self, text: &str) -> Vec<String> {
        let log = self.log.0.lock().unwrap();
        log.lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address at which nothing listens, and at which no other test will.
fn free() -> SocketAddr {
    TcpListener::bind((super::loopback(), 0)).unwrap().local_addr().unwrap()
}

/// A program in PATH, else where `./dev setup` unpacks what it does not install, or where Debian hides it.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = ["usr/bin", "usr/sbin", "usr/libexec", "bin", "sbin"]
        .map(|directory| Path::new("target/tools").join(directory));
    let hidden = ["/usr/sbin", "/usr/libexec", "/usr/lib/qemu"].map(PathBuf::from);
    let directories = std::env::split_paths(&path).chain(unpacked).chain(hidden);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Starts a program that needs root's rights.
fn find_for_root(name: &str) -> Option<PathBuf> {
    // SAFETY: asks, and touches no memory.
    let is_root = unsafe { libc::geteuid() } == 0;
    find(name).filter(|_| is_root)
}

fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing: ./dev setup brings it"))
}

/// docker-registry over the blobs of `storage`. `parts` are more of its configuration, by section.
pub fn registry(dir: &Path, storage: &Path, parts: &Value) -> Daemon {
    registry_at(free(), dir, storage, parts)
}

/// The same at an address that is known before.
pub fn registry_at(address: SocketAddr, dir: &Path, storage: &Path, parts: &Value) -> Daemon {
    let mut config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": storage}, "maintenance": {"uploadpurging": {"enabled": false}}},
        "http": {"addr": address.to_string()},
    });
    for (section, part) in parts.as_object().into_iter().flatten() {
        match &mut config[section] {
            Value::Object(known) => known.extend(part.as_object().unwrap().clone()),
            missing => *missing = part.clone(),
        }
    }
    let file = dir.join(format!("registry-{}.yml", address.ip()));
    // JSON is YAML.
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = Command::new(program("docker-registry"));
    command.arg("serve").arg(file);
    Daemon::start(command, address, "listening on")
}

/// An address for the next server.
pub fn reserved() -> SocketAddr {
    free()
}

/// nginx with one server, whose directives are `server`; `http` are those around it.
/// Its log tells of each request the line, the status, and what was shown to it.
pub fn nginx(dir: &Path, address: SocketAddr, listen: &str, http: &str, server: &str) -> Daemon {
    let home = dir.join(format!("nginx-{}", address.ip()));
    std::fs::create_dir_all(&home).unwrap();
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n{}\n\
         log_format plain '$request $status authorization=<$http_authorization>';\n\
         access_log /dev/stdout plain;\n{http}\n\
         server {{ listen {address} {listen};\n{server}\n}} }}\n",
        temporary.join(" "),
    );
    let file = home.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(program("nginx"));
    command.args(["-e", "stderr", "-p"]).arg(&home).arg("-c").arg(file);
    Daemon::start(command, address, "event method")
}

/// tinyproxy, which passes plain requests on and opens tunnels to any port; `more` are lines of its configuration.
pub fn tinyproxy(dir: &Path, more: &str) -> Daemon {
    tinyproxy_at(free(), dir, more)
}

/// A tinyproxy that guests reach: their 10.0.2.2 is 127.0.0.1 of the host.
pub fn tinyproxy_for_guests(dir: &Path) -> Daemon {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    tinyproxy_at(address, dir, "")
}

fn tinyproxy_at(address: SocketAddr, dir: &Path, more: &str) -> Daemon {
    let file = dir.join(format!("tinyproxy-{}.conf", address.ip()));
    let config = format!(
        "Port {}\nListen {}\nTimeout 60\nMaxClients 50\nLogLevel Info\nAllow 127.0.0.0/8\n{more}\n",
        address.port(),
        address.ip(),
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(program("tinyproxy"));
    command.arg("-d").arg("-c").arg(file);
    Daemon::start(command, address, "Accepting connections")
}

/// nfs-ganesha, which guests reach: version 4 (3 would need a port mapper at its own port), these minor ones, of
/// `directory` as `/export`.
pub fn ganesha_for_guests(dir: &Path, directory: &Path, minor_versions: &str) -> Option<Daemon> {
    let program = find_for_root("ganesha.nfsd")?;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = dir.join(format!("ganesha-{}", address.port()));
    std::fs::create_dir_all(&home).unwrap();
    // Its libraries and plug-ins where they are unpacked; those of an installed one are elsewhere, and found.
    let libraries = Path::new("target/tools/usr/lib").canonicalize().ok()?;
    let unpacked = libraries.join("x86_64-linux-gnu");
    let plugins = match unpacked.join("ganesha") {
        directory if directory.is_dir() => format!("Plugins_Dir = {};", directory.display()),
        _ => String::new(),
    };
    let config = format!(
        "NFS_Core_Param {{ NFS_Port = {}; Bind_addr = 127.0.0.1; Protocols = 4; Enable_UDP = false; Enable_NLM = false;
             Enable_RQUOTA = false; {plugins} }}
         NFSv4 {{ RecoveryRoot = {home}; Graceless = true; Only_Numeric_Owners = true; UseGetpwnam = true;
             Minor_Versions = {minor_versions}; }}
         NFS_KRB5 {{ Active_krb5 = false; }}
         EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /export; Access_Type = RW; Squash = No_Root_Squash;
             SecType = sys; FSAL {{ Name = VFS; }} }}\n",
        address.port(),
        directory.display(),
        home = home.display(),
    );
    let file = home.join("ganesha.conf");
    std::fs::write(&file, config).unwrap();
    // It reads /etc/mtab for the file system of what it exports, and a minimal Debian has none: in a mount namespace of
    // its own one is laid over /etc.
    let etc = home.join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::os::unix::fs::symlink("/proc/self/mounts", etc.join("mtab")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", "mount -t overlay -o \"lowerdir=$1:/etc\" overlay /etc; shift; exec \"$@\""]);
    command.arg("sh").arg(etc).arg(program);
    command.args(["-F", "-L", "STDOUT", "-f"]).arg(file).arg("-p").arg(home.join("pid"));
    command.env("LD_LIBRARY_PATH", std::env::join_paths([libraries.join("ganesha"), unpacked]).unwrap());
    Some(Daemon::start(command, address, "NFS SERVER INITIALIZED"))
}

/// QEMU's or Debian's virtiofsd, for one guest that connects to `socket`.
pub fn virtiofsd(directory: &Path, socket: &Path) -> Option<Daemon> {
    let mut command = Command::new(find_for_root("virtiofsd")?);
    let text = |path: &Path| path.display().to_string();
    // The older one has the directory among its options, which the newer one still reads.
    command.args(["-f", "-o", &format!("source={}", text(directory)), &format!("--socket-path={}", text(socket))]);
    Some(Daemon::start(command, free(), "Waiting for vhost-user socket connection"))
}

/// Runs openssl in a directory.
pub fn openssl(dir: &Path, words: &[&str]) {
    let output = Command::new("openssl").args(words).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate authority as a lab has its own.
pub struct Authority {
    pub dir: PathBuf,
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Authority {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let subject = format!("/CN={name}");
        let words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        openssl(&dir, &[&words[..], &["-keyout", "ca.key", "-out", "ca.pem", "-subj", &subject]].concat());
        Authority { dir }
    }

    /// A certificate for that address, and its key: PEM files.
    pub fn certify(&self, address: SocketAddr) -> (PathBuf, PathBuf) {
        self.sign(&format!("{}", address.ip()), &format!("subjectAltName=IP:{}", address.ip()))
    }

    pub fn sign(&self, name: &str, extension: &str) -> (PathBuf, PathBuf) {
        self.sign_key(name, extension, &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
    }

    /// The same for a key of another kind: what openssl's `-newkey` gets.
    pub fn sign_key(&self, name: &str, extension: &str, kind: &[&str]) -> (PathBuf, PathBuf) {
        let (certificate, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
        let words = [&["req", "-x509", "-nodes", "-newkey"], kind].concat();
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
        let names = ["-addext", extension, "-subj", &subject, "-keyout", &key, "-out", &certificate];
        openssl(&self.dir, &[&words[..], &by, &names].concat());
        (self.dir.join(certificate), self.dir.join(key))
    }

    /// A directory for `--cert-dir` that trusts it.
    pub fn cert_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(self.dir.join("ca.pem"), dir.join("lab.crt")).unwrap();
        dir
    }
}
