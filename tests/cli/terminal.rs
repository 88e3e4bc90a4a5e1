//! `ocinit run -ti` at a terminal: its size, its keys, and what they do.

use super::{images, Host};
use ocinit::sys::tty;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

/// A command whose input is a terminal of its own, which controls it.
struct Session {
    /// What the keyboard and the window are.
    master: File,
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Session {
    fn start(host: &Host, words: &[&str], size: (u16, u16)) -> Session {
        let master = tty::open_master(c"/dev/ptmx").unwrap();
        resize(&master, size);
        let slave = tty::open_slave(master.as_fd()).unwrap();
        let mut command = host.command(words);
        command.stdin(slave).stdout(Stdio::piped());
        // SAFETY: two system calls, which take numbers only.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                tty::set_controlling(std::io::stdin().as_fd()).map_err(|error| std::io::Error::other(error.to_string()))
            })
        };
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let lines = Box::new(lines.map(|line| line.trim_end().to_string()));
        Session { master: master.into(), child, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap_or_else(|| panic!("it has ended: {:?}", self.child.wait()))
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// Rows and columns; the kernel tells those whom the terminal controls.
fn resize(master: &impl AsRawFd, (rows, columns): (u16, u16)) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the struct is ours and lives through the call.
    assert_eq!(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
}

/// Promise: terminal
#[test]
fn the_windows_size_and_its_changes() {
    let Some(host) = Host::new("window") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let mut session = Session::start(&host, &["run", "-ti", &image, "window"], (40, 100));
    assert_eq!(session.next(), "0 40 rows 100 columns");
    resize(&session.master, (50, 132));
    assert_eq!(session.next(), "0 50 rows 132 columns");
    assert_eq!(session.code(), Some(0));
}

/// Ctrl-C is the container's, not ours; so is the end of input.
/// Promise: terminal
#[test]
fn keys_are_the_containers() {
    let Some(host) = Host::new("keys") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for (key, signal) in [(b"\x03", libc::SIGINT), (b"\x1c", libc::SIGQUIT), (b"\x1a", libc::SIGTSTP)] {
        let mut session = Session::start(&host, &["run", "-ti", &image, "trap", &signal.to_string()], (24, 80));
        assert_eq!(session.next(), "waiting");
        session.master.write_all(key).unwrap();
        assert_eq!(session.code(), Some(signal), "its handler's exit code");
    }
    let volume = format!("{}:/w", host.dir.display());
    let mut session = Session::start(&host, &["run", "-ti", "-v", &volume, &image, "take", "/w/typed"], (24, 80));
    assert_eq!(session.next(), "taking");
    session.master.write_all(b"typd\x7fed\r\x04").unwrap();
    assert_eq!(session.code(), Some(0));
    assert_eq!(std::fs::read_to_string(host.dir.join("typed")).unwrap(), "typed\n");
}
