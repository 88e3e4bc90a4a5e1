//! What the console says: step lines, warnings, failures, sections.

pub mod console;
pub mod pure;

use crate::pure::scrub::clean;
use crate::sys::{crash, machine, tty, STDERR};
use console::write_all;
use std::fmt::Display;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a step failed. It is printed once, where the failed step ends the work. In a box, since each function that
/// passes it on would copy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(Box<Reason>);

/// What a [`Failure`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The step's name, the console's second column: `pull`, `network`.
    pub step: &'static str,
    /// The object and the reason: `layer 4/5 sha256:77aa…: usr/bin/x: write: no space left on device`.
    pub what: String,
    /// What the user can do about it, where that is known.
    pub hint: Option<String>,
    /// The hint of a host's command line, where that differs.
    pub on_host: Option<&'static str>,
}

/// What the user can do about a failure. The options of a boot are none of a host's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    pub at_boot: &'static str,
    pub on_host: &'static str,
}

impl Hint {
    /// A hint that is the same everywhere.
    pub const fn new(text: &'static str) -> Hint {
        Hint { at_boot: text, on_host: text }
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Hint {
        Hint::new(text)
    }
}

pub type Outcome<T> = Result<T, Failure>;

impl Deref for Failure {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl Failure {
    pub fn new(step: &'static str, what: impl Into<String>) -> Failure {
        Failure(Box::new(Reason { step, what: what.into(), hint: None, on_host: None }))
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.0.hint = Some(hint.into());
        self
    }

    /// The hint of the error that this failure is made of, if that has one.
    pub fn hint_of(mut self, hint: Option<impl Into<Hint>>) -> Failure {
        if let Some(Hint { at_boot, on_host }) = hint.map(Into::into) {
            (self.0.hint, self.0.on_host) = (Some(at_boot.into()), Some(on_host));
        }
        self
    }
}

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// GitLab's collapsible log sections around each phase (`b2c.log=plain` turns them off).
    pub sections: bool,
    /// Times at the start of each line: seconds since the kernel's start. Off on a host's command line.
    pub times: bool,
    /// Only warnings and failures.
    pub quiet: bool,
    /// Progress is one line of a terminal, which is drawn again and again.
    pub live: bool,
}

impl Report {
    /// The console of a boot, before its options are known.
    pub fn at_boot() -> Report {
        Report { sections: false, times: true, quiet: false, live: false }
    }

    /// A command line on a host.
    pub fn on_host() -> Report {
        Report { sections: false, times: false, quiet: false, live: false }
    }

    /// The same, but nothing but warnings and failures if `quiet` is set.
    pub fn quieter(&self, quiet: bool) -> Report {
        Report { quiet: self.quiet || quiet, live: self.live && !quiet, ..*self }
    }

    /// Whether this is the console of a boot.
    pub fn is_boot(&self) -> bool {
        self.times
    }

    /// `[   1.02] network    eth0 10.0.2.15/24 …`
    pub fn line(&self, step: &str, what: impl Display) {
        if !self.quiet {
            self.emit(step, "", &what.to_string());
        }
    }

    /// How far a step is: a line, or on a terminal one that stands until the next line of any kind.
    pub fn progress(&self, step: &str, what: &str) {
        if !self.live {
            return self.line(step, what);
        }
        let text = clean(&[step, pad(step), what].concat());
        // A line as wide as the window would begin the next one.
        let columns = tty::columns(STDERR).filter(|columns| *columns > 0).unwrap_or(80);
        let text: String = text.chars().take(columns - 1).collect();
        let _alone = std::io::stderr().lock();
        DRAWN.store(true, Ordering::Relaxed);
        write_all(STDERR, ["\r", &text, "\x1b[K"].concat().as_bytes());
    }

    /// Removes the line that [`Report::progress`] has drawn.
    pub fn end_progress(&self) {
        if DRAWN.load(Ordering::Relaxed) {
            self.write(&[]);
        }
    }

    pub fn warn(&self, step: &str, what: impl Display) {
        self.emit(step, "WARN ", &what.to_string());
    }

    /// A line that an earlier process of this boot has printed: it is kept for consoles that come later.
    pub fn printed(&self, step: &str, what: &str) {
        console::remember(self.text(step, "", what).as_bytes());
    }

    /// The FAIL line, and the hint below it, in no section: a section is folded.
    pub fn fail(&self, failure: &Failure) {
        self.end_section();
        self.write(&[self.time().as_str(), "FAIL ", failure.step, "  ", &clean(&failure.what), "\n"]);
        let hint = failure.hint.as_deref();
        if let Some(hint) = if self.is_boot() { hint } else { failure.on_host.or(hint) } {
            self.emit("hint", "", hint);
        }
    }

    /// A text of boot2container's own, in its form: an empty line, the text after the uptime, an empty line. A lab's
    /// harness matches it byte by byte.
    pub fn told(&self, text: &str) {
        self.end_section();
        self.head("", text);
    }

    /// A line that is `text` alone.
    pub fn exact(&self, text: &str) {
        self.write(&[text, "\n"]);
    }

    /// Ends the log section that is open and starts the next one, as GitLab reads them. That of a container's output
    /// has a head without sections, too.
    pub fn section(&self, section: Section) {
        self.end_section();
        let is_output = matches!(section, Section::ContainerRun);
        let head = if is_output { ABOUT_TO_START } else { section.name() };
        if self.sections {
            crash::set_section(section as usize);
            let collapsed = if is_output { "" } else { "[collapsed=true]" };
            let time = machine::realtime().0.to_string();
            self.head(&["\x1b[0Ksection_start:", &time, ":", section.name(), collapsed, END_OF_MARKER].concat(), head);
        } else if is_output {
            self.head("", head);
        }
    }

    /// Ends the log section that is open, if one is.
    pub fn end_section(&self) {
        if let Some(name) = take_section() {
            self.write(&[END_OF_SECTION, &machine::realtime().0.to_string(), ":", name, END_OF_MARKER, "\n"]);
        }
    }

    fn head(&self, marker: &str, text: &str) {
        let mut uptime = [0; UPTIME_MAX];
        self.write(&["\n", marker, "[", uptime_text(&mut uptime), "]: ", text, "\n\n"]);
    }

    fn emit(&self, step: &str, mark: &str, what: &str) {
        self.write(&[&self.text(step, mark, what)]);
    }

    fn text(&self, step: &str, mark: &str, what: &str) -> String {
        [self.time().as_str(), step, pad(step), mark, &clean(what), "\n"].concat()
    }

    fn time(&self) -> String {
        if !self.times {
            return String::new();
        }
        let ms = machine::uptime_ms();
        format!("[{:4}.{:02}] ", ms / 1000, ms % 1000 / 10)
    }

    /// One write a line, so that lines of threads do not mix. A console that is
    /// lost is not an error.
    fn write(&self, parts: &[&str]) {
        let _alone = std::io::stderr().lock();
        let text = parts.concat();
        if self.times {
            // A new console gets what was said before, then this.
            console::open();
            console::remember(text.as_bytes());
            console::write_to_each(text.as_bytes());
        } else {
            // A host's terminal belongs to its user, who may have stopped it.
            let cleared = if DRAWN.swap(false, Ordering::Relaxed) { "\r\x1b[K" } else { "" };
            write_all(STDERR, [cleared, &text].concat().as_bytes());
        }
    }
}

/// What stands between a step's name and its text.
fn pad(step: &str) -> &'static str {
    &"           "[step.len().min(10)..]
}

/// Whether a line of progress stands on the terminal. All writers have the same one.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// boot2container's text before a container's output.
const ABOUT_TO_START: &str = "About to start executing a container";

/// The log sections of a boot, which are boot2container's. One is open at a time.
#[derive(Clone, Copy)]
pub enum Section {
    /// The lab's own script has opened it, before it powered the machine on.
    KernelBoot = 1,
    Setup,
    LoadModules,
    RuntimeInfo,
    Connect,
    NtpSet,
    ParseExtraCmdline,
    MountCachePartition,
    SetHostname,
    SetKeymap,
    StartPipeline,
    StartServiceContainer,
    CreateContainer,
    /// A container's output, which is not folded.
    ContainerRun,
    PostContainer,
    Cleanup,
    UnmountCachePartition,
}

const SECTIONS: [&str; 17] = [
    "b2c_kernel_boot",
    "b2c_setup",
    "load_modules",
    "runtime_info",
    "connect",
    "ntp_set",
    "parse_extra_cmdline",
    "mount_cache_partition",
    "set_hostname",
    "set_keymap",
    "start_pipeline",
    "start_service_container",
    "create_container",
    "container_run",
    "b2c_post_container",
    "cleanup",
    "unmount_cache_partition",
];

impl Section {
    fn name(self) -> &'static str {
        section_name(self as usize).unwrap_or_default()
    }
}

fn section_name(number: usize) -> Option<&'static str> {
    SECTIONS.get(number.wrapping_sub(1)).copied()
}

/// What stands before the time of a marker that ends a section,
pub const END_OF_SECTION: &str = "\x1b[0Ksection_end:";
/// and behind the name of each marker.
pub const END_OF_MARKER: &str = "\r\x1b[0K";

/// The name of the section that is open, which the caller ends. PID 1 calls it after a crash, so it allocates nothing.
pub fn take_section() -> Option<&'static str> {
    section_name(crash::take_section())
}

/// The digits of the longest uptime.
pub const UPTIME_MAX: usize = 24;

/// The seconds since the kernel's start as in /proc/uptime, with two decimals. Allocates nothing.
pub fn uptime_text(buffer: &mut [u8; UPTIME_MAX]) -> &str {
    hundredths(machine::uptime_ms() / 10, buffer)
}

fn hundredths(mut number: u64, buffer: &mut [u8; UPTIME_MAX]) -> &str {
    let mut start = buffer.len();
    for (digits, place) in buffer.iter_mut().rev().enumerate() {
        *place = if digits == 2 { b'.' } else { b'0' + (number % 10) as u8 };
        if digits != 2 {
            number /= 10;
        }
        start -= 1;
        if number == 0 && digits >= 3 {
            break;
        }
    }
    buffer.get(start..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_their_names() {
        for (section, name) in [
            (Section::KernelBoot, "b2c_kernel_boot"),
            (Section::NtpSet, "ntp_set"),
            (Section::SetKeymap, "set_keymap"),
            (Section::ParseExtraCmdline, "parse_extra_cmdline"),
            (Section::ContainerRun, "container_run"),
            (Section::UnmountCachePartition, "unmount_cache_partition"),
        ] {
            assert_eq!(section.name(), name);
        }
        assert_eq!(section_name(0), None);
        assert_eq!(section_name(Section::UnmountCachePartition as usize + 1), None);
    }

    #[test]
    fn the_uptime_is_that_of_proc() {
        for (number, want) in [(0, "0.00"), (7, "0.07"), (123, "1.23"), (1234, "12.34"), (360_000, "3600.00")] {
            assert_eq!(hundredths(number, &mut [0; UPTIME_MAX]), want);
        }
        assert_eq!(hundredths(u64::MAX, &mut [0; UPTIME_MAX]), "184467440737095516.15");
    }
}
