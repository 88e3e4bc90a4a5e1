//! Formats of numbers in the reports, and the facts about the host that every report has.
#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

const REPORT: &str = "size-report";

/// The median; NaN for no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Two or three digits that mean something.
pub fn short(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.1}")
    }
}

/// 13 771 320
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `2 × AMD EPYC`
pub fn processors() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let processor = model.map_or("an unnamed processor", |(_, name)| name.trim()).to_string();
    format!("{} × {processor}", std::thread::available_parallelism().map_or(1, |n| n.get()))
}

/// The first line of `program --version`.
pub fn version_of(program: &str) -> String {
    first_line(program, &["--version"])
}

/// The first line that a program prints.
pub fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_string()
}

/// The number of `--rounds N`, the only option of a benchmark's command line.
pub fn rounds(default: u32) -> Result<u32, String> {
    let mut rounds = default;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => {
                let number = words.next().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
                rounds = number.ok_or("--rounds wants a number from 1")?;
            }
            // cargo adds it.
            "--bench" => {}
            _ => return Err(format!("{word}: no such option; there is --rounds N")),
        }
    }
    Ok(rounds)
}

/// The load average of the last minute.
pub fn host_load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// A flat object with one key on each line, so that a shell can read it.
pub fn json(map: serde_json::Map<String, serde_json::Value>) -> String {
    let mut text = serde_json::to_string_pretty(&map).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes a file of the committed report.
pub fn save(name: &str, text: &str) -> Result<(), String> {
    let path = Path::new(REPORT).join(name);
    let context = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(REPORT).map_err(context)?;
    std::fs::write(&path, text).map_err(context)
}
