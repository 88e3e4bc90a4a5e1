//! The results for people (Markdown, a table on the console) and for programs (JSON).

use super::measure::{Bench, Measured, Outcome, Span, Times, MEMORY_MB};
use super::numbers::{self, grouped, rounded, short};
use ocinit::host::qemu::Accel;
use std::fmt::Write;
use std::path::Path;

/// The circumstances of the measurement.
pub struct Facts {
    /// Accelerator and processor, on one line.
    pub machine: String,
    pub accel: &'static str,
    pub boots: u32,
    kernel: String,
    qemu: String,
    versions: String,
    /// The host's load average before the first boot: above 0.5 the times depend on what else runs.
    load: f64,
    /// The bytes of all blobs of the image.
    image_bytes: u64,
}

impl Facts {
    pub fn gather(bench: &Bench, boots: u32, versions: &[(String, String)], layout: &Path, load: f64) -> Facts {
        let accel = match bench.accel() {
            Accel::Kvm => "KVM",
            Accel::Tcg => "software emulation",
        };
        let name = bench.kernel.file_name().unwrap_or_default().to_string_lossy();
        let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        Facts {
            machine: format!("QEMU q35, 1 CPU, {MEMORY_MB} MB, {accel} on {}", numbers::processors()),
            accel,
            boots,
            kernel: name.trim_start_matches("vmlinuz-").to_string(),
            qemu: numbers::version_of("qemu-system-x86_64"),
            versions: versions.join(", "),
            load,
            image_bytes: blob_bytes(&layout.join("blobs/sha256")),
        }
    }
}

fn blob_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// A row of the tables: what it is, our value, the peer's value, the peer's divided by ours.
struct Row {
    what: &'static str,
    ours: String,
    theirs: String,
    ratio: f64,
}

fn rows(outcome: &Outcome) -> Vec<Row> {
    let Outcome { ours, theirs, shortest } = outcome;
    let bytes = |what, of: fn(&Measured) -> u64| {
        let (our, their) = (of(ours), of(theirs));
        Row { what, ours: grouped(our), theirs: grouped(their), ratio: their as f64 / our as f64 }
    };
    let seconds = |what, of: Span| {
        let (our, their) = (ours.median(of), theirs.median(of));
        Row { what, ours: format!("{our:.3} s"), theirs: format!("{their:.3} s"), ratio: their / our }
    };
    let shortest = shortest.median(Times::setup_s);
    let mut rows = vec![
        bytes("initramfs, xz, bytes", |side| side.base_len as u64),
        bytes("the same with the same kernel modules", |side| side.len as u64),
        bytes("the same unpacked", |side| side.raw_len as u64),
        seconds("power-on to PID 1's first line", Times::init_s),
        seconds("PID 1 to the container's first line", Times::setup_s),
        Row {
            what: "the same against a bare `podman run`",
            ours: format!("{:.3} s", ours.median(Times::setup_s)),
            theirs: format!("{shortest:.3} s"),
            ratio: shortest / ours.median(Times::setup_s),
        },
        seconds("the container's first line to power-off", Times::ending_s),
        seconds("total", Times::total_s),
        bytes("bytes on the wire", |side| side.wire_bytes),
    ];
    if let (Some(our), Some(their)) = (ours.min_ram_mb, theirs.min_ram_mb) {
        let ratio = f64::from(their) / f64::from(our);
        let (ours, theirs) = (format!("{our} MB"), format!("{their} MB"));
        rows.push(Row { what: "smallest RAM that works", ours, theirs, ratio });
    }
    rows
}

/// The table for the console.
pub fn table(outcome: &Outcome) -> String {
    let mut text = format!("{:40} {:>14} {:>14} {:>8}\n", "", outcome.ours.name, outcome.theirs.name, "ratio");
    for Row { what, ours, theirs, ratio } in rows(outcome) {
        let _ = writeln!(text, "{what:40} {ours:>14} {theirs:>14} {:>7}×", short(ratio));
    }
    text
}

pub fn markdown(outcome: &Outcome, facts: &Facts) -> String {
    let Facts { machine, boots, kernel, qemu, versions, load, image_bytes, .. } = facts;
    let (ours, theirs) = (&outcome.ours, &outcome.theirs);
    let mut text = String::from("# From power-on to a container\n\n![timeline](boot.svg)\n\n");
    let _ = writeln!(
        text,
        "Written by `./dev bench boot`; medians of {boots} boots of each, in turns, after one of each to fill the \
         caches.\n"
    );
    let _ = writeln!(text, "| | {} | {} | ratio |\n|---|---:|---:|---:|", ours.name, theirs.name);
    for Row { what, ours, theirs, ratio } in rows(outcome) {
        let _ = writeln!(text, "| {what} | {ours} | {theirs} | {}× |", short(ratio));
    }
    let _ = writeln!(text, "\n## Spread\nThe shortest and the longest of the {boots} boots, in seconds.\n");
    let _ = writeln!(text, "| | {} | {} |\n|---|---:|---:|", ours.name, theirs.name);
    let spans: [(&str, Span); 3] = [
        ("PID 1's first line", Times::init_s),
        ("PID 1 to the container's first line", Times::setup_s),
        ("total", Times::total_s),
    ];
    for (what, of) in spans {
        let ((a, b), (c, d)) = (ours.range(of), theirs.range(of));
        let _ = writeln!(text, "| {what} | {a:.3} … {b:.3} | {c:.3} … {d:.3} |");
    }
    let _ = write!(
        text,
        "\n## How\n\
         - Machine: {machine}; {qemu}.\n\
         - The host's load in the minute before the first boot: {load:.2} (it slows down both sides).\n\
         - Kernel: Debian's {kernel}, with the same modules for both (virtio_pci, virtio_net, overlay and what \
         they need).\n\
         - Registry: Debian's docker-registry on the host's loopback, plain http; the demo image, {image_bytes} bytes \
         in all.\n\
         - Peer: {versions}; the libraries that these load, stripped, and a busybox script that mounts, loads the \
         modules, gets an address by DHCP and calls podman as boot2container does (volume list, create, init, start; \
         then it cleans up). xz with the x86 filter and an 8 MiB dictionary. It gets `rootfstype=ramfs`, without \
         which it needs more RAM, and no network plugins. A bare `podman run` is the shortest way to use podman.\n\
         - Times are the host's clock when a console line is complete: PID 1's first line, the container's first line; \
         the total is QEMU's own start to its own end.\n\
         - Smallest RAM: each boot with this size (three or more) reached status 0 within a minute; the next smaller \
         size failed.\n"
    );
    text
}

/// The results for programs.
pub fn json(outcome: &Outcome, facts: &Facts) -> String {
    let (ours, theirs) = (&outcome.ours, &outcome.theirs);
    let ratio = |of: Span| rounded(theirs.median(of) / ours.median(of));
    let mut map = serde_json::Map::new();
    for (side, prefix) in [(ours, ""), (theirs, "peer_")] {
        let mut put = |key: &str, value: serde_json::Value| map.insert(format!("{prefix}{key}"), value);
        put("initramfs_xz_bytes", side.base_len.into());
        put("initramfs_with_modules_xz_bytes", side.len.into());
        put("initramfs_raw_bytes", side.raw_len.into());
        put("pid1_s", rounded(side.median(Times::init_s)).into());
        put("init_to_container_s", rounded(side.median(Times::setup_s)).into());
        put("container_to_off_s", rounded(side.median(Times::ending_s)).into());
        put("total_s", rounded(side.median(Times::total_s)).into());
        put("wire_bytes", side.wire_bytes.into());
        put("min_ram_mb", side.min_ram_mb.into());
    }
    map.insert("ratio_init_to_container".into(), ratio(Times::setup_s).into());
    let shortest = outcome.shortest.median(Times::setup_s);
    map.insert("podman_run_init_to_container_s".into(), rounded(shortest).into());
    map.insert("ratio_init_to_container_podman_run".into(), rounded(shortest / ours.median(Times::setup_s)).into());
    map.insert("ratio_total".into(), ratio(Times::total_s).into());
    map.insert("boots".into(), facts.boots.into());
    map.insert("host_load".into(), facts.load.into());
    map.insert("accel".into(), facts.accel.into());
    map.insert("machine".into(), facts.machine.as_str().into());
    map.insert("kernel".into(), facts.kernel.as_str().into());
    map.insert("peer_versions".into(), facts.versions.as_str().into());
    numbers::json(map)
}
