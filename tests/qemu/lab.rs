//! What all scenarios share and is made once: kernel, initramfs, registry, images; and how a machine is booted.

use crate::support::{self, images};
use ocinit::host::compress::Compression;
use ocinit::host::initramfs::{self, Spec};
use ocinit::host::kernel;
use ocinit::host::modules::{self, Profile};
use ocinit::host::qemu::{Boot, Machine};
use ocinit::host::registry::DockerRegistry;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The init that boots, unless OCINIT_INIT names another.
pub const INIT: &str = "target/ocinit/x86_64/ocinit";
/// A guest that still runs after this time hangs.
const LIMIT: Duration = Duration::from_secs(90);
/// The number of guests that run at a time.
const GUESTS_MAX: usize = 2;

/// The texts of boot2container that end every machine's output.
pub const OVER: &str = "Execution is over, pipeline status: ";
pub const SAFE: &str = "It's now safe to turn off your computer";
pub const REBOOTING: &str = "Rebooting the computer";
pub const POWER_DOWN: &str = "reboot: Power down";
pub const RESTART: &str = "reboot: Restarting system";

pub struct Lab {
    pub kernel: PathBuf,
    pub modules: PathBuf,
    pub initramfs: PathBuf,
    pub registry: DockerRegistry,
    pub dir: PathBuf,
    pub payload: Vec<u8>,
}

static LAB: Mutex<Option<Arc<Lab>>> = Mutex::new(None);

/// The lab; without QEMU there is none, and the scenario is skipped.
pub fn lab() -> Option<Arc<Lab>> {
    // If the lab cannot be made, each test tries again and says why.
    let mut lab = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    if lab.is_none() {
        let qemu = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into());
        if !Command::new(&qemu).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
            skip!("there is no QEMU here");
        }
        *lab = Some(Arc::new(Lab::new()));
        // Its owner ends the registry; statics have none at the end.
        support::at_exit(|| drop(LAB.lock().ok().and_then(|mut lab| lab.take())));
    }
    lab.clone()
}

impl Lab {
    fn new() -> Lab {
        let dir = support::scratch("qemu");
        let payload = support::payload();
        let kernel = kernel::debian(Path::new("target/kernel")).unwrap_or_else(|why| panic!("no kernel: {why}"));
        let modules = kernel.modules.expect("Debian's kernel has modules");
        let registry = DockerRegistry::start(&dir.join("registry")).expect("docker-registry (./dev setup brings it)");
        for (name, image) in [
            ("payload", images::payload(&payload)),
            ("guest", images::guest(&payload)),
            ("layers", images::layers(&payload)),
            ("big", images::big(&payload, 160)),
        ] {
            images::push(&registry, &dir, name, image);
        }
        images::push_index(&registry, &dir, &payload);
        let mut lab = Lab { kernel: kernel.image, modules, initramfs: PathBuf::new(), registry, dir, payload };
        lab.initramfs = lab.build("initramfs", |_| ());
        lab
    }

    /// An initramfs with more in it than the usual one.
    pub fn build(&self, name: &str, more: impl FnOnce(&mut Spec)) -> PathBuf {
        let init = std::env::var("OCINIT_INIT").unwrap_or_else(|_| INIT.into());
        let init = std::fs::read(&init).unwrap_or_else(|error| panic!("{init}: {error}: ./dev build makes it"));
        let mut spec = Spec::new(init, Compression::Zstd);
        spec.modules = Some(modules::select(&self.modules, Profile::Vm, &[]).unwrap());
        more(&mut spec);
        let path = self.dir.join(name);
        std::fs::write(&path, initramfs::build(&spec).unwrap().bytes).unwrap();
        path
    }

    /// Boots the machine that `change` has made of the usual one. In `words`,
    /// `pull:NAME` is an image of the lab's registry and `REGISTRY` its address.
    pub fn boot(&self, name: &str, words: &str, change: impl FnOnce(&mut Machine)) -> Seen {
        self.boot_until(name, words, change, "")
    }

    /// As [`Lab::boot`], and pulls the plug when a line has `enough` in it.
    pub fn boot_until(&self, name: &str, words: &str, change: impl FnOnce(&mut Machine), enough: &str) -> Seen {
        self.boot_watched(name, words, change, &mut |line| !enough.is_empty() && line.contains(enough))
    }

    /// As [`Lab::boot`], and gives each line to `enough`, which pulls the plug where it says so.
    pub fn boot_watched(
        &self,
        name: &str,
        words: &str,
        change: impl FnOnce(&mut Machine),
        enough: &mut dyn FnMut(&str) -> bool,
    ) -> Seen {
        let host = self.registry.for_guest();
        let words = words.replace("pull:", &format!("--tls-verify=false docker://{host}/")).replace("REGISTRY", &host);
        let dress = if words.contains("b2c.log=") { "" } else { " b2c.log=plain" };
        // Emulated timers come late on a busy host: the kernel must not take that for a broken board.
        let append = format!("console=ttyS0 quiet panic=-1 no_timer_check{dress} {words}");
        let mut machine = Machine::new(&self.kernel, &self.initramfs, append);
        machine.timeout = LIMIT;
        change(&mut machine);
        let boot = {
            let _slot = Slot::take();
            machine.boot_until(&mut |_, _| {}, enough).unwrap()
        };
        tell(name, &boot);
        let seen = Seen { boot };
        // libtest shows this where the test fails.
        println!("{}", seen.text());
        seen.never("Kernel panic");
        seen.never("Attempted to kill init");
        seen
    }
}

/// Boots the usual machine with these options.
pub fn boot(name: &str, words: &str) -> Option<Seen> {
    Some(lab()?.boot(name, words, |_| ()))
}

/// Boots a changed machine.
pub fn boot_with(name: &str, words: &str, change: impl FnOnce(&mut Machine)) -> Option<Seen> {
    Some(lab()?.boot(name, words, change))
}

/// An ext4 disk image of so many MiB.
pub fn disk(name: &str, mib: u64, label: &str) -> Option<PathBuf> {
    let path = lab()?.dir.join(name);
    std::fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-L", label]).arg(&path).status();
    assert!(made.expect("mkfs.ext4").success());
    Some(path)
}

/// The right to run one guest.
struct Slot;

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Slot {
    fn take() -> Slot {
        let mut taken = FREED.wait_while(TAKEN.lock().unwrap(), |taken| *taken >= GUESTS_MAX).unwrap();
        *taken += 1;
        Slot
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap() -= 1;
        FREED.notify_one();
    }
}

static TIMES: Mutex<Vec<(String, f64)>> = Mutex::new(Vec::new());

/// Remembers how long a boot took, for the table at the end.
fn tell(name: &str, boot: &Boot) {
    let mut times = TIMES.lock().unwrap();
    if times.is_empty() {
        support::at_exit(|| {
            let mut times = TIMES.lock().map(|mut times| std::mem::take(&mut *times)).unwrap_or_default();
            times.sort_by(|one, other| one.0.cmp(&other.0));
            println!("\nboots, seconds from QEMU's start to its end, {GUESTS_MAX} at a time:");
            times.iter().for_each(|(name, seconds)| println!("{name:<40} {seconds:>6.1}"));
        });
    }
    times.push((name.into(), boot.wall.as_secs_f64()));
}

/// A boot, and what its console must say.
pub struct Seen {
    pub boot: Boot,
}

impl Seen {
    /// The same boot by another console of the machine, whose bytes are in a file.
    pub fn by(self, console: &Path) -> Seen {
        let raw = std::fs::read(console).unwrap();
        let text = String::from_utf8_lossy(&raw).into_owned();
        let lines = text.lines().map(|line| (self.boot.wall, line.trim_end_matches('\r').to_string())).collect();
        println!("{}:\n{text}", console.display());
        Seen { boot: Boot { lines, raw, ..self.boot } }
    }

    /// The console's lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.boot.lines.iter().map(|(_, line)| line.as_str())
    }

    pub fn text(&self) -> String {
        self.lines().collect::<Vec<_>>().join("\n")
    }

    /// The place of the first line that is exactly `line`; boot2container's texts have their uptime before them.
    pub fn at(&self, line: &str) -> usize {
        self.lines().position(|other| is_line(other, line)).unwrap_or_else(|| panic!("no line '{line}'"))
    }

    /// Each is a line of its own, in this order.
    pub fn in_order(&self, lines: &[&str]) {
        let mut rest = self.lines();
        for line in lines {
            assert!(rest.any(|other| is_line(other, line)), "no line '{line}' after those before it");
        }
    }

    /// Some line has `part` in it.
    pub fn says(&self, part: &str) -> &str {
        self.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no line with '{part}'"))
    }

    pub fn never(&self, part: &str) {
        let found = self.lines().find(|line| line.contains(part));
        assert!(found.is_none(), "never again: '{}'", found.unwrap_or_default());
    }

    pub fn count(&self, part: &str) -> usize {
        self.lines().filter(|line| line.contains(part)).count()
    }

    /// The pipeline was over with `status`, and then all that the dialect says, ending with `last`.
    pub fn over(&self, status: i32, last: &str) {
        let end = if self.count(REBOOTING) == 0 { SAFE } else { REBOOTING };
        assert!(self.at(&format!("{OVER}{status}")) < self.at(end), "the order of the last lines");
        assert_eq!(self.count(OVER) + self.count(SAFE) + self.count(REBOOTING), 2, "each text once");
        self.ends_after(end, last);
    }

    /// The machine ended itself, with `last` as its last line.
    pub fn ends(&self, last: &str) {
        self.ends_after(SAFE, last);
    }

    fn ends_after(&self, text: &str, last: &str) {
        assert!(!self.boot.timed_out, "the guest hung");
        assert!(self.boot.status.is_some_and(|status| status.success()), "QEMU: {}", self.boot.complaint);
        let (safe, end) = (self.at(text), self.lines().filter(|line| !line.is_empty()).last().unwrap_or_default());
        assert!(end.ends_with(last), "the last line is '{end}'");
        assert!(self.lines().skip(safe).any(|line| line.ends_with(last)), "{last} comes after '{text}'");
    }
}

/// Whether `seen` is the line `line`. A text of boot2container's own stands after the uptime, as in /proc/uptime.
fn is_line(seen: &str, line: &str) -> bool {
    if !line.starts_with(OVER) && ![SAFE, REBOOTING].contains(&line) {
        return seen == line;
    }
    let told = seen.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    told.is_some_and(|(uptime, text)| text == line && is_uptime(uptime))
}

fn is_uptime(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(s, rest)| !s.is_empty() && digits(s) && rest.len() == 2 && digits(rest))
}
