//! The table of flags of a container line: spelling, value, and the field of the spec that it sets.

use crate::container::pure::capability;
use crate::container::pure::spec::{mounts, resources, values, ContainerSpec, LimitKind, Seccomp};
use crate::net::pure::dns;

/// How a flag takes values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None, or `=true` and `=false`.
    Bool,
    /// One value; a later one overrides.
    One,
    /// A value each time; they accumulate in order.
    Many,
    /// As `Many`, and several of them in a value, with commas between.
    List,
}

/// Sets the flag's field of the spec; a flag without a value has `true`.
pub type Set = fn(&mut ContainerSpec, &str) -> Result<(), String>;

/// One row of the table of flags.
pub struct Row {
    /// Without the dashes.
    pub long: &'static str,
    /// 0 where there is none.
    pub short: u8,
    pub takes: Takes,
    /// Otherwise its use is a warning: it cannot matter on a machine that runs its pipeline once.
    pub supported: bool,
    pub set: Set,
    /// A few words for `--help`, of 49 letters at most.
    pub help: &'static str,
    #[cfg(feature = "host")]
    pub value: &'static str,
    #[cfg(feature = "host")]
    pub meaning: &'static str,
}

/// `value` and `meaning` are for the documentation; the init has `help` alone.
#[cfg_attr(not(feature = "host"), allow(unused_variables))]
#[allow(clippy::too_many_arguments)]
const fn row(
    long: &'static str,
    short: u8,
    takes: Takes,
    set: Set,
    help: &'static str,
    value: &'static str,
    meaning: &'static str,
) -> Row {
    Row {
        long,
        short,
        takes,
        supported: true,
        set,
        help,
        #[cfg(feature = "host")]
        value,
        #[cfg(feature = "host")]
        meaning,
    }
}

const fn ignored(long: &'static str, short: u8, takes: Takes, set: Set, meaning: &'static str) -> Row {
    Row { supported: false, ..row(long, short, takes, set, "", "", meaning) }
}

use Takes::{Bool, List, Many, One};

/// Every flag, in the order of the documentation.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // The process.
    row("tty", b't', Bool, |c, v| put(&mut c.process.tty, values::boolean(v)),
        "a terminal", "", "a terminal: standard input, output and error are a pty of the container's own"),
    row("interactive", b'i', Bool, |c, v| put(&mut c.process.interactive, values::boolean(v)),
        "standard input", "", "standard input is fed from the console's; without it, it is `/dev/null`"),
    row("env", b'e', Many, |c, v| push(&mut c.process.env, values::environment(v)),
        "NAME[=VALUE] or NAME*", "`NAME=value`, `NAME`, `NAME*`", "an environment variable; without a value it is taken from the pipeline's variables (on a host: from the environment), with `*` all that begin so"),
    row("env-file", 0, Many, |c, v| push(&mut c.process.env_files, text(v)),
        "a file of variables", "path", "a file with such lines; `#` begins a comment. **New**: a value in double quotes may go over several lines. `--env` wins"),
    row("env-host", 0, Bool, |c, v| put(&mut c.process.env_host, values::boolean(v)),
        "all our variables", "", "all of the pipeline's variables (on a host: of the environment)"),
    row("unsetenv", 0, Many, |c, v| push(&mut c.process.unset_env, text(v)),
        "NAME", "name", "a variable of the image, or of the defaults, that is left out"),
    row("unsetenv-all", 0, Bool, |c, v| put(&mut c.process.unset_env_all, values::boolean(v)),
        "no variable of the image", "", "leaves all of those out"),
    row("entrypoint", 0, One, |c, v| put_some(&mut c.process.entrypoint, Ok(values::entry_point(v))),
        "a command", "command, `[\"command\", \"word\"]`", "replaces the image's entry point and drops its command; empty removes it"),
    row("workdir", b'w', One, |c, v| put_some(&mut c.process.working_dir, values::working_dir(v)),
        "a directory", "path", "the working directory, absolute; it must be there, while the image's own is made"),
    row("user", b'u', One, |c, v| put_some(&mut c.process.user, text(v)),
        "USER[:GROUP]", "`USER[:GROUP]`", "names of the image's `/etc/passwd` and `/etc/group`, or numbers; otherwise the image's own"),
    row("group-add", 0, List, |c, v| push(&mut c.process.groups, values::group(v)),
        "one more group", "group", "one more group, by its name in the image or its number"),
    row("umask", 0, One, |c, v| put_some(&mut c.process.umask, values::umask(v)),
        "octal", "octal", "the mask of new files; otherwise 0022"),
    row("ulimit", 0, List, |c, v| resources::ulimit(&mut c.process, v),
        "NAME=SOFT[:HARD], or host", "`NAME=SOFT[:HARD]`, `host`", "a resource limit, -1 for none; with `host` they are the default ones"),
    row("oom-score-adj", 0, One, |c, v| put_some(&mut c.process.oom_score_adj, resources::oom_score(v)),
        "-1000 to 1000", "-1000 to 1000", "how soon it is killed where memory is short"),
    row("init", 0, Bool, |c, v| put(&mut c.process.init, values::boolean(v)),
        "an init as process 1", "", "process 1 of the container is a small init that passes signals on and reaps"),
    row("stop-signal", 0, One, |c, v| put_some(&mut c.process.stop_signal, values::signal(v)),
        "what ends it", "name or number", "what asks the container to end; otherwise the image's, or TERM"),
    row("stop-timeout", 0, One, |c, v| put_some(&mut c.process.stop_timeout_s, resources::seconds(v)),
        "seconds, then it is killed", "seconds", "how long it may then take until it is killed; otherwise 10"),
    row("timeout", 0, One, |c, v| put(&mut c.process.timeout_s, resources::seconds(v)),
        "seconds that it may run", "seconds", "the longest that the container may run; then it is killed, and its code is 255"),
    row("tz", 0, One, |c, v| put_some(&mut c.process.time_zone, values::time_zone(v)),
        "Area/City, or local", "`Area/City`, `local`", "the container's `/etc/localtime`, of the host's `/usr/share/zoneinfo` or else the image's; `local` is the host's own"),
    row("hostname", b'h', One, |c, v| put_some(&mut c.process.hostname, dns::hostname(v).map_err(Into::into)),
        "NAME", "name", "the container's host name; otherwise that of the host"),
    row("name", 0, One, |c, v| put_some(&mut c.process.name, values::name(v)),
        "NAME", "name", "what other containers call it"),
    // File systems.
    row("volume", b'v', Many, |c, v| mounts::volume(&mut c.files, v),
        "[HOST|NAME:]DIR[:OPTIONS]", "`[HOST|NAME:]CONTAINER[:options]`", "a directory or file of the host (absolute, or beginning with a dot), a named volume, or one that is removed with the container. Options: `ro rw nosuid noexec nodev U O nocopy bind rbind`, and the propagation (`rslave`, `rshared`, …); `z` and `Z` do nothing"),
    row("mount", 0, Many, |c, v| mounts::mount(&mut c.files, v),
        "type=bind|volume|tmpfs,src=...,dst=...", "`type=bind|volume|tmpfs,src=…,dst=…[,…]`", "the same in podman's longer spelling"),
    row("tmpfs", 0, Many, |c, v| mounts::tmpfs(&mut c.files, v),
        "DIR[:OPTIONS]", "`CONTAINER[:options]`", "a file system in memory: `size=64m,mode=1777` and a volume's options"),
    row("read-only", 0, Bool, |c, v| put(&mut c.files.read_only, values::boolean(v)),
        "the root is read-only", "", "the container's root cannot be written"),
    row("read-only-tmpfs", 0, Bool, |c, v| put(&mut c.files.no_read_only_tmpfs, values::boolean(v).map(|on| !on)),
        "=false: /run and /tmp too", "`=false`", "no `/run`, `/tmp` and `/var/tmp` in memory with `--read-only`"),
    row("shm-size", 0, One, |c, v| put_some(&mut c.files.shm_size, resources::size(v)),
        "SIZE", "size", "of `/dev/shm`; otherwise 64m, 0 is no limit"),
    row("volumes-from", 0, Many, |c, v| push(&mut c.files.volumes_from, mounts::volumes_from(v)),
        "CONTAINER[:ro]", "`CONTAINER[:ro]`", "the volumes of a container that has that `--name`"),
    row("image-volume", 0, One, |c, v| put(&mut c.files.image_volumes, mounts::image_volumes(v)),
        "anonymous, tmpfs or ignore", "`anonymous`, `tmpfs`, `ignore`", "what to mount where the image declares a volume: `anonymous` (the default), a volume that is removed with the container; `tmpfs`, a file system in memory; `ignore`, nothing. `bind` is `anonymous`"),
    row("layer", 0, Many, |c, v| push(&mut c.pull.layers, mounts::layer(v)),
        "URL|FILE[#sha256:...]", "`URL|FILE[#sha256:…]`", "**new**: a tar, plain or in gzip or zstd, over the image as one more layer"),
    row("dns", 0, List, |c, v| values::dns(&mut c.files.dns, v),
        "ADDRESS or none", "address, `none`", "a name server; with `none` `/etc/resolv.conf` is the image's own"),
    row("dns-search", 0, List, |c, v| push(&mut c.files.dns.search, values::domain(v)),
        "DOMAIN", "domain", "where short names are looked for; `.` is nowhere"),
    row("dns-option", 0, List, |c, v| push(&mut c.files.dns.options, values::word(v)),
        "OPTION", "option", "of resolv.conf(5)"),
    row("dns-opt", 0, List, |c, v| push(&mut c.files.dns.options, values::word(v)),
        "as --dns-option", "as `--dns-option`", "docker's spelling of `--dns-option`"),
    row("add-host", 0, List, |c, v| push(&mut c.files.hosts, values::host(v)),
        "NAME:ADDRESS", "`NAME[;NAME…]:ADDRESS`", "a line of `/etc/hosts`; `host-gateway` is the host's own address"),
    row("no-hosts", 0, Bool, |c, v| put(&mut c.files.no_hosts, values::boolean(v)),
        "keep the image's /etc/hosts", "", "`/etc/hosts` is the image's own"),
    // Namespaces.
    row("net", 0, One, |c, v| put(&mut c.namespaces.network, values::network(v)),
        "host, none, container:NAME or ns:PATH", "`host`, `none`, `container:NAME`, `ns:PATH`", "`host` (the default) is the host's network; `none` is a namespace with nothing in it"),
    row("network", 0, One, |c, v| put(&mut c.namespaces.network, values::network(v)),
        "as --net", "as `--net`", "the longer spelling of `--net`"),
    row("pid", 0, One, |c, v| put(&mut c.namespaces.pid, values::namespace(v)),
        "private, host, container:NAME or ns:PATH", "`private`, `host`, `container:NAME`, `ns:PATH`", "the processes that it sees; otherwise its own"),
    row("ipc", 0, One, |c, v| put(&mut c.namespaces.ipc, values::ipc(v)),
        "as --pid; none, shareable", "as `--pid`, `none`, `shareable`", "System V's and POSIX's messages and memory; `none` is without `/dev/shm`"),
    row("uts", 0, One, |c, v| put(&mut c.namespaces.uts, values::namespace(v)),
        "as --pid", "as `--pid`", "the host name"),
    row("cgroupns", 0, One, |c, v| put(&mut c.namespaces.cgroup, values::namespace(v)),
        "as --pid", "as `--pid`", "the control groups that it sees"),
    row("userns", 0, One, |_, v| values::user_namespace(v),
        "host", "`host`", "users are the host's: nothing else is supported"),
    row("sysctl", 0, List, |c, v| push(&mut c.namespaces.sysctls, values::pair(v)),
        "KEY=VALUE", "`KEY=value`", "a parameter of the kernel, of the container's own namespaces"),
    // Rights.
    row("privileged", 0, Bool, |c, v| put(&mut c.rights.privileged, values::boolean(v)),
        "=false: podman's default rights", "`=false`", "containers are privileged, as b2c starts them; `=false` gives podman's default rights"),
    row("cap-add", 0, List, |c, v| add_bits(&mut c.rights.cap_add, v),
        "CAP_NAME or ALL", "`CAP_NAME`, `ALL`", "one more capability than the default ones"),
    row("cap-drop", 0, List, |c, v| add_bits(&mut c.rights.cap_drop, v),
        "CAP_NAME or ALL", "`CAP_NAME`, `ALL`", "one less"),
    row("security-opt", 0, Many, security,
        "no-new-privileges, seccomp=FILE, unmask=PATH", "`no-new-privileges`, `seccomp=unconfined`, `seccomp=FILE`, `mask=PATH[:PATH]`, `unmask=ALL`, `unmask=PATH[:PATH]`, `proc-opts=OPTIONS`", "as podman has them; labels and AppArmor do nothing here"),
    row("device", 0, Many, |c, v| push(&mut c.rights.devices, mounts::device(v)),
        "HOST[:CONTAINER][:rwm]", "`HOST[:CONTAINER][:rwm]`", "a device of the host"),
    row("device-cgroup-rule", 0, List, |c, v| push(&mut c.rights.device_rules, mounts::device_rule(v)),
        "'c 42:* rwm'", "`c 42:* rwm`", "devices that it may open"),
    // Resources.
    row("memory", b'm', One, |c, v| put_some(&mut c.resources.memory, resources::size(v)),
        "SIZE", "size", "the most memory; `b`, `k`, `m`, `g` are units"),
    row("memory-reservation", 0, One, |c, v| put_some(&mut c.resources.memory_reservation, resources::size(v)),
        "SIZE", "size", "what it is brought down to where memory is short"),
    row("memory-swap", 0, One, |c, v| put_some(&mut c.resources.memory_swap, resources::size_limit(v)),
        "SIZE or -1, with memory", "size, -1", "the most of memory and swap together; otherwise twice the memory"),
    row("cpus", 0, One, |c, v| put_some(&mut c.resources.cpus, resources::cpus(v)),
        "NUMBER, such as 1.5", "number", "so many processors' time, such as 1.5"),
    row("cpu-quota", 0, One, |c, v| put_some(&mut c.resources.cpu_quota_us, resources::count(v)),
        "microseconds", "microseconds", "the same, as time in each period"),
    row("cpu-period", 0, One, |c, v| put_some(&mut c.resources.cpu_period_us, resources::cpu_period(v)),
        "microseconds", "microseconds", "that period; otherwise 100000"),
    row("cpu-shares", b'c', One, |c, v| put_some(&mut c.resources.cpu_shares, resources::cpu_shares(v)),
        "NUMBER, else 1024", "number", "its share where processors are short; others have 1024"),
    row("cpuset-cpus", 0, One, |c, v| put_some(&mut c.resources.cpuset_cpus, resources::cpu_list(v)),
        "0-3,7", "`0-3,7`", "the processors that it may use"),
    row("cpuset-mems", 0, One, |c, v| put_some(&mut c.resources.cpuset_mems, resources::cpu_list(v)),
        "0-3,7", "`0-3,7`", "the memory nodes that it may use"),
    row("pids-limit", 0, One, |c, v| put_some(&mut c.resources.pids, resources::count(v)),
        "NUMBER or -1", "number, -1", "the most processes and threads; otherwise 2048"),
    row("blkio-weight", 0, One, |c, v| put_some(&mut c.resources.blkio_weight, resources::blkio_weight(v)),
        "10 to 1000", "10 to 1000", "its share where disks are busy"),
    row("blkio-weight-device", 0, Many, |c, v| push(&mut c.resources.blkio_weight_devices, resources::device_weight(v)),
        "/dev/NAME:WEIGHT", "`/dev/NAME:WEIGHT`", "the same, of one disk"),
    row("device-read-bps", 0, Many, |c, v| push(&mut c.resources.device_limits, resources::device_limit(v, LimitKind::ReadBps)),
        "/dev/NAME:SIZE", "`/dev/NAME:SIZE`", "bytes that it may read from a disk in a second"),
    row("device-write-bps", 0, Many, |c, v| push(&mut c.resources.device_limits, resources::device_limit(v, LimitKind::WriteBps)),
        "/dev/NAME:SIZE", "`/dev/NAME:SIZE`", "bytes that it may write"),
    row("device-read-iops", 0, Many, |c, v| push(&mut c.resources.device_limits, resources::device_limit(v, LimitKind::ReadIops)),
        "/dev/NAME:NUMBER", "`/dev/NAME:NUMBER`", "reads in a second"),
    row("device-write-iops", 0, Many, |c, v| push(&mut c.resources.device_limits, resources::device_limit(v, LimitKind::WriteIops)),
        "/dev/NAME:NUMBER", "`/dev/NAME:NUMBER`", "writes in a second"),
    row("cgroup-conf", 0, List, |c, v| push(&mut c.resources.cgroup_conf, values::pair(v)),
        "FILE=VALUE", "`FILE=value`", "any other file of the control group, such as `memory.high`"),
    // The image.
    row("tls-verify", 0, Bool, |c, v| put(&mut c.pull.tls_verify, values::boolean(v)),
        "=false: http, or any certificate", "`=false`", "the registry may speak plain http, or https with a certificate that no known authority has signed"),
    row("pull", 0, One, |c, v| put(&mut c.pull.policy, values::pull_policy(v)),
        "always, newer, missing or never", "`always`, `newer`, `missing`, `never`", "`always` (the default) asks the registry, and takes what is in the store if it cannot be reached; `newer` also where it refuses; `missing` asks only for an image that the store has not; `never` does not ask. `true` is `always`, `false` is `missing`"),
    row("creds", 0, One, |c, v| put_some(&mut c.pull.creds, values::credentials(v)),
        "USER:PASSWORD", "`USER:PASS`", "for the registry. Every container can read the kernel's line: a file of credentials is safer"),
    row("authfile", 0, One, |c, v| put_some(&mut c.pull.authfile, text(v)),
        "a file of credentials", "path", "the file of credentials, podman's or docker's; otherwise `/etc/ocinit/auth.json`"),
    row("cert-dir", 0, One, |c, v| put_some(&mut c.pull.cert_dir, text(v)),
        "a directory of certificates", "path", "certificates for the registry: `*.crt` of authorities, `*.cert` and `*.key` of our own; otherwise `/etc/ocinit/certs.d/HOST`"),
    row("retry", 0, One, |c, v| put_some(&mut c.pull.retry.retries, values::tries(v)),
        "NUMBER", "number", "how often a failed request is tried again; otherwise as long as it may help"),
    row("retry-delay", 0, One, |c, v| put_some(&mut c.pull.retry.delay_ms, values::duration_ms(v)),
        "TIME, such as 2s", "`500ms`, `2s`, `1m30s`", "the wait before each further try; otherwise it grows from half a second to 30 s"),
    row("quiet", b'q', Bool, |c, v| put(&mut c.pull.quiet, values::boolean(v)),
        "no progress", "", "the pull is not shown; warnings and failures are"),
    row("platform", 0, One, platform,
        "linux/ARCH[/VARIANT]", "`linux/ARCH[/VARIANT]`", "the image of an index to take; otherwise the host's own"),
    row("arch", 0, One, |c, v| put_some(&mut c.pull.architecture, values::architecture(v)),
        "ARCH", "`amd64`, `arm64`, …", "the same, its architecture alone"),
    row("variant", 0, One, |c, v| put_some(&mut c.pull.variant, values::plain(v)),
        "VARIANT", "`v7`, `v8`, …", "the same, its variant alone"),
    row("os", 0, One, |_, v| values::operating_system(v),
        "linux", "`linux`", "nothing else runs here"),
    row("http-proxy", 0, Bool, |c, v| put(&mut c.http_proxy, values::boolean(v)),
        "=false: no proxy variables", "`=false`", "the container does not get `b2c.proxy` in its environment"),
    row("rm", 0, Bool, |_, v| values::boolean(v).map(drop),
        "always so", "", "what every container has anyway"),
    // What cannot matter here.
    ignored("label", b'l', Many, |_, _| Ok(()), ""),
    ignored("annotation", 0, Many, |_, _| Ok(()), ""),
    ignored("log-driver", 0, One, |_, _| Ok(()), ""),
    ignored("restart", 0, One, |_, v| values::restart(v), "only with `no`"),
    ignored("expose", 0, List, |_, _| Ok(()), ""),
    ignored("publish", b'p', List, |_, _| Ok(()), ""),
    ignored("detach", b'd', Bool, |_, v| values::boolean(v).map(drop), ""),
    ignored("gpus", 0, One, |_, _| Ok(()), ""),
];

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn put_some<T>(place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *place = Some(value?);
    Ok(())
}

fn push<T>(list: &mut Vec<T>, value: Result<T, String>) -> Result<(), String> {
    list.push(value?);
    Ok(())
}

fn text(value: &str) -> Result<String, String> {
    Ok(value.into())
}

fn add_bits(bits: &mut u64, name: &str) -> Result<(), String> {
    *bits |= capability::parse(name)?;
    Ok(())
}

fn platform(c: &mut ContainerSpec, value: &str) -> Result<(), String> {
    let (architecture, variant) = values::platform(value)?;
    (c.pull.architecture, c.pull.variant) = (Some(architecture), variant);
    Ok(())
}

/// One of `--security-opt`.
fn security(c: &mut ContainerSpec, option: &str) -> Result<(), String> {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    let list = || value.split(':').filter(|path| !path.is_empty()).map(String::from);
    let rights = &mut c.rights;
    match (key, value) {
        ("no-new-privileges", "") => rights.no_new_privileges = true,
        ("no-new-privileges", _) => rights.no_new_privileges = values::boolean(value)?,
        ("seccomp", "unconfined") => rights.seccomp = Seccomp::Unconfined,
        ("seccomp", path) if !path.is_empty() => rights.seccomp = Seccomp::Profile(path.into()),
        ("mask", _) if list().all(|path| path.starts_with('/')) => rights.mask.extend(list()),
        ("unmask", _) if list().all(|path| path.starts_with('/') || path == "ALL") => rights.unmask.extend(list()),
        ("systempaths", "unconfined") => rights.unmask.push("ALL".into()),
        ("proc-opts", _) => rights.proc_options.extend(value.split(',').map(String::from)),
        // Our kernels have neither SELinux nor AppArmor.
        ("label" | "apparmor", _) => {}
        _ => return Err(["'", option, "' is not a known option"].concat()),
    }
    Ok(())
}
