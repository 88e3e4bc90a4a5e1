//! What a container's user opens by path, and who that user is.

use super::{images, init_flags, Ended, Host};
use ocinit::host::image::{Entry, Kind};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

/// Runs the payload's `open` with a line on standard input.
fn open(host: &Host, flags: &[&str], image: &str) -> Ended {
    let mut command = host.command(&[&["run"], flags, &[image, "open"]].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Without -i nobody reads it.
    let _ = child.stdin.take().unwrap().write_all(b"a line\n");
    let ended = Ended::new(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{flags:?}: {}{}", ended.out, ended.err);
    ended
}

fn has(ended: &Ended, line: &str, flags: &[&str]) {
    assert!(ended.out.lines().any(|other| other == line), "{flags:?}: no '{line}' in\n{}", ended.out);
}

/// Promise: streams-by-path
/// Input: streams-by-path
#[test]
fn standard_streams_by_path() {
    let Some(host) = Host::new("streams") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let init = init_flags();
    let init: Vec<&str> = init.iter().map(String::as_str).collect();
    let users = [("0", "0:0"), ("1000", "1000:100"), ("guest", "1000:100"), ("1234:5678", "1234:5678"), (":5", "0:5")];
    for (user, owner) in users {
        for more in [&[][..], &["--init"], &["--read-only"], &["--pid=host"]] {
            let more = if more == ["--init"] { &init[..] } else { more };
            let flags = [&["-i", "-u", user], more].concat();
            let ended = open(&host, &flags, &image);
            for path in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
                has(&ended, &format!("through {path}"), &flags);
            }
            has(&ended, "through /dev/stdin 'a line'", &flags);
            for number in 0..3 {
                has(&ended, &format!("stream {number} fifo 0777 {owner}"), &flags);
            }
            has(&ended, "stream /dev/stderr read ok write ok", &flags);
        }
        // Nothing to read, but to open.
        let flags = ["-u", user];
        let ended = open(&host, &flags, &image);
        has(&ended, "through /dev/stdin ''", &flags);
        has(&ended, "stream 0 character 1:3 0666 0:0", &flags);
    }
    // A volume in the place of /dev/null: what is read then is a pipe's end.
    let flags = ["-u", "1000", "-v", "/dev/null:/dev/null:ro"];
    has(&open(&host, &flags, &image), "through /dev/stdin ''", &flags);
}

/// What the host has behind our own streams is not given away.
/// Promise: host-unchanged
#[test]
fn the_hosts_own_streams_stay_as_they_are() {
    let Some(host) = Host::new("own-streams") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let look =
        |path: &std::path::Path| std::fs::metadata(path).map(|meta| (meta.uid(), meta.gid(), meta.mode())).unwrap();
    let (null, input, output) = (std::path::Path::new("/dev/null"), host.dir.join("input"), host.dir.join("output"));
    std::fs::write(&input, "a line\n").unwrap();
    for flags in [&["-i", "-u", "1000"][..], &["-u", "1000"], &["-t", "-u", "1000"]] {
        let stdout = std::fs::File::create(&output).unwrap();
        let before = (look(null), look(&input), look(&output));
        let mut command = host.command(&[&["run"], flags, &[&image, "open"]].concat());
        let stdin = std::fs::File::open(if flags[0] == "-i" { &input } else { null }).unwrap();
        command.stdin(stdin).stdout(stdout).stderr(std::fs::File::open(null).unwrap());
        assert!(command.status().unwrap().success());
        assert_eq!((look(null), look(&input), look(&output)), before, "{flags:?}");
        assert!(std::fs::read_to_string(&output).unwrap().contains("through /dev/stdout"), "{flags:?}");
    }
}

/// Promise: podman-mounts
#[test]
fn files_that_podman_makes() {
    let Some(host) = Host::new("made") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let own = [Entry::file("etc/mtab", 0o600, "the image's\n"), Entry::directory("run", 0o750).owned(7, 8)];
    let with_own = host.layout("own", images::odd(&host.payload, &own, "1000", "/srv/made/up"));
    let run = |flags: &[&str], image: &str, words: &[&str]| host.ocinit(&[&["run"], flags, &[image], words].concat());
    assert!(run(&[], &image, &["stat", "/etc/mtab"]).out.ends_with(" /proc/mounts\n"));
    assert!(run(&["-u", "1000"], &image, &["cat", "/etc/mtab"]).out.starts_with("overlay / overlay"));
    assert!(run(&[], &with_own, &["stat", "/etc/mtab"]).out.starts_with("/etc/mtab file 0600 0:0 12 "));
    // A made working directory is its user's, and a mount point is sticky, with those above it.
    let shared = host.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    let volume = format!("{}:/a/b/c", shared.display());
    let stat = run(&["-v", &volume], &with_own, &["stat", "/srv/made", "/srv/made/up", "/a/b"]).out;
    for line in ["/srv/made directory 0755 0:0 ", "/srv/made/up directory 0755 1000:100 ", "/a/b directory 1755 0:0 "] {
        assert!(stat.lines().any(|other| other.starts_with(line)), "{line}: {stat}");
    }
    // In a volume at /run podman makes nothing, and neither do we.
    let volume = format!("{}:/run", shared.display());
    assert!(run(&["-v", &volume], &image, &["stat", "/run/.containerenv"]).out.contains("No such file"));
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
    assert!(run(&["--tmpfs=/run"], &image, &["stat", "/run/.containerenv"]).out.contains(" file 0644 0:0 "));
}

/// Promise: users
/// Input: users-with-empty-parts
#[test]
fn users_with_empty_parts() {
    let Some(host) = Host::new("parts") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for (user, uid, gid, groups) in [
        (":5", 0, 0, "5"),
        (":wheel", 0, 0, "77"),
        ("5:", 5, 0, "0"),
        ("guest:", 1000, 100, "100"),
        ("guest", 1000, 100, "77 100"),
        ("1000:", 1000, 100, "100"),
        (":", 0, 0, "0"),
        ("0:", 0, 0, "0"),
    ] {
        let gid = if user.starts_with(':') && user.len() > 1 { groups.parse().unwrap() } else { gid };
        let want = format!("Uid: {uid} {uid} {uid} {uid}\nGid: {gid} {gid} {gid} {gid}\nGroups: {groups}\n");
        let by_flag = host.ocinit(&["run", "-u", user, &image, "id"]);
        assert_eq!(by_flag.out, want, "{user}: {}", by_flag.err);
        let of_image = host.layout("of-image", images::odd(&host.payload, &[], user, "/"));
        assert_eq!(host.ocinit(&["run", &of_image, "id"]).out, want, "{user}");
    }
    // None at all is the image's.
    let guest = host.layout("guest", images::guest(&host.payload));
    assert!(host.ocinit(&["run", "-u", "", &guest, "id"]).out.starts_with("Uid: 1000 "));
    for user in ["nobody:", ":nobody", "guest:nobody", "::", "5:5:5"] {
        let ended = host.ocinit(&["run", "-u", user, &image, "id"]);
        assert_eq!((ended.code, ended.out.as_str()), (126, ""), "{user}: {}", ended.err);
    }
}

/// Only who has to be looked up in it is refused for a file that cannot be read.
/// Input: user-databases
#[test]
fn user_databases_that_nobody_needs() {
    let Some(host) = Host::new("databases") else { return };
    let zero = Entry { kind: Kind::CharacterDevice(1, 5), ..Entry::file("zero", 0o666, "") };
    let odd = |path: &str| {
        let large = Entry::file(path, 0o644, vec![b'\n'; 3 << 20]);
        let fifo = Entry { kind: Kind::Fifo, ..Entry::file(path, 0o644, "") };
        let whiteout = path.rsplit_once('/').map(|(dir, name)| Entry::file(&format!("{dir}/.wh.{name}"), 0o644, ""));
        let linked = vec![whiteout.unwrap(), Entry::symlink(path, "/zero"), zero.clone()];
        [("large", vec![large]), ("fifo", vec![fifo]), ("zero", linked)]
    };
    let whose = |file: &str| match file {
        "etc/passwd" => (&["", "0", "0:0", "7:8", ":5", "5:5"][..], &["guest", "1000", "root", "guest:100", "7:"][..]),
        _ => (
            &["", "0", "root", "7:8", "4321", ":5", "guest:100", "guest:"][..],
            &["guest", "1000", ":wheel", "7:wheel"][..],
        ),
    };
    for file in ["etc/passwd", "etc/group"] {
        let (free, bound) = whose(file);
        for (kind, entries) in odd(file) {
            let image = host.layout(&format!("{}-{kind}", &file[4..]), images::odd(&host.payload, &entries, "", "/"));
            for user in free {
                let ended = host.ocinit(&["run", "-u", user, &image, "exit", "3"]);
                assert_eq!(ended.code, 3, "{file} {kind} '{user}': {}", ended.err);
                let warning =
                    format!("the image's /{file}: {}", if kind == "large" { "larger" } else { "not a regular" });
                assert!(ended.err.contains(&warning), "{file} {kind} '{user}': {}", ended.err);
            }
            for user in bound {
                let ended = host.ocinit(&["run", "-u", user, &image, "exit", "3"]);
                assert_eq!(ended.code, 126, "{file} {kind} '{user}': {}", ended.err);
            }
            let named = host.ocinit(&["run", "--group-add=wheel", &image, "exit", "3"]);
            assert_eq!(named.code, if file == "etc/group" { 126 } else { 3 }, "{kind}: {}", named.err);
        }
    }
}

/// Promise: etc-files
/// Input: added-hosts
#[test]
fn hosts_that_are_added() {
    let Some(host) = Host::new("added") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |value: &str| host.ocinit(&["run", "--add-host", value, &image, "cat", "/etc/hosts"]);
    for (value, lines) in [
        ("db:192.0.2.7", "192.0.2.7\tdb\n"),
        ("db;db.lab;my_db:192.0.2.7", "192.0.2.7\tdb db.lab my_db\n"),
        ("a;b:2001:db8::1", "2001:db8::1\ta b\n"),
        ("a:192.0.2.7,b;c:::1", "192.0.2.7\ta\n::1\tb c\n"),
    ] {
        let ended = run(value);
        assert!(ended.out.starts_with(lines), "{value}: {}{}", ended.out, ended.err);
    }
    let gateway = run("up:host-gateway").out;
    assert!(
        gateway.lines().next().is_some_and(|line| line.ends_with("\tup") && !line.starts_with("host-")),
        "{gateway}"
    );
    for value in [
        "db",
        "db=192.0.2.7",
        ":192.0.2.7",
        "db:",
        ";db:192.0.2.7",
        "db;:192.0.2.7",
        "a;;b:192.0.2.7",
        "a b:192.0.2.7",
        "a#b:192.0.2.7",
        "a\nb:192.0.2.7",
        "a/b:192.0.2.7",
        "d\u{e4}:192.0.2.7",
        "db:192.0.2",
        "db:[2001:db8::1]",
        "db:192.0.2.7 evil",
        "db:gateway",
    ] {
        let ended = run(value);
        assert!(ended.code == 125 && ended.err.contains("--add-host: '"), "{value}: {}{}", ended.out, ended.err);
    }
}
