//! One system call of a command fails, each call of each of its processes in turn: the command must end with a message
//! and leave nothing. A few of the calls are taken; `FAULTS=all`, as in `./dev fuzz faults`, takes all of them, and
//! `ERRNO=5` takes another error than ENOMEM. The release is run, as a panic aborts only there.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

use ocinit::host::image::{Entry, Image};
use ocinit::host::registry::DockerRegistry;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::images;

/// What runs, unless OCINIT_INIT names another.
const INIT: &str = "target/ocinit/x86_64/ocinit";
/// A command that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(45);
/// What the container's own program ends with: none of our own codes.
const CODE: i32 = 7;
/// Where the kernel's numbers of system calls have names, for the messages.
const NAMES: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

/// Process, system call, and which of them.
type Call = (u64, u64, u64);

struct Scenario {
    name: &'static str,
    dir: PathBuf,
    /// Behind `ocinit COMMAND --store DIR`.
    command: &'static str,
    words: Vec<String>,
    /// The store is empty each time.
    fresh: bool,
    /// A container with the store as it then is, which must run.
    after: Vec<String>,
    /// Processes that name the directory and are none of ours.
    others: Vec<String>,
}

/// How a command went.
struct Run {
    /// `PROCESS CALL COUNT` for each.
    calls: Vec<Call>,
    met: bool,
    /// `exit 0`; none where it had no end.
    end: String,
    /// Its standard error.
    text: String,
    left: Vec<String>,
}

fn init() -> PathBuf {
    let init = std::env::var("OCINIT_INIT").unwrap_or_else(|_| INIT.into());
    Path::new(&init).canonicalize().unwrap_or_else(|error| panic!("{init}: {error} (./dev build makes it)"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The control groups that have the form of ours.
fn groups() -> Vec<String> {
    let mut all = Vec::new();
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let own = names(Path::new(root)).into_iter().filter(|name| name.starts_with("ocinit."));
        all.extend(own.map(|name| format!("{root}/{name}")));
    }
    all
}

/// Waits for its end; false where it has none in time.
fn ends(child: &mut Child) -> bool {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: takes numbers; a fresh descriptor that nobody else has.
    let pid = unsafe { OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, child.id(), 0) as i32) };
    let mut poll = libc::pollfd { fd: pid.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which lives through the call.
    let ended = unsafe { libc::poll(&mut poll, 1, PATIENCE.as_millis() as i32) } > 0;
    if !ended {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    ended
}

impl Scenario {
    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn run(&self, (process, call, n): Call, errno: i32) -> Run {
        if self.fresh {
            let _ = std::fs::remove_dir_all(self.store());
        }
        // It is filled from the image each time.
        let _ = std::fs::remove_dir_all(self.store().join("volumes/named"));
        let [out, text] = ["out", "text"].map(|name| self.dir.join(name));
        let _ = std::fs::remove_file(&out);
        let mut command = Command::new(self.dir.join("payload"));
        command.arg("inject").arg(&out).args([process, call, n].map(|number| number.to_string()));
        command.arg(errno.to_string()).arg(init()).arg(self.command).arg("--store").arg(self.store()).args(&self.words);
        let error = File::create(&text).unwrap();
        let before = groups();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(error).spawn().unwrap();
        let ended = ends(&mut child);
        let told = std::fs::read_to_string(&out).unwrap();
        let number = |word: &str| word.parse::<u64>().ok();
        let calls = told.lines().filter_map(|line| match line.split(' ').map(number).collect::<Vec<_>>()[..] {
            [Some(process), Some(call), Some(count)] => Some((process, call, count)),
            _ => None,
        });
        Run {
            calls: calls.collect(),
            met: told.lines().any(|line| line == "fault"),
            end: if ended { told.lines().last().unwrap_or_default().into() } else { String::new() },
            text: String::from_utf8_lossy(&std::fs::read(&text).unwrap()).into_owned(),
            left: self.left(&told, &before),
        }
    }

    /// What is there that was not before. A process that was killed long ago may have left the control groups `before`,
    /// and a process of ours may have its number.
    fn left(&self, told: &str, before: &[String]) -> Vec<String> {
        let own = self.dir.to_string_lossy();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = table.lines().filter(|line| line.contains(&*own)).map(|line| format!("mount {line}"));
        let store = self.store();
        let tmp = names(&store.join("tmp")).into_iter().filter(|claim| {
            // Only what was just being written to the disk is told there to the next one.
            let made = names(&store.join("tmp").join(claim));
            made.is_empty() || made.iter().any(|name| !name.starts_with("pull."))
        });
        let aside = names(&store.join("volumes")).into_iter().filter(|name| name.starts_with('.'));
        let containers = names(&store.join("containers")).into_iter().map(|name| format!("containers/{name}"));
        let pid = told.lines().find_map(|line| line.strip_prefix("pid ")).unwrap();
        let of_run = format!("/ocinit.{pid}");
        let groups = groups().into_iter().filter(|group| group.ends_with(&of_run) && !before.contains(group));
        let processes = self.processes().into_iter().filter(|pid| !self.others.contains(pid));
        let processes = processes.map(|pid| format!("process {pid}"));
        let aside = aside.map(|name| format!("volumes/{name}"));
        let rest = tmp.map(|name| format!("tmp/{name}")).chain(aside).chain(containers).chain(groups).chain(processes);
        let told = told.lines().filter(|line| line.starts_with("left ")).map(String::from);
        told.chain(mounts).chain(rest).collect()
    }

    /// Processes with the directory's name in their command lines.
    fn processes(&self) -> Vec<String> {
        let own = self.dir.to_string_lossy();
        let line = |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let all = names(Path::new("/proc")).into_iter();
        all.filter(|pid| String::from_utf8_lossy(&line(pid)).contains(&*own)).collect()
    }

    /// The store as if nothing had been; groups that stay are removed, so that the next one has its own.
    fn clear(&self, left: &[String]) {
        for group in left.iter().filter(|left| left.starts_with("/sys/")) {
            let _ = std::fs::remove_dir(group);
        }
        for _ in 0..8 {
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let own = self.dir.to_string_lossy();
            for at in table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| at.contains(&*own)) {
                let _ = Command::new("umount").args(["-l", at]).stderr(Stdio::null()).status();
            }
        }
        match std::fs::remove_dir_all(self.store()) {
            // It had ended before it came to that.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.unwrap(),
        }
    }

    /// A plain container, with no fault; what is wrong with it.
    fn plain(&self) -> Option<String> {
        let mut command = Command::new(init());
        command.arg("run").arg("--store").arg(self.store()).args(&self.after).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        (output.status.code() != Some(CODE)).then(|| format!("the next run: {:?} {text}", output.status))
    }

    /// What is wrong with how it went, by its kind.
    fn verdict(&self, run: &Run) -> Option<(&'static str, String)> {
        let good = format!("exit {}", if self.command == "run" { CODE } else { 0 });
        let told = run.text.lines().any(|line| line.starts_with("FAIL "));
        if run.end.is_empty() {
            Some(("hangs", String::new()))
        } else if !run.end.starts_with("exit ") || run.end != good && !told {
            Some(("silent", run.end.clone()))
        } else if run.end == good && told {
            Some(("silent", "it failed, and its code says nothing".into()))
        } else {
            (!run.left.is_empty()).then(|| ("left", run.left.join(", ")))
        }
    }

    fn campaign(&self) -> Vec<String> {
        let errno = std::env::var("ERRNO").map_or(libc::ENOMEM, |text| text.parse().unwrap());
        if !self.fresh {
            assert_eq!(self.plain(), None, "{}", self.name);
        }
        let first = self.run((0, 0, 0), errno);
        assert_eq!(self.verdict(&first), None, "{}: without a fault: {}", self.name, first.text);
        assert!(first.calls.len() > 20, "{}: few calls: {:?}", self.name, first.calls);
        let all = std::env::var_os("FAULTS").is_some_and(|value| value == "all");
        let which = |count: u64| if all { (1..=count).collect() } else { vec![1, count] };
        let mut faults: Vec<Call> =
            first.calls.iter().flat_map(|(p, call, count)| which(*count).into_iter().map(|n| (*p, *call, n))).collect();
        faults.sort_unstable();
        faults.dedup();
        faults.retain(|(_, call, _)| !EXEMPT.contains(&(*call as i64)));
        let start = Instant::now();
        let (mut counts, mut wrong) = (BTreeMap::<&str, usize>::new(), Vec::new());
        for (at, fault) in faults.iter().enumerate() {
            let run = self.run(*fault, errno);
            *counts.entry(if run.met { "met" } else { "not met" }).or_default() += 1;
            // After each failure, and now and then.
            let is_due = run.text.contains("FAIL ") || at % 16 == 0;
            let next = || is_due.then(|| self.plain()).flatten().map(|why| ("broken", why));
            let verdict = self.verdict(&run).or_else(next);
            if let Some((kind, what)) = verdict {
                *counts.entry(kind).or_default() += 1;
                let (process, call, n) = *fault;
                let line =
                    format!("{}: process {process}, {} {n}: {kind}: {what}\n{}", self.name, name(call), run.text);
                println!("{line}");
                wrong.push(line);
                self.clear(&run.left);
                self.plain();
            }
        }
        tell(self.name, &counts, start.elapsed());
        wrong
    }
}

/// No faults of ours: the C library makes two of these before its program's first instruction, the first execve(2) is
/// the tracer's, and whoever wakes another by futex(2) does not ask whether that has worked, since it cannot fail.
const EXEMPT: [i64; 3] = [libc::SYS_arch_prctl, libc::SYS_set_tid_address, libc::SYS_futex];

fn name(call: u64) -> String {
    let text = std::fs::read_to_string(NAMES).unwrap_or_default();
    let ours = |line: &&str| line.rsplit(' ').next() == Some(&call.to_string());
    let name = text.lines().find(ours).and_then(|line| line.split("__NR_").nth(1)).unwrap_or("call");
    format!("{} ({call})", name.split(' ').next().unwrap_or_default())
}

static ROWS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A line of the table, which is printed when the test program ends.
fn tell(name: &str, counts: &BTreeMap<&str, usize>, took: Duration) {
    let count = |kind| counts.get(kind).copied().unwrap_or(0);
    let row = format!(
        "faults: {name:<44} {:>6} {:>8} {:>7} {:>10} {:>6} {:>12} {:>5} s",
        count("met"),
        count("not met"),
        count("silent"),
        count("left"),
        count("hangs"),
        count("broken"),
        took.as_secs()
    );
    let mut rows = ROWS.lock().unwrap();
    if rows.is_empty() {
        support::at_exit(|| {
            println!("faults: {:<44} faults  not met  silent  leftovers  hangs  broken store", "command");
            ROWS.lock().unwrap().iter().for_each(|row| println!("{row}"));
        });
    }
    rows.push(row);
}

/// A directory of its own with the tracer in it, and an image; none without root.
fn scenario(name: &'static str, command: &'static str, flags: &str, image: Image) -> Option<Scenario> {
    // SAFETY: takes nothing, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        skip!("this takes root");
    }
    if !cfg!(target_arch = "x86_64") {
        skip!("the tracer knows x86-64 alone");
    }
    let dir = support::scratch(&format!("faults-{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "")));
    std::fs::write(dir.join("payload"), support::payload()).unwrap();
    std::fs::set_permissions(dir.join("payload"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (layout, _) = images::write(&dir, "image", image);
    let image = format!("oci:{}:latest", layout.display());
    let words: Vec<String> = flags.split_whitespace().map(String::from).chain([image.clone()]).collect();
    let command_line = [["exit".into(), CODE.to_string(), dir.display().to_string()]];
    let run: Vec<String> = if command == "run" { command_line.concat() } else { Vec::new() };
    let after = [vec![image], command_line.concat()].concat();
    Some(Scenario {
        name,
        dir,
        command,
        words: [words, run].concat(),
        fresh: command == "pull",
        after,
        others: Vec::new(),
    })
}

fn passes(scenario: &Scenario) {
    let wrong = scenario.campaign();
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// Promise: failing-system-calls
#[test]
fn a_privileged_run() {
    let Some(scenario) = scenario("run", "run", "", images::payload(&support::payload())) else { return };
    passes(&scenario);
}

/// Promise: failing-system-calls
#[test]
fn an_isolated_run_on_a_terminal() {
    let image = images::payload(&support::payload());
    let Some(scenario) = scenario("run --privileged=false -t", "run", "--privileged=false -t", image) else { return };
    passes(&scenario);
}

/// Promise: failing-system-calls
#[test]
fn a_run_with_volumes_and_a_name() {
    let extra = [Entry::file("data/one", 0o644, "1"), Entry::file("home/guest/two", 0o600, "2")];
    let image = images::odd(&support::payload(), &extra, "", "/");
    let flags = "-v named:/data --tmpfs /home/guest --name faults";
    let Some(scenario) = scenario("run -v named:… --tmpfs … --name …", "run", flags, image) else { return };
    passes(&scenario);
}

/// Limits of a process's addresses, from one that is too little for anything to one that is enough.
#[test]
fn a_run_within_little_memory() {
    use std::os::unix::process::CommandExt;
    let image = images::payload(&support::payload());
    let Some(scenario) = scenario("memory", "run", "--privileged=false -t", image) else { return };
    assert_eq!(scenario.plain(), None);
    let first = std::fs::metadata(init()).unwrap().len().next_multiple_of(1 << 16) + (1 << 17);
    let (mut ran, mut failed) = (0, 0);
    for bytes in (first..first + (3 << 20)).step_by(1 << 14) {
        let mut command = Command::new(init());
        command.arg("run").arg("--store").arg(scenario.store()).args(&scenario.words).stdin(Stdio::null());
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: makes one system call.
        let set = move || match unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: as above, between fork and exec.
        unsafe { command.pre_exec(set) };
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = text.lines().any(|line| line.starts_with("FAIL "));
        match output.status.code() {
            Some(CODE) => ran += 1,
            Some(125) if told => failed += 1,
            code => panic!("{bytes} bytes: {code:?} {text}"),
        }
        let left = scenario.left("pid 0", &[]);
        assert!(left.is_empty(), "{bytes} bytes: {left:?} {text}");
    }
    println!("faults: within little memory: {ran} ran, {failed} failed and said so");
    assert!(ran > 0 && failed > 0, "{ran} ran, {failed} failed");
}

/// Promise: failing-system-calls
#[test]
fn a_pull_from_a_registry() {
    let image = images::layers(&support::payload());
    let Some(mut scenario) = scenario("pull REGISTRY", "pull", "", image) else { return };
    let Ok(registry) = DockerRegistry::start(&scenario.dir.join("registry")) else {
        skip!("no docker-registry here (./dev setup brings it)");
    };
    scenario.others = scenario.processes();
    registry.push(&scenario.dir.join("image"), "latest", "image").unwrap();
    let image = format!("{}/image", registry.here());
    scenario.words = vec!["--tls-verify=false".into(), image.clone()];
    scenario.after = [vec!["--tls-verify=false".into(), image], scenario.after.split_off(1)].concat();
    passes(&scenario);
}

/// Promise: failing-system-calls
#[test]
fn a_pull_of_a_layer_that_needs_no_unpacking() {
    let Some(first) = scenario("pull oci:", "pull", "", images::payload(&support::payload())) else { return };
    let Some(image) = images::squashfs(&first.dir, &support::payload()) else { return };
    images::write(&first.dir, "image", image);
    passes(&first);
}
