//! Images whose configuration or files aim at the host. Each is refused or runs contained; the host's canary never
//! changes.

use super::{canaries, images, snapshot, Host};
use ocinit::host::image::{Entry, Kind};
use std::path::{Path, PathBuf};

/// A directory of the host that no container may touch.
struct Canary {
    dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    fn new(host: &Host) -> Canary {
        let dir = host.dir.join("canary");
        std::fs::create_dir_all(dir.join("x")).unwrap();
        std::fs::write(dir.join("file"), "canary\n").unwrap();
        std::fs::write(dir.join("passwd"), "guest:x:0:0::/:/\n").unwrap();
        Canary { before: snapshot(&dir), dir }
    }

    fn path(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }

    fn look(&self, what: &str) {
        canaries::look(&self.before, &snapshot(&self.dir), what);
    }
}

/// Runs `id` in an image made of these; it must fail without having run, and say `why`.
fn refused(host: &Host, name: &str, entries: &[Entry], user: &str, why: &str) {
    let canary = Canary::new(host);
    let image = host.layout(name, images::odd(&host.payload, entries, user, "/"));
    let ended = host.ocinit(&["run", &image, "id"]);
    canary.look(name);
    assert_eq!((ended.code, ended.out.as_str()), (126, ""), "{name}");
    assert!(ended.err.contains(why), "{name}: {}", ended.err);
}

fn device(path: &str, major: u32, minor: u32) -> Entry {
    Entry { kind: Kind::CharacterDevice(major, minor), ..Entry::file(path, 0o666, "") }
}

/// Input: user-databases
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
    let outside = Canary::new(&host);
    let link = [Entry::symlink("etc/passwd", &outside.dir.join("passwd").to_string_lossy())];
    refused(&host, "link", &link, "guest", "no user 'guest'");
}

/// Input: users
#[test]
fn users_that_are_none() {
    let Some(host) = Host::new("users") else { return };
    for (index, user) in ["4294967296", "-1", "nobody-here", "guest:no-group", "1:4294967295"].iter().enumerate() {
        refused(&host, &format!("user{index}"), &[], user, "FAIL container");
    }
}

/// Promise: host-unchanged
/// Input: working-directory
#[test]
fn working_directories_that_lead_out() {
    let Some(host) = Host::new("workdir") else { return };
    let outside = Canary::new(&host);
    for (index, place) in ["/proc/self/fd/7", "/proc/1/root", "/proc/self/cwd", "/out", "/../../.."].iter().enumerate()
    {
        let link = [Entry::symlink("out", &outside.path())];
        let image = host.layout(&format!("dir{index}"), images::odd(&host.payload, &link, "", place));
        let ended = host.ocinit(&["run", &image, "write", "file", "broken out"]);
        outside.look(place);
        let listed = host.ocinit(&["run", "--entrypoint", "/payload", &image, "ls", "."]);
        let inside = listed.out.lines().any(|line| line == "x");
        assert!(!inside, "{place} is the host's directory");
        assert!(ended.code == 126 || ended.code == 0, "{place}: {}", ended.code);
    }
}

/// CVE-2026-41579: a mount that follows the image's own link.
/// Promise: host-unchanged
/// Input: mount-points
#[test]
fn mount_points_that_are_links() {
    let Some(host) = Host::new("links") else { return };
    let outside = Canary::new(&host);
    for name in ["proc", "dev", "sys", "etc"] {
        let link = Entry::symlink(name, &outside.path());
        let remove = Entry::file(&format!(".wh.{name}"), 0o644, "");
        let entries = if name == "etc" { vec![remove, link] } else { vec![link] };
        let image = host.layout(name, images::odd(&host.payload, &entries, "", "/"));
        host.ocinit(&["run", &image, "hello"]);
        outside.look(name);
        assert_eq!(host.mounts(), Vec::<String>::new(), "/{name}");
    }
}

/// Promise: mount-targets-inside, host-unchanged
/// Input: mount-points
#[test]
fn volumes_and_own_files_through_links() {
    let Some(host) = Host::new("through") else { return };
    let outside = Canary::new(&host);
    let file = outside.dir.join("file");
    let entries = [
        Entry::symlink("out", &outside.path()),
        Entry::symlink("etc/resolv.conf", &file.to_string_lossy()),
        Entry::symlink("etc/hosts", &file.to_string_lossy()),
        Entry { kind: Kind::Fifo, ..Entry::file("etc/hostname", 0o644, "") },
    ];
    let image = host.layout("through", images::odd(&host.payload, &entries, "", "/"));
    let shared = host.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    let volume = format!("{}:/out/x", shared.display());
    host.ocinit(&["run", "-v", &volume, &image, "write", "/out/x/new", "text"]);
    outside.look("by a volume");
    // The links are followed inside, where nothing is yet; a FIFO blocks nobody.
    let hosts = host.ocinit(&["run", &image, "cat", "/etc/hosts"]);
    assert!(hosts.code == 0 && !hosts.out.contains("canary"), "{}", hosts.out);
    let stat = host.ocinit(&["run", &image, "stat", "/etc/hostname", &file.to_string_lossy()]);
    assert_eq!(stat.out.lines().filter(|line| line.contains(" file 0644 0:0 ")).count(), 2, "{}", stat.out);
    outside.look("by its own files");
}

/// Input: environment
#[test]
fn odd_environments() {
    let Some(host) = Host::new("env") else { return };
    let mut image = images::payload(&host.payload);
    image.config["Env"] = serde_json::json!(["BROKEN", "=x", "A=1", "A=2"]);
    let image = host.layout("env", image);
    let ended = host.ocinit(&["run", &image, "env"]);
    assert!(ended.out.lines().any(|line| line == "A=2") && !ended.out.contains("A=1"), "{}", ended.out);
    assert!(ended.err.contains("WARN the environment's entry 'BROKEN' is not NAME=value"), "{}", ended.err);
}

/// What cannot be started ends with podman's exit code for it, and touches nothing of the host.
/// Promise: host-unchanged
/// Input: entry-points
#[test]
fn entry_points_that_are_none() {
    let Some(host) = Host::new("entry") else { return };
    let canary = Canary::new(&host);
    let outside = canary.dir.join("file").to_string_lossy().into_owned();
    let entries = [
        Entry::symlink("out", &outside),
        Entry::symlink("loop", "loop"),
        Entry::file("bare", 0o644, "text"),
        Entry { kind: Kind::Fifo, ..Entry::file("fifo", 0o755, "") },
    ];
    for (index, (entry, code)) in
        [("/missing", 127), ("/out", 127), ("/data", 126), ("/bare", 126), ("/fifo", 126), ("/loop", 126)]
            .into_iter()
            .enumerate()
    {
        let mut image = images::odd(&host.payload, &entries, "", "/");
        image.config["Entrypoint"] = serde_json::json!([entry]);
        let image = host.layout(&format!("entry{index}"), image);
        let ended = host.ocinit(&["run", &image]);
        canary.look(entry);
        assert_eq!(ended.code, code, "{entry}: {}", ended.err);
    }
}

/// A container sees none of ocinit's mounts, and its working directory is the image's.
/// Promise: host-unchanged
/// Input: nothing-inherited
#[test]
fn nothing_of_ours_inside() {
    let Some(host) = Host::new("inside") else { return };
    let canary = Canary::new(&host);
    let image = host.layout("image", images::odd(&host.payload, &[], "", "/data"));
    let ended = host.ocinit(&["run", &image, "cat", "/proc/self/mountinfo"]);
    canary.look("by its mounts");
    let points: Vec<&str> = ended.out.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let inside = |point: &&str| ["/proc", "/sys", "/dev", "/etc", "/run"].iter().any(|top| point.starts_with(top));
    assert!(points.contains(&"/") && points.contains(&"/proc"), "{points:?}");
    assert!(points.iter().all(|point| *point == "/" || inside(point)), "{points:?}");
    // What of us can be read there are its own four files, by where they lie.
    let ours = ended.out.lines().filter(|line| line.contains(&*host.dir.to_string_lossy()));
    let ours: Vec<&str> = ours.filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(ours, ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv"], "{}", ended.out);
    assert_eq!(host.ocinit(&["run", &image, "cwd"]).out, "/data\n");
}

/// Labels of an image are never read as options.
/// Input: labels
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
