//! What `./dev test` counts, and that it changes no file: the functions of dev.d/test.sh run in a temporary directory
//! with a cargo whose output the test chooses. Also the report of sizes, and the packages that setup installs.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

use ocinit::host::compress::{compress, Compression, Effort};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// signal(7)
const SIGPIPE: i32 = 13;
/// The test below that skips itself does so where this is set.
const SKIP_ME: &str = "OCINIT_TEST_SKIP_ME";

/// `./dev` as dev_test finds it, with a cargo that fails nothing and counts `TESTS`.
const SCRIPT: &str = r#"
set -euo pipefail
ROOT=$PWD
cargo() {
    if [ "$1" = test ]; then eval "$TESTS"; fi
}
. "$SCRIPTS/common.sh"
. "$SCRIPTS/test.sh"
dev_test "$@"
"#;

/// A repository with one file.
fn checkout() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dev"), "#!/bin/sh\n").unwrap();
    std::fs::write(dir.path().join(".gitignore"), "target\n").unwrap();
    run(Command::new("chmod").args(["755", "dev"]).current_dir(&dir));
    let commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "a"];
    for words in [&["init", "-q"][..], &["add", "."], &commit] {
        run(Command::new("git").args(words).current_dir(&dir));
    }
    dir
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether `./dev test WORDS` passes where `cargo test` is `tests`, and what it says.
fn dev_test(dir: &Path, tests: &str, words: &[&str]) -> (bool, String) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("dev.d");
    let mut command = Command::new("bash");
    command.args(["-c", SCRIPT, "dev"]).args(words).current_dir(dir);
    let Output { status, stdout, stderr } =
        command.env("SCRIPTS", scripts).env("TESTS", tests).env_remove("OCINIT_NO_SKIP").output().unwrap();
    let [text, errors] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // Indented: the lines of counts are none of the run that this test is a part of.
    [&text, &errors].iter().flat_map(|text| text.lines()).for_each(|line| println!("  {line}"));
    (status.success(), text)
}

const TWO: &str = r#"
echo 'test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured'
echo 'test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured'
printf 'cli::a\tno root\ncli::b\tno root\ncli::b\tno root\nqemu::a\tno QEMU\nqemu::a\tno disk\n' >>"$OCINIT_SKIPS"
"#;

/// Promise: skips
#[test]
fn a_skipped_test_is_counted_as_skipped_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (passed, text) = dev_test(dir.path(), TWO, &["a"]);
    assert!(passed);
    let closing = text.split("\nskipped:\n").nth(1).unwrap();
    let lines: Vec<String> =
        closing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["1 ignored", "1 no QEMU", "1 no disk", "2 no root", "", "6 passed, 0 failed, 4 skipped"]);
    // A run counts its own skips only.
    let (_, text) = dev_test(dir.path(), "echo 'test result: ok. 5 passed; 0 failed; 0 ignored'", &["a"]);
    assert!(text.ends_with("\n5 passed, 0 failed, 0 skipped\n"));
    let (passed, text) =
        dev_test(dir.path(), "echo 'test result: FAILED. 5 passed; 1 failed; 0 ignored'; false", &["a"]);
    assert!(!passed && text.ends_with("\n5 passed, 1 failed, 0 skipped\n"));
}

/// Promise: clean-checkout
#[test]
fn a_test_run_leaves_the_checkout_as_it_was() {
    let good = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; ";
    let dir = checkout();
    let (passed, text) = dev_test(dir.path(), good, &[]);
    assert!(passed && text.ends_with("\n8 passed, 0 failed, 0 skipped\n"));
    let spoiled = |what: &str| {
        let (passed, text) = dev_test(dir.path(), &[good, what].concat(), &[]);
        assert!(!passed && text.contains("unchanged files: failed"), "{what}");
        assert!(text.ends_with("\n7 passed, 1 failed, 0 skipped\n"));
    };
    spoiled("echo >new");
    spoiled("echo '# more' >>dev");
    // What was changed before is no failure; a change of it is one.
    assert!(dev_test(dir.path(), good, &[]).0);
    spoiled("echo '# more' >>dev");
    // A git that does not answer is no checkout that is clean.
    std::fs::remove_file(dir.path().join(".git/HEAD")).unwrap();
    spoiled("");
    std::fs::remove_dir_all(dir.path().join(".git")).unwrap();
    let (passed, text) = dev_test(dir.path(), good, &[]);
    assert!(passed && text.contains("1 no git checkout: "));
    assert!(text.ends_with("\n7 passed, 0 failed, 1 skipped\n"));
}

fn helper(tolerated: bool) -> Option<u32> {
    if tolerated {
        return Some(1);
    }
    skip!("of {} lines,\nas asked", 2)
}

/// Run by the next one.
#[test]
fn the_one_that_skips_itself() {
    if std::env::var_os(SKIP_ME).is_none() {
        assert_eq!(helper(true), Some(1));
        return;
    }
    let Some(_) = helper(false) else { return };
    panic!("a skip goes on");
}

/// Promise: skips
#[test]
fn skip_records_the_test_and_its_reason_and_fails_where_none_may() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skips");
    let this = |no_skip: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_one_that_skips_itself", "--test-threads", "2"]).env(SKIP_ME, "1");
        let output = command.env("OCINIT_SKIPS", &file).env("OCINIT_NO_SKIP", no_skip).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let line = "dev::the_one_that_skips_itself\tof 2 lines, as asked\n";
    for recorded in [line.to_string(), line.repeat(2)] {
        assert!(this("").0);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), recorded);
    }
    let (passed, text) = this("1");
    assert!(
        !passed && text.contains("OCINIT_NO_SKIP is set, and the test cannot run: of 2 lines,\nas asked"),
        "{text}"
    );
}

/// A release whose binary is the tests' own program, and a budget that it keeps.
fn release(dir: &Path) -> (PathBuf, PathBuf) {
    let (release, report) = (dir.join("release"), dir.join("report"));
    [&release, &report].iter().for_each(|directory| std::fs::create_dir(directory).unwrap());
    for name in ["ocinit", "ocinit.debug"] {
        std::fs::copy(env!("CARGO_BIN_EXE_ocinit-payload"), release.join(name)).unwrap();
    }
    let packed = compress(b"an initramfs", Compression::Xz(Effort::Quick)).unwrap().0;
    std::fs::write(release.join("initramfs.cpio.xz"), packed).unwrap();
    std::fs::write(report.join("budget.toml"), "initramfs_xz_bytes = 1_000\n").unwrap();
    (release, report)
}

/// Promise: clean-checkout
#[test]
fn the_report_of_sizes_is_updated_on_purpose_only() {
    let dir = tempfile::tempdir().unwrap();
    let (release, report) = release(dir.path());
    let size = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocinit-host"));
        command.arg("size").arg("--release").arg(&release).arg("--report").arg(&report).args(more);
        command.current_dir(&dir).output().unwrap()
    };
    let names = |directory: &Path| {
        let entries =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    };
    let checked = size(&[]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("initramfs_xz_bytes"));
    assert_eq!(names(&report), ["budget.toml"]);
    assert_eq!(names(&dir.path().join("target/size-report")), ["latest.md", "size.json", "size.svg"]);
    assert!(size(&["--write"]).status.success());
    assert_eq!(names(&report), ["budget.toml", "latest.md", "size.json", "size.svg"]);
    // Over it, a check fails and still changes nothing.
    let before = std::fs::read(report.join("size.json")).unwrap();
    std::fs::write(report.join("budget.toml"), "initramfs_xz_bytes = 1\n").unwrap();
    std::fs::write(release.join("ocinit"), "smaller").unwrap();
    assert!(!size(&[]).status.success());
    assert_eq!(std::fs::read(report.join("size.json")).unwrap(), before);
}

/// dev.d/setup.sh with an apt of a release whose libraries have other versions in their names.
const SETUP: &str = r#"
set -euo pipefail
ROOT=$PWD
. "$SCRIPTS/common.sh"
. "$SCRIPTS/setup.sh"
apt-cache() {
    [ "$*" = "show --no-all-versions a b" ] || return 1
    printf 'Package: a\nPre-Depends: libc6 (>= 2.34), init\n'
    printf 'Depends: libssl9t64 (>= 9), libnew77:any | libold1, adduser, zlib2g\nSuggests: libmore5\n'
    printf '\nPackage: b\nDepends: a, libntirpc9.1\n'
}
dpkg-query() { printf 'ii  libc6\nrc  libnew77\nii  zlib2g\n'; }
fetch_packages() { echo "fetched ${*:2}"; }
install_packages() { echo "installed $*"; }
ldd() { echo "$LDD"; }
eval "$1"
"#;

fn setup(command: &str, ldd: &str) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("dev.d");
    let mut bash = Command::new("bash");
    bash.args(["-c", SETUP, "dev", command]).env("SCRIPTS", scripts).env("LDD", ldd);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Promise: no-outside-versions
#[test]
fn setup_knows_no_librarys_version() {
    // A package for compiling against is called after none of its versions but libc's, which is everywhere the same.
    let names = setup(r#"printf '%s\n' ${PACKAGES[@]} ${UNPACKED[@]} ${OPTIONAL[@]} ${BENCH_PULL[@]}"#, "");
    let is_versioned = |name: &&str| {
        let is_library = name.starts_with("lib") || name.starts_with("zlib");
        is_library && name.contains(|c: char| c.is_ascii_digit()) && !name.ends_with("-dev")
    };
    assert!(names.lines().count() > 30, "{names}");
    assert_eq!(names.lines().filter(is_versioned).collect::<Vec<_>>(), Vec::<&str>::new());
    let fetched = "fetched a b\ninstalled libnew77 libntirpc9.1 libssl9t64\n";
    assert_eq!(setup("unpack_tool no-such-program a b", ""), fetched);
    assert_eq!(setup("unpack_tool sh a b", "libc.so.6 => /lib/libc.so.6"), "");
    // What was unpacked before a release upgrade.
    assert_eq!(setup("unpack_tool sh a b", "libssl.so.8 => not found"), fetched);
}

/// As in `ocinit-host … | head`, without a moment at which the reader may still be there.
#[test]
fn a_closed_output_ends_the_host_tool_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocinit-host"));
    std::fs::write(dir.path().join("init"), support::payload()).unwrap();
    command.args(["build", "--quick", "--compress", "none", "--init"]).arg(dir.path().join("init")).arg("--output");
    command.arg(dir.path().join("initramfs")).stdout(OwnedFd::from(theirs));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.signal(), Some(SIGPIPE));
}
