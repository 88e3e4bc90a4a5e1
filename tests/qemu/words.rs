//! Command lines with mistakes in them, and lines that were cut: what is asked for is done, or the boot says why not.

use crate::lab::{boot, lab, Seen, OVER, POWER_DOWN};
use ocinit::host::qemu::Machine;

/// The boot ended before the pipeline, for this reason, and told no secret.
fn failed(seen: &Seen, why: &str) {
    seen.ends(POWER_DOWN);
    seen.says(&format!("FAIL options  {why}"));
    assert_eq!(seen.count("FAIL"), 1);
    seen.never(OVER);
    seen.never("SECRET");
}

/// A line that asks for a container and names none that can be read: never a status of success.
/// Promise: nothing-ran
#[test]
fn nothing_ran_although_it_was_asked_for() {
    for (name, words, why) in [
        ("older", r#"b2c.contianer="-ti pull:payload""#, "b2c.contianer is not an option: did you mean b2c.container?"),
        ("dash", r#"b2c-run="pull:payload""#, "b2c-run is not an option: did you mean b2c.run?"),
        ("case", r#"B2C.run="pull:payload""#, "B2C.run is not an option: did you mean b2c.run?"),
        ("prefix", r#"bc2.run="pull:payload""#, "bc2.run is not an option: did you mean b2c.run?"),
        ("short", "b2c.cache_device=none b2c.hostname=dut b2c.ru", "b2c.ru is not an option: did you mean b2c.run?"),
        ("quotes", r#"x="y b2c.run=pull:payload""#, "x: the double quotes of this word hold b2c.run, too"),
        ("empty", "b2c.run=", "b2c.run: no image is named"),
    ] {
        let Some(seen) = boot(&format!("nothing_ran_{name}"), words) else { return };
        failed(&seen, why);
    }
    // Beside a container they are warnings; and a line that asks for none succeeds.
    let words = r#"b2c-run=x b2c.contianer=x b2c.run="pull:payload echo it runs""#;
    let Some(seen) = boot("something_ran", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.at("it runs");
    seen.says("WARN b2c-run is not an option: did you mean b2c.run?");
    let Some(seen) = boot("nothing_asked_for", "b2c.pipefail b2c.hostname=dut root=LABEL=b2c run") else { return };
    seen.over(0, POWER_DOWN);
    seen.says("WARN no b2c.run: there is nothing to run");
}

/// Promise: protecting-options
#[test]
fn what_protects_ends_the_boot() {
    let run = r#"b2c.run="-v v:/v pull:payload write /v/x stored""#;
    for (name, words, why) in [
        (
            "key",
            "b2c.volume=v,fscrypt_key=SECRET",
            "b2c.volume: v: fscrypt_key is not supported yet, and cannot be ignored",
        ),
        (
            "misspelt_key",
            "b2c.volume=v,fscript_key=SECRET",
            "b2c.volume: 'fscript_key' is not one of filesystem, expiration",
        ),
        ("misspelt_volume", "b2c.volum=v,fscrypt_key=SECRET", "b2c.volum is not an option: did you mean b2c.volume?"),
        ("signature", "b2c.verify_keys=/k", "b2c.verify_keys is not an option: did you mean b2c.verify_key?"),
        ("other_prefix", "b2c_verify_key=/k", "b2c_verify_key is not an option: did you mean b2c.verify_key?"),
    ] {
        let Some(seen) = boot(&format!("protects_{name}"), &format!("{words} {run}")) else { return };
        failed(&seen, why);
        seen.says("hint       word ");
    }
}

/// The kernel keeps 2047 bytes of a line on x86, and a boot loader cuts what is longer (QEMU does not: such a kernel
/// never starts).
/// Promise: cut-line
#[test]
fn a_line_that_was_cut() {
    let Some(lab) = lab() else { return };
    let told = "the kernel's line has 2047 bytes, as many as the kernel keeps: its end was probably cut off";
    let cure = "put options into the initramfs (ocinit-host build --cmdline FILE), or behind b2c.extra_args_url";
    let long = "a".repeat(2100);
    let cut = |length: usize| move |machine: &mut Machine| machine.append.truncate(length);
    let seen = lab.boot("cut_before", &format!(r#"pad={long} b2c.run="pull:payload""#), cut(2047));
    failed(&seen, &format!("no b2c.run: {told}"));
    seen.says(&format!("hint       {cure}"));
    let seen = lab.boot("cut_after", &format!(r#"b2c.run="pull:payload echo whole" pad={long}"#), cut(2047));
    seen.over(0, POWER_DOWN);
    seen.at("whole");
    seen.says(&format!("WARN {told}; {cure}"));
    let seen = lab.boot("cut_inside", &format!(r#"b2c.run="pull:payload echo {long}""#), cut(2047));
    failed(&seen, "an unmatched double quote: b2c.run=");
    seen.says(&format!("WARN {told}"));
    let seen = lab.boot("cut_not", &format!(r#"b2c.run="pull:payload echo whole" pad={long}"#), cut(2046));
    seen.over(0, POWER_DOWN);
    seen.at("whole");
    seen.never("WARN");
    // The last byte that is kept is a blank; what was cut off is not the only container; or the name of an option.
    let ends_in = |end: &'static str| {
        move |machine: &mut Machine| {
            machine.append.truncate(2047 - end.len());
            machine.append.push_str(end);
        }
    };
    for (name, run, end, lost) in [
        ("cut_blank", "", " ", "no b2c.run"),
        ("cut_post", r#"b2c.run_post="pull:payload echo post""#, "a", "no b2c.run"),
        ("cut_name", r#"b2c.run="pull:payload echo unsigned""#, " b2c.veri", "'b2c.veri'"),
    ] {
        let seen = lab.boot(name, &format!("{run} pad={long}"), ends_in(end));
        failed(&seen, &format!("{lost}: {told}"));
        seen.says(&format!("hint       {cure}"));
    }
}

/// The initramfs's file as editors on several systems write it.
/// Promise: cmdline-file
#[test]
fn the_file_as_an_editor_writes_it() {
    let Some(lab) = lab() else { return };
    let run = format!("--tls-verify=false docker://{}/payload", lab.registry.for_guest());
    let text = format!(
        "# it's \"the lab's\r\n\r\nb2c.hostname=from-file # \"here\r\n  # b2c.run=\"nothing\r\n\
         b2c.run=\"{run} hostname\" #b2c.run=none\r\nb2c.run=\"{run} args '# kept' a#b\""
    );
    let text = format!("\u{feff}{text}\0");
    let initramfs = lab.build("editor", |spec| spec.cmdline = Some(text.into_bytes()));
    let seen = lab.boot("editor_file", "", |machine| machine.initrd = initramfs);
    seen.over(0, POWER_DOWN);
    seen.in_order(&["from-file", "[# kept]", "[a#b]"]);
    seen.says("options    1 from the kernel's line, 3 from /etc/ocinit/cmdline");
    seen.never("WARN");
    // A mistake in the file: where it is, and what to do.
    let text = "# \"comment\r\nb2c.pipefail\r\n  b2c.run='alpine echo hi'\r\n";
    let initramfs = lab.build("editor-quotes", |spec| spec.cmdline = Some(text.into()));
    let seen = lab.boot("editor_quotes", "b2c.onfail=poweroff", |machine| machine.initrd = initramfs);
    failed(&seen, "b2c.run: an unmatched single quote");
    seen.says("hint       word 2, line 3, column 3 of /etc/ocinit/cmdline: write double quotes around the whole word");
}

/// Words of other programs, with whatever quotes; and times with fractions.
/// Promise: foreign-words, fractions-of-seconds
#[test]
fn words_of_other_programs() {
    let words = r#"b2c.poweroff_delay=0.5 b2c.shutdown_cmd="sleep 0.25; echo slept; poweroff -f" dyndbg="file none.c +p"
        note="it's b2c.run="pull:payload echo behind it" other=x y"#;
    let Some(seen) = boot("words_of_others", words) else { return };
    seen.over(0, POWER_DOWN);
    seen.in_order(&["behind it", "slept"]);
    let Some(seen) = boot("own_quote", r#"b2c.onfail=reboot note="a b" b2c.run="pull:payload echo"#) else { return };
    seen.ends(crate::lab::RESTART);
    seen.says("FAIL options  an unmatched double quote: b2c.run=");
}

/// Several mistakes in both sources: each has its lines, and none waits for another boot.
/// Promise: all-mistakes
#[test]
fn all_mistakes_at_once() {
    let Some(lab) = lab() else { return };
    let text = "b2c.hostname=a/b\nb2c.filesystem=x\n";
    let initramfs = lab.build("mistakes", |spec| spec.cmdline = Some(text.into()));
    let words = r#"b2c.poweroff_delay=soon b2c-hostname=x b2c.run="--frobnicate img" b2c.run_post="img 'x""#;
    let seen = lab.boot("all_mistakes", words, |machine| machine.initrd = initramfs);
    seen.ends(POWER_DOWN);
    let mut rest = seen.lines();
    for part in [
        "WARN b2c-hostname is not an option: did you mean b2c.hostname?",
        "FAIL options  b2c.poweroff_delay: not a number of seconds",
        "FAIL options  b2c.run: --frobnicate is not a known flag",
        "FAIL options  b2c.run_post: an unmatched single quote",
        "FAIL options  b2c.hostname: ",
        "hint       word 1, column 1 of /etc/ocinit/cmdline",
        "FAIL options  b2c.filesystem: 'x': write type=",
        "hint       word 2, line 2, column 1 of /etc/ocinit/cmdline",
    ] {
        assert!(rest.any(|line| line.contains(part)), "no line with '{part}' after those before it");
    }
    assert_eq!(seen.count("FAIL"), 5);
    seen.never(OVER);
}

/// Debian's cloud kernel has virtual consoles.
/// Promise: keymap
#[test]
fn keymaps() {
    let Some(lab) = lab() else { return };
    let keymap = lab.dir.join("de.kmap");
    let tables =
        [0u8, 1, 2].map(|table| (0..128u16).flat_map(move |key| (0xf000 | u16::from(table) << 8 | key).to_le_bytes()));
    let mut bytes = b"bkeymap".to_vec();
    bytes.extend((0..=255u8).map(|table| u8::from(table < 3)));
    bytes.extend(tables.into_iter().flatten());
    std::fs::write(&keymap, bytes).unwrap();
    let broken = lab.dir.join("broken.kmap");
    std::fs::write(&broken, "keymaps 0-2,4-6\n").unwrap();
    let initramfs = lab.build("keymap", |spec| {
        spec.added.push((keymap.clone(), "usr/share/keymaps/i386/qwertz/de.kmap".into()));
        spec.added.push((broken.clone(), "usr/share/keymaps/broken.kmap".into()));
    });
    for (name, said) in [
        ("de", "keymap     de: /usr/share/keymaps/i386/qwertz/de.kmap: 3 tables"),
        ("fr", "WARN fr: no file fr.kmap in /usr/share/keymaps of the initramfs"),
        ("broken", "WARN broken: /usr/share/keymaps/broken.kmap: not a binary keymap: loadkeys -b FILE makes one"),
    ] {
        let words = format!(r#"b2c.keymap={name} b2c.run="pull:payload echo goes on""#);
        let seen = lab.boot(&format!("keymap_{name}"), &words, |machine| machine.initrd.clone_from(&initramfs));
        seen.over(0, POWER_DOWN);
        seen.says(said);
        seen.at("goes on");
    }
}
