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
const PROTECTING: [&str; 5] = ["b2c.verify_key", "b2c.minio", "b2c.storage", "b2c.nbd", "b2c.extra_args_url"];
/// An option that does so by its parameters.
const BY_PARAMETERS: &str = "b2c.volume";
/// What names of such options have in them.
const PROTECTING_PARTS: [&str; 10] =
    ["crypt", "key", "sign", "verif", "mirror", "minio", "push", "pull", "extra_arg", "storage"];

/// Reads a word that is not one of the options `names`; None for one that is another program's.
pub fn find(names: &[&'static str], word: &Word) -> Option<Misspelt> {
    let name = shown(&word.key);
    let key = name.to_ascii_lowercase();
    let (head, tail) = key.split_at(key.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(key.len()));
    let tail = tail.get(1..).unwrap_or_default();
    let is_ours = ["b2c", "b2", "boot2container"].contains(&head) && (head != "b2" || tail.is_empty());
    let meant = match is_ours {
        true => suggest(names.iter().copied(), &["b2c.", tail].concat()),
        false => near(names, &key, head, tail),
    };
    if !is_ours && meant.is_none() {
        return enclosed(word);
    }
    let text = match meant {
        // Another sign than `=` follows it.
        Some(meant) if meant == name => [name, ": write = after it, and then its value"].concat(),
        Some(meant) => [name, " is not an option: did you mean ", meant, "?"].concat(),
        None => [name, " is not an option"].concat(),
    };
    let must_not_be_ignored = match meant {
        Some(BY_PARAMETERS) => {
            [Some(&word.key), word.value.as_ref()].into_iter().flatten().any(|part| part.contains(','))
        }
        Some(meant) => PROTECTING.contains(&meant),
        None => PROTECTING_PARTS.iter().any(|part| key.contains(part)),
    };
    Some(Misspelt { text, must_not_be_ignored, is_pipeline: meant.is_some_and(|meant| PIPELINE.contains(&meant)) })
}

/// The option that a word with another prefix means: `bc2.run`, `b2crun`, `2bc-run`.
fn near(names: &[&'static str], key: &str, head: &str, tail: &str) -> Option<&'static str> {
    // Other prefixes of two or three letters are not far either, but have no digit.
    let distance_max = if key.contains('2') { 2 } else { 1 };
    if !tail.is_empty() && distance(head.as_bytes(), b"b2c") <= distance_max {
        let meant = suggest(names.iter().filter_map(|name| name.strip_prefix("b2c.")), tail);
        if let Some(name) = names.iter().find(|name| meant.is_some() && name.strip_prefix("b2c.") == meant) {
            return Some(name);
        }
    }
    let plain = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).collect::<Vec<u8>>();
    let key = plain(key);
    let far = |name: &&'static str| distance(&plain(name), &key);
    names.iter().copied().min_by_key(far).filter(|name| far(name) <= distance_max)
}

/// An option inside the value of another word, whose quotes hold it.
pub fn enclosed(word: &Word) -> Option<Misspelt> {
    let parts = [Some(word.key.as_str()), word.value.as_deref()];
    let mut pieces = parts.iter().flatten().flat_map(|part| part.split_ascii_whitespace().skip(1));
    let option = shown(pieces.find(|piece| piece.starts_with("b2c."))?);
    let text = [shown(&word.key), ": the double quotes of this word hold ", option, ", too"].concat();
    Some(Misspelt { text, must_not_be_ignored: false, is_pipeline: PIPELINE.contains(&option) })
}

/// The name at the start of a word. What follows it by another sign than `=` is a value, as in `b2c.minio:...`.
fn shown(word: &str) -> &str {
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

    const NAMES: [&str; 14] = [
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
            BOOTIF=01-52-54 initrd=b2c.cpio.xz key=x volume=y,fscrypt_key=z mirror=x storage=x run_post=x verify_key=k"#;
        for word in cmdline::parse(line.as_bytes()).unwrap() {
            assert_eq!(find(&NAMES, &word), None);
        }
    }

    /// Promise: protecting-options
    /// Input: misspelt-options
    #[test]
    fn what_protects_or_delivers_must_not_be_ignored() {
        for line in [
            "b2c.verify_keys=x",
            "b2c.verifykey=x",
            "b2c.verify_key:x",
            "B2C.verify_key=x",
            "b2c-verify_key=x",
            "bc2.verify_key=x",
            "b2c.pubkey=x",
            "b2c.signature_policy=x",
            "b2c.mini0=x",
            "b2c.minios=x",
            "b2c.extra_args=x",
            "b2c.extra_args_uri=x",
            "b2c.extra_arg_url=x",
            "b2c.fscrypt_key=x",
            "b2c.push_to=x",
            "b2c.mirror=x",
            "b2c.nbds=x",
            "b2c.storages=x",
            "b2c.volumes=v,fscrypt_key=x",
            "b2c.volum:v,push_to=x",
            "b2c_volume=v,mirror=x",
        ] {
            assert!(of(line).is_some_and(|found| found.must_not_be_ignored), "{line}");
        }
        for line in ["b2c.volumes=tmp", "b2c.keymaps=de", "b2c.piepfail", "b2c.hostnam=x", "b2c.else", "b2c.swapp=1G"] {
            assert!(of(line).is_some_and(|found| !found.must_not_be_ignored), "{line}");
        }
    }
}
