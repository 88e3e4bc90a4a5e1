//! Whole lines of options: what is taken from which source, and everything that can be wrong with them.
#![cfg(test)]

use super::*;
use crate::boot::pure::{cmdline, option_error};

fn read(lines: &[&str]) -> Result<Config, Error> {
    let sources: Vec<_> = lines.iter().map(|line| cmdline::parse(line.as_bytes()).unwrap()).collect();
    Config::read(&sources).map_err(|all| {
        let first = all.into_iter().find(Mistake::is_fatal).unwrap();
        Error(first.text, first.hint)
    })
}

/// Promise: options
#[test]
fn the_line_of_a_lab() {
    let config = read(&[r#"console=ttyS0,115200 b2c.run="-ti img" b2c.container="x y" b2c.pipefail
            b2c.ntp_peer=auto b2c.cache_device=/dev/mmcblk0p2 b2c.insmods=a.ko,b.ko b2c.poweroff_delay=15
            b2c.shutdown_cmd="echo JOB_RESULT=$B2C_PIPELINE_PREV_CONTAINER_EXIT_CODE; poweroff -f""#])
    .unwrap();
    assert_eq!(config.run, ["-ti img", "x y"]);
    assert!(config.pipefail && config.warnings.is_empty());
    assert_eq!(config.ntp_peer.as_deref(), Some("auto"));
    assert_eq!(config.cache_device, CacheDevice::Path("/dev/mmcblk0p2".into()));
    assert_eq!((config.insmods.len(), config.poweroff_delay_ms), (2, 15_000));
}

#[test]
fn the_kernels_line_wins_on_single_values_and_lists_grow() {
    let config = read(&["b2c.hostname=a b2c.hostname=b b2c.run=one", "b2c.hostname=c b2c.log=plain b2c.run=two"]);
    let config = config.unwrap();
    assert_eq!((config.hostname.as_str(), config.sections), ("b", false));
    assert_eq!(config.run, ["one", "two"]);
}

/// Promise: extra-arguments
#[test]
fn extra_arguments_override_and_append() {
    let url = "b2c.extra_args_url=http://h/x b2c.extra_args_key=/k";
    let kernel = [url, " b2c.hostname=a b2c.cache_device=nfs b2c.run=one b2c.poweroff_delay=1"].concat();
    // What is referred to may be behind the URL.
    let first = read(&[&kernel, "b2c.run=two b2c.volume=v,filesystem=nfs b2c.onfail=hang"]).unwrap();
    assert!(first.awaits_extra_args(2) && first.warnings.is_empty());
    let extra = r#"b2c.hostname=dut-${mac} b2c.hostname=c b2c.filesystem=nfs,type=nfs,src=h:/x b2c.run="three x"
            b2c.onfail=reboot b2c.insmods=a.ko b2c.extra_args_url=http://evil/ b2c.extra_args_key=/mine
            b2c.verify_key=/k1 b2c.verify_key=/k2"#;
    let config = read(&[&kernel, "b2c.run=two b2c.volume=v,filesystem=nfs b2c.onfail=hang", extra]).unwrap();
    assert_eq!((config.hostname.as_str(), config.on_fail, config.poweroff_delay_ms), ("c", OnFail::Reboot, 1000));
    assert_eq!(config.run, ["one", "two", "three x"]);
    assert_eq!(config.cache_device, CacheDevice::FileSystem("nfs".into()));
    assert_eq!(config.extra_args, first.extra_args);
    assert_eq!((config.warnings.len(), config.insmods.len(), config.verify_keys.len()), (3, 0, 2));
    assert!(!config.awaits_extra_args(3));
}

/// Promise: extra-arguments, protecting-options
#[test]
fn mistakes_in_extra_arguments_have_their_place() {
    let url = "b2c.extra_args_url=http://h/x";
    for (extra, what, place) in [
        ("b2c.onfail=x", "b2c.onfail: not one of", "word 1, column 1"),
        ("a\r\n b2c.run", "b2c.run: a value is missing", "word 2, line 2, column 2"),
        ("b2c.minio=a,http://h,k,SECRET", "b2c.minio is not supported yet, and cannot be", "word 1, column 1"),
        ("b2c.extra_args=x", "b2c.extra_args is not an option", "word 1, column 1"),
    ] {
        let error = read(&[url, "", extra]).err().unwrap_or_else(|| panic!("{extra}"));
        assert!(error.0.starts_with(what), "{extra}: {}", error.0);
        assert!(error.1.starts_with(&[place, " of the extra arguments"].concat()), "{extra}: {}", error.1);
    }
    // Neither the lab's keys nor what is asked for by a word that is none.
    let added = read(&[&[url, " b2c.verify_key=/k"].concat(), "", "b2c.verify_key=/mine"]).err().unwrap();
    assert!(added.0.starts_with("b2c.verify_key: there are keys already"), "{}", added.0);
    assert!(read(&[&[url, " b2c.contianer=x"].concat(), ""]).is_ok());
    assert!(read(&[&[url, " b2c.contianer=x"].concat(), "", "quiet"]).is_err());
    let idle = read(&["b2c.run=x", "b2c.extra_args_key=/k"]).unwrap();
    assert_eq!(idle.warnings.len(), 1);
}

#[test]
fn of_single_values_the_extra_arguments_win() {
    let config = read(&["b2c.hostname=a b2c.run=one", "b2c.run=two b2c.ntp_peer=h", "b2c.run=three b2c.hostname=c"]);
    let config = config.unwrap();
    assert_eq!((config.hostname.as_str(), config.ntp_peer.as_deref()), ("c", Some("h")));
    assert_eq!(config.run, ["one", "two", "three"]);
}

/// Three mistakes in one line, and others in each other source: all have their places, in order.
/// Promise: all-mistakes
#[test]
fn every_mistake_is_told_at_once() {
    let sources = [
        "b2c.poweroff_delay=soon quiet b2c.hostnmae=x b2c.run=--frobnicate b2c.volume=v,filesystem=f b2c.run=img",
        "b2c.onfail=explode\n b2c.filesystem=x",
        "b2c.contianer=x b2c.run",
    ];
    let words = sources.map(|line| cmdline::parse_file(line.as_bytes()).unwrap());
    let all = Config::read(&words).err().unwrap();
    let mark = |mistake: &Mistake| if mistake.is_fatal() { "FAIL" } else { "WARN" };
    let told: Vec<_> = all.iter().map(|mistake| [mark(mistake), &mistake.text, &mistake.hint].join(" | ")).collect();
    let idle = "no word that can be read asks for a container of the pipeline";
    assert_eq!(
        told,
        [
            "FAIL | b2c.poweroff_delay: not a number of seconds, such as 15 or 0.5 | \
                 word 1, column 1 of the kernel's line",
            &[
                "WARN | b2c.hostnmae is not an option: did you mean b2c.hostname? | \
                 word 3, column 31 of the kernel's line: ",
                idle
            ]
            .concat(),
            "FAIL | b2c.run: --frobnicate is not a known flag | word 4, column 46 of the kernel's line",
            "FAIL | b2c.volume: v: no b2c.filesystem is named 'f' | word 5, column 67 of the kernel's line",
            "FAIL | b2c.onfail: not one of poweroff, reboot, hang | word 1, column 1 of /etc/ocinit/cmdline",
            "FAIL | b2c.filesystem: 'x': write type=: ext4, nfs, 9p, virtiofs, ... | \
                 word 2, line 2, column 2 of /etc/ocinit/cmdline",
            &[
                "WARN | b2c.contianer is not an option: did you mean b2c.container? | \
                 word 1, column 1 of the extra arguments: ",
                idle
            ]
            .concat(),
            "FAIL | b2c.run: a value is missing: write it after = | word 2, column 17 of the extra arguments",
        ]
    );
}

/// What is before an unmatched quote is read; what seems to be missing may be behind it.
/// Promise: all-mistakes
#[test]
fn mistakes_beside_an_unmatched_quote() {
    let mut mistakes = Vec::new();
    let line = br#"b2c.onfail=x b2c.volume=v,filesystem=f b2c.ru b2c.run="img b2c.filesystem=f,type=tmpfs"#;
    let words = option_error::readable(cmdline::parse(line), 0, &mut mistakes);
    let (_, mistakes) = Config::collect(&[words, cmdline::parse(b"b2c.log=x").unwrap()], mistakes);
    let fatal: Vec<_> = mistakes.iter().filter(|m| m.is_fatal()).map(|m| (m.at, m.text.as_str())).collect();
    assert_eq!(
        fatal,
        [
            ((0, 0), "b2c.onfail: not one of poweroff, reboot, hang"),
            ((0, 3), "an unmatched double quote: b2c.run=img b2c.filesystem=f,type=tmpfs"),
            ((1, 0), "b2c.log: not one of sections, plain"),
        ]
    );
}

#[test]
fn where_images_come_from_and_who_signs_them() {
    let key = "MCowBQYDK2VwAyEAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let line = format!("b2c.verify_key=/etc/cosign.pub b2c.proxy=http=http://p:3128 b2c.verify_key={key}");
    let config =
        read(&[&line, "b2c.registry_mirror=docker.io=http://m b2c.registry_mirror=*=https://n b2c.proxy=no=a,b"]);
    let config = config.unwrap();
    assert_eq!(config.proxy, ["http=http://p:3128", "no=a,b"]);
    let hosts = |registry| config.mirrors.of(registry).iter().map(|mirror| mirror.host.as_str()).collect::<Vec<_>>();
    assert_eq!((hosts("docker.io"), hosts("quay.io")), (vec!["m"], vec!["n"]));
    let [VerifyKey::File(path), VerifyKey::Keys(keys)] = config.verify_keys.as_slice() else { panic!() };
    assert_eq!((path.as_str(), keys[0].bytes[31]), ("/etc/cosign.pub", 31));
}

/// What holds a secret, well and badly spelled: neither an error nor a warning has it.
/// Promise: no-secret-in-messages
#[test]
fn no_option_tells_a_secret() {
    for line in [
        "b2c.minio=a,http://h,key,SECRET",
        "b2c.minio:a,http://h,key,SECRET",
        "b2c.mini0=a,http://h,key,SECRET",
        "b2c.extra_args_url=http://u:SECRET@h:x/",
        "b2c.extra_args_url=http://u:SECRET@h/x?SECRET&${y",
        "b2c.extra_args_sha256=SECRET",
        "b2c.extra_args_key=SECRET",
        "b2c.extra_arg_url:http://u:SECRET@h/x",
        "b2c.proxy=http=http://u:SECRET@h:x",
        "b2c.proxy=http=https://u:SECRET@h:1",
        "b2c.proxy=http://u:SECRET@h:1",
        "b2c.proxy:http=http://u:SECRET@h:1",
        "b2c.registry_mirror=docker.io=http://u:SECRET@m",
        "b2c.registry_mirror=http://u:SECRET@m",
        "b2c.registry_mirrors=docker.io=http://u:SECRET@m",
        "b2c.volume=v,fscrypt_key=SECRET",
        "b2c.volume=v,fscrypt_keys=SECRET",
        "b2c.volume=v,encrypt_key=SECRET,filesystem=none",
        "b2c.filesystem=c,type=cifs,src=//u:SECRET@h/x,opts=password=SECRET,option=x",
        "b2c.filesystem=c,opts=password=SECRET",
        "b2c.verify_key=SECRETSECRET",
        "b2c.run=\"--creds=u:SECRET --nope img\"",
        "b2c.run=\"-creds=u:SECRET img\"",
        "b2c.root=\"--creds=u:SECRET --memory=1g img\"",
        "b2c.run=\"docker://u:SECRET@h/img\"",
        "b2c.service=\"--layer=http://u:SECRET@h/x#0 img\"",
    ] {
        let told = match read(&[line]) {
            Ok(config) => config.warnings.join("\n"),
            Err(error) => [error.0, error.1].join("\n"),
        };
        let told = crate::pure::scrub::clean(&told);
        assert!(!told.contains("SECRET") && !told.is_empty(), "{line}: {told}");
    }
}

/// Promise: options
#[test]
fn what_is_not_known_or_not_there_yet_is_named() {
    let config = read(&["b2c.piepfail b2c.swap=1G b2c.entirely_else=1 quiet b2c.run=x"]).unwrap();
    assert_eq!(
        config.warnings,
        [
            "b2c.piepfail is not an option: did you mean b2c.pipefail?",
            "b2c.swap is not supported yet: ignored",
            "b2c.entirely_else is not an option"
        ]
    );
}

/// What asks for a container and is none: without another one, no status but a failure is true.
/// Promise: nothing-ran
/// Input: misspelt-options
#[test]
fn a_container_that_was_asked_for_and_is_not_there() {
    for (line, what) in [
        ("b2c.contianer=x", "b2c.contianer is not an option: did you mean b2c.container?"),
        ("quiet b2c-run=x", "b2c-run is not an option: did you mean b2c.run?"),
        ("b2c.cache_device=auto b2c.ru", "b2c.ru is not an option: did you mean b2c.run?"),
        ("b2c.cache_device=auto b2c", "b2c is not an option"),
        ("b2c.nothing_like_it", "b2c.nothing_like_it is not an option"),
        ("b2c.piepfail", "b2c.piepfail is not an option: did you mean b2c.pipefail?"),
        (r#"x="y b2c.run=z""#, "x: the double quotes of this word hold b2c.run, too"),
        (r#"b2c.ntp_peer="auto b2c.run=z""#, "b2c.ntp_peer: the double quotes of this word hold b2c.run, too"),
    ] {
        for sources in [vec![line], vec!["quiet", line], vec![line, "b2c.hostname=x"]] {
            assert_eq!(read(&sources).err().map(|error| error.0).as_deref(), Some(what), "{line}");
        }
        // Beside a container it is a warning.
        let config = read(&[&[line, " b2c.run=img"].concat()]).unwrap();
        assert_eq!(config.warnings, [what]);
        // One that only reports what the pipeline did is none of it.
        let only_reports = read(&[&[line, " b2c.run_post=img b2c.run_service=img"].concat()]);
        assert_eq!(only_reports.is_err(), what.contains("b2c.run") || what.contains("b2c.container"), "{line}");
    }
    // None was asked for.
    for line in
        ["", "quiet", "b2c.cache_device=auto b2c.pipefail", "b2c.swap=1G", "root=LABEL=b2c run", "b2c.log=plain"]
    {
        assert!(read(&[line]).is_ok_and(|config| !config.runs_something()), "{line}");
    }
}

/// Promise: protecting-options
/// Input: misspelt-options
#[test]
fn what_protects_or_delivers_ends_the_boot() {
    for (line, what) in [
        ("b2c.minio=a,http://h,k,SECRET", "b2c.minio is not supported yet, and cannot be ignored"),
        ("b2c.storage=additionalimagestores=x", "b2c.storage is not supported yet, and cannot be ignored"),
        ("b2c.nbd=/dev/nbd0,host=h,port=1", "b2c.nbd is not supported yet, and cannot be ignored"),
        ("b2c.extra_args_url", "b2c.extra_args_url: a value is missing: write it after ="),
        ("b2c.extra_args_ulr=http://h/x", "b2c.extra_args_ulr is not an option: did you mean b2c.extra_args_url?"),
        ("b2c.extra_args_keys=/k", "b2c.extra_args_keys is not an option: did you mean b2c.extra_args_key?"),
        ("b2c.extra_arg_sha256=0", "b2c.extra_arg_sha256 is not an option: did you mean b2c.extra_args_sha256?"),
        ("b2c.verify_keys=/k", "b2c.verify_keys is not an option: did you mean b2c.verify_key?"),
        ("b2c-verify_key=/k", "b2c-verify_key is not an option: did you mean b2c.verify_key?"),
        ("b2c.extra_args=/k", "b2c.extra_args is not an option"),
        ("b2c.volumes=v,fscrypt_key=SECRET", "b2c.volumes is not an option: did you mean b2c.volume?"),
        ("b2c.volume=v,fscript_key=SECRET", "b2c.volume: 'fscript_key' is not one of"),
        ("b2c.volume=v,fscrypt_key=SECRET", "b2c.volume: v: fscrypt_key is not supported yet, and cannot be ignored"),
        ("b2c.volume=v,mirror=a/b,push_on=changes", "b2c.volume: v: mirror is not supported yet, and cannot"),
    ] {
        let error = read(&["b2c.run=img", line]).err().unwrap_or_else(|| panic!("{line}"));
        assert!(error.0.starts_with(what), "{line}: {}", error.0);
        assert!(error.1.starts_with("word 1, column 1 of /etc/ocinit/cmdline"), "{line}: {}", error.1);
    }
    let config = read(&["b2c.run=img b2c.swap=8G,swappiness=60 b2c.volume=v,push_on=changes b2c.keymap=de"]);
    assert_eq!(config.unwrap().warnings.len(), 2);
}

/// Promise: faulty-values
#[test]
fn the_place_and_the_cure_are_told() {
    for (line, place, cure) in [
        ("b2c.run='alpine echo hi'", "word 1, column 1", WHOLE_WORD),
        ("quiet  b2c.run=-ti alpine", "word 2, column 8", WHOLE_WORD),
        ("b2c.run=\u{201c}-ti alpine\u{201d}", "word 1, column 1", WHOLE_WORD),
        ("b2c.hostname='dut'", "word 1, column 1", WHOLE_WORD),
        ("b2c.cache_device='auto'", "word 1, column 1", WHOLE_WORD),
        ("b2c.shutdown_cmd='echo x; poweroff'", "word 1, column 1", WHOLE_WORD),
        ("b2c.volume=a b2c.volume='b'", "word 2, column 14", WHOLE_WORD),
        ("b2c.run=--frobnicate", "word 1, column 1", ""),
        ("b2c.minio=x", "word 1, column 1", "take it out, and copy what is needed in a container"),
    ] {
        let colon = if cure.is_empty() { "" } else { ": " };
        let want = [place, " of the kernel's line", colon, cure].concat();
        assert_eq!(read(&[line]).err().map(|error| error.1), Some(want), "{line}");
    }
    // Single quotes of a shell's words are no mistake.
    let line = r#"b2c.run='alpine' b2c.run="img sh -c 'echo a b'" b2c.shutdown_cmd='poweroff'"#;
    assert_eq!(read(&[line]).unwrap().run.len(), 2);
}

/// Promise: iface, ip-words
#[test]
fn interfaces_and_words_of_the_kernels_line() {
    let line = "ip=10.0.0.2::10.0.0.1:24::eth0:off ip=ibft nameserver=10.0.0.3 BOOTIF=01-52-54-00-12-34-56";
    let config =
        read(&[line, "b2c.iface=eth0,dhcp b2c.iface=eth1.7,dhcp,wol b2c.carrier_timeout=90 b2c.lease_timeout=5"])
            .unwrap();
    let network = &config.network;
    assert_eq!((network.ifaces.len(), network.kernel.len(), network.nameservers.len()), (2, 1, 1));
    assert_eq!((network.carrier_ms, network.lease_ms), (Some(90_000), Some(5_000)));
    assert!(network.preferred_mac.is_some());
    let [other, own] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(other.starts_with("ip=ibft: ignored: neither dhcp or off"), "{other}");
    assert_eq!(own, "b2c.iface=eth1.7: 'wol' is not a parameter: ignored");
    let config = read(&["b2c.run=img BOOTIF=01-52-54-00-12-34-56 BOOTIF=52:54:00:12:34:57"]).unwrap();
    assert!(config.network.preferred_mac == Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]), "the other is none");
    assert_eq!(config.warnings, ["BOOTIF=52:54:00:12:34:57: ignored: not of the form 01-52-54-00-12-34-56"]);
}

/// Promise: extra-arguments
#[test]
fn extra_arguments_do_nothing_about_the_network() {
    let late =
        "b2c.run=img b2c.iface=eth0 b2c.carrier_timeout=5 b2c.lease_timeout=5 ip=off nameserver=10.0.0.3 BOOTIF=x";
    let config = read(&["", "", late]).unwrap();
    assert_eq!((config.network, config.warnings.len()), (Default::default(), 3));
    // What does not fit together ends the boot before it waits for more options.
    let error = read(&["b2c.extra_args_url=http://h/x b2c.iface=b,bridge=b.5"]).err().unwrap();
    assert!(error.0.starts_with("b2c.iface: b: is made of itself"), "{}", error.0);
}

/// Promise: faulty-values
#[test]
fn faulty_values_name_their_option() {
    for (line, start) in [
        ("b2c.run", "b2c.run: a value is missing"),
        ("b2c.run='a", "b2c.run: an unmatched single quote"),
        ("b2c.run=--frobnicate", "b2c.run: "),
        ("b2c.run_post=docker://http://a/b", "b2c.run_post: "),
        ("b2c.root=--memory=1g", "b2c.root: --memory: for a container, and not for the root of the machine"),
        ("b2c.root", "b2c.root: a value is missing"),
        ("b2c.root=", "b2c.root: no image is named"),
        ("b2c.onfail=explode", "b2c.onfail: "),
        ("b2c.poweroff_delay=-1", "b2c.poweroff_delay: not a number of seconds, such as 15 or 0.5"),
        ("b2c.poweroff_delay=0,5", "b2c.poweroff_delay: not a number of seconds, such as 15 or 0.5"),
        ("b2c.shutdown_cmd='sleep soon'", "b2c.shutdown_cmd: "),
        ("b2c.hostname=a/b", "b2c.hostname: "),
        ("b2c.shutdown_cmd=rm", "b2c.shutdown_cmd: "),
        ("b2c.registry_mirror=http://a.b", "b2c.registry_mirror: write REGISTRY=URL"),
        ("b2c.registry_mirror=a.b=http://u:p@c", "b2c.registry_mirror: a mirror's URL holds no user"),
        ("b2c.registry_mirror", "b2c.registry_mirror: a value is missing"),
        ("b2c.iface", "b2c.iface: a value is missing"),
        ("b2c.iface=eth0,address=10.0.0.300/24", "b2c.iface: eth0: 'address=10.0.0.300/24': not an IP address"),
        ("b2c.iface=b,bridge=b.5", "b2c.iface: b: is made of itself"),
        ("b2c.lease_timeout=-1", "b2c.lease_timeout: not a number of seconds"),
        ("b2c.carrier_timeout=soon", "b2c.carrier_timeout: not a number of seconds"),
        ("b2c.verify_key=cosign.pub", "b2c.verify_key: neither the path of a file"),
        ("b2c.verify_key=", "b2c.verify_key: "),
    ] {
        let error = read(&[line]).err().unwrap_or(Error(String::new(), String::new()));
        assert!(error.0.starts_with(start), "{line}: {}", error.0);
    }
}

#[test]
fn a_cache_that_cannot_be_had_is_a_warning() {
    for value in ["reset", "sda", "nfs-share", "/dev/../etc"] {
        let config = read(&[&["b2c.cache_device=", value].concat()]).unwrap();
        assert_eq!((config.cache_device, config.warnings.len()), (CacheDevice::None, 1), "{value}");
    }
}

#[test]
fn services_filesystems_and_volumes() {
    let config = read(&["b2c.service=a b2c.volume=perm,filesystem=share,push_on=changes b2c.run_service=b \
            b2c.filesystem=share,type=9p,src=tag,opts=trans=virtio|ro b2c.cache_device=share"])
    .unwrap();
    assert_eq!(config.run_service, ["a", "b"]);
    assert_eq!(config.cache_device, CacheDevice::FileSystem("share".into()));
    assert_eq!((config.volumes[0].filesystem.as_deref(), config.filesystems[0].flags), (Some("share"), 1));
    assert_eq!(config.warnings, ["b2c.volume=perm: push_on is not supported yet: ignored"]);
    let error = read(&["b2c.volume=perm,filesystem=nfs"]).err().unwrap();
    assert_eq!(error.0, "b2c.volume: perm: no b2c.filesystem is named 'nfs'");
    let error = read(&["b2c.filesystem=x"]).err().unwrap();
    assert!(error.0.starts_with("b2c.filesystem: 'x': write type="), "{}", error.0);
}

/// Promise: faulty-values
#[test]
fn the_policy_survives_a_line_that_cannot_be_read() {
    let words = cmdline::parse(b"b2c.onfail=hang b2c.log=plain b2c.run").unwrap();
    assert_eq!(policy(std::slice::from_ref(&words)), (OnFail::Hang, false));
    let own = cmdline::parse(b"b2c.onfail=reboot b2c.log=plain").unwrap();
    assert_eq!(policy(&[own, words[..1].to_vec()]), (OnFail::Hang, false));
}

/// Promise: options
#[test]
fn every_supported_option_is_read() {
    for row in TABLE.iter().filter(|row| row.supported) {
        let line = match row.name {
            "b2c.poweroff_delay" | "b2c.carrier_timeout" | "b2c.lease_timeout" => [row.name, "=1"].concat(),
            "b2c.onfail" => "b2c.onfail=reboot".into(),
            "b2c.log" => "b2c.log=plain".into(),
            "b2c.cache_device" => "b2c.cache_device=auto".into(),
            "b2c.registry_mirror" => "b2c.registry_mirror=x=http://y".into(),
            "b2c.proxy" => "b2c.proxy=http=http://y".into(),
            "b2c.verify_key" => "b2c.verify_key=/x".into(),
            "b2c.extra_args_url" => "b2c.extra_args_url=http://x".into(),
            "b2c.extra_args_sha256" => ["b2c.extra_args_sha256=", &"0".repeat(64)].concat(),
            "b2c.extra_args_key" => "b2c.extra_args_key=/x".into(),
            "b2c.filesystem" => "b2c.filesystem=x,type=tmpfs".into(),
            "b2c.shutdown_cmd" | "b2c.reboot_cmd" => [row.name, "=halt"].concat(),
            name => [name, "=x"].concat(),
        };
        let changed = read(&[&line]).unwrap_or_else(|error| panic!("{line}: {}", error.0));
        let default = Config::default();
        let differs = changed.run != default.run
            || changed.run_service != default.run_service
            || changed.run_post != default.run_post
            || changed.filesystems != default.filesystems
            || changed.volumes != default.volumes
            || changed.root.is_some()
            || changed.pipefail
            || changed.cache_device != default.cache_device
            || changed.network != default.network
            || changed.ntp_peer.is_some()
            || !changed.proxy.is_empty()
            || !changed.mirrors.is_empty()
            || !changed.verify_keys.is_empty()
            || changed.hostname != default.hostname
            || changed.keymap.is_some()
            || changed.extra_args != default.extra_args
            || !changed.insmods.is_empty()
            || changed.poweroff_delay_ms != 0
            || changed.shutdown_cmd != default.shutdown_cmd
            || changed.reboot_cmd != default.reboot_cmd
            || changed.on_fail != default.on_fail
            || !changed.sections;
        assert!(differs, "{} is said to be supported and changes nothing", row.name);
    }
}
