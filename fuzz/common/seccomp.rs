//! What a filter of system calls must say: the profile's rules read one by one
//! at each call, and the kernel's machine that runs the program made of them.

use ocinit::container::pure::seccomp::{Abi, Instruction, Machine};
use serde_json::Value;
use std::collections::HashMap;

/// A system call as the filter sees it (linux/seccomp.h, `struct seccomp_data`).
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub arguments: [u64; 6],
}

impl Call {
    fn word(&self, at: u32) -> u32 {
        assert!(at % 4 == 0 && at < 64, "loads from {at}");
        match at {
            0 => self.number,
            4 => self.architecture,
            8 | 12 => 0,
            _ => (self.arguments[at as usize / 8 - 2] >> (at % 8 * 8)) as u32,
        }
    }
}

/// What the kernel does with `program`; panics where it would refuse it.
pub fn run(program: &[Instruction], call: &Call) -> u32 {
    assert!(program.len() <= 4096, "{} instructions", program.len());
    let (mut at, mut a) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, value } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                a = call.word(value);
                continue;
            }
            0x54 => {
                a &= value;
                continue;
            }
            0x05 => {
                at += value as usize;
                continue;
            }
            0x06 => return value,
            0x15 => a == value,
            0x25 => a > value,
            0x35 => a >= value,
            _ => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}

/// Every convention, with the architecture's number in the kernel.
pub const ABIS: [(Abi, u32); 5] = [
    (Abi::X86_64, 0xc000_003e),
    (Abi::X32, 0xc000_003e),
    (Abi::X86, 0x4000_0003),
    (Abi::Aarch64, 0xc000_00b7),
    (Abi::Arm, 0x4000_0028),
];

const X32_BIT: u32 = 1 << 30;

/// A profile, known to be one, for a machine.
pub struct Oracle<'a> {
    profile: &'a Value,
    machine: &'a Machine,
    known: Vec<Abi>,
    /// The rules about a call, in order.
    rules: HashMap<(u32, bool, u32), Vec<&'a Value>>,
}

impl<'a> Oracle<'a> {
    pub fn new(profile: &'a Value, machine: &'a Machine) -> Oracle<'a> {
        let mut rules: HashMap<_, Vec<&Value>> = HashMap::new();
        for rule in profile["syscalls"].as_array().into_iter().flatten().filter(|rule| applies(rule, machine)) {
            let names = rule["names"].as_array().into_iter().flatten().chain([&rule["name"]]);
            for name in names.filter_map(Value::as_str) {
                for (abi, architecture) in ABIS {
                    if let Some(number) = abi.number(name) {
                        rules.entry((architecture, abi == Abi::X32, number)).or_default().push(rule);
                    }
                }
            }
        }
        Oracle { profile, machine, known: known(profile, machine.abi), rules }
    }

    /// What the profile says of a call.
    pub fn answer(&self, call: &Call) -> u32 {
        let has_x32 = self.known.contains(&Abi::X32);
        let is_x32 = self.machine.abi == Abi::X86_64 && call.architecture == ABIS[1].1 && call.number >= X32_BIT;
        let mut abis = ABIS.iter().filter(|(abi, architecture)| {
            *architecture == call.architecture && self.known.contains(abi) && (*abi == Abi::X32) == (is_x32 && has_x32)
        });
        let default = action(self.profile, "defaultAction", "defaultErrnoRet");
        let Some((abi, architecture)) = abis.next() else { return 0 };
        if is_x32 && !has_x32 {
            return if call.number == u32::MAX { default } else { 0 };
        }
        let is_wide = matches!(abi, Abi::X86_64 | Abi::Aarch64);
        let mut first_conditional = None;
        for rule in self.rules.get(&(*architecture, *abi == Abi::X32, call.number)).into_iter().flatten() {
            let answer = action(rule, "action", "errnoRet");
            let conditions = rule["args"].as_array().map(Vec::as_slice).unwrap_or_default();
            if answer == default {
                continue;
            }
            if conditions.is_empty() {
                return answer;
            }
            if first_conditional.is_none() && hold(conditions, call, is_wide) {
                first_conditional = Some(answer);
            }
        }
        first_conditional.unwrap_or(default)
    }
}

/// All of them; where two are about one argument, any.
fn hold(conditions: &[Value], call: &Call, is_wide: bool) -> bool {
    let index = |condition: &Value| condition["index"].as_u64();
    let is_repeated = |at: usize| conditions[..at].iter().any(|other| index(other) == index(&conditions[at]));
    let mut held = conditions.iter().map(|condition| holds(condition, call, is_wide));
    if (0..conditions.len()).any(is_repeated) {
        held.any(|held| held)
    } else {
        held.all(|held| held)
    }
}

fn known(profile: &Value, native: Abi) -> Vec<Abi> {
    let abi = |value: &Value| {
        let word = value.as_str().unwrap_or_default();
        let words = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
        words.iter().position(|known| *known == word).map(|at| ABIS[at].0)
    };
    // Another family's calls cannot come.
    let is_arm = |abi: Abi| matches!(abi, Abi::Aarch64 | Abi::Arm);
    let map = profile["archMap"].as_array().into_iter().flatten();
    let line = map.into_iter().find(|line| abi(&line["architecture"]) == Some(native));
    let list = line.map_or(&profile["architectures"], |line| &line["subArchitectures"]);
    let of_profile = list.as_array().into_iter().flatten().filter_map(abi);
    of_profile.filter(|abi| is_arm(*abi) == is_arm(native)).chain([native]).collect()
}

fn action(value: &Value, action: &str, errno: &str) -> u32 {
    let named = match value[errno.trim_end_matches("Ret")].as_str() {
        Some("EINVAL") => 22,
        Some("ENOSYS") => 38,
        _ => 1,
    };
    let data = value[errno].as_u64().unwrap_or(named) as u32 & 0xffff;
    match value[action].as_str().unwrap() {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 + data,
        "SCMP_ACT_ERRNO" => 0x0005_0000 + data,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        _ => 0,
    }
}

fn holds(condition: &Value, call: &Call, is_wide: bool) -> bool {
    let cut = |value: u64| if is_wide { value } else { value & 0xffff_ffff };
    let number = |name: &str| cut(condition[name].as_u64().unwrap_or(0));
    let argument = cut(call.arguments[condition["index"].as_u64().unwrap() as usize]);
    match condition["op"].as_str().unwrap() {
        "SCMP_CMP_NE" => argument != number("value"),
        "SCMP_CMP_LT" => argument < number("value"),
        "SCMP_CMP_LE" => argument <= number("value"),
        "SCMP_CMP_EQ" => argument == number("value"),
        "SCMP_CMP_GE" => argument >= number("value"),
        "SCMP_CMP_GT" => argument > number("value"),
        _ => argument & number("value") == number("valueTwo"),
    }
}

fn applies(rule: &Value, machine: &Machine) -> bool {
    let go = ["amd64", "x32", "x86", "arm64", "arm"];
    let go = ABIS.iter().zip(go).find(|((abi, _), _)| *abi == machine.abi).map(|(_, name)| name);
    let words = |side: &str, kind: &str| {
        let words = rule[side][kind].as_array().cloned().unwrap_or_default();
        words.into_iter().map(|word| word.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let has_arch = |word: &String| Some(word.as_str()) == go;
    let has_cap = |word: &String| {
        let bits = ocinit::container::pure::capability::parse(word).unwrap_or(1 << 63);
        machine.capabilities & bits == bits
    };
    let is_recent = |side: &str| {
        let (major, minor) = rule[side]["minKernel"].as_str()?.split_once('.')?;
        Some(machine.kernel >= (major.parse().unwrap(), minor.parse().unwrap()))
    };
    (words("includes", "arches").is_empty() || words("includes", "arches").iter().any(has_arch))
        && !words("excludes", "arches").iter().any(has_arch)
        && words("includes", "caps").iter().all(has_cap)
        && !words("excludes", "caps").iter().any(has_cap)
        && is_recent("includes").unwrap_or(true)
        && !is_recent("excludes").unwrap_or(false)
}

/// Arguments that tell the profile's conditions apart: its values, and beside them.
pub fn samples(profile: &Value) -> Vec<[u64; 6]> {
    let mut values = vec![0, u64::MAX];
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    for condition in rules.flat_map(|rule| rule["args"].as_array().into_iter().flatten()) {
        for value in ["value", "valueTwo"].iter().filter_map(|name| condition[name].as_u64()) {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value ^ 1 << 32]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values.truncate(16);
    let mut samples: Vec<[u64; 6]> = values.iter().map(|value| [*value; 6]).collect();
    for at in 0..values.len() {
        samples.push(std::array::from_fn(|argument| values[(at + argument * 3) % values.len()]));
    }
    samples
}
