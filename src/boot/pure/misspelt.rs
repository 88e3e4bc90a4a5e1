//! Words of the command line that are no options but are meant as some, and whether they can be ignored.

use crate::boot::pure::cmdline::Word;
use crate::pure::suggest::{distance, suggest};

/// A word that is most likely meant as an option.
#[derive(Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// What is wrong with it, without its value, which may be a secret.
    pub text: String,
    /// What it is meant as protects something, or delivers it: without it the machine would store what is secret in the
    /// clear, run what nobody has signed, or bring results nowhere, and report success.
    pub must_not_be_ignored: bool,
    /// It is meant as a container of the pipeline.
    pub is_pipeline: bool,
}

const PIPELINE: [&str; 2] = ["b2c.run", "b2c.container"];

/// Options that protect or deliver.
const PROTECTING: [&str; 7] = [
    "b2c.verify_key",
    "b2c.minio",
    "b2c.storage",
    "b2c.nbd",
    "b2c.extra_args_url",
    "b2c.extra_args_sha256",
    "b2c.extra_args_key",
];
/// An option that does so by its parameters.
const BY_PARAMETERS: &str = "b2c.volume";
/// What names of such options and parameters have in them.
const PROTECTING_PARTS: [&str; 13] =
    ["crypt", "key", "sign", "verif", "trust", "mirror", "minio", "push", "pull", "extra", "args", "url", "storage"];
/// Such parameters, and what else is written for such options, to find their misspelt forms.
const PROTECTING_WORDS: [&str; 8] =
    ["fscrypt_key", "fscrypt_reset_key", "encrypt_key", "encrypt", "mirror", "push_to", "pull_from", "pubkey"];

/// Reads a word that is not one of the options `names`; None for one that is another program's.
pub fn find(names: &[&'static str], word: &Word) -> Option<Misspelt> {
    let name = shown(&word.key);
    let key = name.to_ascii_lowercase();
    let (head, tail) = key.split_at(key.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(key.len()));
    let tail = tail.get(1..).unwrap_or_default();
    let is_ours = ["b2c", "b2", "boot2container"].contains(&head) && (head != "b2" || tail.is_empty());
    let meant = if is_ours { closest(names, tail) } else { near(names, &key, head, tail) };
    if !is_ours && meant.is_none() && !resembles_ours(&key, head, tail).is_some_and(protects) {
        return enclosed(word);
    }
    let text = match meant {
        // Another sign than `=` follows it.
        Some(meant) if meant == name => [name, ": write = after it, and then its value"].concat(),
        Some(meant) => [name, " is not an option: did you mean ", meant, "?"].concat(),
        None => [name, " is not an option"].concat(),
    };
    let is_sure = |meant: &str| distance(meant.as_bytes(), &[b"b2c.", tail.as_bytes()].concat()) <= 1;
    let must_not_be_ignored = has_protecting_parameter(word)
        || enclosed(word).is_some_and(|found| found.must_not_be_ignored)
        || match meant {
            Some(BY_PARAMETERS) => {
                [Some(&word.key), word.value.as_ref()].into_iter().flatten().any(|part| part.contains(','))
            }
            Some(meant) => PROTECTING.contains(&meant) || !is_sure(meant) && protects(&key),
            None => protects(&key) || protects(tail),
        };
    Some(Misspelt { text, must_not_be_ignored, is_pipeline: meant.is_some_and(|meant| PIPELINE.contains(&meant)) })
}

/// The option whose name without the prefix is the closest to `tail`.
fn closest(names: &[&'static str], tail: &str) -> Option<&'static str> {
    let meant = suggest(&mut names.iter().filter_map(|name| name.strip_prefix("b2c.")), tail)?;
    names.iter().copied().find(|name| name.strip_prefix("b2c.") == Some(meant))
}

/// Whether a name that is no option's seems to be that of one that protects or delivers.
fn protects(name: &str) -> bool {
    PROTECTING_PARTS.iter().any(|part| name.contains(part))
        || suggest(&mut PROTECTING_WORDS.iter().copied(), name).is_some()
}

/// What stands behind a prefix that is nearly ours: one of the same letters, or ours without a sign after it. A name
/// such as `i2c.key` is another program's.
fn resembles_ours<'a>(key: &'a str, head: &str, tail: &'a str) -> Option<&'a str> {
    let is_near = head == "b2" || ["b2c", "bc2", "cb2", "c2b", "2bc", "2cb", "b2cc", "bb2c", "b22c"].contains(&head);
    is_near.then_some(tail).or_else(|| key.strip_prefix("b2c"))
}

/// Whether one of the values of a list is a parameter that protects or delivers, as in `v,fscrypt_key=k`.
fn has_protecting_parameter(word: &Word) -> bool {
    let is_parameter = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let of_value = word.value.iter().flat_map(|value| value.split(',')).filter_map(|field| field.split_once('='));
    let mut names = word.key.split([',', ':']).skip(1).chain(of_value.map(|(name, _)| name));
    names.any(|name| is_parameter(name) && protects(&name.to_ascii_lowercase()))
}

/// The option that a word with another prefix means: `bc2.run`, `b2crun`, `2bc-run`.
fn near(names: &[&'static str], key: &str, head: &str, tail: &str) -> Option<&'static str> {
    // Other prefixes of two or three letters are not far either, but have no digit.
    let distance_max = if key.contains('2') { 2 } else { 1 };
    if !tail.is_empty() && distance(head.as_bytes(), b"b2c") <= distance_max {
        if let Some(name) = closest(names, tail) {
            return Some(name);
        }
    }
    let plain = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).collect::<Vec<u8>>();
    let key = plain(key);
    let far = |name: &&'static str| distance(&plain(name), &key);
    names.iter().copied().min_by_key(far).filter(|name| far(name) <= distance_max)
}

/// An option inside the value of another word, whose quotes hold it. In a word of ours it must not be ignored if it
/// protects; another program's may mean what it says.
pub fn enclosed(word: &Word) -> Option<Misspelt> {
    let parts = [Some(word.key.as_str()), word.value.as_deref()];
    let mut pieces = parts.iter().flatten().flat_map(|part| {
        let is_first_own = !part.starts_with(|c: char| c.is_ascii_whitespace());
        part.split_ascii_whitespace().skip(usize::from(is_first_own))
    });
    let option = shown(pieces.find(|piece| piece.starts_with("b2c."))?);
    let text = [shown(&word.key), ": the double quotes of this word hold ", option, ", too"].concat();
    let must_not_be_ignored = word.is_option() && PROTECTING.contains(&option);
    Some(Misspelt { text, must_not_be_ignored, is_pipeline: PIPELINE.contains(&option) })
}

/// The name at the start of a word. What follows it by another sign than `=` is a value, as in `b2c.minio:...`.
pub fn shown(word: &str) -> &str {
    // A wrong sign may also stand in the place of the dot.
    let is_end = |(at, c): &(usize, char)| *at > 4 && !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    let end = word.char_indices().find(is_end).map_or(word.len(), |(at, _)| at);
    let name = word.get(..end).unwrap_or_default();
    name.split(['=', ' ']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::pure::cmdline;

    const NAMES: [&str; 16] = [
        "b2c.run",
        "b2c.container",
        "b2c.run_post",
        "b2c.run_service",
        "b2c.volume",
        "b2c.verify_key",
        "b2c.hostname",
        "b2c.keymap",
        "b2c.minio",
        "b2c.nbd",
        "b2c.storage",
        "b2c.extra_args_url",
        "b2c.extra_args_sha256",
        "b2c.extra_args_key",
        "b2c.log",
        "b2c.swap",
    ];

    fn of(line: &str) -> Option<Misspelt> {
        find(&NAMES, &cmdline::parse(line.as_bytes()).unwrap()[0])
    }

    /// Promise: nothing-ran
    /// Input: misspelt-options
    #[test]
    fn what_is_meant_as_an_option_is_found() {
        for (line, meant) in [
            ("b2c.contianer=x", "b2c.container"),
            ("b2c.ru", "b2c.run"),
            ("b2c.rnu=x", "b2c.run"),
            ("b2c-run=x", "b2c.run"),
            ("b2c_run=x", "b2c.run"),
            ("b2c..run=x", "b2c.run"),
            ("b2c:run=x", "b2c.run"),
            ("b2c/run=x", "b2c.run"),
            ("B2C.run=x", "b2c.run"),
            ("B2C.RUN=x", "b2c.run"),
            ("b2c.CONTAINER=x", "b2c.container"),
            ("b2crun=x", "b2c.run"),
            ("B2C_RUN_SERVICE=x", "b2c.run_service"),
            ("bc2.run=x", "b2c.run"),
            ("2bc.run=x", "b2c.run"),
            ("b2.run=x", "b2c.run"),
            ("bc2.contianer=x", "b2c.container"),
            ("-b2c.run=x", "b2c.run"),
            ("boot2container.run=x", "b2c.run"),
            ("b2c.runpost=x", "b2c.run_post"),
            ("b2c-verify-key=x", "b2c.verify_key"),
        ] {
            let text = of(line).unwrap_or_else(|| panic!("{line}")).text;
            let key = line.split('=').next().unwrap();
            assert_eq!(text, format!("{key} is not an option: did you mean {meant}?"));
        }
        for (line, text) in [
            ("b2c.run:x", "b2c.run: write = after it, and then its value"),
            ("b2c.entirely_else", "b2c.entirely_else is not an option"),
            ("b2c.=x", "b2c. is not an option"),
            ("b2c", "b2c is not an option"),
            ("b2", "b2 is not an option"),
            (r#"foo="bar b2c.run=x""#, "foo: the double quotes of this word hold b2c.run, too"),
            (r#"foo=" b2c.run=x""#, "foo: the double quotes of this word hold b2c.run, too"),
            (r#""foo b2c.run=x""#, "foo: the double quotes of this word hold b2c.run, too"),
        ] {
            assert_eq!(of(line).map(|found| found.text).as_deref(), Some(text), "{line}");
        }
    }

    /// Words of the kernel and of other programs, some of them near.
    /// Promise: nothing-ran
    /// Input: misspelt-options
    #[test]
    fn words_of_others_are_none_of_ours() {
        let line = r#"BOOT_IMAGE=/vmlinuz root=LABEL=b2c ro quiet console=ttyS0,115200 ip=dhcp hostname=dut container=lxc
            systemd.hostname=dut systemd.log_level=debug rd.debug rd.luks.key=/k i2c.debug=1 i2c-hid.run=0
            b43.pio=1 bcm.log=1
            log_buf_len=1M loglevel=6 run debug swap=1 zswap.enabled=1 brd.rd_nr=1 nbd.nbds_max=4 btrfs.log=0 rcu.run=1
            modules_load=a,b modprobe.blacklist=b2c module_blacklist=b2c_run init=/b2c.run -- b c 2 b=2 keymap=de
            BOOTIF=01-52-54 initrd=b2c.cpio.xz key=x volume=y,fscrypt_key=z mirror=x storage=x run_post=x verify_key=k
            i2c.key=x ec2.push_to=y p2p.mirror=z h2c.sign=1 b43.fwpostfix=x b2b.url=x"#;
        for word in cmdline::parse(line.as_bytes()).unwrap() {
            assert_eq!(find(&NAMES, &word), None);
        }
    }

    /// Promise: protecting-options
    /// Input: misspelt-options
    #[test]
    fn what_protects_or_delivers_must_not_be_ignored() {
        let words =
            "b2c.verify_keys=x b2c.verifykey=x b2c.verify_key:x B2C.verify_key=x b2c-verify_key=x bc2.verify_key=x
            b2c.pubkey=x b2c.signature_policy=x b2c.mini0=x b2c.minios=x b2c.extra_args=x b2c.extra_args_uri=x
            b2c.extra_arg_url=x b2c.fscrypt_key=x b2c.push_to=x b2c.mirror=x b2c.nbds=x b2c.storages=x
            b2c.volumes=v,fscrypt_key=x b2c.volum:v,push_to=x b2c_volume=v,mirror=x b2c.vol=v,fscrypt_key=k
            b2c.v=v,mirror=x b2c.disk=d,push_to=x b2c.volumes=fscrypt_key=k b2c.fs=a,psuh_to=x
            b2c.filesystems=f,type=ext4,encrypt_key=k b2c.key=x b2c.keys=x b2c.sign=x b2c.push=x b2c.pull=x
            b2c.crypt=x b2c.trust=x b2c.url=x b2c.args=x b2c.extra=x b2c.extraargs=x b2c.exrta_agrs_url=x
            b2c.fscirpt_kye=x b2c.fscryp_kye=x b2c.encrpyt=x b2c.encrpyt_kye=x b2c.psuh_to=x b2c.mirorr=x
            b2c.pubkye=x b2c.vreify_kye=x bc2.fscrypt_key=x b2.fscrypt_key=x b2cfscrypt_key=x bc2.push_to=x";
        for line in words.split_whitespace().chain([r#"b2c.ntp_peer="auto b2c.verify_key=/k""#]) {
            assert!(of(line).is_some_and(|found| found.must_not_be_ignored), "{line}");
        }
        for line in [
            "b2c.volumes=tmp",
            "b2c.keymaps=de",
            "b2c.piepfail",
            "b2c.hostnam=x",
            "b2c.else",
            "b2c.swapp=1G",
            "b2c.contianer=-e API_KEY=x,SIGN_KEY=y alpine",
            "b2c.rnu=alpine",
            "b2c.lgo=plain",
            r#"foo="x b2c.verify_key=/k""#,
        ] {
            assert!(of(line).is_some_and(|found| !found.must_not_be_ignored), "{line}");
        }
    }
}
