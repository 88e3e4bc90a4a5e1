//! The flags that are compared, and the images that they are compared on.

use ocinit::host::image::{tar, Entry, Image};
use serde_json::{json, Value};

/// One container, run by both sides.
pub struct Combination {
    /// Its golden file's name, too.
    pub name: &'static str,
    /// One of [`images`].
    pub image: &'static str,
    pub input: Input,
    /// As a shell reads them.
    pub flags: &'static str,
    pub command: &'static str,
}

/// Standard input of a runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `/dev/null`.
    Nothing,
    /// A terminal of 33 rows and 101 columns.
    Console,
    /// A pipe with a line in it.
    Pipe,
}

/// The image's own command, which is the payload's `look`.
pub const fn look(name: &'static str, image: &'static str, flags: &'static str) -> Combination {
    command(name, image, flags, "")
}

pub const fn command(
    name: &'static str,
    image: &'static str,
    flags: &'static str,
    command: &'static str,
) -> Combination {
    Combination { name, image, input: Input::Nothing, flags, command }
}

const fn console(name: &'static str, flags: &'static str) -> Combination {
    Combination { name, image: "plain", input: Input::Console, flags, command: "" }
}

/// The first four are what the golden files of the others are told against.
#[rustfmt::skip]
pub const TABLE: &[Combination] = &[
    look("plain", "plain", ""),
    look("unprivileged", "plain", "--privileged=false"),
    look("user-name", "plain", "-u guest"),
    look("unprivileged-user", "guest", "--privileged=false"),

    // The process.
    look("env", "plain", "-e A=b"),
    look("env-long", "plain", "--env A=b --env=C=d"),
    look("env-empty", "plain", "-e A="),
    look("env-blank", "plain", "-e 'A=b c  d'"),
    look("env-equals", "plain", "-e A=b=c"),
    look("env-from-caller", "plain", "-e FROM_CALLER"),
    look("env-of-nobody", "plain", "-e NOBODY_HAS_IT"),
    look("env-over-image", "plain", "-e FROM=flag"),
    look("env-twice", "plain", "-e A=1 -e A=2"),
    look("env-path", "plain", "-e PATH=/data"),
    look("env-home", "plain", "-e HOME=/data"),
    look("env-hostname", "plain", "-e HOSTNAME=other"),
    look("env-container", "plain", "-e container=none"),
    look("env-term", "plain", "-e TERM=vt100"),
    look("env-term-tty", "plain", "-t -e TERM=vt100"),
    look("env-file", "plain", "--env-file /parity/env"),
    look("env-file-and-flag", "plain", "-e A=flag --env-file /parity/env"),
    look("env-host", "plain", "--env-host"),
    look("env-of-image", "env", ""),
    look("env-of-image-tty", "env", "-t"),
    look("unsetenv", "plain", "--unsetenv FROM"),
    look("unsetenv-path", "plain", "--unsetenv PATH"),
    look("unsetenv-all", "env", "--unsetenv-all -e KEPT=1"),
    look("workdir", "plain", "-w /data"),
    look("workdir-long", "plain", "--workdir=/home/guest"),
    look("workdir-made", "plain", "-w /new/made"),
    look("workdir-of-image", "workdir", ""),
    look("workdir-over-image", "workdir", "-w /"),
    look("entrypoint", "plain", "--entrypoint /payload"),
    look("entrypoint-equals", "plain", "--entrypoint=/payload"),
    command("entrypoint-command", "plain", "--entrypoint /payload", "look 'a b'"),
    look("entrypoint-json", "plain", "--entrypoint '[\"/payload\",\"look\",\"more\"]'"),
    command("entrypoint-none", "plain", "--entrypoint ''", "/payload look"),
    look("entrypoint-on-path", "path", ""),
    command("command", "plain", "", "look a ''"),
    look("command-of-image", "command", ""),
    command("command-over-image", "command", "", "/payload look x"),
    command("exit-3", "plain", "", "exit 3"),
    command("exit-255", "plain", "", "exit 255"),
    command("not-there", "command", "", "/not/there"),
    command("not-on-path", "command", "", "nowhere"),
    command("no-program", "command", "", "/data/plain"),
    command("no-program-directory", "command", "", "/data"),
    command("killed", "plain", "", "crash"),
    look("user-number", "plain", "-u 1000"),
    look("user-unknown", "plain", "--user=4321"),
    look("user-nobody", "plain", "--user=nobody-has-it"),
    look("user-unknown-workdir", "plain", "-u 4321:wheel -w /data"),
    look("user-unknown-bare", "bare", "-u 4321"),
    look("user-of-volume", "plain", "-v /host/file:/etc/passwd -u 77"),
    look("group-nobody", "plain", "--group-add nobody-has-it"),
    look("user-group", "plain", "-u guest:wheel"),
    look("user-group-numbers", "plain", "-u 1234:5678"),
    look("user-root", "guest", "-u root"),
    look("user-root-group", "guest", "-u 0:100"),
    look("user-of-image", "guest", ""),
    look("user-group-of-image", "groups", ""),
    look("user-numbers-of-image", "numbers", ""),
    look("group-add", "plain", "--group-add wheel"),
    look("group-add-number", "plain", "--group-add 4242"),
    look("group-add-two", "plain", "--group-add 4242 --group-add users"),
    look("group-add-guest", "guest", "--group-add 4242"),
    look("umask", "plain", "--umask 0027"),
    look("umask-three-digits", "plain", "--umask=077"),
    look("ulimit-nofile", "plain", "--ulimit nofile=100:200"),
    look("ulimit-one", "plain", "--ulimit nofile=300"),
    look("ulimit-two", "plain", "--ulimit nproc=500:600 --ulimit core=0:0"),
    look("ulimit-unlimited", "plain", "--ulimit memlock=-1:-1"),
    look("ulimit-stack", "plain", "--ulimit stack=16777216:33554432"),
    look("ulimit-host", "plain", "--ulimit host"),
    look("oom-score", "plain", "--oom-score-adj 500"),
    look("oom-score-below", "plain", "--oom-score-adj=-500"),
    look("init", "plain", "--init"),
    look("init-user", "guest", "--init"),
    look("stop-signal", "plain", "--stop-signal SIGUSR1"),
    look("stop-timeout", "plain", "--stop-timeout 3"),
    look("timeout", "plain", "--timeout 600"),
    look("tz", "plain", "--tz Europe/Berlin"),
    look("tz-local", "plain", "--tz=local"),
    look("tz-nowhere", "plain", "--tz=No/Where"),
    look("hostname", "plain", "--hostname box-7"),
    look("hostname-short", "plain", "-h box-8"),
    look("name", "plain", "--name other"),
    look("labels", "labels", "--label a=b --annotation c=d"),

    // Terminals.
    look("tty", "plain", "-t"),
    look("tty-user", "guest", "-t"),
    look("interactive", "plain", "-i"),
    look("tty-interactive", "plain", "-ti"),
    console("console", ""),
    console("console-tty", "-t"),
    console("console-interactive", "-i"),
    console("console-tty-interactive", "-it"),
    console("console-long", "--tty --interactive"),
    console("console-dialect", "-ti --tls-verify=false"),
    console("console-unprivileged", "-ti --privileged=false"),

    // File systems.
    look("volume", "plain", "-v /host/dir:/mnt/dir"),
    look("volume-read-only", "plain", "-v /host/dir:/mnt/dir:ro"),
    look("volume-writable", "plain", "-v /host/dir:/mnt/dir:rw"),
    look("volume-file", "plain", "-v /host/file:/mnt/file"),
    look("volume-file-read-only", "plain", "-v /host/file:/etc/passwd:ro"),
    look("volume-nosuid", "plain", "-v /host/dir:/mnt/dir:nosuid"),
    look("volume-noexec", "plain", "-v /host/dir:/mnt/dir:noexec"),
    look("volume-nodev", "plain", "-v /host/dir:/mnt/dir:nodev"),
    look("volume-options", "plain", "-v /host/dir:/mnt/dir:ro,nosuid,nodev,noexec"),
    look("volume-exec-dev-suid", "plain", "-v /host/dir:/mnt/dir:exec,dev,suid"),
    look("volume-z", "plain", "-v /host/dir:/mnt/dir:z"),
    look("volume-Z", "plain", "-v /host/dir:/mnt/dir:ro,Z"),
    look("volume-rslave", "plain", "-v /host/dir:/mnt/dir:rslave"),
    look("volume-rshared", "plain", "-v /host/dir:/mnt/dir:rshared"),
    look("volume-rprivate", "plain", "-v /host/dir:/mnt/dir:rprivate"),
    look("volume-slave", "plain", "-v /host/dir:/mnt/dir:slave"),
    look("volume-U", "plain", "-u 1000:100 -v /host/dir:/mnt/dir:U"),
    look("volume-deep", "plain", "-v /host/dir:/srv/a/b/c"),
    look("volume-over", "plain", "-v /host/dir:/data"),
    look("volume-two", "plain", "-v /host/dir:/mnt/a -v /host/file:/mnt/b:ro"),
    look("volume-nested", "plain", "-v /host/dir/sub:/mnt/a/b -v /host/dir:/mnt/a"),
    look("volume-missing", "plain", "-v /host/nothing:/mnt/dir"),
    look("volume-bad-option", "plain", "-v /host/dir:/mnt/dir:sideways"),
    look("volume-named", "plain", "-v first:/mnt/named"),
    look("volume-named-filled", "volumes", "-v second:/kept"),
    look("volume-named-read-only", "plain", "-v third:/mnt/named:ro"),
    look("volume-named-nocopy", "volumes", "-v fourth:/kept:nocopy"),
    look("volume-named-user", "guest", "-v fifth:/mnt/named"),
    look("volume-named-again", "plain", "-v second:/mnt/named"),
    look("volume-anonymous", "plain", "-v /mnt/anonymous"),
    look("volume-of-image", "volumes", ""),
    look("volume-of-image-user", "volumes", "-u guest"),
    look("volume-of-image-ignored", "volumes", "--image-volume=ignore"),
    look("volume-of-image-tmpfs", "volumes", "--image-volume=tmpfs"),
    look("volume-of-image-replaced", "volumes", "-v /host/dir:/vol"),
    look("mount-bind", "plain", "--mount type=bind,src=/host/dir,dst=/mnt/dir"),
    look("mount-bind-read-only", "plain", "--mount type=bind,source=/host/dir,target=/mnt/dir,ro"),
    look("mount-bind-readonly-true", "plain", "--mount=type=bind,source=/host/dir,destination=/mnt/dir,readonly=true"),
    look("mount-bind-rslave", "plain", "--mount type=bind,src=/host/dir,dst=/mnt/dir,bind-propagation=rslave"),
    look("mount-volume", "plain", "--mount type=volume,src=sixth,dst=/mnt/named"),
    look("mount-tmpfs", "plain", "--mount type=tmpfs,dst=/mnt/tmpfs"),
    look("mount-tmpfs-options", "plain", "--mount type=tmpfs,dst=/mnt/tmpfs,tmpfs-size=1m,tmpfs-mode=700"),
    look("tmpfs", "plain", "--tmpfs /mnt/tmpfs"),
    look("tmpfs-options", "plain", "--tmpfs /mnt/tmpfs:size=65536k,mode=755,noexec"),
    look("tmpfs-over", "plain", "--tmpfs /data"),
    look("tmpfs-nocopyup", "plain", "--tmpfs /data:notmpcopyup"),
    look("read-only", "plain", "--read-only"),
    look("read-only-tmpfs", "plain", "--read-only --tmpfs /data"),
    look("read-only-bare", "plain", "--read-only --read-only-tmpfs=false"),
    look("read-only-volume", "plain", "--read-only -v /host/dir:/mnt/dir"),
    look("shm-size", "plain", "--shm-size 1m"),
    look("shm-size-big", "plain", "--shm-size=128m"),
    look("bare", "bare", ""),
    look("bare-tty", "bare", "-t"),
    look("bare-unprivileged", "bare", "--privileged=false"),

    // Names.
    look("dns", "plain", "--dns 192.0.2.53"),
    look("dns-two", "plain", "--dns 192.0.2.53 --dns=192.0.2.54"),
    look("dns-none", "plain", "--dns=none"),
    look("dns-none-own", "etc", "--dns=none"),
    look("dns-search", "plain", "--dns-search example.org"),
    look("dns-search-none", "plain", "--dns-search=."),
    look("dns-opt", "plain", "--dns-opt ndots:4"),
    look("dns-option", "plain", "--dns-option ndots:4 --dns-option rotate"),
    look("add-host", "plain", "--add-host db:192.0.2.7"),
    look("add-host-two", "plain", "--add-host db:192.0.2.7 --add-host=web:2001:db8::1"),
    look("no-hosts", "plain", "--no-hosts"),
    look("no-hosts-own", "etc", "--no-hosts"),
    look("etc-of-image", "etc", ""),
    look("etc-of-links", "links", ""),

    // Namespaces.
    look("pid-host", "plain", "--pid=host"),
    look("pid-private", "plain", "--pid=private"),
    look("ipc-host", "plain", "--ipc=host"),
    look("ipc-private", "plain", "--ipc=private"),
    look("uts-host", "plain", "--uts=host"),
    look("uts-private", "plain", "--uts=private"),
    look("cgroupns-host", "plain", "--cgroupns=host"),
    look("cgroupns-private", "plain", "--cgroupns=private"),
    look("net-none", "plain", "--net=none"),
    look("net-host", "plain", "--net host"),
    look("network-none", "plain", "--network none --hostname lonely"),
    look("userns-host", "plain", "--userns=host"),
    look("all-host", "plain", "--pid=host --ipc=host --uts=host --cgroupns=host"),
    look("sysctl-ipc", "plain", "--sysctl kernel.msgmax=65536"),
    look("sysctl-net", "plain", "--net=none --sysctl net.ipv4.ip_forward=1"),
    look("sysctl-two", "plain", "--net=none --sysctl net.ipv4.ping_group_range='0 0' --sysctl fs.mqueue.msg_max=20"),
    look("sysctl-refused", "plain", "--sysctl net.ipv4.ip_forward=1"),

    // Rights.
    look("unprivileged-root-of-guest", "guest", "--privileged=false -u 0"),
    look("unprivileged-tty", "plain", "--privileged=false -t"),
    look("unprivileged-net-none", "plain", "--privileged=false --net=none"),
    look("unprivileged-pid-host", "plain", "--privileged=false --pid=host"),
    look("unprivileged-ipc-host", "plain", "--privileged=false --ipc=host"),
    look("unprivileged-cgroupns-host", "plain", "--privileged=false --cgroupns=host"),
    look("unprivileged-read-only", "plain", "--privileged=false --read-only"),
    look("unprivileged-volume", "plain", "--privileged=false -v /host/dir:/mnt/dir"),
    look("unprivileged-init", "plain", "--privileged=false --init"),
    look("cap-add", "plain", "--privileged=false --cap-add NET_ADMIN"),
    look("cap-add-spelled", "plain", "--privileged=false --cap-add=cap_sys_time,SYS_NICE"),
    look("cap-add-all", "plain", "--privileged=false --cap-add ALL"),
    look("cap-add-user", "guest", "--privileged=false --cap-add NET_RAW"),
    look("cap-add-sys-admin", "plain", "--privileged=false --cap-add SYS_ADMIN"),
    look("cap-drop", "plain", "--privileged=false --cap-drop CHOWN"),
    look("cap-drop-all", "plain", "--privileged=false --cap-drop=all"),
    look("cap-drop-all-add", "plain", "--privileged=false --cap-drop=all --cap-add=KILL"),
    look("cap-drop-privileged", "plain", "--cap-drop NET_RAW"),
    look("cap-drop-all-privileged", "plain", "--cap-drop ALL"),
    look("cap-unknown", "plain", "--privileged=false --cap-add FLY"),
    look("no-new-privileges", "plain", "--privileged=false --security-opt no-new-privileges"),
    look("no-new-privileges-privileged", "plain", "--security-opt=no-new-privileges"),
    look("seccomp-unconfined", "plain", "--privileged=false --security-opt seccomp=unconfined"),
    look("seccomp-file", "plain", "--privileged=false --security-opt seccomp=/parity/seccomp.json"),
    look("seccomp-file-privileged", "plain", "--security-opt seccomp=/parity/seccomp.json"),
    look("seccomp-missing", "plain", "--privileged=false --security-opt seccomp=/not/there"),
    look("unmask-all", "plain", "--privileged=false --security-opt unmask=ALL"),
    look("unmask-one", "plain", "--privileged=false --security-opt unmask=/proc/kcore"),
    look("unmask-two", "plain", "--privileged=false --security-opt unmask=/proc/keys:/proc/bus"),
    look("mask", "plain", "--privileged=false --security-opt mask=/proc/irq"),
    look("mask-two", "plain", "--privileged=false --security-opt mask=/proc/irq:/sys/dev/block"),
    look("label-disable", "plain", "--privileged=false --security-opt label=disable"),
    look("device", "plain", "--privileged=false --device /dev/kmsg"),
    look("device-renamed", "plain", "--privileged=false --device /dev/kmsg:/dev/log-of-kernel"),
    look("device-rule", "plain", "--privileged=false --device-cgroup-rule 'c 4:* rwm' --cap-add MKNOD"),
    look("device-rights", "plain", "--privileged=false --device /dev/kmsg:/dev/kmsg:r"),
    look("device-block", "plain", "--privileged=false --device=/dev/vda"),
    look("device-missing", "plain", "--privileged=false --device /dev/not-there"),
    look("device-privileged", "plain", "--device /dev/kmsg:/dev/log-of-kernel"),

    // Resources.
    look("memory", "plain", "--memory 64m"),
    look("memory-short", "plain", "-m 128m"),
    look("memory-swap", "plain", "--memory 64m --memory-swap 96m"),
    look("memory-swap-unlimited", "plain", "--memory 64m --memory-swap=-1"),
    look("memory-swap-none", "plain", "--memory 64m --memory-swap 64m"),
    look("memory-reservation", "plain", "--memory-reservation 32m"),
    look("memory-bytes", "plain", "--memory 67108864"),
    look("cpus", "plain", "--cpus 0.5"),
    look("cpus-more", "plain", "--cpus=1.5"),
    look("cpu-quota", "plain", "--cpu-period 50000 --cpu-quota 25000"),
    look("cpuset-cpus", "plain", "--cpuset-cpus 0"),
    look("cpuset-two", "plain", "--cpuset-cpus=0-1 --cpuset-mems 0"),
    look("cpu-shares", "plain", "--cpu-shares 512"),
    look("cpu-shares-least", "plain", "--cpu-shares=2"),
    look("pids-limit", "plain", "--pids-limit 100"),
    look("pids-limit-none", "plain", "--pids-limit=-1"),
    look("pids-limit-zero", "plain", "--pids-limit 0"),
    look("blkio-weight", "plain", "--blkio-weight 500"),
    look("device-read-bps", "plain", "--device-read-bps /dev/vda:1mb"),
    look("device-write-bps", "plain", "--device-write-bps=/dev/vda:2mb"),
    look("device-iops", "plain", "--device-read-iops /dev/vda:100 --device-write-iops /dev/vda:200"),
    look("resources-unprivileged", "plain", "--privileged=false --memory 64m --cpus 1 --pids-limit 50"),
    look("memory-cgroupns-host", "plain", "--memory 64m --cgroupns=host"),

    // Lines of laboratories, and what they have in common.
    command("line-runner", "plain", "-v job-results:/mnt/w -w /mnt/w --tls-verify=false --env-file /parity/env \
        --entrypoint /payload", "look -euc 'make check > out.txt'"),
    look("line-machine", "plain", "-ti --dns=none -v tmp:/mnt/tmp -v perm:/mnt/permanent --tls-verify=false \
        --entrypoint='[\"/payload\",\"look\"]'"),
    look("line-services", "plain", "-t=false --privileged --pid=host --net=host -v /host/dir:/mnt/dir:ro"),
    look("last-wins", "plain", "--hostname a --hostname b -w / -w /data --umask 077 --umask 0022"),
    look("bundled", "plain", "-tie A=b"),
    look("all-at-once", "guest", "--privileged=false --cap-add NET_ADMIN --read-only --tmpfs /mnt/t --hostname all \
        -v /host/dir:/mnt/d:ro --memory 64m --pids-limit 64 --ulimit nofile=64 --umask 027 --oom-score-adj 100"),
    look("flag-unknown", "plain", "--no-such-flag"),
    look("flag-malformed", "plain", "--memory lots"),
];

fn base(payload: &[u8]) -> Vec<Entry> {
    vec![
        Entry::directory("data", 0o755),
        Entry::file("data/plain", 0o644, "no program\n"),
        Entry::directory("etc", 0o755),
        Entry::file("etc/group", 0o644, "root:x:0:\nusers:x:100:\nwheel:x:77:guest\ntty:x:5:\n"),
        Entry::file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:100:guest:/home/guest:/bin/sh\n"),
        Entry::directory("home", 0o755),
        Entry::directory("home/guest", 0o700).owned(1000, 100),
        Entry::directory("mnt", 0o755),
        Entry::file("payload", 0o755, payload),
        Entry::directory("tmp", 0o1777),
    ]
}

fn image(tag: &str, entries: &[Entry], change: &[(&str, Value)]) -> Image {
    let mut config =
        json!({"Entrypoint": ["/payload"], "Cmd": ["look"], "Env": ["PATH=/bin:/", "FROM=image"], "WorkingDir": "/"});
    for (name, value) in change {
        config[*name] = value.clone();
    }
    Image { tag: tag.into(), ..Image::new(vec![tar(entries)], config) }
}

/// The images, by the names that the table has for them.
pub fn images(payload: &[u8]) -> Vec<Image> {
    let base = base(payload);
    let more = |entries: Vec<Entry>| base.iter().cloned().chain(entries).collect::<Vec<_>>();
    let kept = vec![
        Entry::directory("kept", 0o750).owned(1000, 100),
        Entry::file("kept/file", 0o640, "of the image\n").owned(1000, 77),
    ];
    let etc = vec![
        Entry::file("etc/hostname", 0o600, "image\n"),
        Entry::file("etc/hosts", 0o640, "192.0.2.1 of-the-image\n"),
        Entry::file("etc/localtime", 0o644, "no zone\n"),
        Entry::file("etc/resolv.conf", 0o644, "nameserver 192.0.2.2\n"),
    ];
    let links = vec![
        Entry::symlink("etc/hosts", "../data/hosts"),
        Entry::symlink("etc/resolv.conf", "/data/resolv.conf"),
        Entry::file("data/resolv.conf", 0o644, "nameserver 192.0.2.3\n"),
    ];
    let bare = [Entry::file("payload", 0o755, payload)];
    let dangling = vec![Entry::symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")];
    // Longer than what we read of an image's files.
    let members = format!("root:x:0:\ncrowd:x:77:{}guest\n", "member,".repeat(200_000));
    let without: Vec<Entry> = base.iter().filter(|entry| entry.path != "etc/group").cloned().collect();
    let crowd = [without, vec![Entry::file("etc/group", 0o644, members)]].concat();
    let health = json!({"Test": ["CMD", "/payload", "exit", "1"], "Interval": 1_000_000_000u64});
    let env = json!(["HOME=/elsewhere", "TERM=dumb", "HOSTNAME=image", "container=image", "EMPTY=", "A=b=c"]);
    vec![
        image("plain", &base, &[]),
        image("guest", &base, &[("User", "guest".into()), ("WorkingDir", "/home/guest".into())]),
        image("groups", &base, &[("User", "guest:wheel".into())]),
        image("numbers", &base, &[("User", "1234:5678".into())]),
        image("command", &base, &[("Entrypoint", Value::Null), ("Cmd", json!(["/payload", "look"]))]),
        image("path", &base, &[("Entrypoint", json!(["payload"]))]),
        image("env", &base, &[("Env", env)]),
        image("workdir", &base, &[("WorkingDir", "/srv/made/up".into()), ("User", "guest".into())]),
        image("volumes", &more(kept), &[("Volumes", json!({"/vol": {}, "/kept": {}}))]),
        image("etc", &more(etc), &[]),
        image("links", &more(links), &[]),
        image("labels", &base, &[("Labels", json!({"a": "b"})), ("StopSignal", "SIGTERM".into())]),
        image("colon", &base, &[("User", ":100".into())]),
        image("tail", &base, &[("User", "guest:".into())]),
        image("crowd", &crowd, &[]),
        image("dangling", &more(dangling), &[]),
        image("blank", &base, &[("Entrypoint", json!([""])), ("Cmd", json!(["/payload", "look"]))]),
        image("file", &base, &[("WorkingDir", "/data/plain".into())]),
        image("health", &base, &[("Healthcheck", health)]),
        image("nothing", &base, &[("Entrypoint", Value::Null), ("Cmd", Value::Null)]),
        image("bare", &bare, &[("Env", Value::Null), ("WorkingDir", Value::Null)]),
    ]
}
