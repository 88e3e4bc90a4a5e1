//! The host tool as a person uses it: what `build` refuses and tells, and what `boot` finds, from any directory.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn tool(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocinit-host"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Whether it has succeeded, and what it said on both streams.
fn told(output: &Output) -> (bool, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// A static program for this host as far as its headers say: it takes no time to compress.
fn smallest_program() -> Vec<u8> {
    let mut elf = support::payload();
    elf.truncate(0x40);
    // One program header, behind this one, which loads both.
    elf[0x20..0x28].copy_from_slice(&0x40u64.to_le_bytes());
    elf[0x38..0x3a].copy_from_slice(&1u16.to_le_bytes());
    let mut load = vec![0; 0x38];
    (load[0], load[0x20]) = (1, 0x78);
    [elf, load].concat()
}

/// A directory with an `init`, and the words that build an initramfs of it.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("init"), smallest_program()).unwrap();
        Site(dir)
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    fn build(&self, more: &[&str]) -> (bool, String, String) {
        let (init, output) = (self.at("init"), self.at("initramfs"));
        let words = ["build", "--quick", "--init", &init, "--output", &output];
        told(&tool(&[&words, more].concat()).output().unwrap())
    }

    /// The last line begins with the option and has the reason, and nothing is written.
    fn refuses(&self, words: &[&str], option: &str, why: &str) {
        let output = self.at("initramfs");
        // --init must not be there twice.
        let init = ["--init".to_string(), self.at("init")];
        let init: Vec<&str> = if words[0] == "--init" { Vec::new() } else { init.iter().map(String::as_str).collect() };
        let all = [&["build", "--quick", "--output", &output], &init[..], words].concat();
        let (good, out, err) = told(&tool(&all).output().unwrap());
        let line = err.lines().last().unwrap_or_default();
        assert!(!good && out.is_empty(), "{words:?}: {out}{err}");
        assert!(line.starts_with(&format!("ocinit-host: {option}")) && line.contains(why), "{line}\nnot {option}{why}");
        assert!(!Path::new(&output).exists(), "{words:?}");
    }
}

/// Each mistake is told with the option that it is of, and nothing is written.
/// Promise: build-checks
#[test]
fn what_cannot_boot_is_not_built() {
    let site = Site::new();
    let text = site.file("text", "b2c.run=alpine\n");
    let script = site.file("script", "#!/bin/sh\n");
    let linked = std::env::current_exe().unwrap().display().to_string();
    let mut other = smallest_program();
    other[18..20].copy_from_slice(&183u16.to_le_bytes());
    let other = site.file("other", other);
    let quote = site.file("quote", "b2c.run=\"alpine\nb2c.pipefail");
    let flag = site.file("flag", "# lab\nb2c.run=\"--tls-verfy=false alpine\"");
    let empty = site.at("empty");
    std::fs::create_dir(&empty).unwrap();
    let missing = site.at("missing");
    for (words, option, why) in [
        (&["--init", &script][..], format!("--init {script}: "), "a script"),
        (&["--init", &text], format!("--init {text}: "), "no ELF file; PID 1 is a static binary"),
        (&["--init", &linked], format!("--init {linked}: "), "not statically linked"),
        (&["--init", &other], format!("--init {other}: "), "a binary for aarch64, not for"),
        (&["--init", &missing], format!("--init {missing}: "), "No such file"),
        (&["--arch", "aarch64"], format!("--init {}: ", site.at("init")), "not for aarch64 (--arch)"),
        (&["--ca", &text], format!("--ca {text}: "), "holds no certificate in PEM"),
        (&["--ca", &missing], format!("--ca {missing}: "), "No such file"),
        (&["--cmdline", &quote], format!("--cmdline {quote}: "), "an unmatched double quote"),
        (
            &["--cmdline", &flag],
            format!("--cmdline {flag}: "),
            "--tls-verfy is not a known flag: did you mean --tls-verify?",
        ),
        (&["--cmdline", &missing], format!("--cmdline {missing}: "), "No such file"),
        (&["--profile", "lab"], "--profile ".into(), "needs --kernel-modules DIR"),
        (&["--module", "loop"], "--module ".into(), "needs --kernel-modules DIR"),
        (&["--strip-signatures"], "--strip-signatures ".into(), "needs --kernel-modules DIR"),
        (&["--kernel-modules", &empty], format!("--kernel-modules {empty}: "), ""),
        (&["--kernel-modules", &missing], format!("--kernel-modules {missing}: "), ""),
    ] {
        site.refuses(words, &option, why);
    }
    let nowhere = site.at("no/such/directory");
    let (good, _, err) =
        told(&tool(&["build", "--quick", "--init", &site.at("init"), "--output", &nowhere]).output().unwrap());
    assert!(!good && err.contains(&format!("--output {nowhere}: No such file")), "{err}");
}

/// What is added over a file or a directory of ours, or in the place of a file that the init reads.
/// Promise: build-checks
#[test]
fn what_cannot_be_added_is_not() {
    let site = Site::new();
    let text = site.file("text", "b2c.run=alpine\n");
    let quote = site.file("quote", "b2c.run=\"alpine\nb2c.pipefail");
    let (empty, missing, tree, dangling) = (site.at("empty"), site.at("missing"), site.at("tree"), site.at("dangling"));
    std::fs::create_dir(&empty).unwrap();
    std::fs::create_dir_all(format!("{tree}/etc/ocinit")).unwrap();
    std::fs::copy(&quote, format!("{tree}/etc/ocinit/cmdline")).unwrap();
    std::os::unix::fs::symlink(&missing, &dangling).unwrap();
    let add = |target: &str| format!("{text}:{target}");
    for (words, option, why) in [
        (&["--add", &text][..], format!("--add {text}: "), "not SRC:DST"),
        (&["--add", &add("/init")], format!("--add {text}:/init: "), "/init is ocinit itself"),
        (&["--add", &add("/a/../../b")], format!("--add {text}:/a/../../b: "), "'..' leads out"),
        (&["--add", &format!("{missing}:/x")], format!("--add {missing}:/x: "), "No such file"),
        (
            &["--add", &format!("{quote}:/etc/ocinit/cmdline")],
            format!("--add {quote}:/etc"),
            "an unmatched double quote",
        ),
        (&["--add", &format!("{tree}:/")], format!("--add {tree}:/: "), "an unmatched double quote"),
        (&["--add", &add("/etc/ocinit/ca.pem")], format!("--add {text}:/etc"), "holds no certificate in PEM"),
        (&["--add", &format!("{empty}:/etc/ocinit/cmdline")], format!("--add {empty}:/etc"), "must be a file"),
        (&["--add", &add("/proc")], format!("--add {text}:/proc: "), "/proc must be a directory"),
        (&["--add", &add("/var")], format!("--add {text}:/var: "), "/var must be a directory"),
        (&["--add", &format!("{dangling}:/x")], format!("--add {dangling}:/x: "), "No such file"),
    ] {
        site.refuses(words, &option, why);
    }
}

/// The neighbours of these mistakes are built.
/// Promise: build-checks
#[test]
fn what_boots_is_built() {
    let site = Site::new();
    let options = site.file("options", "# lab\r\nb2c.run=\"-ti alpine\"\r\n");
    let misspelt = site.file("misspelt", "b2c.run=alpine b2c.ntp_pere=auto");
    let add = format!("{options}:/user/job.env");
    for (words, warning) in [
        (&[][..], ""),
        (&["--profile", "none"], ""),
        (&["--arch", std::env::consts::ARCH, "--cmdline", &options, "--add", &add], ""),
        (&["--cmdline", &misspelt], "b2c.ntp_peer"),
    ] {
        let (good, out, err) = site.build(words);
        assert!(good && out.contains("init and files: "), "{words:?}: {err}");
        let warned: Vec<&str> = err.lines().filter(|line| line.contains("warning")).collect();
        let is_right =
            if warning.is_empty() { warned.is_empty() } else { warned.len() == 1 && warned[0].contains(warning) };
        assert!(is_right, "{words:?}: {warned:?}");
    }
}

/// A search that takes minutes is not silent; on a terminal its line is removed at the end.
/// Promise: build-progress
#[test]
fn the_search_for_the_smallest_is_told() {
    let site = Site::new();
    let (init, output) = (site.at("init"), site.at("initramfs"));
    let words = ["build", "--init", &init, "--output", &output];
    let (good, _, err) = told(&tool(&words).output().unwrap());
    assert!(good && err.starts_with("compressing init and files: "), "{err}");
    assert!(!err.contains('\r'), "no terminal: {err}");
    let master = ocinit::sys::tty::open_master(c"/dev/ptmx").unwrap();
    let slave = ocinit::sys::tty::open_slave(master.as_fd()).unwrap();
    let mut child = tool(&words).stdout(Stdio::null()).stderr(slave).spawn().unwrap();
    let mut shown = Vec::new();
    // The last write is followed by an error (pty(7)).
    let _ = std::fs::File::from(master).read_to_end(&mut shown);
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.matches(" settings of xz\x1b[K").count() > 5 && shown.ends_with("\r\x1b[K"), "{shown:?}");
}

/// A host tool and, if it is asked for, an init in a place that no checkout is above.
fn installed(with_init: bool) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let tool = dir.path().join("ocinit-host");
    // By another process: what another test forks meanwhile would hold a file that is open for writing, which exec
    // refuses (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ocinit-host")).arg(&tool).status().unwrap();
    assert!(copied.success());
    if with_init {
        for name in ["ocinit", "ocinit-payload"] {
            std::fs::write(dir.path().join(name), smallest_program()).unwrap();
        }
    }
    (dir, tool)
}

/// Each mistake of `boot` names its option, before anything is downloaded or started.
/// Promise: boot-from-anywhere
#[test]
fn boot_finds_its_init_or_says_how_to_get_one() {
    let (bare, alone) = installed(false);
    let (full, with_init) = installed(true);
    let missing = bare.path().join("missing").display().to_string();
    let script = bare.path().join("script").display().to_string();
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let boot = |program: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command.arg("boot").args(words).current_dir(bare.path()).stdin(Stdio::null());
        // Nothing can be downloaded.
        told(&command.env("PATH", "").env("XDG_CACHE_HOME", full.path().join("cache")).output().unwrap())
    };
    let (good, _, err) = boot(&alone, &["alpine"]);
    assert!(!good && err.contains("--init: no ocinit is beside this program") && err.contains("./dev build"), "{err}");
    // With one, the next step is the kernel's package, which needs apt.
    let (good, _, err) = boot(&with_init, &["alpine"]);
    assert!(!good && err.contains("apt-cache: ") && err.contains("give --kernel FILE"), "{err}");
    for (words, why) in [
        (&["--init", &missing, "alpine"][..], format!("--init {missing}: No such file")),
        (&["--init", &script, "alpine"], format!("--init {script}: a script")),
        (&["--kernel", &missing, "alpine"], format!("--kernel {missing}: no such kernel")),
        (&["--payload", &missing], format!("--payload {missing}: No such file")),
        (&["--disk", &missing, "alpine"], format!("--disk {missing}: No such file")),
        (&["oci:missing"], "oci:missing: ".into()),
        (&["alpine", "echo", "\""], "COMMAND: ".into()),
    ] {
        let (good, _, err) = boot(&with_init, words);
        assert!(!good && err.contains(&why), "{words:?}: {err}");
    }
    assert!(!full.path().join("cache").exists() && !bare.path().join("target").exists());
}
