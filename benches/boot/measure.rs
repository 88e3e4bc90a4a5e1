//! Boots the contenders and measures each boot's times, bytes and smallest RAM.

use super::numbers::median;
use ocinit::host::qemu::{Accel, Boot, Machine};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first word that the demo image's program prints.
const HELLO: &str = "Hello";
/// RAM of the timed boots.
pub const MEMORY_MB: u32 = 512;
/// A boot that takes longer has failed.
const TIMEOUT_S: u64 = 60;
/// The sizes of RAM that are tried.
const RAM_MB: &[u32] = &[48, 56, 64, 72, 80, 88, 96, 104, 112, 128, 144, 160, 176, 192, 224, 256, 320, 384];

/// A system that is booted.
pub struct Contender {
    pub name: &'static str,
    /// The beginning of the first line that its PID 1 prints.
    pub first_line: &'static str,
    /// With kernel modules.
    pub initrd: PathBuf,
    pub append: String,
    /// Bytes of the initramfs without kernel modules, with them, and unpacked.
    pub base_len: usize,
    pub len: usize,
    pub raw_len: usize,
}

/// A span of a boot, in seconds.
pub type Span = fn(&Times) -> f64;

/// Seconds since QEMU's start.
#[derive(Clone, Copy)]
pub struct Times {
    pub init: f64,
    pub container: f64,
    pub end: f64,
}

/// The results of one contender.
pub struct Measured {
    pub name: &'static str,
    pub base_len: usize,
    pub len: usize,
    pub raw_len: usize,
    pub boots: Vec<Times>,
    /// Bytes on the wire in one boot.
    pub wire_bytes: u64,
    /// None if it was not measured, or if no size was enough.
    pub min_ram_mb: Option<u32>,
}

pub struct Outcome {
    pub ours: Measured,
    /// Podman, called as boot2container calls it.
    pub theirs: Measured,
    /// Podman in its shortest form: one `podman run`.
    pub shortest: Measured,
}

/// All that are measured: this init, the peer, and the peer's shortest form.
pub struct Contenders {
    pub us: Contender,
    pub them: Contender,
    pub shortest: Contender,
}

pub struct Bench {
    pub kernel: PathBuf,
    pub work: PathBuf,
}

impl Bench {
    /// First one boot of each that fills the caches and counts the bytes on the wire; then
    /// `boots` timed ones of each, in turns; then the search for the smallest RAM.
    pub fn run(&self, all: &Contenders, boots: u32, ram: bool) -> Result<Outcome, String> {
        let Contenders { us, them, shortest } = all;
        let (mut ours, mut theirs, mut least) = (self.first(us)?, self.first(them)?, self.first(shortest)?);
        for round in 1..=boots {
            for (contender, result) in [(us, &mut ours), (them, &mut theirs), (shortest, &mut least)] {
                let times = self.timed(contender, MEMORY_MB, None)?.0;
                let name = contender.name;
                eprintln!("boot {round}/{boots}: {name:7} {}", words(times));
                result.boots.push(times);
            }
        }
        if ram {
            ours.min_ram_mb = self.smallest_ram(us);
            theirs.min_ram_mb = self.smallest_ram(them);
        }
        Ok(Outcome { ours, theirs, shortest: least })
    }

    fn first(&self, contender: &Contender) -> Result<Measured, String> {
        let capture = self.work.join("wire.pcap");
        let (times, wire_bytes) = self.timed(contender, MEMORY_MB, Some(&capture))?;
        eprintln!("warm-up:  {:7} {}, {wire_bytes} bytes on the wire", contender.name, words(times));
        let Contender { name, base_len, len, raw_len, .. } = *contender;
        Ok(Measured { name, base_len, len, raw_len, boots: Vec::new(), wire_bytes, min_ram_mb: None })
    }

    /// One boot, which must succeed.
    fn timed(&self, contender: &Contender, memory_mb: u32, capture: Option<&Path>) -> Result<(Times, u64), String> {
        let boot = self.boot(contender, memory_mb, capture)?;
        let times = times(&boot, contender.first_line).filter(|_| works(&boot)).ok_or_else(|| {
            let last: Vec<&str> = boot.lines.iter().rev().take(12).rev().map(|(_, line)| line.as_str()).collect();
            let name = contender.name;
            format!("{name} did not complete its boot; the last lines:\n  {}\n{}", last.join("\n  "), boot.complaint)
        })?;
        Ok((times, boot.wire_bytes.unwrap_or(0)))
    }

    fn boot(&self, contender: &Contender, memory_mb: u32, capture: Option<&Path>) -> Result<Boot, String> {
        let mut machine = Machine::new(&self.kernel, &contender.initrd, contender.append.as_str());
        machine.memory_mb = memory_mb;
        machine.capture = capture.map(Path::to_path_buf);
        machine.timeout = Duration::from_secs(TIMEOUT_S);
        machine.boot(&mut |_, _| {}).map_err(|error| error.to_string())
    }

    /// A binary search: what works with some RAM works with more. At the limit some boots fail, so the answer is the
    /// smallest size that worked at least three times and never failed.
    fn smallest_ram(&self, contender: &Contender) -> Option<u32> {
        let mut failed = Vec::new();
        let mut enough = |memory_mb: u32| {
            let answer =
                !failed.contains(&memory_mb) && self.boot(contender, memory_mb, None).is_ok_and(|boot| works(&boot));
            if !answer {
                failed.push(memory_mb);
            }
            eprintln!("{memory_mb:4} MB: {:7} {}", contender.name, if answer { "works" } else { "does not work" });
            answer
        };
        let first = RAM_MB.partition_point(|size| !enough(*size));
        RAM_MB.get(first..)?.iter().copied().find(|size| (0..3).all(|_| enough(*size)))
    }

    pub fn accel(&self) -> Accel {
        ocinit::host::probe::accel(&self.kernel)
    }
}

impl Measured {
    pub fn median(&self, of: Span) -> f64 {
        median(self.boots.iter().map(of).collect())
    }

    /// The smallest and the largest value.
    pub fn range(&self, of: Span) -> (f64, f64) {
        let values = self.boots.iter().map(of);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    }
}

impl Times {
    pub fn init_s(&self) -> f64 {
        self.init
    }

    pub fn setup_s(&self) -> f64 {
        self.container - self.init
    }

    pub fn ending_s(&self) -> f64 {
        self.end - self.container
    }

    pub fn total_s(&self) -> f64 {
        self.end
    }
}

fn words(times: Times) -> String {
    let Times { init, container, end } = times;
    format!("PID 1 at {init:.2} s, container after {:.3} s, off at {end:.2} s", container - init)
}

fn works(boot: &Boot) -> bool {
    !boot.timed_out && boot.find(HELLO).is_some() && boot.pipeline_status() == Some(0)
}

/// Times of console lines by the host's clock, at the same points for both sides.
fn times(boot: &Boot, first_line: &str) -> Option<Times> {
    let (init, _) = boot.find(first_line)?;
    let (container, _) = boot.find(HELLO)?;
    Some(Times { init: init.as_secs_f64(), container: container.as_secs_f64(), end: boot.wall.as_secs_f64() })
}
