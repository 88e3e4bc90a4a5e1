//! Images that aim at the host, by their configuration and files and by the payload that runs in them.

use super::table::Site;
use ocinit::host::image::{tar, Entry, Image, Kind};
use serde_json::{json, Value};

/// Descriptors that an image guesses.
const DESCRIPTORS: std::ops::Range<usize> = 0..64;
/// What leads up to the host's root from any directory of its.
const UP: &str = "../../../../../../../../../../../../../../../../../../../..";
/// What a program of the host's would print.
pub const RAN: &str = "host-program-ran";

/// The payload and these entries, with parts of the configuration replaced.
pub fn image(site: &Site, entries: &[Entry], changes: &Value) -> Image {
    let mut config = json!({"Entrypoint": ["/payload"], "Cmd": ["hello"], "Env": ["PATH=/bin:/"], "WorkingDir": "/"});
    for (name, value) in changes.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    Image::new(vec![tar(&super::support::images::base(&site.payload)), tar(entries)], config)
}

/// Nothing odd: what its program tries is all.
pub fn plain(site: &Site) -> Image {
    image(site, &[], &json!({}))
}

/// A path of the host's, by way of a descriptor that may stand for one of its directories.
pub fn through(descriptor: usize, path: &str) -> String {
    format!("/proc/self/fd/{descriptor}/{UP}{path}")
}

/// A link, whose target an archive has room for.
fn link(path: &str, target: &str) -> Entry {
    assert!(target.len() <= 100, "the tests' directory has too long a path: {target}");
    Entry::symlink(path, target)
}

/// A link to the host's root by way of a descriptor, `/upN`.
fn up(descriptor: usize) -> Entry {
    link(&format!("up{descriptor}"), &through(descriptor, ""))
}

/// Links and scripts to a program of the host's by each descriptor, `/eN` and `/sN`, and working directories `/wN`.
pub fn by_descriptors(site: &Site) -> Image {
    let program = [&site.canary, "/program"].concat();
    let entries = DESCRIPTORS.flat_map(|descriptor| {
        let script = format!("#!{} echo\n", through(descriptor, &program));
        [
            up(descriptor),
            link(&format!("e{descriptor}"), &format!("up{descriptor}{program}")),
            Entry::file(&format!("s{descriptor}"), 0o755, script),
            link(&format!("w{descriptor}"), &format!("up{descriptor}{}", site.canary)),
        ]
    });
    image(site, &entries.collect::<Vec<_>>(), &json!({}))
}

/// A program's name, and a PATH of every descriptor's way to it (CVE-2024-21626).
pub fn path_by_descriptors(site: &Site) -> Image {
    let ways: Vec<String> = DESCRIPTORS.map(|descriptor| through(descriptor, &site.canary)).collect();
    let env = [format!("PATH={}", ways.join(":"))];
    image(site, &[], &json!({"Entrypoint": ["program", "echo", RAN], "Cmd": [], "Env": env}))
}

/// Entry points that are the runtime's own program (CVE-2019-5736).
pub fn self_exe(site: &Site) -> Image {
    let script = [Entry::file("script", 0o755, "#!/proc/self/exe version\n")];
    image(site, &script, &json!({"Entrypoint": ["/proc/self/exe"], "Cmd": []}))
}

/// The same, found in PATH.
pub fn self_exe_in_path(site: &Site) -> Image {
    image(site, &[], &json!({"Entrypoint": ["exe"], "Cmd": [], "Env": ["PATH=/proc/self:/proc/thread-self:/proc/1"]}))
}

/// Files as `/proc/self/fd/N` has them, all links to `target`, below `top`.
fn forged_descriptors(top: &str, target: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (at, _) in top.match_indices('/').chain([(top.len(), "")]) {
        entries.push(Entry::directory(&top[..at], 0o755));
    }
    for dir in ["self", "self/fd", "self/attr", "sys", "sys/kernel", "thread-self"] {
        entries.push(Entry::directory(&format!("{top}/{dir}"), 0o755));
    }
    for file in ["self/oom_score_adj", "self/attr/exec", "sys/kernel/core_pattern", "timer_list", "sysrq-trigger"] {
        entries.push(Entry::symlink(&format!("{top}/{file}"), target));
    }
    entries.extend(DESCRIPTORS.map(|descriptor| Entry::symlink(&format!("{top}/self/fd/{descriptor}"), target)));
    entries
}

/// `/proc` is a volume with descriptors of its own making (CVE-2019-16884, CVE-2025-52565).
pub fn proc_volume(site: &Site) -> Image {
    image(site, &forged_descriptors("proc", "/ro/file"), &json!({"Volumes": {"/proc": {}}}))
}

/// Other spellings of `/proc`; `/alias` is a link to the root.
pub const SPELLINGS: [&str; 6] =
    ["//proc", "/proc/", "/./proc/.", "/etc/../proc", "/alias/proc", "/alias/alias/./proc"];

/// The same, by one of them.
pub fn proc_volume_spelled<const N: usize>(site: &Site) -> Image {
    let entries = [forged_descriptors("proc", "/ro/file"), vec![Entry::symlink("alias", ".")]].concat();
    let volumes: serde_json::Map<String, Value> = [(SPELLINGS[N].to_string(), json!({}))].into_iter().collect();
    image(site, &entries, &json!({"Volumes": volumes}))
}

/// The root itself is a volume.
pub fn root_volume(site: &Site) -> Image {
    image(site, &forged_descriptors("proc", "/ro/file"), &json!({"Volumes": {"/": {}, "": {}, "/.": {}}}))
}

/// The same, to a file of the kernel's.
pub fn proc_volume_to_sysfs(site: &Site) -> Image {
    let entries = forged_descriptors("proc", "/sys/kernel/mm/transparent_hugepage/enabled");
    image(site, &entries, &json!({"Volumes": {"/proc": {}}}))
}

/// `/proc` is a link into a volume (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642).
pub fn proc_link(site: &Site) -> Image {
    let entries = [forged_descriptors("vol/proc", "/ro/file"), vec![Entry::symlink("proc", "vol/proc")]].concat();
    image(site, &entries, &json!({"Volumes": {"/vol": {}}}))
}

/// A volume below `/proc`.
pub fn proc_self_volume(site: &Site) -> Image {
    image(site, &forged_descriptors("proc", "/ro/file"), &json!({"Volumes": {"/proc/self/fd": {}, "/proc/self": {}}}))
}

/// A volume in place of what is read-only.
pub fn proc_sys_volume(site: &Site) -> Image {
    image(site, &[], &json!({"Volumes": {"/proc/sys": {}, "/proc/sys/kernel": {}, "/proc/sysrq-trigger": {}}}))
}

/// `/sys` is a link into a volume.
pub fn sys_link(site: &Site) -> Image {
    let entries =
        [Entry::directory("vol", 0o755), Entry::directory("vol/sys", 0o755), Entry::symlink("sys", "vol/sys")];
    image(site, &entries, &json!({"Volumes": {"/vol": {}}}))
}

/// `/sys` is a volume.
pub fn sys_volume(site: &Site) -> Image {
    image(site, &[], &json!({"Volumes": {"/sys": {}}}))
}

/// So is the place of control groups.
pub fn cgroup_volume(site: &Site) -> Image {
    image(site, &[], &json!({"Volumes": {"/sys/fs/cgroup": {}, "/sys/kernel": {}}}))
}

/// What an image may have in a `/dev` of its own: links to a file of a volume's.
fn forged_devices(top: &str) -> Vec<Entry> {
    let mut entries = vec![Entry::directory(top, 0o755)];
    let links = ["console", "null", "zero", "tty", "full", "random", "ptmx", "stdin", "fd", "core"];
    entries.extend(links.map(|name| Entry::symlink(&format!("{top}/{name}"), "/ro/file")));
    entries.push(Entry::directory(&format!("{top}/pts"), 0o755));
    entries.extend(["ptmx", "0", "1"].map(|name| Entry::symlink(&format!("{top}/pts/{name}"), "/ro/file")));
    entries
}

/// `/dev` is a link into a volume.
pub fn dev_link(site: &Site) -> Image {
    let entries =
        [vec![Entry::directory("vol", 0o755)], forged_devices("vol/dev"), vec![Entry::symlink("dev", "vol/dev")]];
    image(site, &entries.concat(), &json!({"Volumes": {"/vol": {}}}))
}

/// `/dev` is a link to a directory of the host's (CVE-2026-41579).
pub fn dev_link_out(site: &Site) -> Image {
    image(site, &[link("dev", &site.canary)], &json!({}))
}

/// `/dev` is a volume (CVE-2026-88264, CVE-2026-88265).
pub fn dev_volume(site: &Site) -> Image {
    image(site, &forged_devices("dev"), &json!({"Volumes": {"/dev": {}}}))
}

/// What lies in `/dev` is a volume.
pub fn dev_parts_volume(site: &Site) -> Image {
    let volumes = json!({"/dev/pts": {}, "/dev/shm": {}, "/dev/mqueue": {}, "/dev/console": {}, "/dev/null": {}});
    image(site, &forged_devices("dev"), &json!({"Volumes": volumes}))
}

/// What is in the image's own `/dev` is covered (CVE-2025-31133).
pub fn dev_links(site: &Site) -> Image {
    image(site, &forged_devices("dev"), &json!({}))
}

/// Volumes at paths that lead up and out (CVE-2022-23648).
pub fn volumes_outside(site: &Site) -> Image {
    let paths = [UP, "/proc/self/cwd/../../../../../../../..", "/proc/1/root", "/proc/self/root", "/link"];
    let volumes: serde_json::Map<String, Value> =
        paths.iter().map(|path| ([path, &site.canary[..]].concat(), json!({}))).collect();
    image(site, &[Entry::symlink("link", "/proc/self/cwd")], &json!({"Volumes": volumes}))
}

/// A volume at each descriptor.
pub fn volume_of_a_descriptor(site: &Site) -> Image {
    let volumes: serde_json::Map<String, Value> = (3..12).map(|fd| (through(fd, &site.canary), json!({}))).collect();
    image(site, &[], &json!({"Volumes": volumes}))
}

/// The working directory is a link to a link of the kernel's (CVE-2024-21626).
pub fn working_directory_link(site: &Site) -> Image {
    let out = [up(4), link("out", &["up4", &site.canary].concat())];
    image(site, &out, &json!({"WorkingDir": "/out"}))
}

/// One that has to be made, on the way through a link (CVE-2026-55686).
pub fn working_directory_made(site: &Site) -> Image {
    let made = json!({"WorkingDir": "/out/new", "User": "4321"});
    image(site, &[link("out", &site.canary)], &made)
}

/// Nodes of the disk, the console, the kernel's log, memory, and the null device by another name.
fn forged_nodes(site: &Site) -> Vec<Entry> {
    let node = |name: &str, kind| Entry { kind, ..Entry::file(&format!("nodes/{name}"), 0o666, "") };
    vec![
        Entry::directory("nodes", 0o755),
        node("disk", Kind::BlockDevice(site.disk.0, site.disk.1)),
        node("console", Kind::CharacterDevice(5, 1)),
        node("kmsg", Kind::CharacterDevice(1, 11)),
        node("memory", Kind::CharacterDevice(1, 1)),
        node("other-null", Kind::CharacterDevice(1, 3)),
    ]
}

/// Devices in a layer. The null device is one that every container may use, by any name.
pub fn nodes(site: &Site) -> Image {
    let mut nodes = forged_nodes(site);
    nodes.retain(|node| node.path != "nodes/other-null");
    image(site, &nodes, &json!({}))
}

/// Devices that a new volume is filled with.
pub fn nodes_in_a_volume(site: &Site) -> Image {
    image(site, &forged_nodes(site), &json!({"Volumes": {"/nodes": {}}}))
}

fn with_user(site: &Site, line: &str, user: &str, working_dir: &str) -> Image {
    let passwd = Entry::file("etc/passwd", 0o644, format!("root:x:0:0:root:/root:/bin/sh\n{line}"));
    image(site, &[passwd], &json!({"User": user, "WorkingDir": working_dir}))
}

/// A user whose name is another's number (CVE-2016-3697).
pub fn user_named_as_a_number(site: &Site) -> Image {
    with_user(site, "1000:x:0:0::/:/payload\n", "1000", "/")
}

/// A number that is none, and a name (CVE-2024-40635, CVE-2026-46680).
pub fn user_beyond_32_bits(site: &Site) -> Image {
    with_user(site, "4294967296:x:0:0::/:/payload\n", "4294967296", "/")
}

/// The number by which setresuid(2) changes nothing.
pub fn user_minus_one(site: &Site) -> Image {
    with_user(site, "", "4294967295", "/")
}

/// A user without a name, whose line would be given a second one (CVE-2022-4318).
pub fn user_forged(site: &Site) -> Image {
    with_user(site, "", "4321", "/x\nforged:x:0:0::/:/payload")
}

/// Variables without a value (CVE-2026-57231).
pub fn environment(site: &Site) -> Image {
    let env = ["PATH=/bin:/", "OCINIT_SECRET", "OCINIT_*", "*", "=", "COPY=$OCINIT_SECRET", "${OCINIT_SECRET}"];
    image(site, &[], &json!({"Env": env}))
}
