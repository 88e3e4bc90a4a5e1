//! Whole lines: what is said of each word, and the verdict.
#![cfg(test)]

use super::*;

fn checked(kernel: &str, own: Option<&str>, extra: Option<&str>) -> Checked {
    check(&[Some(kernel), own, extra].map(|text| text.map(|text| text.as_bytes().to_vec())))
}

/// Promise: check-command
#[test]
fn what_each_option_does() {
    let kernel = r#"console=ttyS0,115200 quiet ip=dhcp nameserver=10.0.0.3 modules_load=e1000e b2c.ntp_peer=ci-gateway
            b2c.cache_device=auto b2c.poweroff_delay=15 b2c.hostname=dut b2c.hostname=dut-7 b2c.pipefail
            b2c.volume=results,expiration=pipeline_end b2c.log=plain b2c.extra_args_url=http://h/x
            b2c.run="-ti alpine sh -c 'echo $HOME'""#;
    let own = "# the lab's\nb2c.run_service=\"--tls-verify=false --pid=host ci-gateway:8002/telegraf:1\"\n";
    let extra = "b2c.run=\"-t -v results:/r -w /r --entrypoint bash $IMAGE -c 'make; exit'\"\r\nb2c.ntp_peer=none";
    let checked = checked(kernel, Some(own), Some(extra));
    assert_eq!(
        checked.text,
        "\
the kernel's line
  ip                    the network, where no b2c.iface sets it up: dhcp
                        boot2container: no DHCP, and only what the kernel itself does with it
  nameserver            a name server: 10.0.0.3
  modules_load          loads modules: e1000e
  b2c.ntp_peer          ignored: a later b2c.ntp_peer counts
  b2c.cache_device      images and volumes on the partition labelled B2C_CACHE
                        boot2container: partitions and formats the first disk if no partition has this label
  b2c.poweroff_delay    waits 15 s at the end
  b2c.hostname          ignored: a later b2c.hostname counts
  b2c.hostname          the machine is called dut-7
  b2c.pipefail          the first container that fails ends the pipeline
  b2c.volume            volume results on the cache, removed at the end
  b2c.log               plain
                        boot2container: does not know it
  b2c.extra_args_url    more options from http://h/x
                        boot2container: fetches it after the cache and the clock are set up
  b2c.run               container 1: pull docker.io/library/alpine:latest over https, run 'sh -c echo $HOME', \
terminal, input
  not ocinit's          console=, quiet
/etc/ocinit/cmdline (boot2container has none)
  b2c.run_service       service 1: pull ci-gateway:8002/telegraf:1 over http or unverified https, run its command
the extra arguments
  b2c.run               container 2: known when its variables are
  b2c.ntp_peer          the clock is left as it is
                        boot2container: too late here, and ignored

the boot starts: 2 containers, 1 service
"
    );
    assert!(!checked.fails);
}

/// The kernel's line of boot2container's default job, without what it fetches.
/// Promise: check-command
#[test]
fn a_line_whose_options_are_elsewhere() {
    let kernel = "b2c.cache_device=auto b2c.keymaps=de b2c.extra_args_url=http://ci-gateway/job/ID/extra";
    let checked = checked(kernel, None, None);
    assert_eq!(
        checked.text,
        "\
the kernel's line
  b2c.cache_device      images and volumes on the partition labelled B2C_CACHE
                        boot2container: partitions and formats the first disk if no partition has this label
  b2c.keymaps           WARN b2c.keymaps is not an option: did you mean b2c.keymap?
                        word 2, column 23 of the kernel's line
                        boot2container: ignored, without a word
  b2c.extra_args_url    more options from http://ci-gateway/job/ID/extra: --extra FILE
                        boot2container: fetches it after the cache and the clock are set up

the boot starts: the extra arguments, 1 warning
"
    );
}

/// Promise: check-command
#[test]
fn options_that_come_too_late() {
    let kernel = "b2c.run=img b2c.extra_args_url=http://h/x b2c.insmods=a.ko";
    let own = "ip=dhcp nameserver=10.0.0.3 BOOTIF=52:54:00:12:34:56";
    let checked = checked(kernel, Some(own), Some("b2c.insmods=b.ko ip=off"));
    let (_, text) = checked.text.split_once("  b2c.insmods").unwrap();
    assert_eq!(
        text,
        "           loads from /usr_mods: a.ko
/etc/ocinit/cmdline (boot2container has none)
  ip                    the network, where no b2c.iface sets it up: dhcp
  nameserver            a name server: 10.0.0.3
  BOOTIF                WARN BOOTIF=52:54:00:12:34:56: ignored: not of the form 01-52-54-00-12-34-56
                        word 3, column 29 of /etc/ocinit/cmdline
                        boot2container: ignored, without a word
the extra arguments
  b2c.insmods           WARN b2c.insmods in the extra arguments comes too late, as modules are loaded: ignored
                        word 1, column 1 of the extra arguments
                        boot2container: too late here, and ignored
  not ocinit's          ip=

the boot starts: 1 container, 2 warnings
"
    );
}

/// Promise: check-command
/// Input: extra-arguments
#[test]
fn documents_that_a_boot_refuses() {
    let kernel = "b2c.extra_args_url=http://h/x";
    for document in ["not found", "<html>b2c.run=img"] {
        let checked = checked(kernel, None, Some(document));
        assert!(checked.fails && checked.text.contains("FAIL no document of options\n"), "{}", checked.text);
    }
    let never = checked("quiet", None, Some("b2c.run=img")).text;
    assert!(never.contains("  WARN no b2c.extra_args_url fetches them\n"), "{never}");
}

/// Promise: check-command
#[test]
fn two_default_routes() {
    let line = "b2c.run=img b2c.iface=a,address=10.0.0.2/24,gateway=10.0.0.1 b2c.iface=b,address=10.1.0.2/24,\
                    gateway=10.1.0.1";
    let text = checked(line, None, None).text;
    let warning = "  network               WARN two default routes: 10.0.0.1 by a, 10.1.0.1 by b; the last counts: ";
    assert!(text.contains(warning), "{text}");
}

/// Those whose meaning says so from its start.
#[cfg(feature = "host")]
#[test]
fn options_that_are_new() {
    for row in crate::boot::pure::option_table::TABLE {
        assert_eq!(NEW.contains(&row.name), row.meaning.starts_with("**new**"), "{}", row.name);
    }
}

/// Promise: check-command, all-mistakes
#[test]
fn what_is_wrong() {
    let kernel = r#"b2c.poweroff_delay=soon b2c.keymaps=de b2c.run="alpine sh -c $(id)" b2c.minio=a,b,c,SECRET
            b2c.cache_device=reset b2c.run="--label a=b alpine" b2c.hostname="dut"#;
    let checked = checked(kernel, None, None);
    assert_eq!(
        checked.text,
        "\
the kernel's line
  b2c.poweroff_delay    FAIL not a number of seconds, such as 15 or 0.5
                        word 1, column 1 of the kernel's line
  b2c.keymaps           WARN b2c.keymaps is not an option: did you mean b2c.keymap?
                        word 2, column 25 of the kernel's line
                        boot2container: ignored, without a word
  b2c.run               FAIL $(...) and backquotes are not executed here: quote them for a shell in the container
                        word 3, column 40 of the kernel's line
                        boot2container: a shell expands and runs it
  b2c.minio             FAIL b2c.minio is not supported yet, and cannot be ignored
                        word 4, column 69 of the kernel's line: take it out, and copy what is needed in a container
                        boot2container: has it
  b2c.cache_device      WARN reset is not supported yet: use auto for a partition with the label B2C_CACHE; images are \
kept in memory
                        word 5, line 2, column 13 of the kernel's line
                        images and volumes in memory
                        boot2container: formats it, or the first disk
  b2c.run               container 1: pull docker.io/library/alpine:latest over https, run its command
                        WARN --label has no effect here
                        FAIL an unmatched double quote: b2c.hostname=
                        word 7, line 2, column 78 of the kernel's line: write double quotes around the whole word, \
such as \"b2c.run=IMAGE COMMAND\"

the boot fails: 1 container, 4 mistakes, 3 warnings
"
    );
    assert!(checked.fails);
}

/// Promise: no-secret-in-messages
#[test]
fn no_secret_is_told() {
    for line in [
        "b2c.minio=a,http://h,key,SECRET",
        "b2c.minio:a,http://h,key,SECRET",
        "b2c.proxy=http=http://u:SECRET@h:1",
        "b2c.proxy=http=u:SECRET@h:1",
        "b2c.registry_mirror=docker.io=u:SECRET@h",
        "b2c.minio:\"job,http://h,key,SECRET",
        "b2c.run:\"--creds=u:SECRET img",
        "b2c.volume=v,fscrypt_key=SECRET",
        "b2c.filesystem=c,type=cifs,src=//u:SECRET@h/x,opts=password=SECRET",
        "b2c.run=\"--creds=u:SECRET img\"",
        "b2c.run=\"-e A=SECRET img\"",
        "b2c.verify_key=SECRETSECRET",
        "password=SECRET",
        "b2c.extra_args_url=http://u:SECRET@h/x",
    ] {
        let checked = checked(line, None, Some(line));
        assert!(!checked.text.contains("SECRET"), "{line}: {}", checked.text);
    }
}

/// Input: command-line
#[test]
fn lines_of_anything() {
    let mut seed = 1u32;
    let alphabet = br#"b2c.run=" '$`\ep_-,:/@alpine;"#;
    for _ in 0..500 {
        let mut line = || -> Vec<u8> {
            (0..400)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(seed >> 16) as usize % alphabet.len()]
                })
                .collect()
        };
        let checked = check(&[Some(line()), None, Some(line())]);
        assert!(checked.text.ends_with('\n') && checked.text.contains("\nthe boot "));
    }
    let long = format!("b2c.run=img {}", "a=b ".repeat(600));
    let checked = checked(&long, None, None);
    assert!(checked.text.contains("  WARN 2411 bytes: the kernel keeps 2047"), "{}", checked.text);
    assert!(checked.text.contains(" and 570 more\n"), "{}", checked.text);
}

/// Promise: nothing-ran
#[test]
fn lines_that_run_nothing() {
    let idle = checked("quiet", None, None);
    assert!(
        !idle.fails && idle.text.ends_with("boot2container: no 'Execution is over'\n\nthe boot starts: 1 warning\n")
    );
    let service = checked("b2c.service=img", None, None).text;
    assert!(service.contains("boot2container: runs nothing without"), "{service}");
    assert!(checked("b2c.contianer=img", None, None).fails);
}
