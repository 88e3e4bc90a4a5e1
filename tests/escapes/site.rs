//! The host's side: canaries that every attack leaves as they are, and the command line that runs it.

use super::canaries;
use super::support;
use super::table::{judge, Attack, Site, TEXT};
use ocinit::sys::{fs as sysfs, loopdev};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Devices of the host that every container has a node of its own for.
const HOST_NODES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/console"];

/// The program under test, without what it holds for a debugger: a container without privileges is started by a copy
/// of it, which takes most of the time.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = support::scratch("escapes-program").join("ocinit");
        std::fs::copy(env!("CARGO_BIN_EXE_ocinit"), &path).unwrap();
        // Without the tool it is slow, and no more.
        let _ = Command::new("strip").arg(&path).status();
        path
    })
}

/// A directory of one test, with a store, canaries and a disk of its own.
pub struct Host {
    pub dir: PathBuf,
    pub site: Site,
    before: RefCell<Vec<String>>,
    /// The disk's file is bound for as long as the device is open.
    _disk: Option<File>,
    _turn: Turn,
}

/// Tests that watch the host's processes have them to themselves: others start our own program inside containers, where
/// it may be seen.
static TURNS: RwLock<()> = RwLock::new(());

enum Turn {
    Shared(#[allow(dead_code)] RwLockReadGuard<'static, ()>),
    Alone(#[allow(dead_code)] RwLockWriteGuard<'static, ()>),
}

/// How a container ended.
pub struct Ended {
    pub code: i32,
    /// Both streams.
    pub text: String,
}

impl Host {
    /// Containers take root.
    pub fn new(name: &str) -> Option<Host> {
        Host::in_turn(name, Turn::Shared(TURNS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The same, when no other test has one.
    pub fn alone(name: &str) -> Option<Host> {
        Host::in_turn(name, Turn::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn in_turn(name: &str, turn: Turn) -> Option<Host> {
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            skip!("this takes root");
        }
        let dir = support::scratch(&format!("escapes-{name}"));
        let payload = support::payload();
        let canary = dir.join("canary");
        make_canaries(&canary, &payload);
        let disk = dir.join("canary/disk");
        std::fs::write(&disk, TEXT.repeat(1 << 16).split_at(1 << 20).0).unwrap();
        let device = bind(&disk);
        let number = device.as_ref().map_or((7, 255), |file| sysfs::device_numbers(file.metadata().unwrap().rdev()));
        let site = Site { payload, canary: canary.to_string_lossy().into_owned(), disk: number };
        let host = Host { dir, site, before: RefCell::default(), _disk: device, _turn: turn };
        host.before.replace(host.outside());
        Some(host)
    }

    /// What no container may change: content, owner, mode, links and times of the canaries, and our own program.
    fn outside(&self) -> Vec<String> {
        let mut lines = canaries::snapshot(Path::new(&self.site.canary));
        let program = std::fs::metadata(program()).unwrap();
        lines.push(format!("{:o} {} {} {}", program.mode(), program.len(), program.mtime(), program.ctime()));
        for path in HOST_NODES {
            if let Ok(meta) = std::fs::metadata(path) {
                lines.push(format!("{path} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid()));
            }
        }
        lines
    }

    /// Writes an image; gives its name for the command line.
    pub fn layout(&self, name: &str, image: ocinit::host::image::Image) -> String {
        let (layout, _) = support::images::write(&self.dir, name, image);
        format!("oci:{}:latest", layout.display())
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg(words[0]).arg("--store").arg(self.dir.join("store")).args(&words[1..]);
        command.stdin(Stdio::null()).env("OCINIT_SECRET", TEXT);
        command
    }

    /// The words of a row's container, without the image.
    pub fn flags(&self, attack: &Attack) -> Vec<String> {
        let mut flags = vec!["run".to_string(), "--privileged=false".into()];
        for flag in attack.flags {
            match *flag {
                "LIBRARIES" => flags.extend(libraries()),
                flag => flags.push(self.fill(flag)),
            }
        }
        flags
    }

    fn fill(&self, word: &str) -> String {
        let (major, minor) = self.site.disk;
        let word = word.replace("CANARY", &self.site.canary).replace("MAJOR", &major.to_string());
        word.replace("MINOR", &minor.to_string())
    }

    /// Runs one row; its verdict is one line.
    pub fn try_attack(&self, attack: &Attack) -> Result<(), String> {
        let image = self.layout(attack.name, (attack.image)(&self.site));
        let command: Vec<String> = attack.command.iter().map(|word| self.fill(word)).collect();
        let words = [self.flags(attack), vec![image], command].concat();
        let ended = self.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        // Both in any case: a canary that was touched counts for this row.
        let touched = self.look();
        let verdict = judge(attack, &ended.text, ended.code).and(touched);
        match &verdict {
            Ok(()) => println!("held     {}", attack.name),
            Err(why) => println!("ESCAPED  {}: {why}\n{}", attack.name, ended.text),
        }
        verdict.map_err(|why| [attack.name, ": ", &why].concat())
    }

    /// Runs every row; fails with those that escaped.
    pub fn try_all(&self, attacks: &[Attack]) {
        let escaped: Vec<String> = attacks.iter().filter_map(|attack| self.try_attack(attack).err()).collect();
        assert!(escaped.is_empty(), "{} of {} escaped:\n{}", escaped.len(), attacks.len(), escaped.join("\n"));
    }

    pub fn run(&self, words: &[&str]) -> Ended {
        Ended::new(&self.command(words).output().unwrap())
    }

    /// Fails where a canary is not what it was; from then on it is to stay as it is now, so that rows are told apart.
    pub fn look(&self) -> Result<(), String> {
        let now = self.outside();
        let before = self.before.replace(now.clone());
        match now.iter().zip(&before).find(|(now, before)| now != before) {
            Some((now, before)) => Err(format!("a canary was touched: {before} is now {now}")),
            None if now.len() != before.len() => Err(format!("canaries came or went: {now:#?}")),
            None => {
                canaries::look(&before, &now, "by a container");
                Ok(())
            }
        }
    }
}

impl Ended {
    pub fn new(output: &Output) -> Ended {
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        Ended { code: output.status.code().unwrap_or(-1), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

/// Files that a container may have been given read-only, and none else; a program that says that it ran; what
/// CVE-2026-41579 deleted, and a `/dev` of links for CVE-2026-88264.
fn make_canaries(dir: &Path, payload: &[u8]) {
    std::fs::create_dir_all(dir.join("dev/pts")).unwrap();
    for name in ["file", "ptmx", "secret"] {
        std::fs::write(dir.join(name), TEXT).unwrap();
    }
    std::fs::set_permissions(dir.join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    write_program(&dir.join("program"), payload);
    for name in ["console", "null", "ptmx", "pts/ptmx", "pts/0", "tty"] {
        std::os::unix::fs::symlink("/ro/file", dir.join("dev").join(name)).unwrap();
    }
}

/// A program that everybody may run.
pub fn write_program(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A loop device over a file, until it is closed. None where the kernel has no loop devices: the nodes of images then
/// stand for a device that is not there.
fn bind(file: &Path) -> Option<File> {
    let control = File::open("/dev/loop-control").ok()?;
    for _ in 0..16 {
        let number = loopdev::get_free(control.as_fd()).ok()?;
        let device = File::open(format!("/dev/loop{number}")).ok()?;
        // Another process may have been faster.
        if loopdev::configure(device.as_fd(), File::open(file).unwrap().as_fd()).is_ok() {
            return Some(device);
        }
    }
    None
}

/// The host's libraries, read-only: the program under test is linked to them, and could not run inside without.
pub fn libraries() -> Vec<String> {
    let dirs = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|dir| Path::new(dir).exists());
    dirs.flat_map(|dir| ["-v".to_string(), format!("{dir}:{dir}:ro")]).collect()
}
