//! A profile in podman's JSON (containers-common's seccomp.json(5), docker's
//! too), read as podman and libseccomp read it.

use crate::container::pure::capability;
use crate::container::pure::seccomp::abi::{Abi, Machine};
use crate::container::pure::seccomp::assemble::assemble;
use crate::container::pure::seccomp::error::Error;
use crate::container::pure::seccomp::filter::{errno, Call, Comparison, Condition, Filter, Instruction, ALLOW, EPERM};
use crate::image::pure::oci;
use crate::pure::json::Value;

/// Makes the program of a profile.
pub fn compile(json: &[u8], machine: &Machine) -> Result<Vec<Instruction>, Error> {
    let value = oci::json(json).map_err(Error::Json)?;
    let default = action(&value, "defaultAction", "defaultErrnoRet", "defaultErrno")?;
    let entries: Vec<_> = machine.abi.entries().collect();
    let mut calls = vec![Call::Unlisted; entries.len()];
    for rule in list(&value, "syscalls")? {
        let answer = action(rule, "action", "errnoRet", "errno")?;
        let alternatives = conditions(rule)?;
        // libseccomp knows no rule that says what the default says.
        if !applies(rule, machine)? || answer == default {
            continue;
        }
        for name in names(rule)? {
            // A name of another architecture, or of a later kernel.
            let found = entries.iter().position(|entry| entry.name == name);
            if let Some(call) = found.and_then(|at| calls.get_mut(at)) {
                add(call, &alternatives, answer);
            }
        }
    }
    assemble(&Filter { default, abis: abis(&value, machine)?, calls })
}

/// The first rule without conditions is the call's only one; those with
/// conditions hold in their order.
fn add(call: &mut Call, alternatives: &[Vec<Condition>], answer: u32) {
    match call {
        Call::Return(_) => {}
        _ if alternatives.is_empty() => *call = Call::Return(answer),
        Call::When(rules) => rules.extend(alternatives.iter().map(|conditions| (conditions.clone(), answer))),
        Call::Unlisted => {
            *call = Call::When(alternatives.iter().map(|conditions| (conditions.clone(), answer)).collect());
        }
    }
}

/// An array; what is missing or null is empty.
fn list<'a>(value: &'a Value, name: &'static str) -> Result<&'a [Value], Error> {
    value.list(name).ok_or(Error::Member(name))
}

/// An array of strings.
fn texts<'a>(value: &'a Value, name: &'static str) -> Result<Vec<&'a str>, Error> {
    value.texts(name).ok_or(Error::Member(name))
}

/// `names`, or the older `name`.
fn names(rule: &Value) -> Result<Vec<&str>, Error> {
    let mut names = texts(rule, "names")?;
    match rule.get("name") {
        None => {}
        Some(name) => names.push(name.as_str().ok_or(Error::Member("name"))?),
    }
    Ok(names)
}

fn number(value: &Value, name: &'static str) -> Result<Option<u64>, Error> {
    match value.get(name) {
        None => Ok(None),
        Some(number) => number.as_u64().ok_or(Error::Member(name)).map(Some),
    }
}

/// Those that profiles give by name.
const ERRNOS: [(&str, u32); 8] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EACCES", 13),
    ("EINVAL", 22),
    ("ENOSYS", 38),
    ("EAFNOSUPPORT", 97),
    ("EOPNOTSUPP", 95),
];

/// `SECCOMP_RET_…` (linux/seccomp.h), in libseccomp's words.
fn action(value: &Value, member: &'static str, data: &'static str, data_name: &'static str) -> Result<u32, Error> {
    let word = value.text(member).ok_or(Error::Member(member))?;
    let named = value.text(data_name).filter(|name| !name.is_empty());
    let data = match (number(value, data)?, named) {
        (Some(number), _) => number as u32,
        (None, None) => EPERM,
        (None, Some(name)) => {
            let known = ERRNOS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
            known.ok_or_else(|| Error::Unknown("known errno", name.into()))?
        }
    };
    Ok(match word.strip_prefix("SCMP_ACT_").unwrap_or_default() {
        "ALLOW" => ALLOW,
        "ERRNO" => errno(data),
        "KILL" | "KILL_THREAD" => 0,
        "KILL_PROCESS" => 0x8000_0000,
        "TRAP" => 0x0003_0000,
        "LOG" => 0x7ffc_0000,
        "TRACE" => 0x7ff0_0000 | data & 0xffff,
        "NOTIFY" => return Err(Error::Notify),
        _ => return Err(Error::Unknown("action", word.into())),
    })
}

/// The rule's conditions: one list, all of which must hold; where two are about
/// the same argument, each is a rule of its own, as runc and crun have it.
fn conditions(rule: &Value) -> Result<Vec<Vec<Condition>>, Error> {
    let mut all: Vec<Condition> = Vec::new();
    let mut is_repeated = false;
    for argument in list(rule, "args")? {
        let condition = condition(argument)?;
        is_repeated |= all.iter().any(|other| other.argument == condition.argument);
        all.push(condition);
    }
    Ok(match all.len() {
        0 => Vec::new(),
        _ if is_repeated => all.into_iter().map(|condition| vec![condition]).collect(),
        _ => vec![all],
    })
}

fn condition(value: &Value) -> Result<Condition, Error> {
    const ARGUMENTS: u64 = 6;
    let argument = number(value, "index")?.filter(|index| *index < ARGUMENTS).ok_or(Error::Member("index"))?;
    let first = number(value, "value")?.unwrap_or(0);
    let word = value.text("op").ok_or(Error::Member("op"))?;
    let (comparison, value, mask) = match word.strip_prefix("SCMP_CMP_").unwrap_or_default() {
        "NE" => (Comparison::NotEqual, first, u64::MAX),
        "LT" => (Comparison::Less, first, u64::MAX),
        "LE" => (Comparison::LessOrEqual, first, u64::MAX),
        "EQ" => (Comparison::Equal, first, u64::MAX),
        "GE" => (Comparison::GreaterOrEqual, first, u64::MAX),
        "GT" => (Comparison::Greater, first, u64::MAX),
        // (argument & value) == valueTwo (seccomp_rule_add(3)).
        "MASKED_EQ" => (Comparison::Equal, number(value, "valueTwo")?.unwrap_or(0), first),
        _ => return Err(Error::Unknown("comparison", word.into())),
    };
    Ok(Condition { argument: argument as u32, comparison, value, mask })
}

/// Whether the rule's `includes` and `excludes` let it be one.
fn applies(rule: &Value, machine: &Machine) -> Result<bool, Error> {
    let (includes, excludes) = (&rule.object("includes"), &rule.object("excludes"));
    let has = |name: &str| capability::parse(name).is_ok_and(|bit| machine.capabilities & bit == bit);
    let (wanted, unwanted) = (texts(includes, "arches")?, texts(excludes, "arches")?);
    let is_ours = |arch: &&str| *arch == go_name(machine.abi);
    let is_recent = |value: &Value| -> Result<Option<bool>, Error> {
        match value.get("minKernel") {
            None => Ok(None),
            Some(text) => text.as_str().and_then(version).map(|min| Some(machine.kernel >= min)).ok_or(MIN_KERNEL),
        }
    };
    Ok((wanted.is_empty() || wanted.iter().any(is_ours))
        && !unwanted.iter().any(is_ours)
        && texts(includes, "caps")?.into_iter().all(has)
        && !texts(excludes, "caps")?.into_iter().any(has)
        && is_recent(includes)? != Some(false)
        && is_recent(excludes)? != Some(true))
}

const MIN_KERNEL: Error = Error::Member("minKernel");

/// `4.8`
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What `arches` calls a machine.
fn go_name(abi: Abi) -> &'static str {
    match abi {
        Abi::X86_64 => "amd64",
        Abi::X32 => "x32",
        Abi::X86 => "x86",
        Abi::Aarch64 => "arm64",
        Abi::Arm => "arm",
    }
}

/// The conventions that the filter knows: always our own; of the others that
/// the machine has, those of the profile.
fn abis(value: &Value, machine: &Machine) -> Result<Vec<Abi>, Error> {
    let mut words = texts(value, "architectures")?;
    let map = list(value, "archMap")?;
    if !words.is_empty() && !map.is_empty() {
        return Err(Error::TwoArchitectures);
    }
    for line in map {
        let first = line.text("architecture").ok_or(Error::Member("architecture"))?;
        if architecture(first) == Some(machine.abi) {
            words = texts(line, "subArchitectures")?;
            break;
        }
    }
    let mut abis = vec![machine.abi];
    let of_profile: Vec<Abi> = words.into_iter().filter_map(architecture).collect();
    abis.extend(machine.abi.family().iter().filter(|abi| of_profile.contains(abi)));
    Ok(abis)
}

/// Those that our kernels can run.
fn architecture(word: &str) -> Option<Abi> {
    Some(match word.strip_prefix("SCMP_ARCH_")? {
        "X86_64" => Abi::X86_64,
        "X32" => Abi::X32,
        "X86" => Abi::X86,
        "AARCH64" => Abi::Aarch64,
        "ARM" => Abi::Arm,
        _ => return None,
    })
}
