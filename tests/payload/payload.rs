//! What tests run inside containers: one static binary that answers questions
//! about where it is, one fact a line. The first argument chooses; with none,
//! the name it was called by, where that is one of the answers.
//!
//! std only, so that one command makes the static binary in seconds:
//! `rustc --edition 2021 -C target-feature=+crt-static -C opt-level=z -C panic=abort -C strip=symbols -C lto`

mod attack;
mod attack_calls;
mod attack_files;
mod attack_neighbours;
mod clock;
mod inject;
mod look;
mod open;
mod uevent;

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const USAGE: &str = "attack NAME … | \
                     hello | exit N | env [NAME] | cwd | id | caps | hostname | mounts | ns | fds | stat PATH… | \
                     ls DIR | cat PATH… | write PATH TEXT | tty | args … | kill N | crash | fill PATH | pid1 | \
                     orphan | sleep SECONDS [TEXT] | flood LINES [PATH] | leave-flood N | dd PATH BYTES | take PATH | \
                     echo [-n] … | look | open | clock | time N COMMAND… | reboot | poweroff | break-init PROC | \
                     trap SIGNAL | window | await PATH | copy FROM TO | halves LINES | spin ROUNDS | \
                     orphans NUMBER DONE | bomb [CHAINS] | hush TERMINAL [LINES] | stop-boot | \
                     uevent group|kernel TEXT… | await-gone PATH | \
                     inject OUT PROCESS CALL N ERRNO COMMAND… | inject-boot SEED COUNT GAP";

fn main() -> ExitCode {
    // Not args(): it panics on what is not UTF-8.
    let all: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let called = all.first().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
    let (name, rest) = match all.get(1..).unwrap_or_default() {
        [] => (if called.contains("payload") { "hello" } else { called }, &[][..]),
        [name, rest @ ..] => (name.as_str(), rest),
    };
    match answer(name, rest) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            println!("{name}: {error}");
            ExitCode::from(1)
        }
    }
}

fn answer(name: &str, rest: &[String]) -> io::Result<u8> {
    let first = rest.first().map_or("", String::as_str);
    match name {
        "hello" => hello()?,
        "exit" => return Ok(number(first)? as u8),
        "env" => env(first),
        "cwd" => println!("{}", std::env::current_dir()?.display()),
        "id" => id(&["Uid:", "Gid:", "Groups:"])?,
        "caps" => id(&["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:"])?,
        "hostname" => println!("{}", line("/proc/sys/kernel/hostname")?),
        "mounts" => print!("{}", fs::read_to_string("/proc/self/mounts")?),
        "ns" => links("/proc/self/ns")?,
        "fds" => descriptors()?,
        "look" => look::all(),
        "open" => open::all(),
        "clock" => clock::tell(),
        "time" => clock::time(number(first)? as u64, rest.get(1..).unwrap_or_default())?,
        "stat" => rest.iter().try_for_each(|path| stat(path))?,
        "ls" => list(first)?,
        "cat" => rest.iter().try_for_each(|path| cat(path))?,
        "write" => fs::write(first, rest.get(1..).unwrap_or_default().join(" ") + "\n")?,
        "tty" => {
            let answers = [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
            println!("{} {} {}", answers[0], answers[1], answers[2]);
        }
        "args" => rest.iter().for_each(|arg| println!("[{arg}]")),
        "pid1" => {
            let command = fs::read("/proc/1/cmdline")?;
            println!("{} {}", std::process::id(), String::from_utf8_lossy(&command).replace('\0', " ").trim_end());
        }
        _ => return act(name, rest),
    }
    Ok(0)
}

/// What is no question.
fn act(name: &str, rest: &[String]) -> io::Result<u8> {
    let first = rest.first().map_or("", String::as_str);
    match name {
        "attack" => return attack::run(rest),
        "kill" => return kill(number(first)?),
        "inject" => return inject::inject(rest),
        "inject-boot" => return inject::inject_boot(rest),
        "crash" => std::process::abort(),
        "fill" => fill(first)?,
        "orphan" => return orphan(first),
        "sleep" => {
            println!("sleeping");
            std::thread::sleep(Duration::from_secs_f64(first.parse().map_err(io::Error::other)?));
            rest.get(1).into_iter().for_each(|text| println!("{text}"));
        }
        "dd" => dd(first, number(rest.get(1).map_or("", String::as_str))? as u64)?,
        "reboot" => return restart(0x0123_4567),
        "trap" => trap(number(first)?)?,
        "window" => window()?,
        "await" => wait_for(first, true)?,
        "await-gone" => wait_for(first, false)?,
        "uevent" => uevent::send(first, rest.get(1..).unwrap_or_default())?,
        "copy" => drop(fs::copy(first, rest.get(1).map_or("", String::as_str))?),
        "halves" => halves(number(first)?)?,
        "spin" => spin(number(first)? as u64),
        "orphans" => {
            let done = rest.get(1).map_or("", String::as_str);
            fs::write([done, ".new"].concat(), orphans(number(first)?)?)?;
            fs::rename([done, ".new"].concat(), done)?;
        }
        "bomb" => bomb(number(first).unwrap_or(0)),
        "take" => {
            println!("taking");
            io::copy(&mut io::stdin().lock(), &mut fs::File::create(first)?)?;
        }
        "flood" => flood(first, rest.get(1))?,
        "leave-flood" => {
            // It floods for as long as somebody takes it.
            Command::new("/proc/self/exe").args(["flood", "1000000000"]).spawn()?;
            return Ok(number(first)? as u8);
        }
        "break-init" => break_init(first)?,
        "hush" => {
            hush(first)?;
            flood(rest.get(1).map_or("0", String::as_str), None)?;
        }
        "stop-boot" => stop_boot()?,
        "poweroff" => return restart(0x4321_fedc),
        "echo" if first == "-n" => {
            print!("{}", rest.get(1..).unwrap_or_default().join(" "));
            io::stdout().flush()?;
        }
        "echo" => println!("{}", rest.join(" ")),
        _ => {
            println!("usage: {USAGE}");
            return Ok(2);
        }
    }
    Ok(0)
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| io::Error::other(format!("want a number, not '{text}'")))
}

fn line(path: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim_end().to_string())
}

fn hello() -> io::Result<()> {
    println!("Hello from a container");
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_else(|error| error.to_string());
    let host = line("/proc/sys/kernel/hostname").unwrap_or_else(|error| error.to_string());
    println!("kernel {release}, host name {host}, process {}", std::process::id());
    Ok(())
}

/// One variable's value (or `unset`), or all of them in the order given to us.
fn env(name: &str) {
    if name.is_empty() {
        for (name, value) in std::env::vars_os() {
            println!("{}={}", name.to_string_lossy(), value.to_string_lossy());
        }
    } else {
        println!("{}", std::env::var_os(name).map_or("unset".into(), |value| value.to_string_lossy().into_owned()));
    }
}

/// Lines of our status, blanks made single.
fn id(keys: &[&str]) -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/status")?.lines() {
        if keys.iter().any(|key| line.starts_with(key)) {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

fn sorted(dir: &str) -> io::Result<Vec<String>> {
    let mut names: Vec<String> =
        fs::read_dir(dir)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn links(dir: &str) -> io::Result<()> {
    for name in sorted(dir)? {
        match fs::read_link(format!("{dir}/{name}")) {
            Ok(target) => println!("{name} {}", target.display()),
            Err(error) => println!("{name} {error}"),
        }
    }
    Ok(())
}

/// All descriptors but the one that lists them.
fn descriptors() -> io::Result<()> {
    for name in sorted("/proc/self/fd")? {
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{name}")) {
            if !target.to_string_lossy().ends_with("/fd") {
                println!("{name} {}", target.display());
            }
        }
    }
    Ok(())
}

/// `PATH KIND MODE UID:GID SIZE LINKS RDEV MTIME`, with the target of a link at the end.
fn stat(path: &str) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            println!("{path} {error}");
            return Ok(());
        }
    };
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "character",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    };
    let (major, minor) = device_numbers(meta.rdev());
    print!("{path} {kind} {:04o} {}:{} {} ", meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.size());
    print!("{} {major}:{minor} {}", meta.nlink(), meta.mtime());
    match fs::read_link(path) {
        Ok(target) => println!(" {}", target.display()),
        Err(_) => println!(),
    }
    Ok(())
}

/// As makedev(3) packs them.
fn device_numbers(device: u64) -> (u64, u64) {
    let (major, minor) = ((device >> 8) & 0xfff | (device >> 32) & !0xfff, device & 0xff | (device >> 12) & !0xff);
    (major, minor & 0xffff_ffff)
}

fn list(dir: &str) -> io::Result<()> {
    sorted(if dir.is_empty() { "." } else { dir })?.iter().for_each(|name| println!("{name}"));
    Ok(())
}

fn cat(path: &str) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    io::copy(&mut file, &mut io::stdout().lock())?;
    Ok(())
}

extern "C" {
    /// The C library's, which std brings along: this file needs nothing but rustc.
    #[link_name = "kill"]
    fn send(pid: i32, signal: i32) -> i32;
    fn fcntl(fd: i32, command: i32, ...) -> i32;
    fn reboot(how: i32) -> i32;
    fn ioctl(fd: i32, request: u64, ...) -> i32;
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
    fn fork() -> i32;
    fn vfork() -> i32;
    fn close(fd: i32) -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn sigprocmask(how: i32, set: *const [u64; 16], old: *mut [u64; 16]) -> i32;
    fn sigwait(set: *const [u64; 16], number: *mut i32) -> i32;
}

/// Waits for a signal, and exits with its number.
fn trap(number: i64) -> io::Result<()> {
    extern "C" fn handler(number: i32) {
        // SAFETY: one of the functions that a handler may call.
        unsafe { _exit(number) }
    }
    // SAFETY: C's own prototype; the handler calls nothing that a handler may not.
    unsafe { signal(i32::try_from(number).map_err(io::Error::other)?, handler as *const () as usize) };
    println!("waiting");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// The terminal's size, and its next one.
fn window() -> io::Result<()> {
    const SIGWINCH: u32 = 28;
    let mut set = [0; 16];
    set[0] = 1 << (SIGWINCH - 1);
    // SAFETY: C's own prototype; the set is ours.
    unsafe { sigprocmask(0, &set, std::ptr::null_mut()) };
    println!("{}", look::terminal()[0]);
    // SAFETY: C's own prototype; set and number are ours.
    unsafe { sigwait(&set, &mut 0) };
    println!("{}", look::terminal()[0]);
    Ok(())
}

/// reboot(2), by one of its numbers; in a PID namespace it ends that namespace.
fn restart(how: u32) -> io::Result<u8> {
    // SAFETY: C's own prototype; takes a number only.
    let result = unsafe { reboot(how as i32) };
    println!("still there ({result}): {}", io::Error::last_os_error());
    Ok(1)
}

/// Signals itself. Process 1 of a PID namespace survives what it sends itself,
/// SIGKILL too (pid_namespaces(7)): then says so. `crash` ends even that.
fn kill(number: i64) -> io::Result<u8> {
    const DEFAULT: usize = 0;
    let (number, own) = (i32::try_from(number).map_err(io::Error::other)?, std::process::id() as i32);
    // SAFETY: C's own prototypes; numbers only, and after the first no handler is there to run: std ignores SIGPIPE,
    // and has handlers for SIGSEGV and SIGBUS. Not raise(3), which keeps two signals for the C library itself.
    let result = unsafe {
        signal(number, DEFAULT);
        send(own, number)
    };
    println!("survived signal {number} ({result})");
    Ok(0)
}

/// Writes until the disk says no.
fn fill(path: &str) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let block = vec![0x5a; 1 << 20];
    let mut total: u64 = 0;
    loop {
        match file.write(&block) {
            Ok(count) => total += count as u64,
            Err(error) => {
                println!("{total} bytes, then: {error}");
                return Ok(());
            }
        }
    }
}

/// Leaves a grandchild behind that ends on its own: process 1 must reap it.
fn orphan(stage: &str) -> io::Result<u8> {
    let me = "/proc/self/exe";
    match stage {
        "" => {
            let mut child = Command::new(me).args(["orphan", "parent"]).stdout(Stdio::piped()).spawn()?;
            let mut text = String::new();
            // Reads to the end: until the grandchild, too, is gone.
            child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut text)).transpose()?;
            let status = child.wait()?;
            let zombies = zombies()?;
            println!("{} parent={} zombies={zombies}", text.trim_end(), status.code().unwrap_or(-1));
        }
        "parent" => {
            Command::new(me).args(["orphan", "child"]).spawn()?;
        }
        _ => {
            // Until the parent is gone: our parent's number changes then.
            for _ in 0..1000 {
                if line("/proc/self/status")?.lines().any(|line| line == "PPid:\t1") {
                    println!("orphaned");
                    return Ok(0);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            println!("not adopted");
        }
    }
    Ok(0)
}

/// The zombies, after a time in which process 1 could have reaped them.
fn zombies() -> io::Result<usize> {
    let mut count = 0;
    for _ in 0..100 {
        count = 0;
        for name in sorted("/proc")? {
            let status = fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
            count += usize::from(status.lines().any(|line| line.starts_with("State:\tZ")));
        }
        if count == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(count)
}

/// Stops a terminal's output, as Ctrl-S on its other side does.
fn hush(terminal: &str) -> io::Result<()> {
    const TCXONC: u64 = 0x540a;
    let terminal = fs::OpenOptions::new().write(true).open(terminal)?;
    // SAFETY: C's own prototype; the descriptor is open, and 0 is TCOOFF.
    match unsafe { ioctl(terminal.as_raw_fd(), TCXONC, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a container in the host's PID namespace may do to the init's working process.
fn stop_boot() -> io::Result<()> {
    const SIGSTOP: i32 = 19;
    for name in sorted("/proc")? {
        let status = fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
        if status.lines().any(|line| line == "PPid:\t1") {
            // SAFETY: C's own prototype; takes numbers only.
            println!("stopping it: {}", unsafe { send(number(&name)? as i32, SIGSTOP) });
        }
    }
    Ok(())
}

/// What a privileged container may do to a machine whose /proc it is given: an
/// illegal instruction where the init's working process waits.
fn break_init(proc: &str) -> io::Result<()> {
    for name in sorted(proc)? {
        let status = fs::read_to_string(format!("{proc}/{name}/status")).unwrap_or_default();
        let place = fs::read_to_string(format!("{proc}/{name}/syscall")).unwrap_or_default();
        let waits_at = place.split_whitespace().last().and_then(|word| word.strip_prefix("0x"));
        let waits_at = waits_at.and_then(|word| u64::from_str_radix(word, 16).ok());
        if let (true, Some(address)) = (status.lines().any(|line| line == "PPid:\t1"), waits_at) {
            println!("breaking {}", status.lines().next().unwrap_or_default());
            // x86's UD2; elsewhere, too, not what was there.
            fs::OpenOptions::new()
                .write(true)
                .open(format!("{proc}/{name}/mem"))?
                .write_all_at(b"\x0f\x0b", address)?;
        }
    }
    Ok(())
}

/// So many numbered lines, after standard input was made non-blocking; with
/// a path then makes that file, and stays until it is killed.
fn flood(count: &str, path: Option<&String>) -> io::Result<()> {
    // SAFETY: C's own prototype; F_SETFL with O_NONBLOCK on a descriptor of ours.
    unsafe { fcntl(0, 4, 0o4000) };
    let mut out = io::BufWriter::new(io::stdout());
    for n in 0..number(count)? {
        writeln!(out, "line {n:06}")?;
    }
    out.flush()?;
    if let Some(path) = path {
        fs::write(path, "")?;
        std::thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

/// Waits until there is such a file.
fn wait_for(path: &str, here: bool) -> io::Result<()> {
    if !here {
        println!("waiting until {path} is gone");
    }
    for _ in 0..15_000 {
        if fs::symlink_metadata(path).is_ok() == here {
            println!("{path} is {}", if here { "there" } else { "gone" });
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("{path} never came")))
}

/// Lines that are written in two parts; then waits for SIGTERM.
fn halves(count: i64) -> io::Result<()> {
    let mut out = io::stdout();
    for n in 0..count {
        write!(out, "half {n:03} ")?;
        out.flush()?;
        writeln!(out, "and half")?;
        out.flush()?;
    }
    trap(15)
}

/// Computes, and says how long that took.
fn spin(rounds: u64) {
    let start = std::time::Instant::now();
    let mut state = 1u64;
    for n in 0..rounds {
        state = std::hint::black_box(state.wrapping_mul(6364136223846793005).wrapping_add(n));
    }
    println!("{rounds} rounds in {} ms", start.elapsed().as_millis());
}

/// So many processes that end after the one that made them, a thousand to each.
fn orphans(count: i64) -> io::Result<String> {
    for _ in 0..count / 1000 {
        // SAFETY: C's own prototypes; no other thread is there, and the children only fork and end.
        unsafe {
            let parent = fork();
            if parent == 0 {
                for _ in 0..1000 {
                    // It does nothing but end; a copy of our memory would take most of the time.
                    match vfork() {
                        0 => _exit(0),
                        -1 => _exit(1),
                        _ => {}
                    }
                }
                _exit(0);
            }
            let mut status = 0;
            if parent < 0 || waitpid(parent, &mut status, 0) != parent || status != 0 {
                return Ok(format!("no more processes: {}\n", io::Error::last_os_error()));
            }
        }
    }
    Ok(format!("{count} orphans, {} of them unreaped\n", zombies()?))
}

/// Forks for ever, deaf to SIGTERM; or so many processes that live until they have forked.
fn bomb(chains: i64) {
    const IGNORE: usize = 1;
    // SAFETY: C's own prototypes; SIG_IGN is no function of ours, and no other thread is there.
    unsafe {
        signal(15, IGNORE);
        // A core dump waits for whoever holds its pipe.
        close(0);
        let is_last = |_| fork() == 0;
        let _ = (1..chains).any(is_last);
        loop {
            if fork() > 0 && chains > 0 {
                _exit(0);
            }
        }
    }
}

fn dd(path: &str, bytes: u64) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let copied = io::copy(&mut io::repeat(0x5a).take(bytes), &mut file)?;
    file.sync_all()?;
    println!("{copied} bytes");
    Ok(())
}
