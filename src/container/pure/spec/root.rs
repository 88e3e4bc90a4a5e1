//! The flags of a container line that can hold for a whole machine, whose root the image becomes (`b2c.root`). All
//! others would limit the machine's own init, and are refused by name.

use crate::container::pure::spec::ContainerSpec;

/// The flags that hold with every value.
const HOLD: &str = "tty interactive env env-file env-host unsetenv unsetenv-all entrypoint tz hostname volume mount \
    tmpfs read-only read-only-tmpfs layer dns dns-search dns-option dns-opt add-host no-hosts tls-verify pull creds \
    authfile cert-dir retry retry-delay platform arch variant os http-proxy rm quiet";
/// A machine's init has its namespaces.
const HOST_ONLY: &str = "net network pid ipc uts cgroupns userns";

/// Whether the flag `--name=value` of `spec` can hold for the root of a machine.
pub(super) fn can_hold(spec: &ContainerSpec, name: &str, value: &str) -> bool {
    let among = |list: &str| list.split(' ').any(|word| word == name);
    among(HOLD)
        || value == "host" && among(HOST_ONLY)
        || name == "privileged" && spec.rights.privileged
        || name == "image-volume" && value == "ignore"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::pure::spec::parse::{check, parse_root};
    use crate::container::pure::spec::table::TABLE;

    /// Promise: root-refused
    #[test]
    fn every_flag_holds_or_is_refused_by_name() {
        for name in HOLD.split_whitespace().chain(HOST_ONLY.split_whitespace()) {
            assert!(TABLE.iter().any(|row| row.long == name), "{name} is not in the table of flags");
        }
        let refused = |line: &str| parse_root(line, &|_| None).err().unwrap_or_default();
        let text = "for a container, and not for the root of the machine (b2c.root)";
        for (flags, name) in [
            ("-m 1g", "-m"),
            ("--memory=1g", "--memory"),
            ("--pids-limit=7", "--pids-limit"),
            ("--privileged=false", "--privileged"),
            ("--net=none", "--net"),
            ("--network=container:x", "--network"),
            ("--pid=private", "--pid"),
            ("--ipc=shareable", "--ipc"),
            ("-w /srv", "-w"),
            ("-u ann", "-u"),
            ("--cap-drop=kill", "--cap-drop"),
            ("--init", "--init"),
            ("--name=x", "--name"),
            ("--volumes-from=x", "--volumes-from"),
            ("--image-volume=tmpfs", "--image-volume"),
            ("--timeout=3", "--timeout"),
            ("-ti --ulimit core=0", "--ulimit"),
        ] {
            assert_eq!(refused(&[flags, " img"].concat()), [name, ": ", text].concat(), "{flags}");
        }
        // What every lab line has, what needs no limit, and what never matters.
        for flags in [
            "-ti --privileged --pid=host --net=host --ipc host --uts=host --cgroupns=host --rm --tls-verify=false",
            "-v data:/srv:ro --tmpfs=/tmp --mount=type=tmpfs,dst=/x --read-only -e A=b --env-file /user/job.env",
            "--entrypoint /init --dns=10.0.0.1 --add-host a:::1 --hostname box --tz UTC --layer=/x.tar --pull=missing",
            "--image-volume=ignore --label a=b -d -q -p 80:80 --restart=no --privileged=true -t=false",
        ] {
            assert_eq!(refused(&[flags, " img /sbin/init 3"].concat()), "", "{flags}");
        }
        let spec = parse_root("-v a:/b img /sbin/init 3", &|_| None).unwrap();
        assert_eq!((spec.command.len(), spec.files.mounts.len(), spec.is_root), (2, 1, true));
        assert!(check("--memory=1g img", true).is_err() && check("--memory=1g img", false).is_ok());
    }
}
