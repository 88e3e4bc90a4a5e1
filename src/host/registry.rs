//! Debian's `docker-registry` on a loopback port, for tests and benchmarks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// It usually answers after 0.1 s; a host that is busy with emulation takes longer.
const START_MS: u64 = 20_000;
/// Starts are repeated: the port that was free may be taken by another process before the registry binds it.
const TRIES: u32 = 3;

/// A running `docker-registry`, killed when this is dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    dir: PathBuf,
    pub port: u16,
}

impl DockerRegistry {
    /// Starts a registry that keeps its blobs below `dir` (created if missing), and waits
    /// until it accepts connections. `NotFound`: the program is not installed.
    pub fn start(dir: &Path) -> io::Result<DockerRegistry> {
        DockerRegistry::start_with(dir, None)
    }

    /// As [`DockerRegistry::start`], with https by a certificate and its key (PEM files).
    pub fn start_https(dir: &Path, certificate: &Path, key: &Path) -> io::Result<DockerRegistry> {
        DockerRegistry::start_with(dir, Some((certificate, key)))
    }

    fn start_with(dir: &Path, tls: Option<(&Path, &Path)>) -> io::Result<DockerRegistry> {
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let mut last = io::Error::other("never tried");
        for _ in 0..TRIES {
            match start_once(&dir, tls) {
                Ok(registry) => return Ok(registry),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// `HOST:PORT` for a client on this host.
    pub fn here(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `HOST:PORT` for a guest on QEMU's user network.
    pub fn for_guest(&self) -> String {
        format!("10.0.2.2:{}", self.port)
    }

    /// The directory of its files: blobs are `docker/registry/v2/blobs/sha256/XX/HEX/data`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of requests so far whose line in the log contains `part`, as `GET /v2/NAME/blobs/`.
    pub fn requests(&self, part: &str) -> usize {
        let log = std::fs::read_to_string(self.dir.join("registry.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(part)).count()
    }

    /// Copies the image `tag` of an OCI layout to `NAME[:TAG]` of this registry, blobs unchanged.
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> io::Result<()> {
        let mut skopeo = Command::new(find("skopeo"));
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]);
        skopeo.arg(format!("oci:{}:{tag}", layout.display())).arg(format!("docker://{}/{name}", self.here()));
        let output = skopeo.stdin(Stdio::null()).output().map_err(|error| context("skopeo", error))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("skopeo: {}", text.lines().last().unwrap_or("failed"))))
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_once(dir: &Path, tls: Option<(&Path, &Path)>) -> io::Result<DockerRegistry> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let config = dir.join("registry.yml");
    std::fs::write(&config, configuration(dir, port, tls))?;
    let log = std::fs::File::create(dir.join("registry.log"))?;
    let program = find("docker-registry");
    let mut command = Command::new(&program);
    command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().map_err(|error| context("docker-registry", error))?;
    let mut registry = DockerRegistry { child, dir: dir.to_path_buf(), port };
    let deadline = Instant::now() + Duration::from_millis(START_MS);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while Instant::now() < deadline {
        // Its end is checked first: the open port may be that of another process, which was faster.
        if let Some(status) = registry.child.try_wait()? {
            let text = std::fs::read_to_string(dir.join("registry.log")).unwrap_or_default();
            let why = text.lines().last().unwrap_or("its log is empty").to_string();
            return Err(io::Error::other(format!("docker-registry: {status}: {why}")));
        }
        if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            return Ok(registry);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("docker-registry: no connection to port {port}")))
}

/// The configuration has no cache: a test that changes a blob's file must get the changed bytes.
fn configuration(dir: &Path, port: u16, tls: Option<(&Path, &Path)>) -> String {
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy());
    let tls = tls.map_or(String::new(), |(certificate, key)| {
        format!("  tls:\n    certificate: {}\n    key: {}\n", quoted(certificate), quoted(key))
    });
    format!(
        "version: 0.1\n\
         log:\n  level: error\n\
         storage:\n  filesystem:\n    rootdirectory: {dir}\n  delete:\n    enabled: true\n\
         http:\n  addr: 127.0.0.1:{port}\n{tls}",
        dir = quoted(dir),
    )
}

/// Finds a program in PATH, or among those that `./dev setup` unpacks without installing them.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("target/tools/usr/bin")]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file()).unwrap_or_else(|| program.into())
}

fn context(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn ask(port: u16) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn it_answers_while_it_is_owned() {
        // A space and a colon: the path is quoted in the configuration.
        let dir = std::env::temp_dir().join(format!("ocinit registry: {}", std::process::id()));
        let registry = match DockerRegistry::start(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skip!("there is no docker-registry here (./dev setup brings it)")
            }
            other => other.unwrap(),
        };
        let port = registry.port;
        let answer = ask(port).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("Docker-Distribution-Api-Version: registry/2.0"), "{answer}");
        assert_eq!(registry.for_guest(), format!("10.0.2.2:{port}"));
        drop(registry);
        assert!(ask(port).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_bad_layout_is_an_error_with_a_reason() {
        let dir = std::env::temp_dir().join(format!("ocinit-registry-push-{}", std::process::id()));
        let Ok(registry) = DockerRegistry::start(&dir) else {
            skip!("there is no docker-registry here (./dev setup brings it)");
        };
        let error = registry.push(Path::new("/nonexistent"), "latest", "demo:latest").unwrap_err();
        assert!(error.to_string().starts_with("skopeo: "), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
