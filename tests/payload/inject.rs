//! One system call of one process fails, by ptrace(2): `inject OUT PROCESS CALL N ERRNO COMMAND…`. Process 0 is the
//! command, and each process and thread that it makes has the next number, up to its own exec: what an image's program
//! does is its own affair. CALL is the kernel's number for it, of x86-64; 0 for N fails none. strace(1) counts for each
//! process, too, but cannot aim at one: the fault that is meant for a child hits its parent first.
//!
//! OUT then has a line `PROCESS CALL COUNT` for each, `pid PID` of the command, `fault` if it was met, `left PID` for
//! each process that outlives the command, and `exit CODE` or `signal NUMBER`.
//!
//! `inject-boot SEED COUNT GAP`, in a container in the host's PID namespace, does so to the boot and its children:
//! COUNT times a system call fails with ENOMEM, each after at most GAP calls that do not. With `memory` as a further
//! argument only calls that ask for memory count.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

extern "C" {
    fn ptrace(request: i64, ...) -> i64;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
}

const TRACEME: i64 = 0;
const POKEUSER: i64 = 6;
const DETACH: i64 = 17;
const SYSCALL: i64 = 24;
const SETOPTIONS: i64 = 0x4200;
const SEIZE: i64 = 0x4206;
const INTERRUPT: i64 = 0x4207;
const GETEVENTMSG: i64 = 0x4201;
const GET_SYSCALL_INFO: i64 = 0x420e;
/// TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC.
const OPTIONS: i64 = 1 | 2 | 4 | 8 | 16;
const EXITKILL: i64 = 1 << 20;
const EVENT_EXEC: i32 = 4;
const WALL: i32 = 0x4000_0000;
const WNOHANG: i32 = 1;
const SIGTRAP: i32 = 5;
const SIGSTOP: i32 = 19;
/// Places in the user area, in bytes.
const RAX: i64 = 10 * 8;
const ORIG_RAX: i64 = 15 * 8;
/// close(2) closes whatever it says: this one alone is made, and then fails.
const CLOSE: u64 = 3;
const MMAP: u64 = 9;
const BRK: u64 = 12;
const EXIT: u64 = 60;
const EXIT_GROUP: u64 = 231;
const ENOMEM: i64 = 12;

/// What the kernel is asked of a tracee.
fn ask(request: i64, pid: i32, address: i64, data: i64) -> i64 {
    // SAFETY: numbers only, for requests that take no memory of ours.
    unsafe { ptrace(request, pid, address, data) }
}

struct Tracee {
    number: u64,
    calls: BTreeMap<u64, u64>,
    is_new: bool,
    /// Its call was left out, and is to fail.
    fails: Option<i64>,
}

/// Which calls fail.
enum Faults {
    /// Of a process, a call, and which of them; with an error.
    One(u64, u64, u64, i64),
    /// The one after so many others, the random number for the next, and how many there are yet to be.
    Random { left: u64, gap: u64, gap_max: u64, random: u64, memory: bool },
}

struct Tracer {
    tracees: BTreeMap<i32, Tracee>,
    count: u64,
    faults: Faults,
    met: bool,
    text: String,
}

impl Faults {
    /// The error of a process's call which is its `count`th.
    fn next(&mut self, process: u64, call: u64, count: u64) -> Option<i64> {
        match self {
            Faults::One(a, b, c, errno) => ((process, call, count) == (*a, *b, *c)).then_some(*errno),
            // The end of a process is no fault.
            Faults::Random { .. } if [EXIT, EXIT_GROUP].contains(&call) => None,
            // Without memory the boot ends.
            Faults::Random { memory, .. } if [MMAP, BRK].contains(&call) != *memory => None,
            Faults::Random { left, gap, gap_max, random, .. } => {
                *gap -= 1;
                if *gap > 0 || *left == 0 {
                    return None;
                }
                // xorshift64
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                (*gap, *left) = (1 + *random % *gap_max, *left - 1);
                println!("fault: process {process}, call {call}");
                Some(ENOMEM)
            }
        }
    }

    fn are_over(&self) -> bool {
        matches!(self, Faults::Random { left: 0, .. })
    }
}

impl Tracer {
    fn tracee(&mut self, pid: i32) -> &mut Tracee {
        self.tracees.entry(pid).or_insert_with(|| {
            let number = self.count;
            self.count += 1;
            Tracee { number, calls: BTreeMap::new(), is_new: true, fails: None }
        })
    }

    fn forget(&mut self, pid: i32) {
        let Some(tracee) = self.tracees.remove(&pid) else { return };
        for (call, count) in tracee.calls {
            let _ = writeln!(self.text, "{} {call} {count}", tracee.number);
        }
    }

    /// At the beginning and the end of a system call.
    fn call(&mut self, pid: i32) {
        let mut info = [0u64; 11];
        // SAFETY: the kernel fills in no more than the array's size.
        unsafe { ptrace(GET_SYSCALL_INFO, pid, size_of_val(&info), info.as_mut_ptr()) };
        let tracee = self.tracee(pid);
        match (info[0] as u8, tracee.fails.take()) {
            (1, _) => {
                let (number, call) = (tracee.number, info[3]);
                let count = tracee.calls.entry(call).or_default();
                *count += 1;
                let count = *count;
                let fails = self.faults.next(number, call, count);
                if fails.is_some() && call != CLOSE {
                    ask(POKEUSER, pid, ORIG_RAX, -1);
                }
                self.tracee(pid).fails = fails;
            }
            (2, Some(errno)) => {
                ask(POKEUSER, pid, RAX, -errno);
                self.met = true;
            }
            _ => {}
        }
    }

    /// A stop of a tracee; the signal that it goes on with, or none where it goes on alone.
    fn stopped(&mut self, pid: i32, status: i32) -> Option<i32> {
        let (signal, event) = (status >> 8 & 0xff, status >> 16);
        let tracee = self.tracee(pid);
        let was_new = std::mem::replace(&mut tracee.is_new, false);
        let number = tracee.number;
        if event == EVENT_EXEC {
            let mut former = 0u64;
            // SAFETY: the kernel fills in one number.
            unsafe { ptrace(GETEVENTMSG, pid, 0, &raw mut former) };
            // A thread that execs takes the place of the first one, and its own is gone without an end.
            if former as i32 != pid {
                self.forget(former as i32);
            }
            if number > 0 {
                self.forget(pid);
                return None;
            }
        }
        if signal == SIGTRAP | 0x80 {
            self.call(pid);
        }
        let is_ours = signal & 0x7f == SIGTRAP || event != 0 || was_new && signal == SIGSTOP;
        Some(if is_ours { 0 } else { signal })
    }

    /// Until `main` has ended, or there are no more faults to be; its status as wait(2) has it.
    fn run(&mut self, main: i32) -> i32 {
        loop {
            let mut status = 0;
            // SAFETY: the number is ours.
            let pid = unsafe { waitpid(-1, &mut status, WALL) };
            if pid < 0 {
                return 0;
            }
            if status & 0xff != 0x7f {
                self.forget(pid);
                if pid == main {
                    return status;
                }
                continue;
            }
            match self.stopped(pid, status) {
                Some(signal) => ask(SYSCALL, pid, 0, signal.into()),
                None => ask(DETACH, pid, 0, 0),
            };
            if self.faults.are_over() && self.tracees.values().all(|tracee| tracee.fails.is_none()) {
                // The end of this process lets go of all of them.
                return 0;
            }
        }
    }

    /// Processes that outlive the command: they are told, and end.
    fn end_rest(&mut self) {
        let mut status = 0;
        // SAFETY: the number is ours.
        while let pid @ 1.. = unsafe { waitpid(-1, &mut status, WALL | WNOHANG) } {
            if status & 0xff != 0x7f {
                self.forget(pid);
            }
        }
        for pid in self.tracees.keys().copied().collect::<Vec<_>>() {
            let _ = writeln!(self.text, "left {pid}");
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            self.forget(pid);
        }
    }
}

pub fn inject(words: &[String]) -> io::Result<u8> {
    let [out, process, call, n, errno, program, arguments @ ..] = words else {
        return Err(io::Error::other("too few words"));
    };
    let number = |text: &str| super::number(text).map(|number| number as u64);
    let faults = Faults::One(number(process)?, number(call)?, number(n)?, super::number(errno)?);
    let mut tracer = Tracer { tracees: BTreeMap::new(), count: 0, faults, met: false, text: String::new() };
    let mut command = Command::new(program);
    let traced = || match ask(TRACEME, 0, 0, 0) {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: makes one system call.
    unsafe { command.args(arguments).pre_exec(traced) };
    let main = command.spawn()?.id() as i32;
    let pid = format!("pid {main}\n");
    std::fs::write(out, &pid)?;
    let mut status = 0;
    // SAFETY: the number is ours. The child waits for us at its exec.
    unsafe { waitpid(main, &mut status, WALL) };
    tracer.tracee(main).is_new = false;
    ask(SETOPTIONS, main, 0, OPTIONS | EXITKILL);
    ask(SYSCALL, main, 0, 0);
    let status = tracer.run(main);
    tracer.end_rest();
    let (signal, code) = (status & 0x7f, status >> 8 & 0xff);
    let end = if signal == 0 { format!("exit {code}\n") } else { format!("signal {signal}\n") };
    let met = if tracer.met { "fault\n" } else { "" };
    std::fs::write(out, [&tracer.text, &pid, met, &end].concat())?;
    Ok(0)
}

/// The boot is the first child of process 1; it is let go after the last fault.
pub fn inject_boot(words: &[String]) -> io::Result<u8> {
    let number = |at: usize| super::number(words.get(at).map_or("", String::as_str)).map(|number| number as u64);
    let (random, left, gap_max) = (number(0)? | 1, number(1)?, number(2)?);
    let memory = words.get(3).is_some_and(|word| word == "memory");
    let faults = Faults::Random { left, gap: gap_max, gap_max, random, memory };
    let mut tracer = Tracer { tracees: BTreeMap::new(), count: 0, faults, met: false, text: String::new() };
    let children = std::fs::read_to_string("/proc/1/task/1/children")?;
    let main: i32 = children.split(' ').next().and_then(|pid| pid.parse().ok()).ok_or(io::ErrorKind::NotFound)?;
    for thread in std::fs::read_dir(format!("/proc/{main}/task"))? {
        let thread = thread?.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
        if ask(SEIZE, thread, 0, OPTIONS) != 0 || ask(INTERRUPT, thread, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        tracer.tracee(thread);
    }
    tracer.run(main);
    println!("no more faults");
    Ok(0)
}
