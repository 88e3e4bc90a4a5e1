//! Oracle: the program of a profile answers to every call as the profile's
//! rules do, read one by one.
#![no_main]

#[path = "../common/json.rs"]
mod json;
#[path = "../common/seccomp.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;
use ocinit::container::pure::seccomp::{compile, Abi, Machine};

/// What the oracle knows in this case only.
const MEMBERS: [&str; 23] = [
    "defaultAction",
    "defaultErrnoRet",
    "defaultErrno",
    "syscalls",
    "action",
    "errnoRet",
    "errno",
    "names",
    "name",
    "args",
    "index",
    "value",
    "valueTwo",
    "op",
    "includes",
    "excludes",
    "arches",
    "caps",
    "minKernel",
    "architectures",
    "archMap",
    "architecture",
    "subArchitectures",
];

fuzz_target!(|input: &[u8]| {
    let Some((first, text)) = input.split_first() else { return };
    let native = if first & 1 == 0 { Abi::X86_64 } else { Abi::Aarch64 };
    let capabilities = [0, 1 << 21, u64::MAX, 0x800405fb][usize::from(first >> 1 & 3)];
    let machine = Machine { abi: native, capabilities, kernel: (u32::from(first >> 3 & 7), u32::from(first >> 6)) };
    let Ok(program) = compile(text, &machine) else { return };
    let Some(profile) = json::usual(text, &MEMBERS) else { return };
    let oracle = oracle::Oracle::new(&profile, &machine);
    let samples = oracle::samples(&profile);
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    let names = rules.flat_map(|rule| rule["names"].as_array().into_iter().flatten().chain([&rule["name"]]));
    let names: Vec<&str> = names.filter_map(serde_json::Value::as_str).take(64).collect();
    for (abi, architecture) in oracle::ABIS {
        let named = names.iter().filter_map(|name| abi.number(name));
        for number in named.flat_map(|number| [number, number + 1]).chain([0, 1 << 30, u32::MAX]) {
            for arguments in &samples {
                let call = oracle::Call { number, architecture, arguments: *arguments };
                assert_eq!(oracle::run(&program, &call), oracle.answer(&call), "{call:?}");
            }
        }
    }
});
