//! A thousand starts by one process, which afterwards holds what it held before. It is a test program of its own, as
//! other tests would open files and start threads meanwhile.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

use ocinit::boot::cli;
use ocinit::boot::pure::arguments;
use ocinit::container::pure::spec::parse;
use ocinit::host::image::{tar, Entry};
use ocinit::report::Report;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use support::images;

/// Most of the time of the starts is the kernel's: each unmount waits for an RCU grace period.
const STARTS: usize = 1000;

/// What a process can leak.
#[derive(Debug, PartialEq)]
struct Held {
    /// Numbers, and what they are of.
    descriptors: Vec<String>,
    threads: usize,
    children: Vec<String>,
    /// Of the test's own directory.
    mounts: Vec<String>,
    /// Names of our containers' control groups, and of what the store keeps of containers.
    directories: Vec<String>,
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Held {
    fn now(dir: &Path) -> Held {
        let target = |number: &String| std::fs::read_link(format!("/proc/self/fd/{number}"));
        // The one that lists them is gone.
        let open =
            names(Path::new("/proc/self/fd")).into_iter().filter_map(|number| Some((target(&number).ok()?, number)));
        let threads = names(Path::new("/proc/self/task"));
        let children = |thread: &String| std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = dir.to_string_lossy();
        let groups = names(Path::new("/sys/fs/cgroup"));
        let group = format!("ocinit.{}", std::process::id());
        Held {
            descriptors: open.map(|(target, number)| format!("{number} {}", target.display())).collect(),
            children: threads.iter().map(children).filter(|text| !text.is_empty()).collect(),
            threads: threads.len(),
            mounts: table.lines().filter(|line| line.contains(&*own)).map(String::from).collect(),
            directories: names(&dir.join("store/containers"))
                .into_iter()
                .chain(groups.into_iter().filter(|name| *name == group))
                .collect(),
        }
    }
}

/// Standard output and error in files, until it is dropped: what containers write goes there by number.
struct Streams([i32; 2]);

impl Streams {
    fn redirect(out: &File, error: &File) -> Streams {
        // SAFETY: the descriptors are open, and those of the process are given back.
        Streams([(out, 1), (error, 2)].map(|(file, number)| unsafe {
            let kept = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0);
            libc::dup2(file.as_raw_fd(), number);
            kept
        }))
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for (kept, number) in self.0.iter().zip([1, 2]) {
            // SAFETY: both are open; nobody else knows the first one.
            unsafe {
                libc::dup2(*kept, number);
                libc::close(*kept);
            }
        }
    }
}

/// Flags, what is run, and the exit code: containers that start, and that fail at various points.
fn variants(dir: &Path) -> Vec<(String, &'static str, i32)> {
    let layer = dir.join("extra.tar");
    std::fs::write(&layer, tar(&[Entry::file("extra", 0o644, "over it")])).unwrap();
    vec![
        (String::new(), "fds", 0),
        ("-t".into(), "fds", 0),
        ("-i".into(), "fds", 0),
        ("-v named:/w --tmpfs /x --read-only".into(), "fds", 0),
        ("--pid=host --ipc=host --uts=host --net=none".into(), "fds", 0),
        ("--privileged=false --name one -u 7:8".into(), "fds", 0),
        (format!("--layer={}", layer.display()), "fds", 0),
        (String::new(), "exit 3", 3),
        ("--pid=host".into(), "kill 9", 137),
        ("--entrypoint /missing".into(), "fds", 127),
        ("-w /missing".into(), "fds", 126),
        ("-u nobody-knows".into(), "fds", 126),
        ("-v /no/such/directory:/w".into(), "fds", 125),
        ("--pid=container:nobody".into(), "fds", 125),
        ("--security-opt seccomp=/no/such/file".into(), "fds", 125),
    ]
}

/// Promise: thousand-starts
#[test]
fn a_thousand_starts_leave_nothing() {
    // SAFETY: takes nothing, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        skip!("this takes root");
    }
    let dir = support::scratch("starts");
    let (layout, _) = images::write(&dir, "payload", images::payload(&support::payload()));
    let store = dir.join("store");
    let variants = variants(&dir);
    let files = ["out", "error"].map(|name| File::create_new(dir.join(name)).unwrap());
    let start = |at: usize| {
        let (flags, command, want) = &variants[at % variants.len()];
        let image = format!("oci:{}:latest", layout.display());
        let words = format!("run --store {} {flags} {image} {command}", store.display());
        let words: Vec<String> = words.split_whitespace().map(String::from).collect();
        let arguments = arguments::parse(&words).unwrap();
        let spec = parse::parse(&arguments.words).unwrap();
        let code = cli::run(&arguments, &spec, &Report::on_host()).unwrap_or(125);
        assert_eq!(code, *want, "start {at}: {flags} {command}");
    };
    let streams = Streams::redirect(&files[0], &files[1]);
    // What is made once, by the first of each kind, is no leak.
    (0..variants.len()).for_each(start);
    let before = Held::now(&dir);
    (0..STARTS).for_each(start);
    let after = Held::now(&dir);
    drop(streams);
    assert_eq!(before, after);
    assert_eq!((&after.children, &after.mounts, &after.directories), (&vec![], &vec![], &vec![]));
    // And what each container had open: its three streams.
    let out = std::fs::read_to_string(dir.join("out")).unwrap();
    // The test harness writes there, too, when a test takes longer than a minute.
    let lines = out.lines().filter(|line| !line.starts_with("test a_thousand_starts_leave_nothing has been running"));
    let numbers: Vec<&str> = lines.map(|line| line.split(' ').next().unwrap()).collect();
    let tellers = (0..variants.len()).chain(0..STARTS).map(|at| &variants[at % variants.len()]);
    let tellers = tellers.filter(|(_, command, want)| *command == "fds" && *want == 0).count();
    assert_eq!(numbers, ["0", "1", "2"].repeat(tellers));
}
