//! The table of boot2container's options.

use crate::boot::pure::cmdline::Word;

/// How an option takes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// No value: its presence counts.
    Nothing,
    /// One value; a later one overrides.
    One,
    /// A value each time; they accumulate in order.
    Many,
}

/// One row of the table of options.
pub struct Row {
    pub name: &'static str,
    pub takes: Takes,
    /// False for an option of boot2container that only gives a warning so far.
    pub supported: bool,
    #[cfg(feature = "host")]
    pub value: &'static str,
    #[cfg(feature = "host")]
    pub meaning: &'static str,
}

/// The texts are for the documentation, and are not part of the init.
#[cfg_attr(not(feature = "host"), allow(unused_variables))]
const fn row(name: &'static str, takes: Takes, supported: bool, value: &'static str, meaning: &'static str) -> Row {
    Row {
        name,
        takes,
        supported,
        #[cfg(feature = "host")]
        value,
        #[cfg(feature = "host")]
        meaning,
    }
}

impl Row {
    /// The option that a word gives.
    pub fn of(word: &Word) -> Option<&'static Row> {
        Row::named(&word.key)
    }

    /// The option of that name.
    pub fn named(name: &str) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.name == name)
    }

    pub fn is_container_line(&self) -> bool {
        ["run", "container", "service", "root"].iter().any(|part| self.name.contains(part))
    }

    /// Whether single quotes mean in the value what they mean for a shell.
    pub fn is_read_as_by_a_shell(&self) -> bool {
        self.is_container_line() || self.name.ends_with("_cmd")
    }
}

/// Every option, in the order of the documentation.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("b2c.run", Takes::Many, true, "flags image command", "one container of the pipeline; run in order"),
    row("b2c.container", Takes::Many, true, "as `b2c.run`", "the older spelling of `b2c.run`"),
    row("b2c.run_post", Takes::Many, true, "as `b2c.run`", "run after the pipeline, whatever its outcome"),
    row("b2c.post_container", Takes::Many, true, "as `b2c.run`", "the older spelling of `b2c.run_post`"),
    row("b2c.run_service", Takes::Many, true, "as `b2c.run`", "started before the pipeline, left running, stopped after the post containers"),
    row("b2c.service", Takes::Many, true, "as `b2c.run`", "the older spelling of `b2c.run_service`"),
    row("b2c.root", Takes::One, true, "flags image init", "**new**: the image becomes the machine's root, and its own init process 1, when the pipeline and the post containers have run"),
    row("b2c.pipefail", Takes::Nothing, true, "", "the first failing container ends the pipeline (post containers still run)"),
    row("b2c.cache_device", Takes::One, true, "`none`, `auto`, `/dev/…`, `LABEL=…`, a name", "where images and volumes are kept: the directory `ocinit` of an ext4 partition that exists, by its name or label, or of a `b2c.filesystem`; `auto` is the label `B2C_CACHE`. Default `none`: in memory"),
    row("b2c.filesystem", Takes::Many, true, "`NAME,type=T,src=S,opts=a|b|c`", "a filesystem (ext4, nfs, 9p, virtiofs, tmpfs, …), mounted when a volume or the cache first needs it; `|` separates mount options"),
    row("b2c.volume", Takes::Many, true, "`NAME[,filesystem=FS][,expiration=never|pipeline_end]`", "a named volume: kept with the images, or on a `b2c.filesystem`; `expiration=pipeline_end` removes it at the end"),
    row("b2c.ntp_peer", Takes::One, true, "`none`, `auto`, host", "set the clock by SNTP before anything is downloaded, and keep it right while containers run; `auto` is the DHCP lease's time servers, else pool.ntp.org. Default `none`"),
    row("b2c.hostname", Takes::One, true, "name", "the machine's name, and the containers'; `${mac}`, `${ip}`, `${uuid}` and `${serial}` in it are the machine's. Default `boot2container`"),
    row("b2c.keymap", Takes::One, true, "name", "the console's keymap: the file `NAME.kmap`, `NAME.bmap` or `NAME` in `/usr/share/keymaps` of the initramfs or below it, as `loadkeys -b` and `dumpkmap` write it"),
    row("b2c.iface", Takes::Many, true, "`NAME[,dhcp][,address=CIDR][,gateway=IP][,route=CIDR:VIA][,nameserver=IP][,forward]`", "an interface by name, in place of DHCP on every wired one; **new**: several addresses, `mtu=`, IPv6, VLANs (`eth0.12`), `bond=eth0+eth1[,mode=…]`, `bridge=eth0+eth1`"),
    row("b2c.carrier_timeout", Takes::One, true, "seconds", "**new**: how long the network may be without a carrier, or an interface that is named absent. Default 40; 3 if all images are in the initramfs, and no options are behind `b2c.extra_args_url`"),
    row("b2c.lease_timeout", Takes::One, true, "seconds", "**new**: how long the network may be without a lease, from the carrier on. Default 60 where images may be at hand (in the initramfs, on a cache disk) and no options are behind `b2c.extra_args_url`, else 900; twice as long where a server has answered"),
    row("b2c.insmods", Takes::One, true, "`a.ko,b.ko`", "kernel modules from `/usr_mods`, loaded first, in order"),
    row("b2c.poweroff_delay", Takes::One, true, "seconds", "wait between `It's now safe to turn off your computer` and the shutdown command; fractions (`0.5`) and units (`2m`) as `sleep` takes them"),
    row("b2c.shutdown_cmd", Takes::One, true, "commands", "the commands that end the machine: `echo WORDS`, `sleep S`, `poweroff`, `reboot`, `halt`, joined by `;`. Default `poweroff -f`"),
    row("b2c.reboot_cmd", Takes::One, true, "commands", "the same, used when a container asked for a reboot. Default `reboot -f`"),
    row("b2c.proxy", Takes::Many, true, "`http=URL`, `https=URL`, `no=LIST`", "the proxies for registries of plain http and of https (by CONNECT), and the hosts that need no proxy, separated by commas"),
    row("b2c.registry_mirror", Takes::Many, true, "`REGISTRY=URL[,URL…]`", "**new**: the mirrors to ask before the registry itself, in order; `_default` stands for registries without mirrors. A URL is `http(s)://HOST[:PORT][/PREFIX]`, and is asked with `ns=REGISTRY`, as containerd does"),
    row("b2c.verify_key", Takes::Many, true, "`/FILE`, base64", "**new**: an image from a registry must have a cosign signature by one of these keys: a file of the initramfs (PEM or DER), or its content in base64. P-256 or Ed25519"),
    row("b2c.extra_args_url", Takes::One, true, "URL", "more options, fetched when the network is up and applied before anything else is done; `${mac}`, `${ip}`, `${uuid}` and `${serial}` in it are the machine's"),
    row("b2c.extra_args_sha256", Takes::One, true, "64 hexadecimal digits", "**new**: the SHA-256 that the extra arguments must have"),
    row("b2c.extra_args_key", Takes::One, true, "`/FILE`, base64", "**new**: the extra arguments must be signed by this key, P-256 or Ed25519, in the file `URL.sig` beside them; the key is written as in `b2c.verify_key`"),
    row("b2c.onfail", Takes::One, true, "`poweroff`, `reboot`, `hang`", "**new**: what follows a failure of ocinit itself. Default `poweroff`"),
    row("b2c.log", Takes::One, true, "`sections`, `plain`", "**new**: `plain` turns GitLab's log sections off. Default `sections`"),
    row("b2c.swap", Takes::One, false, "`SIZE[,swappiness=N]`", "swap file on the cache, or a swap device"),
    row("b2c.minio", Takes::Many, false, "`ALIAS,URL,ACCESS_KEY,SECRET_KEY`", "an S3 endpoint for volumes"),
    row("b2c.storage", Takes::One, false, "`additionalimagestores=FSNAME`", "a read-only image store"),
    row("b2c.nbd", Takes::Many, false, "`/dev/nbdN,host=H,port=P`", "a network block device"),
];

/// Options of boot2container that are not supported yet and must not be ignored (see
/// [`misspelt`](super::misspelt)), and what to do.
pub const REFUSED: [(&str, &str); 3] = [
    ("b2c.minio", "take it out, and copy what is needed in a container"),
    ("b2c.storage", "take it out, and name images by their registry"),
    ("b2c.nbd", "take it out, and name another b2c.cache_device"),
];
