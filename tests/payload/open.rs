//! `open`: what the user of a process may do with files by their paths: the standard streams above all, which are
//! opened by path in every second entry point, and every file of the tree.

use super::look::{place, walk, why};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

/// Each of the three, by the names that it has.
const STREAMS: [(&str, &[&str]); 3] = [
    ("0", &["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"]),
    ("1", &["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]),
    ("2", &["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"]),
];
const TERMINALS: [&str; 5] = ["/dev/tty", "/dev/console", "/dev/pts/0", "/dev/pts/ptmx", "/dev/ptmx"];
/// What podman makes, or fills in.
#[rustfmt::skip]
const READ: [&str; 10] = [
    "/dev/null", "/dev/zero", "/dev/urandom", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd",
    "/etc/group", "/etc/mtab", "/run/.containerenv",
];
/// Where a program makes files.
#[rustfmt::skip]
const DIRECTORIES: [&str; 15] = [
    ".", "/dev/shm", "/dev/mqueue", "/tmp", "/run", "/var/tmp", "/mnt/dir", "/mnt/named", "/mnt/tmpfs",
    "/mnt/anonymous", "/vol", "/kept", "/data", "/srv/made/up", "/",
];
const NONBLOCK: i32 = 0o4000;
const NOCTTY: i32 = 0o400;

/// Prints every fact.
pub fn all() {
    for (number, paths) in STREAMS {
        println!("stream {number} {}", owner(&format!("/proc/self/fd/{number}")));
        for path in paths {
            let open = |read: bool, write: bool| {
                let file = OpenOptions::new().read(read).write(write).custom_flags(NONBLOCK | NOCTTY).open(path);
                file.map_or_else(|error| why(&error), |_| "ok".into())
            };
            println!("stream {path} read {} write {}", open(true, false), open(false, true));
        }
    }
    through();
    let open = |path: &str| OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK | NOCTTY).open(path);
    for path in TERMINALS {
        println!("terminal {path} {} {}", owner(path), open(path).map_or_else(|error| why(&error), |_| "ok".into()));
    }
    for path in READ {
        let opened = File::open(path).map_or_else(|error| why(&error), |_| "ok".into());
        println!("read {path} {opened} {}", owner(path));
    }
    for directory in DIRECTORIES {
        println!("make {directory} {} {}", made(directory), owner(directory));
    }
    env_file();
    tree();
}

/// `KIND MODE UID:GID`, links followed.
fn owner(path: &str) -> String {
    match fs::metadata(path) {
        Ok(meta) => {
            format!("{} {:04o} {}:{}", super::look::node(&meta), meta.mode() & 0o7777, meta.uid(), meta.gid())
        }
        Err(error) => why(&error),
    }
}

/// What is written by a stream's path arrives, and what was sent is read by it.
fn through() {
    for path in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"] {
        let file = OpenOptions::new().append(true).custom_flags(NOCTTY).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(format!("through {path}\n").as_bytes())) {
            println!("through {path} {}", why(&error));
        }
    }
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK | NOCTTY).open("/dev/stdin");
    match file.and_then(read) {
        Ok(text) => println!("through /dev/stdin '{}'", text.trim_end()),
        Err(error) => println!("through /dev/stdin {}", why(&error)),
    }
}

/// To its end. What is sent may be under way: a pipe is waited for.
fn read(mut file: File) -> std::io::Result<String> {
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let (mut text, mut tries) = (String::new(), 0);
    loop {
        let mut buffer = [0; 100];
        match file.read(&mut buffer) {
            Ok(0) => return Ok(text),
            Ok(count) => text += &String::from_utf8_lossy(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && is_pipe && tries < 500 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
}

fn made(directory: &str) -> String {
    let path = format!("{directory}/made.by.open");
    let answer = File::create(&path).map_or_else(|error| why(&error), |_| "ok".into());
    let _ = fs::remove_file(path);
    answer
}

/// The names in `/run/.containerenv`: its values differ from run to run.
fn env_file() {
    match fs::read_to_string("/run/.containerenv") {
        Ok(text) if text.is_empty() => println!("containerenv empty"),
        Ok(text) => text.lines().for_each(|line| println!("containerenv {}", line.split('=').next().unwrap_or(line))),
        Err(error) => println!("containerenv {}", why(&error)),
    }
}

/// Everything beside the kernel's own file systems, and what `look` shows.
fn tree() {
    let mut facts = Vec::new();
    for name in super::sorted("/").unwrap_or_default() {
        let path = format!("/{name}");
        facts.push(place(&path));
        let meta = fs::symlink_metadata(&path);
        if !["proc", "sys", "dev"].contains(&name.as_str()) && meta.is_ok_and(|meta| meta.is_dir()) {
            walk(&path, &mut facts);
        }
    }
    facts.iter().filter(|fact| !fact.starts_with("/payload ")).for_each(|fact| println!("path {fact}"));
}
