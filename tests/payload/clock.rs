//! How long a runtime takes from its call to the container's first instruction:
//! `clock` is run in the container and says when that was, `time` calls the
//! runtime and takes the difference. One clock serves both: no time namespace
//! is between them.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

extern "C" {
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
}

/// Nanoseconds, when the C library had this program's first function called.
static STARTED: AtomicU64 = AtomicU64::new(0);

#[used]
#[link_section = ".init_array"]
static AT_FIRST: extern "C" fn() = at_first;

extern "C" fn at_first() {
    STARTED.store(now(), Relaxed);
}

fn now() -> u64 {
    const CLOCK_MONOTONIC: i32 = 1;
    let mut time = [0; 2];
    // SAFETY: fills in a time of two numbers, as it is on 64-bit machines.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    (time[0] * 1_000_000_000 + time[1]) as u64
}

/// When this process began.
pub fn tell() {
    println!("{}", STARTED.load(Relaxed));
}

/// Runs a command so many times, and prints two numbers for each: nanoseconds to the first instruction of the
/// container, and to the command's end.
pub fn time(count: u64, command: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Err(io::Error::other("no command")) };
    for _ in 0..count {
        let start = now();
        let mut child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut text = String::new();
        child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut text)).transpose()?;
        let status = child.wait()?;
        let end = now();
        let first: Option<u64> = text.trim().parse().ok();
        match first.filter(|_| status.success()) {
            Some(first) => println!("{} {}", first - start, end - start),
            None => println!("failed: {status}: {}", text.trim()),
        }
    }
    Ok(())
}
