//! The table of the fault scenarios, printed when the test program ends.

use std::sync::Mutex;

/// A scenario's name, its requests and bytes, and how it ended.
type Row = (String, String, String, String);

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// Adds a scenario and its result to the table.
pub fn tell(scenario: &str, requests: usize, bytes: u64, outcome: &str) {
    let mut rows = ROWS.lock().unwrap();
    if rows.is_empty() {
        super::at_exit(print);
    }
    rows.push((scenario.into(), requests.to_string(), bytes.to_string(), outcome.into()));
}

fn print() {
    let mut rows = ROWS.lock().map(|mut rows| std::mem::take(&mut *rows)).unwrap_or_default();
    rows.sort();
    println!("\nfaults; bytes are those of the server's answers on the wire:");
    println!("{:<58} | {:>8} | {:>11} | outcome", "scenario", "requests", "bytes");
    for (scenario, requests, bytes, outcome) in rows {
        println!("{scenario:<58} | {requests:>8} | {bytes:>11} | {outcome}");
    }
}
