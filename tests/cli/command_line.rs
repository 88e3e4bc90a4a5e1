//! The words of the command line: help, our own flags in each place, exit codes that scripts look at.

use super::{images, Ended, Host};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A user that may do nothing in particular.
pub const NOBODY: u32 = 65_534;

fn ocinit(words: &[&str]) -> Ended {
    Ended::new(&Command::new(env!("CARGO_BIN_EXE_ocinit")).args(words).stdin(Stdio::null()).output().unwrap())
}

/// A copy of our program that any user can reach, in a directory that is removed with the first value.
pub fn for_everybody() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("ocinit");
    // By another process: what another test forks meanwhile would hold a file that is open for writing, which exec
    // refuses (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ocinit")).arg(&program).status().unwrap();
    assert!(copied.success());
    (dir, program)
}

/// Help is for reading: on standard output, with success, and nothing else happens.
/// Promise: command-line-help
#[test]
fn help_in_each_place() {
    let general = ocinit(&["--help"]);
    assert!(general.out.contains("/var/lib/ocinit") && general.out.contains("as root"), "{}", general.out);
    for words in [&[][..], &["help"], &["-h"], &["--store", "/nowhere", "--help"]] {
        let ended = ocinit(words);
        assert_eq!((ended.code, &ended.out, ended.err.as_str()), (0, &general.out, ""), "{words:?}");
    }
    for command in ["run", "pull", "mount", "inspect", "check", "sweep", "version"] {
        let own = ocinit(&[command, "--help"]);
        assert!(own.out.starts_with(&format!("Usage: ocinit {command} ")), "{}", own.out);
        for words in
            [&["help", command][..], &[command, "-h"], &["--help", command], &[command, "--store=/x", "--help"]]
        {
            let ended = ocinit(words);
            assert_eq!((ended.code, &ended.out, ended.err.as_str()), (0, &own.out, ""), "{words:?}");
        }
    }
    let run = ocinit(&["run", "-ti", "--name", "x", "--help"]).out;
    for flag in ["-v, --volume ", "-h, --hostname ", "--tls-verify ", "--cgroup-conf "] {
        assert!(run.contains(flag), "{flag}: {run}");
    }
    assert!(!Path::new("/nowhere").exists());
}

/// podman's 125, and nothing on standard output that a script would read.
/// Promise: command-line-help
#[test]
fn mistakes_are_told_with_podmans_code() {
    for (words, why) in [
        (&["rum"][..], "FAIL usage  no command 'rum': did you mean run?\n"),
        (&["frobnicate", "alpine"], "FAIL usage  no command 'frobnicate'\n"),
        (&["help", "frobnicate"], "FAIL usage  no command 'frobnicate'\n"),
        (&["run"], "FAIL usage  no image is named\nhint       ocinit run --help\n"),
        (&["run", "--nmae", "x", "alpine"], "FAIL usage  --nmae is not a known flag: did you mean --name?\n"),
        (&["run", "--name"], "FAIL usage  --name: its value is missing\n"),
        (&["pull", "--store"], "FAIL usage  --store: its value is missing\nhint       ocinit --help\n"),
        (&["pull", "alpine", "sh"], "FAIL usage  pull takes one image\nhint       ocinit pull --help\n"),
        (&["inspect", "alpine", "busybox"], "FAIL usage  inspect takes one image\n"),
        (&["mount", "alpine"], "FAIL usage  mount takes one image and one directory\n"),
        (&["sweep", "alpine"], "FAIL usage  sweep takes no argument but --store DIR\n"),
        (&["check"], "FAIL usage  check takes a line, or --file FILE\nhint       ocinit check --help\n"),
        (&["check", "a", "b"], "FAIL usage  check takes one line: write single quotes around it\n"),
        (&["check", "--file"], "FAIL usage  --file: its value is missing\n"),
        (&["check", "--store=x"], "FAIL usage  no flag '--store=x': only --file, --cmdline and --extra\n"),
        (&["check", "--extra=/nowhere"], "FAIL check  /nowhere: no such file or directory\n"),
        (
            &["-ti", "run", "alpine"],
            "FAIL usage  '-ti' before a command: only --store, --sync and --help stand there\n",
        ),
    ] {
        let ended = ocinit(words);
        assert_eq!((ended.code, ended.out.as_str()), (125, ""), "{words:?}");
        assert!(ended.err.contains(why), "{words:?}: {}", ended.err);
    }
    // Usage, as other tools print it for a command that is not there.
    assert!(ocinit(&["rum"]).err.starts_with(&ocinit(&["help"]).out));
    for words in [["version"], ["-v"], ["-V"], ["--version"]] {
        let ended = ocinit(&words);
        assert_eq!((ended.code, ended.out), (0, format!("ocinit version {}\n", env!("CARGO_PKG_VERSION"))));
    }
}

/// A line from an argument, a file or standard input, with the other sources beside it.
/// Promise: check-command
#[test]
fn lines_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (line, extra) = (dir.path().join("line"), dir.path().join("extra"));
    std::fs::write(&line, "b2c.run=alpine b2c.hostname=dut\n").unwrap();
    std::fs::write(&extra, "# the job's\r\nb2c.run=busybox\r\nb2c.onfail=explode\r\n").unwrap();
    let (line, extra) = (line.display().to_string(), extra.display().to_string());
    let good = ocinit(&["check", "b2c.run=alpine b2c.hostname=dut"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{}", good.out);
    assert!(good.out.ends_with("\nthe boot starts: 1 container\n"), "{}", good.out);
    assert_eq!(ocinit(&["check", "--file", &line]).out, good.out);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ocinit"));
    let child = child.args(["check", "--file=-"]).stdin(std::fs::File::open(&line).unwrap());
    assert_eq!(Ended::new(&child.output().unwrap()).out, good.out);
    let bad = ocinit(&["check", "--file", &line, "--extra", &extra]);
    assert_eq!((bad.code, bad.err.as_str()), (1, ""), "{}", bad.out);
    assert!(bad.out.contains("FAIL not one of poweroff, reboot, hang\n"), "{}", bad.out);
    assert!(bad.out.contains("  word 2, line 3, column 1 of the extra arguments\n"), "{}", bad.out);
    assert!(bad.out.contains("WARN no b2c.extra_args_url fetches them\n"), "{}", bad.out);
    assert!(bad.out.ends_with("\nthe boot fails: 2 containers, 1 mistake, 1 warning\n"), "{}", bad.out);
}

/// Promise: command-line-help
#[test]
fn the_store_is_named_anywhere_before_the_image() {
    let Some(host) = Host::new("anywhere") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let store = host.dir.join("elsewhere").display().to_string();
    let with = format!("--store={store}");
    for (words, out) in [
        (&["--store", &store, "run", "--sync=false", &image, "echo", "1"][..], "1\n"),
        (&["--sync=false", &with, "run", "-i", &image, "echo", "2"], "2\n"),
        (&["run", "-i", "--store", &store, "--name", "n", &image, "echo", "3"], "3\n"),
        (&["run", "--name", "n", &with, "--", &image, "echo", "--store", "/nowhere"], "--store /nowhere\n"),
        (&[&with, "run", "-h", "named", &image, "echo", "--help"], "--help\n"),
    ] {
        let ended = ocinit(words);
        assert_eq!((ended.code, ended.out.as_str()), (0, out), "{words:?}: {}", ended.err);
    }
    let id = ocinit(&["pull", &image, "--pull=never", "--store", &store]);
    assert_eq!(id.code, 0, "{}", id.err);
    assert_eq!(ocinit(&["sweep", "--store", &store]).code, 0);
    // The ID alone, as podman prints it: 64 digits.
    let digits = id.out.trim_end();
    assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{}", id.out);
    let configs = std::fs::read_dir(host.dir.join("elsewhere/configs")).unwrap().flatten();
    assert!(configs.into_iter().any(|entry| entry.file_name() == digits), "{digits}");
    assert!(!host.store().exists());
}

/// Promise: command-line-help
#[test]
fn users_other_than_root_are_told_in_one_line() {
    if Host::new("nobody").is_none() {
        return;
    }
    let (dir, program) = for_everybody();
    let store = dir.path().join("store").display().to_string();
    let as_nobody = |words: &[&str]| {
        Ended::new(&Command::new(&program).args(words).uid(NOBODY).gid(NOBODY).stdin(Stdio::null()).output().unwrap())
    };
    for words in [&["run", "alpine"][..], &["pull", "alpine"], &["mount", "alpine", "/mnt"], &["sweep"]] {
        let ended = as_nobody(&[words, &["--store", &store][..]].concat());
        let name = words[0];
        let want = format!("FAIL usage  'ocinit {name}' is for root: sudo ocinit {name} ...\n");
        assert_eq!((ended.code, ended.out.as_str(), ended.err), (125, "", want));
    }
    assert_eq!(as_nobody(&["run", "--help"]).code, 0);
    assert_eq!(as_nobody(&["check", "b2c.run=alpine"]).code, 0);
    assert_eq!(as_nobody(&["--version"]).code, 0);
    assert!(!Path::new(&store).exists());
}
