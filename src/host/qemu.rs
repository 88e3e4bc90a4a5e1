//! A machine in QEMU: by KVM where it works, else by software emulation.

mod console;

use console::{read_on_thread, Console, Watch};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The guest's first network card, and what it is connected to.
#[derive(Clone, Debug)]
pub enum Network {
    /// No card at all.
    None,
    /// QEMU's user network (10.0.2.0/24; the gateway 10.0.2.2 is the host, DNS is
    /// 10.0.2.3), with further options of `-netdev user`: `restrict=on`, `tftp=DIR`.
    User(Vec<String>),
    /// The argument of `-netdev`, without its id: `socket,connect=127.0.0.1:1234`.
    Raw(String),
}

/// A disk of the machine.
#[derive(Clone, Debug)]
pub struct Disk {
    pub path: PathBuf,
    /// The serial number: the guest has the disk as `/dev/disk/by-id/virtio-SERIAL`. Empty for none.
    pub serial: String,
    pub read_only: bool,
    /// What the guest writes is discarded at the end.
    pub snapshot: bool,
}

impl Disk {
    /// A raw image file that keeps what the guest writes.
    pub fn new(path: &Path) -> Disk {
        Disk { path: path.to_path_buf(), serial: String::new(), read_only: false, snapshot: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    Kvm,
    /// Software emulation.
    Tcg,
}

/// A machine to boot. [`Machine::on`] and [`Machine::new`] fill in defaults; change the fields that matter.
#[derive(Clone, Debug)]
pub struct Machine {
    pub kernel: PathBuf,
    /// Empty for none.
    pub initrd: PathBuf,
    /// The whole kernel command line.
    pub append: String,
    pub memory_mb: u32,
    pub cpus: u32,
    pub accel: Accel,
    pub network: Network,
    /// False: the network card has no link.
    pub cable: bool,
    /// Hardware address of the card; empty for QEMU's default.
    pub mac: String,
    pub disks: Vec<Disk>,
    /// Where to write the card's packets (pcap); [`Boot::wire_bytes`] counts them.
    pub capture: Option<PathBuf>,
    /// Whether the guest's console reads our standard input.
    pub interactive: bool,
    /// Whether the console's bytes are copied to our standard output as they arrive.
    pub echo: bool,
    /// Whether guest time is derived from the number of executed instructions: repeatable, and three times slower.
    pub icount: bool,
    /// Further arguments for QEMU, appended to ours.
    pub extra: Vec<String>,
    /// QEMU is killed after this time.
    pub timeout: Duration,
}

/// A finished boot.
#[derive(Debug)]
pub struct Boot {
    /// The console's lines without `\r` and `\n`, each with the time at which it was complete.
    pub lines: Vec<(Duration, String)>,
    /// All bytes of the console.
    pub raw: Vec<u8>,
    pub status: Option<ExitStatus>,
    pub wall: Duration,
    pub timed_out: bool,
    /// Bytes of all packets in and out, link headers included; none without [`Machine::capture`].
    pub wire_bytes: Option<u64>,
    /// What QEMU wrote to its standard error.
    pub complaint: String,
}

impl Boot {
    /// The first line that contains `text`, and the time at which it was complete.
    pub fn find(&self, text: &str) -> Option<(Duration, &str)> {
        self.lines.iter().find(|(_, line)| line.contains(text)).map(|(at, line)| (*at, line.as_str()))
    }

    /// N of `Execution is over, pipeline status: N`.
    pub fn pipeline_status(&self) -> Option<i32> {
        let text = "Execution is over, pipeline status: ";
        self.lines.iter().rev().find_map(|(_, line)| line.split_once(text)?.1.trim().parse().ok())
    }

    /// Whether the machine stopped everything and then powered itself off.
    pub fn ended_in_order(&self) -> bool {
        !self.timed_out
            && self.status.is_some_and(|status| status.success())
            && self.find("It's now safe to turn off your computer").is_some()
            && self.find("Kernel panic").is_none()
    }
}

impl Machine {
    /// One processor, 256 MB, QEMU's own network, no disk, 60 s at most.
    pub fn on(accel: Accel, kernel: PathBuf, initrd: PathBuf, append: String) -> Machine {
        Machine {
            kernel,
            initrd,
            append,
            memory_mb: 256,
            cpus: 1,
            accel,
            network: Network::User(Vec::new()),
            cable: true,
            mac: String::new(),
            disks: Vec::new(),
            capture: None,
            interactive: false,
            echo: false,
            icount: false,
            extra: Vec::new(),
            timeout: Duration::from_secs(60),
        }
    }

    /// Boots, and calls `on_line` with each console line as it arrives and the time
    /// since the start. Returns when the machine is off or its time is over.
    pub fn boot(&self, on_line: &mut dyn FnMut(Duration, &str)) -> io::Result<Boot> {
        self.boot_until(on_line, &mut |_| false)
    }

    /// As [`Machine::boot`], and kills QEMU as soon as `enough` is true of a console
    /// line: a test ends when it has seen what it waits for.
    pub fn boot_until(
        &self,
        on_line: &mut dyn FnMut(Duration, &str),
        enough: &mut dyn FnMut(&str) -> bool,
    ) -> io::Result<Boot> {
        let start = Instant::now();
        let monitor = (!self.cable).then(|| {
            std::env::temp_dir().join(format!("ocinit-qmp-{}-{:p}.sock", std::process::id(), std::ptr::from_ref(self)))
        });
        let mut command = tied(&program());
        command.args(self.arguments());
        if let Some(path) = &monitor {
            command.args(["-S", "-qmp", &format!("unix:{},server=on,wait=off", path.display())]);
        }
        command.stdin(if self.interactive { Stdio::inherit() } else { Stdio::null() });
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut guest = Guest(child.map_err(|error| context(&program(), error))?);
        let complaint = guest.0.stderr.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = pipe.read_to_end(&mut text);
                String::from_utf8_lossy(&text).trim().to_string()
            })
        });
        if let Some(path) = &monitor {
            let unplugged = unplug(path, start + self.timeout);
            let _ = std::fs::remove_file(path);
            unplugged?;
        }
        let bytes = read_on_thread(guest.0.stdout.take());
        let mut console = Console { echo: self.echo, ..Console::default() };
        let timed_out = console.follow(&bytes, &mut Watch { start, timeout: self.timeout, on_line, enough });
        let ended_by_us = timed_out || console.enough;
        let status = guest.end(ended_by_us)?;
        let complaint = complaint.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !ended_by_us && !status.success() && console.raw.is_empty() {
            return Err(io::Error::other(format!("{}: {complaint} ({status})", program())));
        }
        let wire_bytes = self.capture.as_deref().and_then(pcap_bytes);
        let Console { lines, raw, .. } = console;
        Ok(Boot { lines, raw, status: Some(status), wall: start.elapsed(), timed_out, wire_bytes, complaint })
    }

    /// QEMU's arguments.
    fn arguments(&self) -> Vec<String> {
        let mut list = Arguments(Vec::new());
        // microvm would be faster, but under software emulation it hangs where the
        // kernel calibrates its clock, and without ACPI it cannot power itself off.
        let machine = "q35,usb=off,sata=off,smbus=off,vmport=off";
        list.add(&["-machine", machine, "-no-user-config", "-nodefaults", "-no-reboot", "-display", "none"]);
        list.add(&["-chardev", "stdio,id=console,signal=on", "-serial", "chardev:console"]);
        match self.accel {
            Accel::Kvm => list.add(&["-accel", "kvm", "-cpu", "host"]),
            // QEMU counts instructions on one thread only.
            Accel::Tcg if self.icount => list.add(&["-accel", "tcg,thread=single,tb-size=128", "-cpu", "max"]),
            Accel::Tcg => list.add(&["-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max"]),
        }
        if self.icount && self.accel == Accel::Tcg {
            list.add(&["-icount", "shift=2,sleep=off"]);
        }
        list.add(&["-m", &self.memory_mb.to_string(), "-smp", &self.cpus.to_string()]);
        list.add(&["-kernel", &path_text(&self.kernel), "-append", &self.append]);
        if !self.initrd.as_os_str().is_empty() {
            list.add(&["-initrd", &path_text(&self.initrd)]);
        }
        self.add_network(&mut list);
        self.add_disks(&mut list);
        list.0.extend(self.extra.iter().cloned());
        list.0
    }

    fn add_network(&self, list: &mut Arguments) {
        let netdev = match &self.network {
            Network::None => return,
            Network::User(options) => ["user".to_string()].iter().chain(options).cloned().collect::<Vec<_>>(),
            Network::Raw(text) => vec![text.clone()],
        };
        // The id follows the kind of the network: `user,id=net0,restrict=on`.
        let netdev = netdev.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(",");
        let (kind, options) = netdev.split_once(',').map_or((netdev.as_str(), None), |(kind, rest)| (kind, Some(rest)));
        let options = options.map_or(String::new(), |options| format!(",{options}"));
        list.add(&["-netdev", &format!("{kind},id=net0{options}")]);
        let mac = if self.mac.is_empty() { String::new() } else { format!(",mac={}", self.mac) };
        list.add(&["-device", &format!("virtio-net-pci,romfile=,id=nic0,netdev=net0{mac}")]);
        if let Some(path) = &self.capture {
            list.add(&["-object", &format!("filter-dump,id=dump0,netdev=net0,file={},maxlen=128", path_text(path))]);
        }
    }

    fn add_disks(&self, list: &mut Arguments) {
        for (index, disk) in self.disks.iter().enumerate() {
            let flags = [("read-only", disk.read_only), ("snapshot", disk.snapshot)];
            let flags: String = flags.iter().filter(|(_, on)| *on).map(|(name, _)| format!(",{name}=on")).collect();
            let path = path_text(&disk.path).replace(',', ",,");
            list.add(&["-drive", &format!("file={path},format=raw,if=none,id=disk{index},cache=unsafe{flags}")]);
            let serial = if disk.serial.is_empty() { String::new() } else { format!(",serial={}", disk.serial) };
            list.add(&["-device", &format!("virtio-blk-pci,drive=disk{index}{serial}")]);
        }
    }
}

/// A command line that grows.
struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| word.to_string()));
    }
}

/// A running QEMU, killed when this is dropped.
struct Guest(Child);

impl Guest {
    /// Waits for its end; `now` kills it first.
    fn end(&mut self, now: bool) -> io::Result<ExitStatus> {
        if now {
            let _ = self.0.kill();
        }
        self.0.wait()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Takes the network card's link down through QEMU's monitor, and lets the machine start.
fn unplug(socket: &Path, deadline: Instant) -> io::Result<()> {
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(context(&path_text(socket), error)),
            // QEMU creates the socket only after it has read its arguments.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answers = [0; 4096];
    // The greeting, then an answer to each command.
    let _ = stream.read(&mut answers)?;
    for command in [
        r#"{"execute":"qmp_capabilities"}"#,
        r#"{"execute":"set_link","arguments":{"name":"nic0","up":false}}"#,
        r#"{"execute":"cont"}"#,
    ] {
        stream.write_all(command.as_bytes())?;
        let count = stream.read(&mut answers)?;
        let answer = String::from_utf8_lossy(&answers[..count]).into_owned();
        if answer.contains("\"error\"") {
            return Err(io::Error::other(answer));
        }
    }
    Ok(())
}

/// The sum of the packets' lengths in a pcap file of this machine's byte order
/// (QEMU's): 24 bytes of header, then 16 before each packet, the last 4 of them
/// its length on the wire.
pub fn pcap_bytes(path: &Path) -> Option<u64> {
    let bytes = std::fs::read(path).ok()?;
    let mut rest = bytes.get(24..)?;
    let mut sum = 0;
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let number = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        sum += u64::from(number(12));
        rest = after.get(number(8) as usize..).unwrap_or(&[]);
    }
    Some(sum)
}

/// A command that is killed when this process ends, even by SIGKILL: setpriv(1) sets
/// its parent-death signal and then becomes the program, so it remains our child.
fn tied(program: &str) -> Command {
    const SETPRIV: &str = "/usr/bin/setpriv";
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", program]);
    command
}

fn program() -> String {
    std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into())
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn context(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::sync::mpsc::channel;

    fn machine() -> Machine {
        Machine::on(Accel::Tcg, "vmlinuz".into(), "initramfs".into(), "console=ttyS0".into())
    }

    #[test]
    fn arguments_say_what_was_asked_for() {
        let mut machine = machine();
        machine.network = Network::User(vec!["restrict=on".into()]);
        machine.mac = "52:54:00:00:00:07".into();
        machine.capture = Some("wire.pcap".into());
        let disk = Disk { path: "a,b.img".into(), serial: "cache".into(), read_only: false, snapshot: true };
        machine.disks.push(disk);
        let text = machine.arguments().join(" ");
        for part in [
            "-m 256 -smp 1 -kernel vmlinuz -append console=ttyS0 -initrd initramfs",
            "-netdev user,id=net0,restrict=on",
            "virtio-net-pci,romfile=,id=nic0,netdev=net0,mac=52:54:00:00:00:07",
            "-object filter-dump,id=dump0,netdev=net0,file=wire.pcap",
            "-drive file=a,,b.img,format=raw,if=none,id=disk0,cache=unsafe,snapshot=on",
            "virtio-blk-pci,drive=disk0,serial=cache",
            "-accel tcg",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        machine.network = Network::Raw("socket,connect=127.0.0.1:9".into());
        assert!(machine.arguments().join(" ").contains("-netdev socket,id=net0,connect=127.0.0.1:9 "));
        machine.network = Network::None;
        assert!(!machine.arguments().join(" ").contains("net0"));
    }

    #[test]
    fn the_console_comes_in_lines() {
        let (sender, receiver) = channel();
        for part in ["one\r\ntw", "o\n\nIt's now", " safe to turn off your computer\r\n", "Execution is over", "\n"] {
            sender.send(part.as_bytes().to_vec()).unwrap();
        }
        sender.send(b"[1.20]: Execution is over, pipeline status: 42\r\nlast".to_vec()).unwrap();
        drop(sender);
        let mut console = Console::default();
        let mut seen = Vec::new();
        let start = Instant::now();
        let mut keep = |_: Duration, line: &str| seen.push(line.to_string());
        let timeout = Duration::from_secs(9);
        let mut watch = Watch { start, timeout, on_line: &mut keep, enough: &mut |_| false };
        assert!(!console.follow(&receiver, &mut watch));
        let last = "[1.20]: Execution is over, pipeline status: 42";
        let safe = "It's now safe to turn off your computer";
        assert_eq!(seen, ["one", "two", "", safe, "Execution is over", last, "last"]);
        let Console { lines, raw, .. } = console;
        let status = Some(ExitStatus::from_raw(0));
        let (wall, complaint) = (start.elapsed(), String::new());
        let boot = Boot { lines, raw, status, wall, timed_out: false, wire_bytes: None, complaint };
        assert_eq!(boot.pipeline_status(), Some(42));
        assert!(boot.ended_in_order());
        assert!(!Boot { timed_out: true, ..boot }.ended_in_order());
    }

    #[test]
    fn silence_ends_with_the_time() {
        let (sender, receiver) = channel();
        sender.send(b"half a line".to_vec()).unwrap();
        let mut console = Console::default();
        let (start, timeout) = (Instant::now(), Duration::from_millis(20));
        let mut watch = Watch { start, timeout, on_line: &mut |_, _| {}, enough: &mut |_| false };
        assert!(console.follow(&receiver, &mut watch));
        assert_eq!(console.lines[0].1, "half a line");
        drop(sender);
    }

    #[test]
    fn packets_are_counted_by_their_length_on_the_wire() {
        let file = std::env::temp_dir().join(format!("ocinit-pcap-{}", std::process::id()));
        let mut bytes = vec![0; 24];
        for (kept, whole) in [(60u32, 60u32), (128, 1514)] {
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(&kept.to_ne_bytes());
            bytes.extend_from_slice(&whole.to_ne_bytes());
            bytes.resize(bytes.len() + kept as usize, 0);
        }
        std::fs::write(&file, &bytes).unwrap();
        let sum = pcap_bytes(&file);
        std::fs::write(&file, &bytes[..10]).unwrap();
        let short = pcap_bytes(&file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!((sum, short), (Some(1574), None));
    }
}
