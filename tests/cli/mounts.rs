//! The mounts of a container, seen from inside and from the host.

use super::{images, snapshot, Ended, Host};
use ocinit::host::image::{Entry, Image};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// The image that all of these use: a filled directory that is declared a volume, and links.
fn filled(host: &Host) -> String {
    let entries = [
        Entry::directory("srv", 0o750).owned(7, 8),
        Entry::file("srv/file", 0o640, "from the image\n").owned(7, 8),
        Entry::directory("srv/sub", 0o1777),
        Entry::symlink("srv/link", "file"),
        Entry::directory("run", 0o755),
        Entry::directory("var/tmp", 0o1777),
        Entry::symlink("away", "/opt/made/here"),
    ];
    let mut image: Image = images::odd(&host.payload, &entries, "", "/");
    image.config["Volumes"] = serde_json::json!({"/srv": {}, "/empty": {}});
    host.layout("filled", image)
}

/// The line of the table of mounts for `point`: source, type, options.
fn mounted(ended: &Ended, point: &str) -> String {
    let line = ended.out.lines().rfind(|line| line.split(' ').nth(1) == Some(point));
    line.unwrap_or_else(|| panic!("nothing at {point}: {}", ended.out)).into()
}

fn has(line: &str, options: &[&str], without: &[&str]) {
    let all: Vec<&str> = line.split(' ').nth(3).unwrap().split(',').collect();
    assert!(options.iter().all(|option| all.contains(option)), "{line}: {options:?}");
    assert!(without.iter().all(|option| !all.contains(option)), "{line}: not {without:?}");
}

/// Promise: podman-mounts
#[test]
fn options_of_volumes() {
    let Some(host) = Host::new("options") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let shared = host.dir.join("shared");
    std::fs::create_dir_all(shared.join("sub")).unwrap();
    std::fs::write(shared.join("file"), "file\n").unwrap();
    let volume = |rest: &str| format!("{}:{rest}", shared.display());
    let words = ["-v", &volume("/a"), "-v", &volume("/b:ro,nosuid,nodev,noexec,z"), "-v", &volume("/c/d:rslave,Z")];
    let more = ["--mount", &format!("type=bind,src={}/file,dst=/e/file,ro", shared.display())];
    let seen = host.ocinit(&[&["run"], &words[..], &more, &[&image, "mounts"]].concat());
    has(&mounted(&seen, "/a"), &["rw"], &["ro", "nosuid", "nodev", "noexec"]);
    has(&mounted(&seen, "/b"), &["ro", "nosuid", "nodev", "noexec"], &["rw"]);
    has(&mounted(&seen, "/c/d"), &["rw"], &[]);
    has(&mounted(&seen, "/e/file"), &["ro"], &["nosuid"]);
    let refused = host.ocinit(&["run", "-v", &volume("/a:ro"), &image, "write", "/a/new", "x"]);
    assert!(refused.code == 1 && refused.out.contains("Read-only file system"), "{}", refused.out);
    assert!(!shared.join("new").exists());
    // What has no place in the image is made, below symlinks, too.
    let deep = host.ocinit(&["run", "-v", &volume("/new/deep/er"), &image, "cat", "/new/deep/er/file"]);
    assert_eq!((deep.code, deep.out.as_str()), (0, "file\n"), "{}", deep.err);
    let missing = host.ocinit(&["run", "-v", "/no/such/directory:/a", &image]);
    assert!(missing.code == 125 && missing.err.contains("volume /no/such/directory: no such file"), "{}", missing.err);
    assert_eq!(host.mounts(), Vec::<String>::new());
}

/// The outer one first, whatever the order on the line; else it would hide the inner one.
/// Promise: podman-mounts
#[test]
fn order_is_by_depth() {
    let Some(host) = Host::new("depth") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for name in ["outer", "inner", "innermost"] {
        std::fs::create_dir_all(host.dir.join(name)).unwrap();
        std::fs::write(host.dir.join(name).join(name), "").unwrap();
    }
    let volume = |name: &str, at: &str| format!("{}:{at}", host.dir.join(name).display());
    let (a, b, c) = (volume("innermost", "/m/x/y"), volume("inner", "/m/x"), volume("outer", "/m"));
    let run = |words: &[&str]| host.ocinit(&[&["run", "-v", &a, "-v", &b, "-v", &c, &image], words].concat()).out;
    assert_eq!(run(&["ls", "/m"]), "outer\nx\n");
    assert_eq!(run(&["ls", "/m/x"]), "inner\ny\n");
    assert_eq!(run(&["ls", "/m/x/y"]), "innermost\n");
}

/// Promise: new-volume-copies-image
#[test]
fn volumes_of_the_image_and_by_name() {
    let Some(host) = Host::new("named") else { return };
    let image = filled(&host);
    // Declared by the image: filled from it, and gone with the container.
    let seen = host.ocinit(&["run", &image, "mounts"]);
    has(&mounted(&seen, "/srv"), &["rw", "nosuid", "nodev"], &["noexec"]);
    let stat = ["stat", "/srv", "/srv/file", "/srv/sub", "/srv/link", "/empty"];
    let stat = host.ocinit(&[&["run", &image], &stat[..]].concat());
    for start in
        ["/srv directory 0750 7:8", "/srv/file file 0640 7:8", "/srv/sub directory 1777 0:0", "/empty directory"]
    {
        assert!(stat.out.lines().any(|line| line.starts_with(start)), "{start}: {}", stat.out);
    }
    assert!(stat.out.contains("/srv/link symlink"));
    assert_eq!(host.ocinit(&["run", &image, "write", "/srv/file", "gone"]).code, 0);
    assert_eq!(host.ocinit(&["run", &image, "cat", "/srv/file"]).out, "from the image\n");
    // In memory, and not at all.
    let other = |kind: &str, words: &[&str]| host.ocinit(&[&["run", "--image-volume", kind, &image], words].concat());
    assert_eq!(other("tmpfs", &["cat", "/srv/file"]).out, "from the image\n");
    assert!(other("tmpfs", &["mounts"]).out.lines().any(|line| line.contains(" /srv ") && line.contains(" tmpfs ")));
    assert_eq!(other("ignore", &["cat", "/srv/file"]).out, "from the image\n");
    assert!(!other("ignore", &["mounts"]).out.lines().any(|line| line.contains(" /srv ")));
    // A path may be longer than a name, and what is mounted at /dev has a console of its own, or none.
    let deep = "/volume-name".repeat(25);
    assert_eq!(host.ocinit(&["run", "-v", &deep, &image, "write", &format!("{deep}/x"), "x"]).code, 0);
    let ended = host.ocinit(&["run", "-t", "-v", "/dev:/dev", &image, "tty"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "true true true\r\n"), "{}", ended.err);
    // By name: filled once, kept.
    let run = |words: &[&str]| host.ocinit(&[&["run", "-v", "data:/srv", &image], words].concat());
    assert_eq!(run(&["cat", "/srv/file"]).out, "from the image\n");
    assert_eq!(run(&["write", "/srv/file", "kept"]).code, 0);
    assert_eq!(run(&["cat", "/srv/file"]).out, "kept\n");
    assert_eq!(host.stored("volumes"), ["data"]);
    // Where the image has nothing, the container's user may write.
    let user = ["run", "-u", "5:6", "-v", "mine:/not/there", &image, "write", "/not/there/x", "mine"];
    assert_eq!(host.ocinit(&user).code, 0);
    let bare = ["run", "-v", "bare:/srv:nocopy", &image, "ls", "/srv"];
    assert_eq!(host.ocinit(&bare).out, "");
    let bare = std::fs::metadata(host.store().join("volumes/bare")).unwrap();
    assert_eq!((bare.uid(), bare.gid(), bare.permissions().mode() & 0o7777), (7, 8, 0o750));
    assert_eq!(host.left(), Vec::<String>::new());
}

/// Promise: podman-mounts
#[test]
fn volumes_given_away_and_written_over() {
    let Some(host) = Host::new("given") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let shared = host.dir.join("shared");
    std::fs::create_dir_all(shared.join("sub")).unwrap();
    std::fs::write(shared.join("sub/file"), "as it was\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", shared.join("sub/link")).unwrap();
    let before = snapshot(&shared);
    let over = format!("{}:/w:O", shared.display());
    let words = ["run", "-v", &over, &image, "write", "/w/sub/file", "changed"];
    assert_eq!(host.ocinit(&words).code, 0);
    assert_eq!(snapshot(&shared), before, "the directory below an overlay stays as it is");
    let owner = std::fs::metadata("/etc/passwd").unwrap().uid();
    let given = format!("{}:/w:U", shared.display());
    assert_eq!(host.ocinit(&["run", "-u", "5:6", "-v", &given, &image, "write", "/w/sub/new", "x"]).code, 0);
    for name in ["", "sub", "sub/file", "sub/link", "sub/new"] {
        assert_eq!(std::fs::symlink_metadata(shared.join(name)).unwrap().uid(), 5, "{name}");
    }
    assert_eq!(std::fs::metadata("/etc/passwd").unwrap().uid(), owner);
    let system = host.ocinit(&["run", "-u", "5:6", "-v", "/usr:/w:U", &image]);
    assert!(system.code == 125 && system.err.contains("is not changed"), "{}", system.err);
    assert_eq!(std::fs::metadata("/usr").unwrap().uid(), 0);
    assert_eq!((host.left(), host.mounts()), (Vec::new(), Vec::new()));
}

/// Promise: podman-mounts
#[test]
fn memory_file_systems() {
    let Some(host) = Host::new("tmpfs") else { return };
    let image = filled(&host);
    let words = ["--tmpfs", "/srv", "--tmpfs", "/tmp:size=1m,exec", "--mount", "type=tmpfs,dst=/x,tmpfs-mode=700,ro"];
    let run = |more: &[&str]| host.ocinit(&[&["run"], &words[..], &[&image], more].concat());
    let seen = run(&["mounts"]);
    for point in ["/srv", "/tmp", "/x"] {
        assert!(mounted(&seen, point).starts_with(&format!("tmpfs {point} tmpfs ")), "{point}");
        has(&mounted(&seen, point), &["nosuid", "nodev"], &[]);
    }
    has(&mounted(&seen, "/tmp"), &["rw", "size=1024k"], &["noexec"]);
    has(&mounted(&seen, "/x"), &["ro"], &["rw"]);
    let stat = run(&["stat", "/srv", "/srv/file", "/tmp", "/x"]).out;
    for start in ["/srv directory 0750 ", "/srv/file file 0640 7:8", "/tmp directory 1777", "/x directory 0700"] {
        assert!(stat.lines().any(|line| line.starts_with(start)), "{start}: {stat}");
    }
    assert_eq!(host.ocinit(&["run", "--tmpfs", "/srv:notmpcopyup", &image, "ls", "/srv"]).out, "");
    let shm = |words: &[&str]| mounted(&host.ocinit(&[&["run"], words, &[&image, "mounts"]].concat()), "/dev/shm");
    assert!(shm(&[]).starts_with("shm /dev/shm tmpfs "));
    has(&shm(&[]), &["size=64000k", "nosuid", "nodev", "noexec"], &[]);
    has(&shm(&["--shm-size=1m"]), &["size=1024k"], &[]);
    // The kernel's own way to say that there is no limit.
    has(&shm(&["--shm-size=0"]), &["size=0k"], &[]);
    // One of the line's takes the place of the default one.
    let own = format!("{}:/dev/shm", host.dir.display());
    assert!(!shm(&["-v", &own]).starts_with("shm "));
}

/// Promise: podman-mounts
#[test]
fn a_root_that_cannot_be_written() {
    let Some(host) = Host::new("readonly") else { return };
    let image = filled(&host);
    let run = |words: &[&str]| host.ocinit(&[&["run", "--read-only"], words].concat());
    for path in ["/new", "/etc/passwd", "/etc/hosts", "/run/.containerenv"] {
        let ended = run(&[&image, "write", path, "x"]);
        assert!(ended.code == 1 && ended.out.contains("Read-only file system"), "{path}: {}", ended.out);
    }
    for path in ["/run/x", "/tmp/x", "/var/tmp/x", "/dev/shm/x", "/srv/x"] {
        assert_eq!(run(&[&image, "write", path, "x"]).code, 0, "{path}");
    }
    let seen = run(&[&image, "mounts"]);
    has(&mounted(&seen, "/"), &["ro"], &[]);
    has(&mounted(&seen, "/tmp"), &["rw", "nosuid", "nodev"], &[]);
    assert_eq!(run(&["--read-only-tmpfs=false", &image, "write", "/tmp/x", "x"]).code, 1);
    assert_eq!(run(&["-v", "v:/tmp", &image, "write", "/tmp/x", "x"]).code, 0);
    // The image's working directory is made before.
    let elsewhere = host.layout("elsewhere", images::odd(&host.payload, &[], "", "/not/there"));
    assert_eq!(run(&[&elsewhere, "cwd"]).out, "/not/there\n");
    assert_eq!(host.left(), Vec::<String>::new());
}

/// How each volume's mount is tied to others, as the kernel tells it.
/// Promise: podman-mounts
#[test]
fn propagation() {
    let Some(host) = Host::new("propagation") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let shared = host.dir.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    let tags = |options: &str| {
        let volume = format!("{}:/w:{options}", shared.display());
        let ended = host.ocinit(&["run", "-v", &volume, &image, "cat", "/proc/self/mountinfo"]);
        let line = ended.out.lines().find(|line| line.split(' ').nth(4) == Some("/w")).unwrap_or_default().to_string();
        let fields: Vec<&str> = line.split(' ').skip(6).take_while(|field| *field != "-").collect();
        assert!(!line.is_empty() && ended.code == 0, "{options}: {}{}", ended.out, ended.err);
        assert_eq!(host.mounts(), Vec::<String>::new(), "{options}");
        fields.join(" ")
    };
    assert_eq!(tags("rw"), "");
    assert_eq!(tags("rprivate"), "");
    assert!(tags("rshared").contains("shared:"));
    assert_eq!(tags("unbindable"), "unbindable");
}

/// With shared mounts, as systemd makes them, unmounting the container's root must not unmount those of the host. In a
/// mount namespace of its own, as a host would lose all of its mounts.
#[test]
fn shared_mounts_of_the_machine_stay() {
    let Some(host) = Host::new("rshared") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let shared = host.dir.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    for options in ["rshared", "rslave", "rw"] {
        let script = format!(
            "mount --make-rshared / && cut -d' ' -f5 /proc/self/mountinfo | sort > {0}/before && \
             {1} run --store {2} -v {0}/shared:/w:{options} {image} hello && \
             cut -d' ' -f5 /proc/self/mountinfo | sort > {0}/after",
            host.dir.display(),
            env!("CARGO_BIN_EXE_ocinit"),
            host.store().display(),
        );
        let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().expect("unshare");
        let ended = Ended::new(&output);
        assert_eq!(ended.code, 0, "{options}: {}{}", ended.out, ended.err);
        // What other tests have mounted goes when they remove the directories below it.
        let read = |name: &str| {
            let all = std::fs::read_to_string(host.dir.join(name)).unwrap();
            all.lines().filter(|place| !place.contains("/target/test/")).map(String::from).collect::<Vec<_>>()
        };
        assert!(read("before").contains(&"/proc".into()));
        assert_eq!(read("before"), read("after"), "{options}");
        assert!(!ended.err.contains("left out: pivot_root"), "{options}: {}", ended.err);
    }
}

/// Promise: etc-files
#[test]
fn names_and_addresses() {
    let Some(host) = Host::new("names") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |words: &[&str], path: &str| host.ocinit(&[&["run"], words, &[&image, "cat", path]].concat()).out;
    let dns = ["--dns=1.1.1.1", "--dns", "fe80::2", "--dns-search=lab.test", "--dns-option=ndots:2"];
    let text = run(&dns, "/etc/resolv.conf");
    assert!(text.starts_with("search lab.test\n"), "{text}");
    assert!(text.ends_with("\nnameserver 1.1.1.1\nnameserver fe80::2\noptions ndots:2\n"), "{text}");
    assert!(run(&["--dns=none"], "/etc/resolv.conf").contains("No such file"), "the image has none");
    let hosts = run(&["--add-host=db:10.9.9.9", "--add-host", "v6:fe80::1"], "/etc/hosts");
    assert!(hosts.starts_with("10.9.9.9\tdb\nfe80::1\tv6\n") && hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    assert!(run(&["--net=none", "--hostname=box"], "/etc/hosts").ends_with("127.0.0.1\tbox\n"));
    assert!(run(&["--no-hosts"], "/etc/hosts").contains("No such file"));
    assert_eq!(run(&["--hostname=box"], "/etc/hostname"), "box\n");
    let own = run(&[], "/run/.containerenv");
    assert!(own.starts_with("engine=\"ocinit-") && own.contains("image=\"oci:"), "{own}");
    // They are files of the container's own: what it writes there goes with it.
    assert_eq!(host.ocinit(&["run", &image, "write", "/etc/hosts", "x"]).code, 0);
    let passwd = format!("{}:/etc/hosts", host.dir.join("payload-hosts").display());
    std::fs::write(host.dir.join("payload-hosts"), "the line's\n").unwrap();
    assert_eq!(run(&["-v", &passwd], "/etc/hosts"), "the line's\n");
}

/// Volumes whose places in the image are links, and places that lead up.
/// Promise: mount-targets-inside
#[test]
fn places_stay_inside() {
    let Some(host) = Host::new("places") else { return };
    let image = filled(&host);
    let shared = host.dir.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join("file"), "shared\n").unwrap();
    for (at, seen) in [("/away", "/opt/made/here/file"), ("/a/../../../x", "/x/file"), ("//y/./z/", "/y/z/file")] {
        let volume = format!("{}:{at}", shared.display());
        let ended = host.ocinit(&["run", "-v", &volume, &image, "cat", seen]);
        assert_eq!(ended.out, "shared\n", "{at}: {}", ended.err);
    }
    assert!(!Path::new("/opt/made").exists());
}

/// A limit is there inside, or is an error that names what is missing: on a host without cgroup v2 all of them are.
/// Promise: limits
#[test]
fn limits_are_kept_or_refused() {
    let Some(host) = Host::new("limits") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let has_groups = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for (flag, file, kept) in [
        ("--memory=64m", "memory.max", "67108864\n"),
        ("--cpus=1", "cpu.max", "100000 100000\n"),
        ("--cpu-shares=2", "cpu.weight", "1\n"),
        ("--cpuset-cpus=0", "cpuset.cpus", "0\n"),
        ("--pids-limit=9", "pids.max", "9\n"),
        ("--blkio-weight=10", "io.weight", "default 1\n"),
    ] {
        let ended = host.ocinit(&["run", flag, &image, "cat", &format!("/sys/fs/cgroup/{file}")]);
        let name = flag.split('=').next().unwrap();
        if has_groups && ended.code == 0 {
            assert_eq!(ended.out, kept, "{flag}");
            continue;
        }
        assert_eq!((ended.code, ended.out.as_str()), (125, ""), "{flag}");
        // A controller may be missing on any host.
        let why = if has_groups { ": " } else { ": no control group of its own: there is no cgroup v2" };
        assert!(ended.err.contains(&[name, why].concat()), "{}", ended.err);
    }
}
