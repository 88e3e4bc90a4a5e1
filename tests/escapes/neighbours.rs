//! Two containers, one of which watches or moves what the other one starts with.

use super::evil;
use super::site::{libraries, program, write_program, Host};
use super::table::{Site, TEXT};
use ocinit::host::image::{Entry, Image};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

/// Starts that are attacked. The race was won in one of three.
const STARTS: usize = 60;

/// A container that attacks until it is told to stop.
struct Neighbour {
    child: Child,
    lines: BufReader<ChildStdout>,
    stop: PathBuf,
}

impl Neighbour {
    /// `shared` is at `/shared` inside, and the file that ends it lies in there.
    fn start(host: &Host, shared: &Path, flags: &[&str], attack: &[&str]) -> Neighbour {
        let image = host.layout("neighbour", evil::plain(&host.site));
        let volume = format!("{}:/shared", shared.display());
        let words = [&["run", "--privileged=false", "-v", &volume], flags, &[&image, "attack"], attack].concat();
        let mut child = host.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "watching\n");
        Neighbour { child, lines, stop: shared.join("stop") }
    }

    /// What it said.
    fn end(mut self) -> String {
        std::fs::write(&self.stop, "").unwrap();
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(&self.stop).unwrap();
        let _ = std::fs::remove_file(self.stop.with_extension("done"));
        text
    }
}

impl Drop for Neighbour {
    /// Of a test that has failed.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // As process 1 of its container it does not hear SIGTERM.
            let _ = std::fs::write(&self.stop, "");
            // SAFETY: takes two numbers; the process is our child and was not waited for.
            unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
            let _ = self.child.wait();
        }
    }
}

fn shared(host: &Host) -> PathBuf {
    let dir = host.dir.join("shared");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// CVE-2016-9962 and CVE-2019-5736: the runtime's process at a start, seen by a process of the same namespace.
fn watch_starts(host: &Host, watcher: &[&str], started: &[&str]) {
    let bytes = std::fs::metadata(program()).unwrap().len().to_string();
    let dir = shared(host);
    let neighbour = Neighbour::start(host, &dir, watcher, &["watch", "/shared/stop", &bytes]);
    let image = host.layout("started", evil::plain(&host.site));
    for _ in 0..STARTS {
        let ended = host.run(&[&["run", "--privileged=false"], started, &[&image, "exit", "0"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.text);
    }
    let text = neighbour.end();
    println!("{text}");
    let seen: usize = text.lines().find_map(|line| line.strip_prefix("seen: ")?.parse().ok()).unwrap();
    assert!(seen >= STARTS / 2, "it saw {seen} processes");
    assert!(text.contains("done: watch") && !text.contains("escaped: "), "{text}");
    host.look().unwrap();
}

/// Promise: known-escapes
#[test]
fn a_start_seen_from_another_containers_processes() {
    let Some(host) = Host::new("watch-container") else { return };
    watch_starts(&host, &["--name=watcher"], &["--pid=container:watcher"]);
}

/// Promise: known-escapes
#[test]
fn a_start_seen_from_the_hosts_processes() {
    let Some(host) = Host::alone("watch-host") else { return };
    watch_starts(&host, &["--pid=host"], &[]);
    watch_starts(&host, &["--pid=host"], &["--pid=host"]);
}

/// What makes an image.
type Make = fn(&Site) -> Image;

/// `/proc` is a link into the volume.
fn proc_in_shared(site: &Site) -> Image {
    let entries = [Entry::directory("shared", 0o755), Entry::symlink("proc", "shared/one")];
    evil::image(site, &entries, &serde_json::json!({}))
}

/// CVE-2019-19921, CVE-2021-30465, CVE-2024-45310, CVE-2025-31133: what lies on a shared volume becomes a link to
/// elsewhere and back, while another container's mounts are made there.
/// Promise: known-escapes
#[test]
fn a_shared_volume_that_moves() {
    let Some(host) = Host::new("swap") else { return };
    let dir = shared(&host);
    let volume = format!("{}:/shared", dir.display());
    let inner = format!("{}:/shared/one/inner:ro", host.site.canary);
    let starts: [(&str, Make, Vec<&str>); 3] = [
        ("plain", evil::plain, vec!["-v", &volume, "-v", &inner, "--tmpfs=/shared/one/memory"]),
        ("terminal", evil::plain, vec!["-t", "-v", &volume, "-v", &inner]),
        ("proc", proc_in_shared, vec!["-t", "-v", &volume]),
    ];
    for target in [host.site.canary.as_str(), "/", "/proc/1/root", "/dev"] {
        // Either may be the link by now.
        for name in ["one", "other"].map(|name| dir.join(name)) {
            let _ = std::fs::remove_file(&name).or_else(|_| std::fs::remove_dir_all(&name));
        }
        std::fs::create_dir_all(dir.join("one/inner")).unwrap();
        std::os::unix::fs::symlink(target, dir.join("other")).unwrap();
        let neighbour = Neighbour::start(&host, &dir, &[], &["swap", "/shared/one", "/shared/other", "/shared/stop"]);
        for (name, image, flags) in &starts {
            let image = host.layout(&format!("swap-{name}"), image(&host.site));
            for attack in [&["attack", "file-systems"][..], &["attack", "masks"], &["attack", "console"]] {
                let ended = host.run(&[&["run", "--privileged=false"], &flags[..], &[&image], attack].concat());
                let found = ended.text.lines().find(|line| line.contains("escaped: ") || line.contains(TEXT));
                assert!(found.is_none(), "{name}, to {target}, {attack:?}: {}", ended.text);
            }
        }
        let text = neighbour.end();
        assert!(text.contains("done: swap"), "{text}");
        host.look().unwrap();
    }
}

/// CVE-2019-5736 with a neighbour: the entry point lies on a shared volume, and is now a program, now a script whose
/// interpreter is the runtime's own program.
/// Promise: known-escapes
#[test]
fn an_entry_point_that_moves() {
    let Some(host) = Host::new("entry") else { return };
    let dir = shared(&host);
    write_program(&dir.join("one"), &host.site.payload);
    write_program(&dir.join("other"), b"#!/proc/self/exe version\n");
    let volume = format!("{}:/shared", dir.display());
    let image = host.layout("started", evil::plain(&host.site));
    let neighbour = Neighbour::start(&host, &dir, &[], &["swap", "/shared/one", "/shared/other", "/shared/stop"]);
    let mut ran = 0;
    let mut own = Vec::new();
    for _ in 0..STARTS {
        let words = ["run", "--privileged=false", "--pid=host", "--timeout=5", "-v", &volume];
        let libraries = libraries();
        let libraries: Vec<&str> = libraries.iter().map(String::as_str).collect();
        let ended = host.run(&[&words, &libraries[..], &["--entrypoint=/shared/one", &image, "exit", "0"]].concat());
        ran += usize::from(ended.code == 0);
        own.extend(ended.text.lines().find(|line| line.starts_with("ocinit version ")).map(String::from));
    }
    assert!(neighbour.end().contains("done: swap"));
    host.look().unwrap();
    assert!(ran > 0, "it was never the program");
    assert!(own.is_empty(), "in {} of {STARTS} starts our own program ran inside: {}", own.len(), own[0]);
}
