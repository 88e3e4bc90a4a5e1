//! The known escapes of runc, crun, podman, containerd and docker, tried in our containers; docs/security.md lists
//! them. Files on the host, the canaries, show whether one reached the host.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

mod support;

#[path = "escapes/caller.rs"]
mod caller;
#[path = "support/canaries.rs"]
mod canaries;
#[path = "escapes/evil.rs"]
mod evil;
#[path = "escapes/neighbours.rs"]
mod neighbours;
#[path = "escapes/site.rs"]
mod site;
#[path = "escapes/table.rs"]
mod table;

use site::Host;

/// Promise: known-escapes
#[test]
fn descriptors() {
    let Some(host) = Host::new("descriptors") else { return };
    host.try_all(table::DESCRIPTORS);
}

/// Promise: known-escapes
#[test]
fn mounts() {
    let Some(host) = Host::new("mounts") else { return };
    host.try_all(table::MOUNTS);
}

/// Promise: known-escapes
#[test]
fn devices() {
    let Some(host) = Host::new("devices") else { return };
    host.try_all(table::DEVICES);
}

/// Promise: known-escapes
#[test]
fn kernel() {
    let Some(host) = Host::new("kernel") else { return };
    host.try_all(table::KERNEL);
}

/// Promise: known-escapes
#[test]
fn identity() {
    let Some(host) = Host::new("identity") else { return };
    host.try_all(table::IDENTITY);
}

/// CVE-2024-21626 in all its forms: entry point, `#!` line and working directory by each descriptor.
/// Promise: known-escapes
#[test]
fn every_descriptor() {
    let Some(host) = Host::new("every-descriptor") else { return };
    let image = host.layout("image", evil::by_descriptors(&host.site));
    let mut escaped = Vec::new();
    for number in 0..64 {
        let entry = format!("--entrypoint={}", evil::through(number, &[&host.site.canary, "/program"].concat()));
        let link = format!("--entrypoint=/e{number}");
        let script = format!("--entrypoint=/s{number}");
        let other = entry.replace("/proc/self/", "/proc/thread-self/");
        let linked = entry.replace("/proc/self/", "/dev/");
        for flags in [&[entry.as_str()][..], &[&link], &[&script], &[&other], &[&linked]] {
            let words = [&["run", "--privileged=false"], flags, &[&image, "echo", evil::RAN]].concat();
            let ended = host.run(&words);
            if ended.text.contains(evil::RAN) {
                escaped.push(format!("{flags:?}: {}", ended.text.trim()));
            }
        }
        let (direct, link) = (format!("--workdir=/proc/self/fd/{number}"), format!("--workdir=/w{number}"));
        for flag in [&direct, &link] {
            let ended = host.run(&["run", "--privileged=false", flag, &image, "attack", "working-directory"]);
            if ended.text.contains("escaped: ") {
                escaped.push(format!("{flag}: {}", ended.text.trim()));
            }
        }
    }
    host.look().unwrap();
    assert!(escaped.is_empty(), "{} escaped:\n{}", escaped.len(), escaped.join("\n"));
}
