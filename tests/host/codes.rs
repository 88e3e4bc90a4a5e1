//! How a container ends is how `ocinit run` ends.

use super::{images, init_flags, Ended, Host};
use std::os::unix::process::CommandExt;

/// Linux has no more.
const SIGNAL_LAST: i32 = 64;

/// As the kernel takes it: this action for every signal, and every signal blocked.
fn refuse_all_signals(action: usize) -> std::io::Result<()> {
    let (action, all) = ([action as u64, 0, 0, 0], [u64::MAX]);
    // SAFETY: both live through the calls, and are what the kernel takes; the lengths are those of its set.
    unsafe {
        for signal in 1..=SIGNAL_LAST {
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null::<u64>(), 8);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, all.as_ptr(), std::ptr::null::<u64>(), 8);
    }
    Ok(())
}

/// Whoever starts us may ignore and block what it likes.
#[test]
fn signals_are_as_new_inside() {
    let Some(host) = Host::new("ignored") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    for flags in [Vec::new(), init_flags()] {
        let flags = flags.iter().map(String::as_str);
        let words: Vec<&str> = ["run"].into_iter().chain(flags).chain([&image, "cat", "/proc/self/status"]).collect();
        let mut command = host.command(&words);
        // SAFETY: system calls only, between fork and exec.
        unsafe { command.pre_exec(|| refuse_all_signals(libc::SIG_IGN)) };
        let ended = Ended::new(&command.output().unwrap());
        let line = |name: &str| ended.out.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(line("SigBlk:"), Some("0000000000000000"));
        // SIGPIPE: what the payload is made with does that.
        assert_eq!(line("SigIgn:"), Some("0000000000001000"));
    }
}
