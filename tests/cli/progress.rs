//! What a person at a terminal sees of a pull, and how Ctrl-C ends it.

use super::support::fake::{Blobs, Fake};
use super::{images, Ended, Host, PATIENCE_S};
use ocinit::host::image::{tar, Entry};
use ocinit::sys::tty;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tiny_http::{Response, StatusCode};

/// More than the second after which the first line of progress is due.
const PAUSE: Duration = Duration::from_millis(1300);

/// A body that pauses in its middle: for a time, or until it is let go.
struct Pausing {
    bytes: Cursor<Vec<u8>>,
    gate: Gate,
    pauses: Option<Duration>,
}

type Gate = Arc<(Mutex<bool>, Condvar)>;

impl Read for Pausing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let (at, half) = (self.bytes.position() as usize, self.bytes.get_ref().len() / 2);
        if at == half {
            let open = self.gate.0.lock().unwrap();
            let limit = self.pauses.unwrap_or(Duration::from_secs(PATIENCE_S));
            drop(self.gate.1.wait_timeout_while(open, limit, |open| !*open).unwrap());
        }
        let end = if at < half { half - at } else { buffer.len() };
        let length = buffer.len().min(end);
        self.bytes.read(&mut buffer[..length])
    }
}

/// An image that runs, of two layers, of which the second pauses in its middle.
fn server(host: &Host, pauses: Option<Duration>) -> (Fake, Gate) {
    let base = tar(&images::base(&host.payload));
    let large = tar(&[Entry::file("large", 0o644, vec![7; 3 << 20])]);
    let gate = Gate::default();
    let own = gate.clone();
    let fake = Fake::start(Blobs::new(vec![base, large.clone()]), move |_, blobs| {
        let digest = ocinit::host::image::sha256(&blobs.layers[1]);
        Box::new(move |ask| {
            if !ask.path.ends_with(&digest) || *own.0.lock().unwrap() {
                return None;
            }
            let body = Pausing { bytes: Cursor::new(large.clone()), gate: own.clone(), pauses };
            let answer = Response::new(StatusCode(200), Vec::new(), body, Some(large.len()), None);
            Some(answer.with_chunked_threshold(usize::MAX).boxed())
        })
    });
    (fake, gate)
}

fn terminal() -> (File, OwnedFd) {
    let master = tty::open_master(c"/dev/ptmx").unwrap();
    let slave = tty::open_slave(master.as_fd()).unwrap();
    (master.into(), slave)
}

/// All that was written to the terminal; the last write is followed by an error (pty(7)). Without what a host lacks
/// that runs tests in a container.
fn all_of(mut master: File) -> String {
    let mut bytes = Vec::new();
    let _ = master.read_to_end(&mut bytes);
    without_warnings(&String::from_utf8(bytes).unwrap())
}

fn without_warnings(text: &str) -> String {
    text.split_inclusive('\n').map(|line| line.find("container  WARN").map_or(line, |at| &line[..at])).collect()
}

/// Runs a command whose standard error is a terminal; gives its standard output, and what the terminal got.
fn at_terminal(mut command: Command, term: &str) -> (Option<i32>, String, String) {
    let (master, slave) = terminal();
    let child = command.env("TERM", term).stdout(Stdio::piped()).stderr(slave).spawn().unwrap();
    drop(command);
    let shown = all_of(master);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), shown)
}

/// Promise: progress-at-a-terminal
#[test]
fn one_line_is_redrawn_and_removed() {
    let Some(host) = Host::new("drawn") else { return };
    let (fake, _gate) = server(&host, Some(PAUSE));
    let words = ["--tls-verify=false", "--entrypoint=/payload", &fake.image(), "echo", "done"];
    let run = |flags: &[&str]| {
        let _ = std::fs::remove_dir_all(host.store());
        host.command(&[&["run"], flags, &words[..]].concat())
    };
    let (code, out, shown) = at_terminal(run(&[]), "xterm");
    assert_eq!((code, out.as_str()), (Some(0), "done\n"), "{shown}");
    assert!(!shown.contains('\n'), "one line: {shown:?}");
    let drawn: Vec<&str> = shown.split('\r').filter(|line| !line.is_empty()).collect();
    assert!(drawn.iter().all(|line| line.ends_with("\x1b[K") && line.len() < 80), "{drawn:?}");
    assert!(drawn[0].contains(&fake.image()), "at once: {drawn:?}");
    let lines = drawn.iter().filter(|line| line.contains(" MB of ") || line.contains(" kB of "));
    assert!(lines.clone().any(|line| line.contains("/s, ") && line.ends_with(" s left\x1b[K")), "{drawn:?}");
    assert_eq!(drawn.last(), Some(&"\x1b[K"), "removed: {drawn:?}");

    // Nothing where it is not wanted, or cannot be shown.
    for (flags, term) in [(&["-q"][..], "xterm"), (&["--quiet"], "xterm"), (&[], "dumb")] {
        let (code, out, shown) = at_terminal(run(flags), term);
        assert_eq!((code, out.as_str(), shown.as_str()), (Some(0), "done\n", ""), "{flags:?} {term}");
    }
    let piped = Ended::new(&run(&[]).output().unwrap());
    assert_eq!((piped.code, piped.out.as_str(), without_warnings(&piped.err)), (0, "done\n", String::new()));
}

/// The container has the same terminal; its first byte stands at the line's beginning.
/// Promise: progress-at-a-terminal
#[test]
fn never_mixed_with_what_the_container_says() {
    let Some(host) = Host::new("unmixed") else { return };
    let (fake, _gate) = server(&host, Some(PAUSE));
    let words = ["run", "--tls-verify=false", "--entrypoint=/payload", &fake.image(), "echo", "first"];
    let mut command = host.command(&words);
    let (master, slave) = terminal();
    let mut child = command.env("TERM", "xterm").stdout(slave.try_clone().unwrap()).stderr(slave).spawn().unwrap();
    drop(command);
    let shown = all_of(master);
    assert!(child.wait().unwrap().success());
    assert!(shown.contains(" s left\x1b[K") && shown.ends_with("\r\x1b[Kfirst\r\n"), "{shown:?}");
    // `pull` has lines of its own: each begins where the line of progress was removed.
    let _ = std::fs::remove_dir_all(host.store());
    let (code, out, shown) = at_terminal(host.command(&["pull", "--tls-verify=false", &fake.image()]), "xterm");
    assert_eq!((code, out.len()), (Some(0), 65), "{shown}");
    let lines: Vec<&str> = shown.lines().map(|line| line.rsplit("\x1b[K").next().unwrap()).collect();
    assert!(lines.iter().all(|line| line.starts_with("pull       ")), "{shown:?}");
    assert!(lines.last().is_some_and(|line| line.contains("2 layers, ")), "{shown:?}");
}

/// Waits until the store has `count` layers.
fn until_stored(host: &Host, count: usize) {
    let start = Instant::now();
    while host.stored("layers").len() < count {
        assert!(start.elapsed().as_secs() < PATIENCE_S, "no layer is stored");
        std::thread::yield_now();
    }
}

/// Gives the command `action` for Ctrl-C, whatever the one is with which these tests were started.
fn set_interrupt(command: &mut Command, action: libc::sighandler_t) {
    // SAFETY: a system call, which takes numbers only.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGINT, action);
            Ok(())
        })
    };
}

fn interrupt(child: Child, signal: i32) -> Ended {
    // SAFETY: takes two numbers; the process is our child and was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    let start = Instant::now();
    let ended = Ended::new(&child.wait_with_output().unwrap());
    assert!(start.elapsed().as_secs() < PATIENCE_S / 2, "took {:?}", start.elapsed());
    ended
}

/// Promise: interrupted-pull
#[test]
fn an_interrupted_pull_says_what_is_kept() {
    let Some(host) = Host::new("interrupted") else { return };
    for (name, signal) in [("run", libc::SIGINT), ("pull", libc::SIGINT), ("pull", libc::SIGTERM)] {
        let _ = std::fs::remove_dir_all(host.store());
        let (fake, gate) = server(&host, None);
        let words = [name, "--tls-verify=false", &fake.image()];
        let mut command = host.command(&words);
        set_interrupt(&mut command, libc::SIG_DFL);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until_stored(&host, 1);
        let ended = interrupt(child, signal);
        assert_eq!((ended.code, ended.out.as_str()), (128 + signal, ""), "{name}: {}", ended.err);
        let kept = format!("of 2 missing layers 1 are complete and stay in {}\n", host.store().display());
        assert!(ended.err.contains(&kept) && ended.err.contains("hint "), "{name}: {}", ended.err);
        // The parts of the other are gone, without another command.
        assert_eq!((host.stored("layers").len(), host.left(), host.mounts()), (1, Vec::new(), Vec::new()));
        // The next one fetches the other layer alone.
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        let before = fake.seen().len();
        assert_eq!(host.ocinit(&["pull", "--tls-verify=false", &fake.image()]).code, 0);
        let layers = fake.blobs.layers.iter().map(|layer| ocinit::host::image::sha256(layer));
        let asked = |digest: String| fake.seen()[before..].iter().filter(|ask| ask.path.ends_with(&digest)).count();
        assert_eq!(layers.map(asked).collect::<Vec<_>>(), [0, 1], "{name}");
    }
}

/// Before any layer there is nothing to keep; and what a shell starts in the background ignores Ctrl-C.
/// Promise: interrupted-pull
#[test]
fn interrupted_early_and_not_at_all() {
    let Some(host) = Host::new("early") else { return };
    let gate = Gate::default();
    let own = gate.clone();
    let fake = Fake::start(Blobs::new(vec![tar(&images::base(&host.payload))]), move |_, _| {
        Box::new(move |ask| {
            if ask.path.contains("/manifests/") {
                let open = own.0.lock().unwrap();
                let limit = Duration::from_secs(PATIENCE_S);
                drop(own.1.wait_timeout_while(open, limit, |open| !*open).unwrap());
            }
            None
        })
    });
    let start = |action| {
        let mut command = host.command(&["pull", "--tls-verify=false", &fake.image()]);
        set_interrupt(&mut command, action);
        let asked = fake.seen().len();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !fake.seen()[asked..].iter().any(|ask| ask.path.contains("/manifests/")) {
            assert!(begun.elapsed().as_secs() < PATIENCE_S, "nothing is asked for");
            std::thread::yield_now();
        }
        child
    };
    let ended = interrupt(start(libc::SIG_DFL), libc::SIGINT);
    assert_eq!(ended.code, 130, "{}", ended.err);
    assert!(ended.err.contains("FAIL pull  interrupted before any layer was asked for\n"), "{}", ended.err);
    let child = start(libc::SIG_IGN);
    // SAFETY: takes two numbers; the process is our child and was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let ended = Ended::new(&child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.out.len()), (0, 65), "{}", ended.err);
}
