//! The flags of a container line (`b2c.run=`): one table, and what they ask for.

pub use crate::container::pure::spec::redact::{logged, shown};
pub use crate::container::pure::spec::table::{Row, Takes, TABLE};

use crate::container::pure::spec::redact::{self, secrets};
use crate::container::pure::spec::root;
use crate::container::pure::spec::{ContainerSpec, Files, Limit, Namespace, Namespaces, Process, Resources, Rights};
use crate::image::pure::pull_options::PullOptions;
use crate::image::pure::reference::Reference;
use crate::pure::suggest::suggest;
use crate::pure::{scrub, shell_words};
use core::cell::Cell;

/// The reason where a line ends before its image.
pub const NO_IMAGE: &str = "no image is named";

/// Reads a container line, variables expanded by `variable`.
pub fn parse_line(line: &str, variable: shell_words::Lookup) -> Result<ContainerSpec, String> {
    parse(&split(line, variable)?)
}

/// As [`parse_line`], for the line of `b2c.root`: flags that cannot hold for a machine's root are errors.
pub fn parse_root(line: &str, variable: shell_words::Lookup) -> Result<ContainerSpec, String> {
    parse_words(&split(line, variable)?, true)
}

fn split(line: &str, variable: shell_words::Lookup) -> Result<Vec<String>, String> {
    shell_words::split(line, variable).map_err(|error| String::from(error.text()))
}

/// Checks a line before it runs, that of `b2c.root` if `is_root`. One with variables can be read in full only when they
/// have their values. A `$` in single quotes is none: a shell in the container reads it.
pub fn check(line: &str, is_root: bool) -> Result<(), String> {
    let has_variables = Cell::new(false);
    let words = split(line, &|_| {
        has_variables.set(true);
        None
    })?;
    if has_variables.get() {
        return Ok(());
    }
    parse_words(&words, is_root).map(drop)
}

/// Reads the words of a container line: flags, image, command. An error names no credentials.
pub fn parse(words: &[String]) -> Result<ContainerSpec, String> {
    parse_words(words, false)
}

fn parse_words(words: &[String], is_root: bool) -> Result<ContainerSpec, String> {
    read(words, is_root).map_err(|error| scrub::scrub(&error, &secrets(words)))
}

/// As [`parse_words`]; its errors tell all.
fn read(words: &[String], is_root: bool) -> Result<ContainerSpec, String> {
    let mut spec = ContainerSpec { is_root, ..ContainerSpec::new() };
    let mut rest = words.iter();
    let image = loop {
        let Some(word) = rest.next() else { return Err(NO_IMAGE.into()) };
        if word == "--" {
            break rest.next().ok_or(NO_IMAGE)?;
        }
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else { break word };
        match flag.strip_prefix('-') {
            Some(long) => spec.long(long, &mut rest)?,
            None => spec.short(flag, &mut rest)?,
        }
    };
    spec.pull.image = Reference::parse(image).map_err(|error| ["image '", image, "': ", error.text()].concat())?;
    spec.command = rest.cloned().collect();
    match spec.conflict() {
        Some(conflict) => Err(conflict.into()),
        None => Ok(spec),
    }
}

type Rest<'a> = std::slice::Iter<'a, String>;

impl ContainerSpec {
    fn new() -> ContainerSpec {
        ContainerSpec {
            process: Process::default(),
            files: Files::default(),
            namespaces: Namespaces::default(),
            rights: Rights::default(),
            resources: Resources::default(),
            pull: PullOptions::new(Reference::Layout { dir: String::new(), tag: None }),
            http_proxy: true,
            command: Vec::new(),
            warnings: Vec::new(),
            is_root: false,
        }
    }

    /// Flags that podman refuses together.
    fn conflict(&self) -> Option<&'static str> {
        let (files, net) = (&self.files, &self.namespaces.network);
        let has_dns = !(files.dns.servers.is_empty() && files.dns.search.is_empty() && files.dns.options.is_empty());
        let resources = &self.resources;
        let swap_is_less = match (resources.memory_swap, resources.memory) {
            (Some(Limit::At(all)), Some(memory)) => all < memory,
            _ => false,
        };
        let rules = [
            (files.no_hosts && !files.hosts.is_empty(), "--no-hosts and --add-host exclude each other"),
            (files.dns.none && has_dns, "--dns=none and other name servers exclude each other"),
            (
                has_dns && matches!(net, Namespace::Empty | Namespace::Container(_)),
                "--dns, --dns-search and --dns-option need a network of the container's own",
            ),
            (
                self.process.hostname.is_some() && self.namespaces.uts == Namespace::Host,
                "--hostname and --uts=host exclude each other",
            ),
            (
                files.shm_size.is_some() && self.namespaces.ipc == Namespace::Host,
                "--shm-size and --ipc=host exclude each other",
            ),
            (
                matches!(resources.memory_swap, Some(Limit::At(_))) && resources.memory.is_none(),
                "--memory-swap needs --memory",
            ),
            (swap_is_less, "--memory-swap is memory and swap together: it is less than --memory"),
            (
                resources.cpus.is_some() && (resources.cpu_period_us.is_some() || resources.cpu_quota_us.is_some()),
                "--cpus and --cpu-period or --cpu-quota exclude each other",
            ),
            (
                self.rights.cap_add == u64::MAX && self.rights.cap_drop == u64::MAX,
                "--cap-add=ALL and --cap-drop=ALL exclude each other",
            ),
            (
                self.rights.cap_add != u64::MAX
                    && self.rights.cap_drop != u64::MAX
                    && self.rights.cap_add & self.rights.cap_drop != 0,
                "--cap-add and --cap-drop name the same capability",
            ),
        ];
        rules.iter().find(|(holds, _)| *holds).map(|(_, text)| *text)
    }

    /// `--name=value`, `--name value`, `--name`.
    fn long(&mut self, flag: &str, rest: &mut Rest) -> Result<(), String> {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let row = TABLE.iter().find(|row| row.long == name);
        let row = row.ok_or_else(|| {
            let hint = suggest(&mut TABLE.iter().map(|row| row.long), name);
            let hint = hint.map(|near| [": did you mean --", near, "?"].concat());
            ["--", redact::name_of(name), " is not a known flag", &hint.unwrap_or_default()].concat()
        })?;
        let value = match value {
            Some(value) => value,
            None if row.takes == Takes::Bool => "true",
            None => rest.next().ok_or_else(|| ["--", name, ": its value is missing"].concat())?,
        };
        self.set(row, value).map_err(|error| ["--", name, ": ", &error].concat())
    }

    /// `-ti`, `-eA=b`, `-e A=b`.
    fn short(&mut self, flags: &str, rest: &mut Rest) -> Result<(), String> {
        for (index, letter) in flags.char_indices() {
            let name = ["-", letter.encode_utf8(&mut [0; 4])].concat();
            let row = TABLE.iter().find(|row| row.short != 0 && char::from(row.short) == letter);
            let row = row.ok_or_else(|| [&name, " is not a known flag"].concat())?;
            let fail = |error: String| [&name, ": ", &error].concat();
            let after = flags.get(index + letter.len_utf8()..).unwrap_or_default();
            let is_bool = row.takes == Takes::Bool;
            if let Some(value) = after.strip_prefix('=').filter(|_| is_bool) {
                // As pflag reads it: `-t=false`.
                return self.set(row, value).map_err(fail);
            }
            if is_bool {
                self.set(row, "true").map_err(fail)?;
                continue;
            }
            let attached = after.strip_prefix('=').unwrap_or(after);
            let value = if attached.is_empty() { rest.next().map(String::as_str) } else { Some(attached) };
            let value = value.ok_or_else(|| fail("its value is missing".into()))?;
            return self.set(row, value).map_err(fail);
        }
        Ok(())
    }

    fn set(&mut self, row: &Row, value: &str) -> Result<(), String> {
        match row.takes {
            Takes::List => value.split(',').filter(|_| !value.is_empty()).try_for_each(|part| (row.set)(self, part))?,
            _ => (row.set)(self, value)?,
        }
        if row.supported && self.is_root && !root::can_hold(self, row.long, value) {
            return Err("for a container, and not for the root of the machine (b2c.root)".into());
        }
        let warning = ["--", row.long, " has no effect here"].concat();
        if !row.supported && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::pure::spec::Seccomp;
    use crate::image::pure::authfile::Credentials;
    use crate::image::pure::pull_options::PullPolicy;
    use crate::image::pure::retry::Policy;

    fn env(name: &str) -> Option<String> {
        (name == "CODE").then(|| "7".into())
    }

    fn read(line: &str) -> ContainerSpec {
        super::read(&shell_words::split(line, &env).unwrap(), false).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Promise: lab-lines
    #[test]
    fn lines_of_labs() {
        let c = read("-ti --tls-verify=false docker://10.42.0.1:8001/infra/machine-registration:latest check");
        assert!(c.process.tty && c.process.interactive && !c.pull.tls_verify);
        assert_eq!(
            (c.pull.image.name().as_str(), c.command.len()),
            ("10.42.0.1:8001/infra/machine-registration:latest", 1)
        );
        let c = read("-v /results:/w -w /w --tls-verify=false --entrypoint sh 10.42.0.1:8002/t/m:1 -euc 'make > out'");
        assert_eq!(c.process.entrypoint, Some(vec!["sh".into()]));
        assert_eq!(c.process.working_dir.as_deref(), Some("/w"));
        assert_eq!(c.command, ["-euc", "make > out"]);
        let c = read("-ti --dns=none --entrypoint=/bin/init docker://10.0.2.2:8088/x");
        assert!(c.files.dns.none);
    }

    #[test]
    fn short_flags_bundle_and_carry_values() {
        let c = read("-dit -eA=b -e C=d=e -e CODE -e UNSET -uann:video img -t");
        assert!(c.process.tty && c.process.interactive);
        assert_eq!(c.process.env, ["A=b", "C=d=e", "CODE", "UNSET"]);
        assert_eq!((c.process.user.as_deref(), c.command.len()), (Some("ann:video"), 1));
        assert_eq!(c.warnings, ["--detach has no effect here"]);
    }

    /// pflag's StringSlice.
    #[test]
    fn lists_with_commas() {
        let c = read(
            "--dns 1.1.1.1,9.9.9.9 --dns-search a.test,b.test --dns-option= --group-add 7,wheel \
            --add-host 'a:::1,b;c:::2' --net=ns:/x --sysctl net.a=1,net.b=2 --ulimit core=0,nofile=1:2 img",
        );
        assert_eq!((c.files.dns.servers.len(), c.files.dns.search.len(), c.files.dns.options.len()), (2, 2, 0));
        assert_eq!((c.process.groups.len(), c.files.hosts.len(), c.process.ulimits.len()), (2, 2, 2));
        assert_eq!(c.namespaces.sysctls[1], ("net.b".into(), "2".into()));
        // What may hold a comma stays whole.
        let c = read("-e A=1,2 -v /a,b:/c --entrypoint a,b --label a=1 --label b=2,3 img");
        assert_eq!((c.process.env.len(), c.files.mounts.len(), c.process.entrypoint), (1, 1, Some(vec!["a,b".into()])));
        assert_eq!(c.warnings, ["--label has no effect here"], "once");
    }

    #[test]
    fn short_flags_with_true_and_false() {
        let p = read("-t=false -i=true img").process;
        assert!(!p.tty && p.interactive);
        let p = read("-ti=false img").process;
        assert!(p.tty && !p.interactive);
    }

    #[test]
    fn entry_points() {
        let entry = |line: &str| read(line).process.entrypoint.unwrap_or_default();
        assert_eq!(entry(r#"--entrypoint '["/bin/cat","/x y"]' img"#), ["/bin/cat", "/x y"]);
        assert_eq!(entry(r#"--entrypoint '["a", 1]' img"#), [r#"["a", 1]"#]);
        assert_eq!(entry("--entrypoint '[x' img"), ["[x"]);
        assert_eq!(entry("--entrypoint 7 img"), ["7"]);
        assert_eq!(entry("--entrypoint= img"), [""]);
        assert_eq!(entry("--entrypoint '[]' img"), [""; 0]);
    }

    #[test]
    fn the_last_of_a_single_valued_flag_wins() {
        let c = read("--hostname a -h b --net=none --net host --tls-verify=false --tls-verify img");
        assert_eq!((c.process.hostname.as_deref(), c.pull.tls_verify), (Some("b"), true));
        assert_eq!(c.namespaces.network, Namespace::Host);
    }

    /// Each flag with a value that changes something.
    fn example(row: &Row) -> String {
        let value = match row.long {
            "tls-verify" | "http-proxy" | "privileged" | "read-only-tmpfs" => "false",
            _ if row.takes == Takes::Bool => "true",
            "env" | "sysctl" | "cgroup-conf" => "a=b",
            "workdir" | "tmpfs" | "volume" | "env-file" | "authfile" | "cert-dir" | "layer" => "/a",
            "umask" | "timeout" | "stop-timeout" | "retry" | "oom-score-adj" | "stop-signal" => "7",
            "shm-size" | "memory" | "memory-reservation" => "1m",
            "memory-swap" | "pids-limit" => "-1",
            "ulimit" => "core=0",
            "cpus" | "cpu-shares" | "cpuset-cpus" | "cpuset-mems" => "1",
            "cpu-quota" | "cpu-period" => "5000",
            "blkio-weight" => "100",
            "blkio-weight-device" => "/dev/a:100",
            "device" => "/dev/a",
            "device-cgroup-rule" => "'a *:* r'",
            "mount" => "type=tmpfs,dst=/x",
            "dns" => "1.2.3.4",
            "add-host" => "a:::1",
            "net" | "network" => "none",
            "pid" | "ipc" | "uts" | "cgroupns" | "userns" => "host",
            "cap-add" | "cap-drop" => "chown",
            "security-opt" => "no-new-privileges",
            "pull" => "never",
            "image-volume" => "ignore",
            "creds" => "a:b",
            "retry-delay" => "1s",
            "platform" => "linux/arm",
            "arch" => "arm",
            "os" => "linux",
            "restart" => "no",
            name if name.starts_with("device-") => "/dev/a:1",
            _ => "a",
        };
        ["--", row.long, "=", value, " img"].concat()
    }

    #[test]
    fn every_flag_lands_somewhere() {
        let plain = read("img");
        for row in TABLE {
            let line = example(row);
            let c = read(&line);
            let has_no_field = ["rm", "os", "userns"].contains(&row.long);
            assert_eq!(c == plain, has_no_field, "{line}");
        }
    }

    #[test]
    fn spellings_are_told_apart() {
        for (index, row) in TABLE.iter().enumerate() {
            for other in &TABLE[index + 1..] {
                assert!(row.long != other.long && (row.short == 0 || row.short != other.short), "{}", row.long);
            }
        }
    }

    #[test]
    fn what_is_given_twice() {
        let c =
            read("--cpus 2 --cpus=1.5 -m 1g --memory 512m --ulimit core=1 --ulimit core=2 --cap-add=chown,kill img");
        assert_eq!((c.resources.cpus, c.resources.memory), (Some(Limit::At(150_000)), Some(512 << 20)));
        assert_eq!((c.process.ulimits.len(), c.rights.cap_add), (1, 0b10_0001));
        let c = read("--pid=host --pid=container:db --add-host a:1.2.3.4 --add-host b:::1 --sysctl=a.b=c=d img");
        assert_eq!(c.namespaces.pid, Namespace::Container("db".into()));
        assert_eq!(c.files.hosts, [("a".into(), "1.2.3.4".into()), ("b".into(), "::1".into())]);
        assert_eq!(c.namespaces.sysctls, [("a.b".into(), "c=d".into())]);
    }

    #[test]
    fn rights() {
        assert!(read("img").rights.privileged && read("--privileged=false --privileged img").rights.privileged);
        let r = read("--privileged=false --cap-drop=ALL --cap-add NET_RAW img").rights;
        assert_eq!((r.privileged, r.cap_drop, r.cap_add), (false, u64::MAX, 1 << 13));
        let r = read(
            "--security-opt seccomp=/p.json --security-opt no-new-privileges:true --security-opt=mask=/a:/b \
            --security-opt unmask=ALL --security-opt label=disable --security-opt proc-opts=hidepid=2,ro img",
        )
        .rights;
        assert_eq!((r.seccomp, r.no_new_privileges), (Seccomp::Profile("/p.json".into()), true));
        assert_eq!((r.mask.len(), r.unmask, r.proc_options.len()), (2, vec!["ALL".into()], 2));
    }

    /// Promise: lab-lines
    #[test]
    fn errors_name_the_flag() {
        for (line, want) in [
            ("", "no image is named"),
            ("-t", "no image is named"),
            ("--frobnicate img", "--frobnicate is not a known flag"),
            ("-tz img", "-z is not a known flag"),
            ("-w", "-w: its value is missing"),
            ("--env", "--env: its value is missing"),
            ("--workdir= img", "--workdir: the name of the working directory is missing"),
            ("--tls-verify=maybe img", "--tls-verify: 'maybe' is not true or false"),
            ("--volum=/a:/b img", "--volum is not a known flag: did you mean --volume?"),
            ("--net=bridge img", "--net: 'bridge' is not one of host, none, container:NAME, ns:PATH"),
            ("--pid=vm img", "--pid: 'vm' is not one of private, host, container:NAME, ns:PATH"),
            ("--pids-limit=many img", "--pids-limit: 'many' is not a number from -1 to 9223372036854775807"),
            ("--umask 9 img", "--umask: '9' is not an octal number up to 777"),
            ("--tz /etc/passwd img", "--tz: '/etc/passwd' is no time zone such as Europe/Berlin or local"),
            ("--tz ../x img", "--tz: '../x' is no time zone such as Europe/Berlin or local"),
            ("--cap-add=NET_ADMNI img", "--cap-add: 'NET_ADMNI' is no capability: did you mean NET_ADMIN?"),
            ("--security-opt=x img", "--security-opt: 'x' is not a known option"),
            ("--no-hosts --add-host a:::1 img", "--no-hosts and --add-host exclude each other"),
            ("--memory-swap=1g img", "--memory-swap needs --memory"),
            ("--memory-swap=1g -m 2g img", "--memory-swap is memory and swap together: it is less than --memory"),
            ("--uts=host -h a img", "--hostname and --uts=host exclude each other"),
            ("--cap-add=kill --cap-drop=kill img", "--cap-add and --cap-drop name the same capability"),
            ("-v /a:/x:cow img", "-v: 'cow' is not a known option"),
            ("-v /a:/ img", "-v: '/': the container's own root cannot be a volume"),
            ("-v /a://. img", "-v: '//.': the container's own root cannot be a volume"),
            ("-t= img", "-t: '' is not true or false"),
            ("-e =x img", "-e: '=x' has no name"),
            ("--restart=always img", "--restart: only 'no' is supported: a container runs once"),
            ("--cap-add all --cap-drop all img", "--cap-add=ALL and --cap-drop=ALL exclude each other"),
        ] {
            assert_eq!(parse_line(line, &env).unwrap_err(), want, "{line}");
        }
        for (line, want) in [
            ("--creds ann img", "--creds: write USER:PASS, since nobody can be asked here"),
            ("--creds=:pw img", "--creds: write USER:PASS, since nobody can be asked here"),
            ("--pull=often img", "--pull: 'often' is not one of always, newer, missing, never"),
            ("--retry=-1 img", "--retry: '-1' is not a number of tries"),
            ("--retry-delay 2 img", "--retry-delay: '2' is not a duration such as 500ms, 2s or 1m30s, up to 1h"),
            ("--os=windows img", "--os: 'windows': only linux runs here"),
            ("--platform=windows/amd64 img", "--platform: 'windows': only linux runs here"),
            ("--platform=amd64 img", "--platform: 'amd64' is not linux/ARCH or linux/ARCH/VARIANT"),
            ("--platform=linux/arm/ img", "--platform: 'linux/arm/' is not linux/ARCH or linux/ARCH/VARIANT"),
            ("--arch= img", "--arch: '' is not a word such as amd64 or v8"),
            ("--variant=v/8 img", "--variant: 'v/8' is not a word such as amd64 or v8"),
            ("--http-proxy=no img", "--http-proxy: 'no' is not true or false"),
            ("--decryption-key=k img", "--decryption-key is not a known flag"),
        ] {
            assert_eq!(parse_line(line, &env).unwrap_err(), want, "{line}");
        }
        assert!(parse_line("a.b/UPPER", &env).unwrap_err().starts_with("image 'a.b/UPPER': "));
    }

    #[test]
    fn how_an_image_is_fetched() {
        let c = read("img");
        assert!(
            c.pull.policy == PullPolicy::Always
                && c.pull.creds.is_none()
                && c.pull.retry == Policy::default()
                && c.http_proxy
        );
        let c =
            read("--creds ann:s3:t --authfile /a --cert-dir=/c --retry 0 --retry-delay 1m30s --http-proxy=false img");
        assert!(c.pull.creds == Credentials::parse("ann:s3:t") && c.pull.creds.is_some());
        assert_eq!((c.pull.authfile.as_deref(), c.pull.cert_dir.as_deref()), (Some("/a"), Some("/c")));
        assert_eq!((c.pull.retry.retries, c.pull.retry.delay_ms, c.http_proxy), (Some(0), Some(90_000), false));
        for (word, policy) in [
            ("always", PullPolicy::Always),
            ("true", PullPolicy::Always),
            ("newer", PullPolicy::Newer),
            ("missing", PullPolicy::Missing),
            ("false", PullPolicy::Missing),
            ("never", PullPolicy::Never),
        ] {
            assert_eq!(read(&format!("--pull={word} img")).pull.policy, policy);
            assert_eq!(read(&format!("--pull {word} img")).pull.policy, policy);
        }
        for (flags, platform) in [
            ("", ("amd64", "v1")),
            ("--platform linux/arm/v6", ("arm", "v6")),
            ("--platform=linux/arm64", ("arm64", "v8")),
            ("--platform linux/arm/v6 --platform linux/arm", ("arm", "v7")),
            ("--os linux --arch aarch64", ("arm64", "v8")),
            ("--variant v3", ("amd64", "v3")),
            ("--arch riscv64", ("riscv64", "")),
        ] {
            assert_eq!(read(&[flags, " img"].concat()).pull.platform("x86_64"), platform, "{flags}");
        }
    }

    /// Promise: no-secret-in-messages
    #[test]
    fn credentials_are_in_no_error() {
        for text in [
            "--creds=ann:s3cret --frobnicate=s3cret img",
            "--creds ann:s3cret --net s3cret img",
            "--net=ann:s3cret --creds ann:s3cret img",
            "--creds=s3cret img",
            "--creds ann:s3cret a.b/S3/s3cret",
            "--creds=ann:s3cret --env=YW5uOnMzY3JldA== -w ann:s3cret -v YW5uOnMzY3JldA== img",
            "--cred=ann:s3cret img",
        ] {
            let error = parse_line(text, &env).unwrap_err();
            assert!(!error.contains("s3cret") && !error.contains("YW5u"), "{error}");
        }
        for (line, text) in [
            ("-t --creds=ann:s3cret img s3cret", "-t --creds=*** img ***"),
            ("--creds s3cret img", "--creds *** img"),
            ("--creds 'ann:x y' img  z", "--creds *** img z"),
            ("\"--creds=ann:x y\" img", "--creds=*** img"),
            ("--creds ann:'x'\\ \"y\" img --creds u:v", "--creds *** img --creds ***"),
            ("--creds 'ann:x y img", "--creds ***"),
            ("b2c.run=--creds ann:xyz \"img", "b2c.run=--creds *** \"img"),
            ("b2c.run=\"--creds=ann:xyz img", "b2c.run=--creds=***"),
            ("--creds ann:xyz img; $(echo xyz", "--creds *** img; $(echo ***"),
            ("-e  A=$B img 'sh -c'", "-e  A=$B img 'sh -c'"),
        ] {
            assert_eq!(shown(line), text);
        }
        let c = read("--creds ann:s3cret img");
        assert!(!format!("{c:?}").contains("s3cret"));
    }

    #[test]
    fn a_line_with_variables_is_checked_as_far_as_it_can_be() {
        assert!(check("--entrypoint $X img", false).is_ok());
        assert!(check("--entrypoint $(x) img", false).is_err());
        assert!(check("--nope img", false).is_err() && check("--nope $X img", false).is_ok());
        assert!(check("--nope img sh -c 'echo $X'", false).is_err());
        assert!(check("-t img sh -c 'echo $X' \\$X", false).is_ok());
    }
}
