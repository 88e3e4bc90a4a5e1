//! Whether a container is, seen from inside, the one that podman and crun make of the same flags: a payload prints what
//! it sees, and its output in our container is compared with the recorded output in podman's, line by line. golden.rs
//! says why podman's output is recorded.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

#[path = "parity/compare.rs"]
mod compare;
#[path = "parity/golden.rs"]
mod golden;
#[path = "parity/guest.rs"]
mod guest;
#[path = "parity/more.rs"]
mod more;
#[path = "parity/reasons.rs"]
mod reasons;
#[path = "parity/report.rs"]
mod report;
mod support;
#[path = "parity/table.rs"]
mod table;

use guest::Side;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::podman;

/// What is compared, unless OCINIT_INIT names another.
const INIT: &str = "target/ocinit/x86_64/ocinit";
const COMBINATIONS_MIN: usize = 300;
/// Guests that are still there then hang.
const OURS_LIMIT: Duration = Duration::from_secs(900);
const PODMANS_LIMIT: Duration = Duration::from_secs(3 * 3600);
/// The guests in which podman is asked.
const GUESTS: usize = 2;

fn has_qemu() -> bool {
    let qemu = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into());
    let there = Command::new(&qemu).arg("--version").stdout(Stdio::null()).status().is_ok_and(|it| it.success());
    if !there {
        skip!("there is no QEMU here");
    }
    true
}

/// Asks podman for all combinations, or for those that are named, and keeps its answers.
fn ask_podman(names: &str) -> Result<(), String> {
    let all = names == "1";
    let is_new = |name: &str| names == "new" && !golden::is_known(name);
    let wanted = |name: &&str| all || is_new(name) || names.split(',').any(|one| one == *name);
    let names: Vec<&str> = more::all().iter().map(|row| row.name).filter(wanted).collect();
    let mut kept = if all { Default::default() } else { golden::read(&names)? };
    let mut heading = String::new();
    for answers in ask_in_guests(&names) {
        let answers = answers?;
        kept.extend(answers.normal()?);
        let told = answers.versions.iter().filter(|(name, _)| guest::TOLD.contains(&name.as_str()));
        let versions: Vec<String> = told.map(|(name, version)| format!("{name} {version}")).collect();
        heading = format!("{}; Linux {}", versions.join(", "), answers.updated.kernel);
    }
    golden::write(&kept, &names, &heading).map_err(|error| error.to_string())
}

/// Each guest has a part of the combinations: most of podman's time under emulation is that of one processor.
fn ask_in_guests(names: &[&str]) -> Vec<Result<guest::Answers, String>> {
    let payload = support::payload();
    let ask = |part: usize| {
        let names: Vec<&str> = names.iter().skip(part).step_by(GUESTS).copied().collect();
        guest::run(&Side::Podman, &names, &payload, &support::scratch(&format!("podman-{part}")), PODMANS_LIMIT)
    };
    std::thread::scope(|scope| {
        let guests: Vec<_> = (0..GUESTS.min(names.len())).map(|part| scope.spawn(move || ask(part))).collect();
        guests.into_iter().map(|guest| guest.join().unwrap()).collect()
    })
}

/// Promise: podman-parity
#[test]
fn a_container_is_what_podman_would_have_made() {
    if !has_qemu() {
        return;
    }
    if let Some(names) = std::env::var("PARITY_PODMAN").ok().filter(|names| !names.is_empty()) {
        ask_podman(&names).unwrap();
    }
    let theirs = golden::read(&[]).unwrap();
    let init = PathBuf::from(std::env::var("OCINIT_INIT").unwrap_or_else(|_| INIT.into()));
    assert!(init.is_file(), "{}: ./dev build makes it", init.display());
    let names: Vec<&str> = more::all().iter().map(|row| row.name).collect();
    let ours =
        guest::run(&Side::Ours(&init), &names, &support::payload(), &support::scratch("parity"), OURS_LIMIT).unwrap();
    let seconds = ours.wall_s;
    let table = report::Table::new(&theirs, &ours.normal().unwrap());
    table.save(Path::new("target/parity.txt")).unwrap();
    table.show(seconds);
    assert_eq!(table.idle(), Vec::<String>::new(), "rows of REASONS that nothing needs");
    assert_eq!(table.unexplained(), 0, "combinations with differences that have no reason: see target/parity.txt");
}

#[test]
fn the_table_names_each_combination_once() {
    let all = more::all();
    assert!(all.len() >= COMBINATIONS_MIN, "{}", all.len());
    let images: Vec<String> = table::images(&[]).into_iter().map(|image| image.tag).collect();
    for (at, row) in all.iter().enumerate() {
        assert!(all[..at].iter().all(|other| other.name != row.name), "{} is there twice", row.name);
        let same = |other: &&table::Combination| {
            (other.image, other.flags, other.command) == (row.image, row.flags, row.command) && other.input == row.input
        };
        assert_eq!(all.iter().filter(|other| same(other)).count(), 1, "{}: another one is the same", row.name);
        assert!(images.iter().any(|image| image == row.image), "{}: no image {}", row.name, row.image);
        assert!(row.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{}", row.name);
    }
    let first: Vec<&str> = more::all().iter().map(|row| row.name).take(golden::BASES.len() - 1).collect();
    assert_eq!(first, golden::BASES[1..]);
}
