//! `ocinit run` ends as its container does: with each exit code, and after each signal.

use super::{images, init_flags, Ended, Host, PATIENCE_S};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Instant;

/// Containers at a time: they wait for each other's disk more than they compute.
const AT_ONCE: usize = 4;

/// What a process survives that has no handler (signal(7)).
const IGNORED: [i32; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
/// What only stops it.
const STOPPING: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// Linux has no more.
const SIGNAL_LAST: i32 = 64;

/// The two ways in which a container's command is not process 1 of its namespace, which no signal of its own ends: in
/// the host's processes, where the kernel tells us the signal, and below our init, which tells it by an exit code.
fn ways() -> [(&'static str, Vec<String>); 2] {
    [("--pid=host", vec!["--pid=host".into()]), ("--init", init_flags())]
}

/// Runs the payload with each of the commands; whichever has ended otherwise than its `want`.
fn wrong(host: &Host, image: &str, all: &[(Vec<String>, [String; 2], i32)]) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((flags, command, want)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let flags = flags.iter().map(String::as_str);
            let words = ["run", "--ulimit=core=0"].into_iter().chain(flags).chain([image]);
            let words: Vec<&str> = words.chain(command.iter().map(String::as_str)).collect();
            let output = host.command(&words).output().unwrap();
            if output.status.code() != Some(*want) {
                let error = String::from_utf8_lossy(&output.stderr);
                wrong.lock().unwrap().push(format!("{words:?}: {}, not {want}: {error}", output.status));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(work)));
    });
    wrong.into_inner().unwrap()
}

/// Promise: exit-codes
#[test]
fn every_exit_code() {
    let Some(host) = Host::new("every-code") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let of = |flags: &[String]| -> Vec<_> {
        (0..=255).map(|code| (flags.to_vec(), ["exit".into(), code.to_string()], code)).collect()
    };
    let all = [of(&[]), of(&init_flags())].concat();
    assert_eq!(wrong(&host, &image, &all), Vec::<String>::new());
    assert_eq!((host.left(), host.mounts()), (Vec::new(), Vec::new()));
}

/// 128 and the signal. What survives one is reported by what it does then; those that stop it have a test of their own.
/// Promise: exit-codes
#[test]
fn every_signal() {
    let Some(host) = Host::new("every-signal") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let want = |signal| if IGNORED.contains(&signal) { 0 } else { 128 + signal };
    let signals: Vec<i32> = (1..=SIGNAL_LAST).filter(|signal| !STOPPING.contains(signal)).collect();
    let of = |flags: Vec<String>| {
        let one = |signal: &i32| (flags.clone(), ["kill".into(), signal.to_string()], want(*signal));
        signals.iter().map(one).collect::<Vec<_>>()
    };
    let all = ways().map(|(_, flags)| of(flags)).concat();
    assert_eq!(wrong(&host, &image, &all), Vec::<String>::new());
    assert_eq!((host.left(), host.mounts()), (Vec::new(), Vec::new()));
}

/// Runs the payload until it has said `line`, or at once.
fn start(host: &Host, flags: &[String], image: &str, command: [&str; 2], line: &str) -> Child {
    let flags = flags.iter().map(String::as_str);
    let words: Vec<&str> = ["run"].into_iter().chain(flags).chain([image]).chain(command).collect();
    let mut child = host.command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    if !line.is_empty() {
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim_end(), line);
    }
    child
}

/// What we are sent goes to the container, which does not expect it.
/// Promise: exit-codes
#[test]
fn signals_from_outside() {
    let Some(host) = Host::new("outside") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for (way, flags) in ways() {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM] {
            let mut child = start(&host, &flags, &image, ["sleep", "60"], "sleeping");
            // SAFETY: takes two numbers; the process is our child and was not waited for.
            unsafe { libc::kill(child.id() as i32, signal) };
            assert_eq!(child.wait().unwrap().code(), Some(128 + signal), "{way}, signal {signal}");
        }
    }
}

/// The processes below `pid`, and itself.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|text| text.parse().ok());
    children.flat_map(family).chain([pid]).collect()
}

fn is_stopped(pid: &u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tT"))
}

/// A process that stops has not ended: it goes on when it is told to, and its own exit code is reported.
/// Promise: exit-codes
#[test]
fn signals_that_stop() {
    let Some(host) = Host::new("stopping") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for (way, flags) in ways() {
        for signal in STOPPING {
            // All but SIGSTOP are for job control: a process without a job's leader above it ignores them (setpgid(2)),
            // and below --init they are blocked, as catatonit has it.
            if signal != libc::SIGSTOP {
                let ended = start(&host, &flags, &image, ["kill", &signal.to_string()], "").wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&ended.stdout).into_owned();
                assert_eq!(said, format!("survived signal {signal} (0)\n"), "{way}");
                continue;
            }
            let child = start(&host, &flags, &image, ["kill", &signal.to_string()], "");
            let begun = Instant::now();
            let stopped = loop {
                if let Some(pid) = family(child.id()).into_iter().find(is_stopped) {
                    break pid;
                }
                assert!(begun.elapsed().as_secs() < PATIENCE_S, "{way}, signal {signal}: nothing stops");
                std::thread::yield_now();
            };
            // SAFETY: takes two numbers; a stopped process below our child has not ended.
            unsafe { libc::kill(stopped as i32, libc::SIGCONT) };
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let want = format!("survived signal {signal} (0)\n");
            assert_eq!((output.status.code(), said), (Some(0), want), "{way}, signal {signal}");
        }
    }
}

/// As the kernel takes it: this action for every signal, and every signal blocked.
fn refuse_all_signals(action: usize) -> std::io::Result<()> {
    let (action, all) = ([action as u64, 0, 0, 0], [u64::MAX]);
    // SAFETY: both live through the calls, and are what the kernel takes; the lengths are those of its set.
    unsafe {
        for signal in 1..=SIGNAL_LAST {
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null::<u64>(), 8);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, all.as_ptr(), std::ptr::null::<u64>(), 8);
    }
    Ok(())
}

/// Whoever starts us may ignore and block what it likes.
/// Promise: signals
#[test]
fn signals_are_as_new_inside() {
    let Some(host) = Host::new("ignored") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    // SIGTSTP, SIGTTIN and SIGTTOU are blocked as catatonit has them.
    for (flags, blocked) in [(Vec::new(), "0000000000000000"), (init_flags(), "0000000000380000")] {
        let flags = flags.iter().map(String::as_str);
        let words: Vec<&str> = ["run"].into_iter().chain(flags).chain([&image, "cat", "/proc/self/status"]).collect();
        let mut command = host.command(&words);
        // SAFETY: system calls only, between fork and exec.
        unsafe { command.pre_exec(|| refuse_all_signals(libc::SIG_IGN)) };
        let ended = Ended::new(&command.output().unwrap());
        let line = |name: &str| ended.out.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(line("SigBlk:"), Some(blocked));
        // SIGPIPE: what the payload is made with does that.
        assert_eq!(line("SigIgn:"), Some("0000000000001000"));
    }
}
