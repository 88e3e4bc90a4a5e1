//! Capabilities, masked paths, devices and system calls of a container, seen from inside: podman's defaults without
//! `--privileged`, and each flag that changes them.

use super::{images, Host};

/// podman's default capabilities (Debian's containers.conf).
const DEFAULT: u64 = 0x8004_05fb;
const NET_ADMIN: u64 = 1 << 12;

/// A line of the payload's `caps`, and of `/proc/self/status`.
fn field(out: &str, name: &str) -> u64 {
    let text = out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {out}"));
    let radix = if name.starts_with("Cap") { 16 } else { 10 };
    u64::from_str_radix(text.trim_start_matches(':').trim(), radix).unwrap()
}

/// Those that we have, and so can give.
fn available() -> u64 {
    field(&std::fs::read_to_string("/proc/self/status").unwrap(), "CapBnd")
}

/// Promise: isolation-flags
#[test]
fn capabilities() {
    let Some(host) = Host::new("capabilities") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let all = available();
    // Flags; bounding, effective and permitted, ambient and inheritable.
    let cases: [(&[&str], [u64; 3]); 11] = [
        (&[], [all, all, 0]),
        (&["--cap-drop=ALL"], [all, all, 0]),
        (&["--user=1000"], [all, 0, 0]),
        (&["--user=1000", "--cap-add=net_admin"], [all, NET_ADMIN, NET_ADMIN]),
        (&["--privileged=false"], [DEFAULT, DEFAULT, 0]),
        (
            &["--privileged=false", "--cap-add=CAP_NET_ADMIN", "--cap-drop=chown"],
            [DEFAULT & !1 | NET_ADMIN, DEFAULT & !1 | NET_ADMIN, 0],
        ),
        (&["--privileged=false", "--cap-drop=all", "--cap-add=KILL"], [1 << 5, 1 << 5, 0]),
        (&["--privileged=false", "--cap-add=all"], [all, all, 0]),
        (&["--privileged=false", "--cap-drop=all"], [0, 0, 0]),
        (&["--privileged=false", "--user=1000:5"], [DEFAULT, 0, 0]),
        (&["--privileged=false", "--user=1000", "--cap-add=net_admin"], [DEFAULT | NET_ADMIN, NET_ADMIN, NET_ADMIN]),
    ];
    for (flags, [bounding, effective, ambient]) in cases {
        let out = host.ocinit(&[&["run"], flags, &[&image, "caps"]].concat()).out;
        let want = [bounding, effective, effective, ambient, ambient];
        let got = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(|name| field(&out, name));
        assert_eq!(got, want, "{flags:?}");
    }
}

/// Promise: syscall-filter
#[test]
fn filters_of_system_calls() {
    let Some(host) = Host::new("seccomp") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let state = |flags: &[&str]| {
        let ended = host.ocinit(&[&["run"], flags, &[&image, "caps"]].concat());
        (field(&ended.out, "Seccomp"), field(&ended.out, "NoNewPrivs"), ended.err)
    };
    let plain = "--privileged=false";
    let number = |flags: &[&str]| (state(flags).0, state(flags).1);
    assert_eq!(number(&[]), (0, 0));
    assert_eq!(number(&["--security-opt=no-new-privileges"]), (0, 1));
    assert_eq!(number(&[plain]), (2, 0));
    assert_eq!(number(&[plain, "--user=1000"]), (2, 0));
    assert_eq!(number(&[plain, "--security-opt", "no-new-privileges"]), (2, 1));
    assert_eq!(number(&[plain, "--user=1000", "--security-opt", "no-new-privileges"]), (2, 1));
    assert_eq!(number(&[plain, "--security-opt", "seccomp=unconfined", "--security-opt=label=disable"]), (0, 0));
    // A profile of one's own: files are opened, but none is made.
    let file = host.dir.join("profile.json");
    let create = r#"{"index": 2, "value": 64, "valueTwo": 64, "op": "SCMP_CMP_MASKED_EQ"}"#;
    let rule = format!(r#"{{"names": ["openat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [{create}]}}"#);
    std::fs::write(&file, format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#)).unwrap();
    let profile = format!("--security-opt=seccomp={}", file.display());
    let write = |flags: &[&str]| host.ocinit(&[&["run"], flags, &[&image, "write", "/new", "text"]].concat());
    assert_eq!(write(&[plain]).code, 0);
    let refused = write(&[plain, &profile]);
    assert!(refused.code == 1 && refused.out.contains("os error 77"), "{}", refused.out);
    // A privileged container has no filter unless it is asked for.
    let refused = write(&[&profile]);
    assert!(refused.code == 1 && refused.out.contains("os error 77"), "{}", refused.out);
    std::fs::write(&file, r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#).unwrap();
    let wrong = write(&[plain, &profile]);
    assert!(wrong.code == 125 && wrong.err.contains("needs a listener"), "{}", wrong.err);
    assert_eq!(write(&[plain, "--security-opt=seccomp=/nowhere.json"]).code, 125);
}

/// Where a container has mounts, with their options.
fn mounts(out: &str) -> Vec<(String, String, String)> {
    let words = out.lines().map(|line| line.split(' ').map(String::from).collect::<Vec<_>>());
    words.map(|words| (words[1].clone(), words[2].clone(), words[3].clone())).collect()
}

/// Promise: isolation-flags
#[test]
fn masked_and_read_only_paths() {
    let Some(host) = Host::new("masks") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |flags: &[&str], words: &[&str]| host.ocinit(&[&["run"], flags, &[&image], words].concat());
    let plain = "--privileged=false";
    let is_read_only = |flags: &[&str], path: &str| {
        let mounts = mounts(&run(flags, &["mounts"]).out);
        mounts.iter().any(|(target, _, options)| target == path && options.split(',').any(|option| option == "ro"))
    };
    assert!(is_read_only(&[plain], "/sys") && !is_read_only(&[], "/sys"));
    assert!(is_read_only(&[plain], "/proc/sys") && !is_read_only(&[], "/proc/sys"));
    assert!(is_read_only(&[plain, "--security-opt=unmask=ALL"], "/sys"), "podman leaves that");
    assert!(!is_read_only(&[plain, "--security-opt=unmask=/proc/s*"], "/proc/sys"));
    let stat = |flags: &[&str], path: &str| run(flags, &["stat", path]).out;
    // What podman hides behind /dev/null, and a file of the image that a line hides.
    let null = |out: &str| out.contains(" character ") && out.contains(" 1:3 ");
    assert!(null(&stat(&[plain], "/proc/timer_list")) && !null(&stat(&[], "/proc/timer_list")));
    assert!(!null(&stat(&[plain, "--security-opt", "unmask=/proc/timer_list:/proc/acpi"], "/proc/timer_list")));
    assert!(null(&stat(&["--security-opt=mask=/data/plain:/data/none"], "/data/plain")));
    // A directory becomes an empty one.
    let masked = "--security-opt=mask=/data";
    assert_eq!(run(&[masked], &["ls", "/data"]).out, "");
    assert_ne!(run(&[], &["ls", "/data"]).out, "");
    let refused = run(&[plain], &["write", "/proc/sys/kernel/hostname", "other"]);
    assert!(refused.code == 1 && refused.out.contains("os error 30"), "{}", refused.out);
    let options = run(&[plain, "--security-opt=proc-opts=hidepid=2,nosuid"], &["mounts"]).out;
    let proc = mounts(&options).into_iter().find(|(target, ..)| target == "/proc").unwrap();
    assert!(proc.2.contains("hidepid=") && proc.2.contains("nosuid") && !proc.2.contains("noexec"), "{proc:?}");
}

/// Promise: isolation-flags
#[test]
fn devices() {
    let Some(host) = Host::new("devices") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let run = |flags: &[&str], words: &[&str]| host.ocinit(&[&["run"], flags, &[&image], words].concat());
    let plain = "--privileged=false";
    let default = "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(run(&[plain], &["ls", "/dev"]).out, default);
    assert_eq!(
        run(&[plain, "-t"], &["ls", "/dev"]).out.replace('\r', ""),
        default.replace("fd", "console\nfd").replace("core\nconsole", "console\ncore")
    );
    let stat = run(&[plain], &["stat", "/dev/null", "/dev/urandom"]).out;
    let is_line = |line: &str, name: &str, number: &str| {
        line.starts_with(&format!("{name} character 0666 0:0 ")) && line.contains(&format!(" {number} "))
    };
    let mut lines = stat.lines();
    assert!(is_line(lines.next().unwrap(), "/dev/null", "1:3"), "{stat}");
    assert!(is_line(lines.next().unwrap(), "/dev/urandom", "1:9"), "{stat}");
    let other = run(&[plain, "--device=/dev/zero:/dev/a/other:rw"], &["stat", "/dev/a/other"]).out;
    assert!(other.starts_with("/dev/a/other character ") && other.contains(" 1:5 "), "{other}");
    // A directory stands for what is in it, and a privileged container has all anyway.
    let directory = host.dir.join("nodes");
    std::fs::create_dir_all(directory.join("below")).unwrap();
    let node = std::ffi::CString::new(directory.join("below/full").to_str().unwrap()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mknod(node.as_ptr(), libc::S_IFCHR | 0o640, libc::makedev(1, 7)) }, 0);
    std::os::unix::fs::chown(directory.join("below/full"), Some(12), Some(34)).unwrap();
    for privileged in ["--privileged", plain] {
        let device = format!("--device={}:/dev/nodes", directory.display());
        let out = run(&[privileged, &device], &["stat", "/dev/nodes/below/full"]).out;
        assert!(out.contains(" character 0640 12:34 ") && out.contains(" 1:7 "), "{out}");
    }
    let empty = format!("--device={}", host.dir.join("payload").display());
    for flag in ["--device=/dev/none", "--device=/etc/passwd", empty.as_str()] {
        let ended = run(&[plain, flag], &["ls", "/dev"]);
        assert!(ended.code == 125 && ended.err.contains("--device /"), "{}", ended.err);
    }
}
