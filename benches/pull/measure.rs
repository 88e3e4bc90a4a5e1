//! The contenders, and the measurement of one pull.

use super::decoder::Decoder;
use super::images::Image;
use super::places::Place;
use ocinit::host::registry::DockerRegistry;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::{Duration, Instant};

const INIT: &str = "target/ocinit/x86_64/ocinit";
/// Libraries of the programs that `./dev` unpacks without installing them.
pub const LIBRARIES: &str = "target/tools/usr/lib/x86_64-linux-gnu";
const SAMPLE: Duration = Duration::from_millis(2);

/// The contenders, in the order of the columns.
pub const CONTENDERS: &[Contender] = &[
    Contender { name: "ours", title: "ocinit", command: ours },
    Contender { name: "podman", title: "podman", command: podman },
    Contender { name: "skopeo_umoci", title: "skopeo + umoci", command: skopeo_umoci },
    Contender { name: "floor", title: "floor", command: floor },
];

/// One way to get an image's layers into directories.
pub struct Contender {
    /// Its name in the keys of the JSON.
    pub name: &'static str,
    /// Its name in the report.
    pub title: &'static str,
    command: fn(&Job) -> Command,
}

/// One image and one file system.
pub struct Job<'a> {
    pub image: &'a Image,
    pub place: &'a Place,
    pub registry: &'a DockerRegistry,
    /// The decoder of the floor.
    pub decoder: &'a Decoder,
    /// The directory of blobs for the floor, on a tmpfs.
    pub blobs: PathBuf,
}

/// The figures of one run.
#[derive(Clone, Copy)]
pub struct Run {
    pub wall_s: f64,
    /// The same, until a sync(1) of that file system has ended.
    pub synced_s: f64,
    /// User and system time of all processes.
    pub cpu_s: f64,
    /// The peak RSS of the largest process, with mapped files.
    pub rss_mib: f64,
}

impl Run {
    /// The figures as text for the console.
    pub fn words(&self) -> String {
        let Run { wall_s, synced_s, cpu_s, rss_mib } = self;
        format!("{wall_s:.3} s ({synced_s:.3} with sync), {cpu_s:.2} s of CPU, {rss_mib:.1} MiB")
    }
}

impl Job<'_> {
    fn reference(&self) -> String {
        format!("{}/{}:latest", self.registry.here(), self.image.name)
    }

    /// Makes an empty directory, and syncs what earlier runs have written.
    fn fresh(&self) -> Result<PathBuf, String> {
        let dir = self.place.dir.join("run");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("tmp")).map_err(|error| format!("{}: {error}", dir.display()))?;
        Command::new("sync").status().map_err(|error| format!("sync: {error}"))?;
        Ok(dir)
    }

    /// One run into an empty directory, which must succeed.
    pub fn run(&self, contender: &Contender) -> Result<Run, String> {
        let dir = self.fresh()?;
        let mut time = self.timed(contender);
        let start = Instant::now();
        let output = time.output().map_err(|error| format!("time: {error}"))?;
        let wall_s = start.elapsed().as_secs_f64();
        Command::new("sync").arg("-f").arg(&dir).status().map_err(|error| format!("sync: {error}"))?;
        let synced_s = start.elapsed().as_secs_f64();
        if !output.status.success() {
            // The registry's port differs from run to run.
            return Err(complaint(&output.stderr).replace(&self.reference(), self.image.name));
        }
        // A run that leaves out files is not a fast one.
        let files = regular_files(&dir);
        if files < self.image.files {
            return Err(format!("unpacked {files} of {} files", self.image.files));
        }
        let text = std::fs::read_to_string(self.times()).map_err(|error| format!("time: {error}"))?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [user_s, system_s, rss_kib] = numbers[..] else { return Err(format!("time: {text}")) };
        Ok(Run { wall_s, synced_s, cpu_s: user_s + system_s, rss_mib: rss_kib / 1024.0 })
    }

    /// The peak of memory that is not mapped from files, in MiB, sampled in a run of its own.
    pub fn anonymous_mib(&self, contender: &Contender) -> Result<f64, String> {
        self.fresh()?;
        let mut time = self.timed(contender);
        time.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = time.spawn().map_err(|error| format!("time: {error}"))?;
        let (stop, stopped) = channel::<()>();
        let pid = child.id();
        let sampler = std::thread::spawn(move || {
            let mut most_kib = 0;
            while stopped.recv_timeout(SAMPLE) == Err(RecvTimeoutError::Timeout) {
                most_kib = most_kib.max(anonymous_kib(pid));
            }
            most_kib
        });
        let status = child.wait().map_err(|error| format!("time: {error}"))?;
        drop(stop);
        let most_kib = sampler.join().map_err(|_| "the sampling thread panicked")?;
        if status.success() {
            Ok(most_kib as f64 / 1024.0)
        } else {
            Err(format!("{}: {status}", contender.name))
        }
    }

    fn timed(&self, contender: &Contender) -> Command {
        let command = (contender.command)(self);
        let mut time = Command::new("time");
        time.args(["-q", "-f", "%U %S %M", "-o"]).arg(self.times());
        time.arg(command.get_program()).args(command.get_args());
        let libraries = Path::new(LIBRARIES).canonicalize().unwrap_or_default();
        time.env("LD_LIBRARY_PATH", libraries).env("TMPDIR", self.dir("tmp")).stdin(Stdio::null());
        time
    }

    /// The output file of GNU time, on the tmpfs of the blobs.
    fn times(&self) -> PathBuf {
        self.blobs.with_file_name("times")
    }

    fn dir(&self, name: &str) -> PathBuf {
        // podman needs absolute paths.
        std::env::current_dir().unwrap_or_default().join(&self.place.dir).join("run").join(name)
    }
}

fn ours(job: &Job) -> Command {
    let mut command = Command::new(INIT);
    // The others do not wait for the disk either; the time of a sync is a row of its own.
    command.arg("pull").arg("--store").arg(job.dir("store")).args(["--sync=false", "--tls-verify=false"]);
    command.arg(job.reference());
    command
}

fn podman(job: &Job) -> Command {
    let mut command = Command::new("podman");
    command.arg("--root").arg(job.dir("root")).arg("--runroot").arg(job.dir("runroot"));
    command.arg("--tmpdir").arg(job.dir("tmpdir"));
    command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "pull", "-q", "--tls-verify=false"]);
    command.arg(job.reference());
    command
}

fn skopeo_umoci(job: &Job) -> Command {
    let script = "skopeo --insecure-policy copy -q --src-tls-verify=false \"docker://$0\" \"oci:$1:latest\" && \
                  umoci unpack --image \"$1:latest\" \"$2\" >/dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, &job.reference()]).arg(job.dir("oci")).arg(job.dir("bundle"));
    command
}

/// No download and no hashing: each layer into its own directory, as many in parallel as there are cores.
fn floor(job: &Job) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let script = format!(
        "cd \"$0\" && ls \"$1\" | xargs -P {cores} -I LAYER sh -c \
         'mkdir LAYER && {decoder} < \"$0/LAYER\" | tar -xf - -C LAYER' \"$1\"",
        decoder = job.decoder.words
    );
    let blobs = job.blobs.canonicalize().unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(job.dir("")).arg(blobs);
    command
}

/// RssAnon and RssShmem of the program that `time` has started.
fn anonymous_kib(time: u32) -> u64 {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let children = read(format!("/proc/{time}/task/{time}/children"));
    let Some(child) = children.split_whitespace().next() else { return 0 };
    let status = read(format!("/proc/{child}/status"));
    let fields = status.lines().filter_map(|line| line.strip_prefix("RssAnon:").or(line.strip_prefix("RssShmem:")));
    fields.filter_map(|field| field.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

/// The last line that is not empty.
fn complaint(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no message");
    line.trim_start_matches(|c: char| !c.is_alphanumeric()).to_string()
}

fn regular_files(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let count = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => regular_files(&entry.path()),
        Ok(kind) => u64::from(kind.is_file()),
        Err(_) => 0,
    };
    entries.map(count).sum()
}
