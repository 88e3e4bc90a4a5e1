//! Filters of system calls: our programs are compared with the rules of the profile, with the programs that libseccomp
//! makes, and with the kernel's numbers.

#[macro_use]
#[path = "support/skip.rs"]
mod skip;

#[path = "../fuzz/common/seccomp.rs"]
mod oracle;

use ocinit::container::pure::seccomp::{compile, default_filter, Abi, Error, Instruction, Machine};
use oracle::{run, samples, Call, Oracle, ABIS};
use serde_json::{json, Value};
use std::io::Write;
use std::process::{Command, Stdio};

/// podman's default profile (Debian's golang-github-containers-common): this host's, and that of the newest podman,
/// which the parity test has fetched.
const PODMANS: [&str; 2] =
    ["/usr/share/containers/seccomp.json", "target/guest-podman-newest/root/usr/share/containers/seccomp.json"];
/// podman's default capabilities.
const DEFAULT: u64 = 0x8004_05fb;
const KERNEL: (u32, u32) = (6, 1);
/// [`meaning`] of the profile of golang-github-containers-common 0.67.1, podman 5.8's.
const MEANING: &str = "ad9f28e2ec4e1be69e20fb75ecb553f6fb1afa844ac1044b345292960ba2666c";

fn machine(abi: Abi, capabilities: u64) -> Machine {
    Machine { abi, capabilities, kernel: KERNEL }
}

/// Every number that a convention could have a call for, and some beyond.
fn numbers(abi: Abi) -> impl Iterator<Item = u32> {
    let x32 = if abi == Abi::X32 { 1 << 30 } else { 0 };
    (0..700).map(move |number| number | x32).chain(0xf_0000..0xf_0008).chain([1 << 30, u32::MAX - 1, u32::MAX])
}

fn podmans() -> Vec<(Vec<u8>, Value)> {
    let texts: Vec<Vec<u8>> = PODMANS.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    if texts.is_empty() {
        skip!("no {} (./dev setup brings it)", PODMANS[0]);
    }
    texts.into_iter().map(|text| (text.clone(), serde_json::from_slice(&text).unwrap())).collect()
}

/// Each call of each convention, with each of these arguments.
fn calls(arguments: &[[u64; 6]]) -> impl Iterator<Item = Call> + '_ {
    ABIS.into_iter().flat_map(move |(called, architecture)| {
        let pairs = numbers(called).flat_map(move |number| arguments.iter().map(move |arguments| (number, *arguments)));
        pairs.map(move |(number, arguments)| Call { number, architecture, arguments })
    })
}

/// SHA-256 of what filters answer to the calls that podman's profile tells apart, on all architectures.
fn meaning(filter: impl Fn(&Machine) -> Vec<Instruction>) -> String {
    let arguments =
        [[0; 6], [8; 6], [40; 6], [0x2_0008; 6], [0x7e02_0000; 6], [u64::MAX; 6], [16, 3, 9, 0, 0, 0], [16; 6]];
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for machine in machines() {
        let filter = filter(&machine);
        calls(&arguments).for_each(|call| digest.update(&run(&filter, &call).to_le_bytes()));
    }
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every architecture, with the capabilities that the profile's rules ask about.
fn machines() -> Vec<Machine> {
    let bits = [2, 16, 17, 18, 19, 20, 21, 25, 26, 29, 38, 39, 40].map(|bit| 1 << bit);
    let sets = || bits.into_iter().chain([0, DEFAULT, u64::MAX, 1 << 21 | 1 << 38]);
    [Abi::X86_64, Abi::Aarch64, Abi::Arm].iter().flat_map(|abi| sets().map(|set| machine(*abi, set))).collect()
}

/// What podman's profile said when our table was made of it: an update of the package changes no verdict.
#[test]
fn our_table_is_the_profile_that_it_was_made_of() {
    assert_eq!(meaning(|machine| default_filter(machine).unwrap()), MEANING);
}

/// A profile that is installed, of whatever version, is compiled as it reads. Our table is the same, call by call,
/// where the profile says what it said.
/// Promise: syscall-filter
#[test]
fn podmans_profile_and_our_table_are_one() {
    for (text, profile) in podmans() {
        let samples = samples(&profile);
        for machine in machines().iter().filter(|machine| machine.capabilities == DEFAULT) {
            let (compiled, oracle) = (compile(&text, machine).unwrap(), Oracle::new(&profile, machine));
            for call in calls(&samples) {
                assert_eq!(run(&compiled, &call), oracle.answer(&call), "{:?} {call:x?}", machine.abi);
            }
        }
        if meaning(|machine| compile(&text, machine).unwrap()) != MEANING {
            println!("an installed profile is not the one that our table was made of");
            continue;
        }
        for machine in machines() {
            let (compiled, own) = (compile(&text, &machine).unwrap(), default_filter(&machine).unwrap());
            for call in calls(&[[0; 6], [9; 6], [16; 6], [40; 6]]) {
                assert_eq!(run(&own, &call), run(&compiled, &call), "{:?} {call:x?}", machine.abi);
            }
        }
    }
}

/// The kernel looks at 32 bits of each argument of socket(2); podman's profile compares all 64, and a call with others
/// set passes it.
#[test]
fn sockets_that_are_refused_whatever_the_high_bits_say() {
    let high = 1 << 32;
    for machine in machines() {
        let filter = default_filter(&machine).unwrap();
        let (_, architecture) = ABIS.into_iter().find(|(abi, _)| *abi == machine.abi).unwrap();
        let socket = |family: u64, protocol: u64| {
            let number = machine.abi.number("socket").unwrap();
            run(&filter, &Call { number, architecture, arguments: [family, 1, protocol, 0, 0, 0] })
        };
        let audit = if machine.capabilities & 1 << 29 == 0 { 0x5_0016 } else { 0x7fff_0000 };
        for bits in [0, high, high << 31] {
            assert_eq!(socket(40 | bits, 0), 0x5_0001, "{:?}", machine.abi);
            assert_eq!(socket(16 | bits, 9), audit, "{:?}", machine.abi);
            assert_eq!(socket(16, 9 | bits), audit, "{:?}", machine.abi);
            assert_eq!(socket(2 | bits, 9), 0x7fff_0000, "{:?}", machine.abi);
        }
    }
}

/// Builds the same filter with libseccomp, as crun does, and prints it.
const LIBSECCOMP: &str = r#"
import json, sys, seccomp
profile, caps = json.load(sys.stdin)
def action(name, errno):
    kinds = {"ALLOW": seccomp.ALLOW, "KILL": seccomp.KILL, "KILL_PROCESS": seccomp.KILL_PROCESS,
             "KILL_THREAD": seccomp.KILL, "TRAP": seccomp.TRAP, "LOG": seccomp.LOG}
    errno = 1 if errno is None else errno
    name = name[len("SCMP_ACT_"):]
    return (seccomp.ERRNO(errno) if name == "ERRNO" else seccomp.TRACE(errno) if name == "TRACE" else kinds[name])
default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
made = seccomp.SyscallFilter(default)
sub = [m for m in profile.get("archMap") or [] if m["architecture"] == "SCMP_ARCH_X86_64"]
for arch in (sub[0]["subArchitectures"] if sub else profile.get("architectures") or []):
    arch = getattr(seccomp.Arch, arch[len("SCMP_ARCH_"):])
    if not made.exist_arch(arch): made.add_arch(arch)
for rule in profile["syscalls"]:
    inc, exc = rule.get("includes") or {}, rule.get("excludes") or {}
    if inc.get("arches") and "amd64" not in inc["arches"]: continue
    if any(c in caps for c in exc.get("caps") or []): continue
    if any(c not in caps for c in inc.get("caps") or []): continue
    what = action(rule["action"], rule.get("errnoRet"))
    if what == default: continue
    for name in rule["names"]:
        args = []
        for arg in rule.get("args") or []:
            op = getattr(seccomp, arg["op"][len("SCMP_CMP_"):])
            args.append(seccomp.Arg(arg["index"], op, arg["value"], arg.get("valueTwo") or 0))
        try: made.add_rule(what, name, *args)
        except RuntimeError as error:
            if "resolve" not in str(error) and "not found" not in str(error): raise
        except ValueError: pass
made.export_bpf(sys.stdout.buffer)
"#;

fn libseccomps(profile: &Value, capabilities: &[&str]) -> Option<Vec<Instruction>> {
    let python = |code: &str| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    if !cfg!(target_arch = "x86_64") || !python("import seccomp").status().is_ok_and(|status| status.success()) {
        skip!("no python3-seccomp (./dev setup brings it), or no x86-64");
    }
    let mut child = python(LIBSECCOMP).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!([profile, capabilities]).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        value: u32::from_le_bytes(bytes[4..8].try_into().unwrap()),
    };
    Some(output.stdout.chunks(8).map(instruction).collect())
}

/// Both programs, at every number and all samples of arguments.
fn compare(profile: &Value, capabilities: u64, names: &[&str]) {
    let Some(theirs) = libseccomps(profile, names) else { return };
    let ours = compile(profile.to_string().as_bytes(), &machine(Abi::X86_64, capabilities)).unwrap();
    // Numbers that x32 has no call at, though x86-64 has.
    let gone = "uselib _sysctl create_module get_kernel_syms query_module nfsservctl set_thread_area \
                get_thread_area epoll_ctl_old epoll_wait_old vserver map_shadow_stack";
    let gone: Vec<u32> = gone.split_whitespace().map(|name| Abi::X86_64.number(name).unwrap() | 1 << 30).collect();
    // libseccomp tells the calls within these two apart, by their first argument; we do not.
    let multiplexed = ["socketcall", "ipc"].map(|name| Abi::X86.number(name).unwrap());
    let is_default = profile["archMap"].is_array();
    let samples = samples(profile);
    for (called, architecture) in ABIS {
        for number in numbers(called) {
            // Later than Debian's libseccomp.
            let is_late = (451..500).contains(&(number & !(1 << 30)));
            let is_multiplexed = called == Abi::X86 && multiplexed.contains(&number) && !is_default;
            if is_late || is_multiplexed || number & 1 << 30 != 0 && gone.contains(&number) {
                continue;
            }
            for arguments in &samples {
                let call = Call { number, architecture, arguments: *arguments };
                assert_eq!(run(&ours, &call), run(&theirs, &call), "{called:?} {call:x?} {profile}");
            }
        }
    }
}

/// Promise: syscall-filter
#[test]
fn libseccomp_makes_the_same_of_podmans_profile() {
    for (_, profile) in podmans() {
        compare(&profile, DEFAULT, &["CAP_SYS_CHROOT"]);
        compare(&profile, 1 << 21 | 1 << 29, &["CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"]);
    }
}

/// Promise: syscall-filter
#[test]
fn libseccomp_makes_the_same_of_conditions() {
    let rule = |names: &[&str], action: &str, args: Value| json!({"names": names, "action": action, "args": args});
    let op =
        |index: u32, op: &str, value: u64, two: u64| json!({"index": index, "op": op, "value": value, "valueTwo": two});
    let big = 0x1_0000_0007;
    let mut rules = vec![rule(&["read", "exit_group"], "SCMP_ACT_ALLOW", Value::Null)];
    for (at, name) in
        ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT"].iter().enumerate()
    {
        let at = at as u32;
        let calls = [
            ["ioctl", "readv"],
            ["mmap", "munmap"],
            ["openat", "close"],
            ["fcntl", "kill"],
            ["prctl", "mount"],
            ["clone", "umask"],
        ];
        rules.push(rule(&[calls[at as usize][0]], "SCMP_ACT_ALLOW", json!([op(at, name, big, 0)])));
        rules.push(rule(
            &[calls[at as usize][1]],
            "SCMP_ACT_LOG",
            json!([op(5 - at, name, 7, 0), op((6 - at) % 6, name, big, 0)]),
        ));
    }
    rules.push(rule(&["ptrace"], "SCMP_ACT_ALLOW", json!([op(1, "SCMP_CMP_MASKED_EQ", 0xff_0000_00ff, 0x0f)])));
    rules.push(rule(&["personality"], "SCMP_ACT_TRACE", json!([op(0, "SCMP_CMP_EQ", 8, 0)])));
    rules.push(rule(&["personality"], "SCMP_ACT_ALLOW", Value::Null));
    rules.push(rule(&["read"], "SCMP_ACT_KILL_PROCESS", Value::Null));
    // What says the same as the default is no rule, and does not stand before others.
    rules.push(json!({"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}));
    rules.push(rule(&["getpid"], "SCMP_ACT_ALLOW", json!([op(0, "SCMP_CMP_EQ", 7, 0)])));
    let mut profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 99, "syscalls": rules});
    for architectures in [json!([]), json!(["SCMP_ARCH_X86"]), json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"])] {
        profile["architectures"] = architectures;
        compare(&profile, 0, &[]);
    }
}

#[test]
fn the_kernels_own_numbers() {
    let check = |names: &[(&str, libc::c_long)]| {
        for (name, number) in names {
            assert_eq!(ocinit::container::pure::seccomp::NATIVE.number(name), Some(*number as u32), "{name}");
        }
    };
    check(&[
        ("read", libc::SYS_read),
        ("socket", libc::SYS_socket),
        ("personality", libc::SYS_personality),
        ("seccomp", libc::SYS_seccomp),
        ("openat2", libc::SYS_openat2),
        ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
        ("mseal", libc::SYS_mseal),
    ]);
    assert_eq!(Abi::Arm.number("set_tls"), Some(0xf_0005));
    assert_eq!(Abi::X32.number("ioctl"), Some(514 | 1 << 30));
    assert_eq!(Abi::Aarch64.number("open"), None);
}

#[test]
fn what_is_no_profile() {
    let check = |profile: Value, want: Error| {
        assert_eq!(compile(profile.to_string().as_bytes(), &machine(Abi::X86_64, 0)).unwrap_err(), want);
    };
    check(json!({}), Error::Member("defaultAction"));
    check(json!({"defaultAction": "ALLOW"}), Error::Unknown("action", "ALLOW".into()));
    let with = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    check(with(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"})), Error::Notify);
    check(with(json!({"names": [1], "action": "SCMP_ACT_LOG"})), Error::Member("names"));
    check(with(json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 6}]})), Error::Member("index"));
    let op = json!({"index": 0, "op": "EQ"});
    check(with(json!({"action": "SCMP_ACT_LOG", "args": [op]})), Error::Unknown("comparison", "EQ".into()));
    check(with(json!({"action": "SCMP_ACT_LOG", "includes": {"minKernel": "six"}})), Error::Member("minKernel"));
    let both = json!([{"architecture": "SCMP_ARCH_X86_64"}]);
    let two = json!({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86"], "archMap": both});
    check(two, Error::TwoArchitectures);
    assert!(matches!(compile(b"{", &machine(Abi::X86_64, 0)), Err(Error::Json(_))));
}

/// The rules of a profile for another family of architectures do not apply to this one.
#[test]
fn another_familys_conventions_are_left_out() {
    let with = |architectures: &[&str]| {
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls":
            [{"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "op": "SCMP_CMP_LT", "value": 7}]}]});
        move |abi| compile(profile.to_string().as_bytes(), &machine(abi, 0)).unwrap()
    };
    let (all, arms) = (["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"], ["SCMP_ARCH_ARM"]);
    assert!(with(&all)(Abi::Aarch64) == with(&arms)(Abi::Aarch64));
    assert!(with(&all)(Abi::X86_64) == with(&all[..2])(Abi::X86_64));
    assert!(with(&all)(Abi::X86_64) != with(&[])(Abi::X86_64));
}
