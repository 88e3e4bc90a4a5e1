//! The command line on a host, as root, with Debian's registry and image layouts. It is the same code as at boot, so
//! these tests need no virtual machine.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

#[path = "cli/archives.rs"]
mod archives;
#[path = "cli/blobs.rs"]
mod blobs;
#[path = "support/canaries.rs"]
mod canaries;
#[path = "cli/codes.rs"]
mod codes;
#[path = "cli/command_line.rs"]
mod command_line;
#[path = "cli/crowd.rs"]
mod crowd;
#[path = "cli/extra.rs"]
mod extra;
#[path = "cli/foreign.rs"]
mod foreign;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/inspect.rs"]
mod inspect;
#[path = "cli/layers.rs"]
mod layers;
#[path = "cli/many.rs"]
mod many;
#[path = "cli/mounts.rs"]
mod mounts;
#[path = "cli/named_files.rs"]
mod named_files;
#[path = "cli/namespaces.rs"]
mod namespaces;
#[path = "cli/odd_images.rs"]
mod odd_images;
#[path = "cli/paths.rs"]
mod paths;
#[path = "cli/progress.rs"]
mod progress;
#[path = "cli/rights.rs"]
mod rights;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/store.rs"]
mod store;
#[path = "cli/terminal.rs"]
mod terminal;

use canaries::snapshot;
use ocinit::host::image::Image;
use ocinit::host::registry::DockerRegistry;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use support::images;

/// Nothing here may take longer, even on a busy host.
const PATIENCE_S: u64 = 20;

/// A directory of one test, with a store of its own in it.
struct Host {
    dir: PathBuf,
    payload: Vec<u8>,
}

/// How a command ended.
struct Ended {
    code: i32,
    /// Its standard output and error.
    out: String,
    err: String,
}

impl Host {
    /// Containers take root.
    fn new(name: &str) -> Option<Host> {
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            skip!("this takes root");
        }
        Some(Host { dir: support::scratch(&format!("host-{name}")), payload: support::payload() })
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Writes an image; gives its name for the command line.
    fn layout(&self, name: &str, image: Image) -> String {
        let (layout, _) = images::write(&self.dir, name, image);
        format!("oci:{}:latest", layout.display())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocinit"));
        command.arg(words[0]).arg("--store").arg(self.store()).args(&words[1..]).stdin(Stdio::null());
        command
    }

    fn ocinit(&self, words: &[&str]) -> Ended {
        let start = Instant::now();
        let ended = Ended::new(&self.command(words).output().unwrap());
        println!("ocinit {words:?}: {}\n{}{}", ended.code, ended.out, ended.err);
        assert!(start.elapsed().as_secs() < PATIENCE_S, "took {:?}", start.elapsed());
        ended
    }

    /// The entries of the host's mount table that are of this test.
    fn mounts(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.to_string_lossy().into_owned();
        table.lines().filter(|line| line.contains(&dir)).map(String::from).collect()
    }

    /// The names below a directory of the store.
    fn stored(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.store().join(directory)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// What no command should leave: anything of a container, or of a layer in the making. A journal may stay.
    fn left(&self) -> Vec<String> {
        let making = self.stored("tmp").into_iter().flat_map(|claim| self.stored(&format!("tmp/{claim}")));
        self.stored("containers").into_iter().chain(making.filter(|name| !name.starts_with("pull."))).collect()
    }

    fn registry(&self) -> DockerRegistry {
        DockerRegistry::start(&self.dir.join("registry")).expect("docker-registry (./dev setup brings it)")
    }
}

impl Ended {
    fn new(output: &Output) -> Ended {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// `--init`, whose process 1 is our program, mounted there: the one under test has the host's own libraries.
fn init_flags() -> Vec<String> {
    let libraries = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|dir| Path::new(dir).exists());
    let mount = |dir: &str| ["-v".to_string(), format!("{dir}:{dir}:ro")];
    ["--init".to_string()].into_iter().chain(libraries.flat_map(mount)).collect()
}
