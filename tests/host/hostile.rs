//! Images whose configuration or files aim at the host. Each verdict is an
//! error or a contained run; the host's canary never changes.

use super::{images, snapshot, Host};
use ocinit::host::image::{Entry, Kind};
use std::path::{Path, PathBuf};

/// A folder of the host that no container may touch.
fn canary(host: &Host) -> PathBuf {
    let dir = host.dir.join("canary");
    std::fs::create_dir_all(dir.join("x")).unwrap();
    std::fs::write(dir.join("file"), "canary\n").unwrap();
    dir
}

/// Runs `id` in an image made of these; it must fail without having run, and say `why`.
fn refused(host: &Host, name: &str, entries: &[Entry], user: &str, why: &str) {
    let image = host.layout(name, images::odd(&host.payload, entries, user, "/"));
    let ended = host.ocinit(&["run", &image, "id"]);
    assert_eq!((ended.code, ended.out.as_str()), (125, ""), "{name}");
    assert!(ended.err.contains(why), "{name}: {}", ended.err);
}

fn device(path: &str, major: u32, minor: u32) -> Entry {
    Entry { kind: Kind::CharacterDevice(major, minor), ..Entry::file(path, 0o666, "") }
}

#[test]
fn user_databases_that_never_end() {
    let Some(host) = Host::new("passwd") else { return };
    let zero = [Entry::directory("dev", 0o755), device("dev/zero", 1, 5), Entry::symlink("etc/passwd", "/dev/zero")];
    refused(&host, "zero", &zero, "guest", "/etc/passwd: not a regular file");
    let fifo = [Entry { kind: Kind::Fifo, ..Entry::file("etc/passwd", 0o644, "") }];
    refused(&host, "fifo", &fifo, "guest", "/etc/passwd: not a regular file");
    let large = [Entry::file("etc/passwd", 0o644, vec![b'\n'; 3 << 20])];
    refused(&host, "large", &large, "guest", "/etc/passwd: larger than 1 MiB");
    // A link to the host's own is a link inside: there, it leads nowhere.
    let outside = canary(&host);
    std::fs::write(outside.join("passwd"), "guest:x:0:0::/:/\n").unwrap();
    let link = [Entry::symlink("etc/passwd", &outside.join("passwd").to_string_lossy())];
    refused(&host, "link", &link, "guest", "no user «guest»");
}

#[test]
fn users_that_are_none() {
    let Some(host) = Host::new("users") else { return };
    for (index, user) in ["4294967296", "-1", "nobody-here", "guest:no-group", "1:4294967295"].iter().enumerate() {
        refused(&host, &format!("user{index}"), &[], user, "FAIL container");
    }
}

#[test]
fn working_folders_that_lead_out() {
    let Some(host) = Host::new("workdir") else { return };
    let outside = canary(&host);
    for (index, place) in ["/proc/self/fd/7", "/proc/1/root", "/proc/self/cwd", "/out", "/../../.."].iter().enumerate()
    {
        let link = [Entry::symlink("out", &outside.to_string_lossy())];
        let image = host.layout(&format!("dir{index}"), images::odd(&host.payload, &link, "", place));
        let before = snapshot(&outside);
        let ended = host.ocinit(&["run", &image, "write", "file", "broken out"]);
        assert_eq!(snapshot(&outside), before, "{place}");
        let listed = host.ocinit(&["run", "--entrypoint", "/payload", &image, "ls", "."]);
        let inside = listed.out.lines().any(|line| line == "x");
        assert!(!inside, "{place} is the host's folder");
        assert!(ended.code == 125 || ended.code == 0, "{place}: {}", ended.code);
    }
}

/// CVE-2026-41579: a mount that follows the image's own link.
#[test]
fn mount_points_that_are_links() {
    let Some(host) = Host::new("links") else { return };
    let outside = canary(&host);
    for name in ["proc", "dev", "sys", "etc"] {
        let link = Entry::symlink(name, &outside.to_string_lossy());
        let remove = Entry::file(&format!(".wh.{name}"), 0o644, "");
        let entries = if name == "etc" { vec![remove, link] } else { vec![link] };
        let image = host.layout(name, images::odd(&host.payload, &entries, "", "/"));
        let before = snapshot(&outside);
        host.ocinit(&["run", &image, "hello"]);
        assert_eq!(snapshot(&outside), before, "/{name}");
        assert_eq!(host.mounts(), Vec::<String>::new(), "/{name}");
    }
}

#[test]
fn volumes_and_own_files_through_links() {
    let Some(host) = Host::new("through") else { return };
    let outside = canary(&host);
    let file = outside.join("file");
    let entries = [
        Entry::symlink("out", &outside.to_string_lossy()),
        Entry::symlink("etc/resolv.conf", &file.to_string_lossy()),
        Entry::symlink("etc/hosts", &file.to_string_lossy()),
        Entry { kind: Kind::Fifo, ..Entry::file("etc/hostname", 0o644, "") },
    ];
    let image = host.layout("through", images::odd(&host.payload, &entries, "", "/"));
    let shared = host.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    let before = snapshot(&outside);
    let volume = format!("{}:/out/x", shared.display());
    host.ocinit(&["run", "-v", &volume, &image, "write", "/out/x/new", "text"]);
    assert_eq!(snapshot(&outside), before);
    // The links are replaced, never followed; a FIFO blocks nobody.
    let stat = host.ocinit(&["run", &image, "stat", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"]);
    assert_eq!(stat.code, 0);
    assert_eq!(stat.out.lines().filter(|line| line.contains(" file 0644 0:0 ")).count(), 3, "{}", stat.out);
    assert_eq!(snapshot(&outside), before);
}

#[test]
fn odd_environments() {
    let Some(host) = Host::new("env") else { return };
    let mut image = images::payload(&host.payload);
    image.config["Env"] = serde_json::json!(["BROKEN", "=x", "A=1", "A=2"]);
    let image = host.layout("env", image);
    let ended = host.ocinit(&["run", &image, "env"]);
    assert!(ended.out.lines().any(|line| line == "A=2") && !ended.out.contains("A=1"), "{}", ended.out);
    assert!(ended.err.contains("WARN the image's environment entry «BROKEN» is not NAME=value"), "{}", ended.err);
}

/// Labels of an image are never read as options.
#[test]
fn labels_are_nothing() {
    let Some(host) = Host::new("labels") else { return };
    let mut image = images::payload(&host.payload);
    image.config["Labels"] = serde_json::json!({"run": "-v /:/host IMAGE", "b2c.run": "x"});
    let image = host.layout("labels", image);
    let ended = host.ocinit(&["run", &image, "stat", "/host"]);
    assert!(ended.out.starts_with("/host No such file"), "{}", ended.out);
    assert!(!Path::new("/host").exists());
}
