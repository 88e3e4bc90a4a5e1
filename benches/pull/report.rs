//! The results for people (Markdown, a table on the console) and for programs (JSON).

use super::measure::{Contender, Run, CONTENDERS};
use super::numbers::{self, rounded, short};
use super::outcome::{promises, Figure, Row};
use std::fmt::Write;

/// The circumstances of the measurement.
pub struct Facts {
    pub machine: String,
    rounds: u32,
    versions: String,
    /// The host's load average before the run.
    load: f64,
}

impl Facts {
    pub fn gather(rounds: u32) -> Facts {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let versions = ["podman", "skopeo", "umoci", "tar"].map(numbers::version_of);
        Facts {
            machine: format!("{}, Linux {}", numbers::processors(), kernel.trim()),
            rounds,
            versions: versions.join("; "),
            load: numbers::host_load(),
        }
    }
}

/// The cells of a row: the value, or what `failed` makes of the reason.
fn cells(row: &Row, failed: &dyn Fn(&str) -> String, value: &dyn Fn(&[Run]) -> String) -> Vec<String> {
    let cell = |cell: &Result<Vec<Run>, String>| match cell {
        Ok(runs) if runs.is_empty() => "-".into(),
        Ok(runs) => value(runs),
        Err(why) => failed(why),
    };
    row.cells.iter().map(cell).collect()
}

fn median_of(runs: &[Run], figure: Figure) -> f64 {
    numbers::median(runs.iter().map(figure).collect())
}

/// The table of seconds for the console.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("{:24}", "seconds");
    for contender in CONTENDERS {
        let _ = write!(text, " {:>16}", contender.title);
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:24}", format!("{}, {}", row.image.title, row.place));
        for seconds in cells(row, &|_| "failed".into(), &|runs| format!("{:.3}", median_of(runs, |run| run.wall_s))) {
            let _ = write!(text, " {seconds:>16}");
        }
        text.push('\n');
    }
    text
}

/// The promises that are not kept, for the console.
pub fn broken(rows: &[Row]) -> Vec<String> {
    let broken = promises(rows).into_iter().filter(|promise| !promise.kept());
    let words = |value: Option<f64>| value.map_or("nothing".into(), short);
    broken.map(|promise| format!("{}: {}, not {}", promise.what, words(promise.value), short(promise.limit))).collect()
}

pub fn markdown(rows: &[Row], facts: &Facts) -> String {
    let rounds = facts.rounds;
    let mut text = String::from("# From a registry to unpacked layers\n\n![seconds](pull.svg)\n\n");
    let _ = writeln!(text, "Written by `./dev bench pull`; medians of {rounds} rounds; in each round all take turns.");
    text.push_str("\n## What was promised\n| | wanted | measured | |\n|---|---:|---:|---|\n");
    for promise in promises(rows) {
        let sign = if promise.least { "≥" } else { "≤" };
        let value = promise.value.map_or("-".into(), |value| if value.is_finite() { short(value) } else { "∞".into() });
        let verdict = if promise.kept() { "kept" } else { "**not kept**" };
        let _ = writeln!(text, "| {} | {sign} {} | {value} | {verdict} |", promise.what, short(promise.limit));
    }
    for row in rows {
        section(&mut text, row);
    }
    how(&mut text, rows, facts);
    text
}

fn section(text: &mut String, row: &Row) {
    let image = row.image;
    let (mb, raw_mb) = (image.compressed_bytes as f64 / 1e6, image.raw_bytes as f64 / 1e6);
    let layers = image.blobs.len();
    let plural = if layers == 1 { "" } else { "s" };
    let _ = writeln!(
        text,
        "\n## {}, {}\n{layers} layer{plural}, {mb:.0} MB, {raw_mb:.0} MB unpacked, {} files.\n",
        image.title,
        row.place,
        numbers::grouped(image.files)
    );
    let titles: Vec<&str> = CONTENDERS.iter().map(|contender| contender.title).collect();
    let _ = writeln!(text, "| | {} |\n|---|{}", titles.join(" | "), "---:|".repeat(titles.len()));
    let mut line = |what: &str, failed: &dyn Fn(&str) -> String, value: &dyn Fn(&[Run]) -> String| {
        let _ = writeln!(text, "| {what} | {} |", cells(row, failed, value).join(" | "));
    };
    let why = |why: &str| format!("failed: {}", why.replace('|', "/"));
    let dash = |_: &str| "-".to_string();
    line("seconds", &why, &|runs| format!("{:.3}", median_of(runs, |run| run.wall_s)));
    line("least … most", &dash, &|runs| {
        let (low, high) = runs
            .iter()
            .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), run| (low.min(run.wall_s), high.max(run.wall_s)));
        format!("{low:.3} … {high:.3}")
    });
    line("seconds until it is on the disk", &dash, &|runs| format!("{:.3}", median_of(runs, |run| run.synced_s)));
    line("seconds of CPU", &dash, &|runs| format!("{:.2}", median_of(runs, |run| run.cpu_s)));
    line("largest process, peak RSS in MiB", &dash, &|runs| {
        format!("{:.1}", runs.iter().map(|run| run.rss_mib).fold(0.0, f64::max))
    });
    let ratios = CONTENDERS.iter().map(|contender| row.ratio(contender.name, "ours"));
    let ratios: Vec<String> = ratios.map(|ratio| ratio.map_or("-".into(), |ratio| short(ratio) + "×")).collect();
    let _ = writeln!(text, "| time over ours | {} |", ratios.join(" | "));
}

fn how(text: &mut String, rows: &[Row], facts: &Facts) {
    let Facts { machine, rounds, versions, load } = facts;
    let mut decoders: Vec<String> = Vec::new();
    for Row { image, decoder, .. } in rows {
        decoders.push(format!("{}: `{}`, {:.0} MB/s", image.title, decoder.words, decoder.mb_per_s));
    }
    decoders.dedup();
    let own = rows.iter().filter_map(|row| row.anonymous_mib).fold(0.0, f64::max);
    let _ = write!(
        text,
        "\n## How\n\
         - Machine: {machine}; {versions}. Its load in the minute before: {load:.2}.\n\
         - Images: made by debootstrap, gzip -6 and zstd -3 as builders do it; the 200 000 files are of source text, 0 \
         to 8 KB, most of them small. In Debian's docker-registry on loopback, plain http, its blobs on a tmpfs.\n\
         - Contenders: `ocinit pull` into an empty store; `podman pull` into empty storage (overlay); `skopeo copy` \
         to an OCI layout, then `umoci unpack`; the floor.\n\
         - Floor: `decoder | tar -x` for each layer, from blobs on a tmpfs that are neither downloaded nor hashed, \
         into a directory of its own, as many in parallel as there are cores. Of igzip, libdeflate-gzip, pigz and \
         gzip (or zstd), the decoder is the one that is fastest with the largest layer ({}).\n\
         - Places: a tmpfs, and an ext4 in a loop-mounted file. What the previous run left is removed, and `sync` \
         called, before the clock starts; nothing is synced before it stops. Every run has unpacked all files of its \
         image.\n\
         - Ratios: those of the medians of {rounds} rounds. RSS is `ru_maxrss` of the largest process, with the \
         pages of mapped files; ours without those, sampled in a run of its own: {own:.1} MiB at most.\n",
        decoders.join("; ")
    );
}

/// The results for programs. The ratios without a prefix are those on the tmpfs.
pub fn json(rows: &[Row], facts: &Facts) -> String {
    let mut map = serde_json::Map::new();
    let mut put = |key: String, value: Option<f64>| {
        if let Some(value) = value {
            map.insert(key, rounded(value).into());
        }
    };
    for row in rows {
        let prefix = format!("{}_{}", row.image.name, row.place);
        for Contender { name, .. } in CONTENDERS {
            put(format!("{prefix}_{name}_s"), row.of(name, |run| run.wall_s));
            put(format!("{prefix}_{name}_synced_s"), row.of(name, |run| run.synced_s));
            put(format!("{prefix}_{name}_cpu_s"), row.of(name, |run| run.cpu_s));
            put(format!("{prefix}_{name}_rss_mib"), row.rss_mib(name));
        }
        put(format!("{prefix}_ours_anon_mib"), row.anonymous_mib);
        let suffix = if row.place == "tmpfs" { String::new() } else { format!("_{}", row.place) };
        let ratios = [
            ("podman", row.ratio("podman", "ours")),
            ("skopeo_umoci", row.ratio("skopeo_umoci", "ours")),
            ("floor", row.ratio("ours", "floor")),
        ];
        for (name, ratio) in ratios {
            put(format!("{prefix}_ratio_{name}"), ratio);
            match row.image.name {
                "layers8" => put(format!("ratio_{name}{suffix}"), ratio),
                "files" if name == "floor" => put(format!("ratio_files_tar{suffix}"), ratio),
                _ => {}
            }
        }
    }
    put("peak_rss_mib".into(), rows.iter().filter_map(|row| row.rss_mib("ours")).max_by(f64::total_cmp));
    put("host_load".into(), Some(facts.load));
    put("rounds".into(), Some(facts.rounds.into()));
    map.insert("machine".into(), facts.machine.as_str().into());
    map.insert("versions".into(), facts.versions.as_str().into());
    numbers::json(map)
}
