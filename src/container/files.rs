//! Files of the image: what is read of them, and what is put in their place.

use crate::container::in_root;
use crate::container::pure::passwd::{self, Identity};
use crate::container::pure::process::Process;
use crate::container::pure::spec::{ContainerSpec, Namespace};
use crate::container::pure::{env_file, etc_files};
use crate::files;
use crate::image::pull::Image;
use crate::report::{Failure, Outcome, Report};
use crate::sys::path::c_path;
use crate::sys::{fs as sysfs, io as sysio, io_text, Error, ENOENT};
use std::ffi::{CStr, CString};
use std::fs::{File, Permissions};
use std::io::Read;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The limit for files of an image that we read, such as `/etc/passwd`.
const IMAGE_FILE_MAX: u64 = 1 << 20;
/// More than exec(2) takes.
const ENV_FILE_MAX: u64 = 1 << 20;

/// As [`read_inside`], as text.
pub fn read_text(root: &Path, path: &CStr) -> Result<String, String> {
    read_inside(root, path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A small regular file of the image; empty where there is none. Its kind is checked before it is opened: a FIFO would
/// block, a device would answer.
fn read_inside(root: &Path, path: &CStr) -> Result<Vec<u8>, String> {
    let place = match in_root::open_below(root, path, sysfs::O_PATH) {
        Err(error) if error.errno == ENOENT => return Ok(Vec::new()),
        result => result.map_err(|error| error.to_string())?,
    };
    let stat = sysfs::statat(place.as_fd(), c"").map_err(|error| error.to_string())?;
    if !stat.is(sysfs::S_IFREG) {
        return Err("not a regular file".into());
    }
    if stat.size > IMAGE_FILE_MAX {
        return Err("larger than 1 MiB".into());
    }
    let file =
        in_root::open_below(root, path, sysfs::O_RDONLY | sysfs::O_NONBLOCK).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    File::from(file).take(IMAGE_FILE_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The entries of the files of `--env-file`, in order.
pub fn env_files(paths: &[String]) -> Outcome<Vec<String>> {
    let mut entries = Vec::new();
    for path in paths {
        let fail = |why: &str| Failure::new("container", ["--env-file ", path, ": ", why].concat());
        let bytes = files::read(Path::new(path), ENV_FILE_MAX).map_err(|why| fail(&why))?;
        let text = String::from_utf8(bytes).map_err(|_| fail("is not UTF-8"))?;
        entries.extend(env_file::parse(&text).map_err(|why| fail(&why))?);
    }
    Ok(entries)
}

/// Looks up `--user`, or the image's USER, and the groups of `--group-add`. The image's files count, or what is mounted
/// in their place; the image's get the lines that a number without a name lacks.
/// An image's file that cannot be read, or is larger than we read, refuses those only who cannot do without it.
///
/// Beside the identity: the files with their new lines, where the image's own are not to be written.
pub fn identity(
    root: &Path,
    process: &Process,
    spec: &ContainerSpec,
    report: &Report,
) -> Outcome<(Identity, Vec<OwnFile>)> {
    let user = process.user.as_str();
    let fail = |name: &str, why: &str| {
        let file = spec.files.source_at(name).map_or_else(|| ["the image's ", name].concat(), String::from);
        Failure::new("container", ["user '", user, "': ", &file, ": ", why].concat())
    };
    let read = |path: &'static CStr, name: &str| {
        let text = match spec.files.source_at(name) {
            Some(source) => read_of_host(source),
            None => read_text(root, path),
        };
        text.map_err(|why| fail(name, &why))
    };
    // What a file that is not needed is taken for.
    let or = |text: &Outcome<String>, needed: bool, otherwise: &str| match text {
        Err(failure) if !needed => {
            report.warn("container", format_args!("{}: goes on without it", failure.what));
            Ok(otherwise.to_string())
        }
        Ok(text) => Ok(text.clone()),
        Err(failure) => Err(Failure::new("container", failure.what.as_str())),
    };
    let (passwd_read, group_read) = (read(c"etc/passwd", "/etc/passwd"), read(c"etc/group", "/etc/group"));
    let passwd = or(&passwd_read, passwd::needs_passwd(user), "root:x:0:0::/root:\n")?;
    let group = or(&group_read, passwd::needs_group(user, &spec.process.groups, &passwd), "")?;
    let mut identity = passwd::resolve(user, &passwd, &group)
        .map_err(|error| Failure::new("container", ["user '", user, "': ", &error.text()].concat()))?;
    passwd::add_groups(&mut identity, &spec.process.groups, &group)
        .map_err(|error| Failure::new("container", ["--group-add: ", &error.text()].concat()))?;
    let (user_line, group_line) = passwd::missing_lines(user, &identity, &process.working_dir, &passwd, &group);
    if user_line.is_some() && spec.files.source_at("/etc/passwd").is_none() {
        identity.home = Some(process.working_dir.clone());
    }
    let mut own = Vec::new();
    for (path, name, old, new) in
        [(c"etc/passwd", "/etc/passwd", passwd_read, user_line), (c"etc/group", "/etc/group", group_read, group_line)]
    {
        if let (Ok(old), Some(new), None) = (old, new, spec.files.source_at(name)) {
            if spec.files.read_only {
                own.push((name, [old.as_str(), end_of(&old), &new].concat().into_bytes()));
            } else {
                append(root, path, &old, &new).map_err(|error| fail(name, &error.to_string()))?;
            }
        }
    }
    Ok((identity, own))
}

/// A small regular file of the host. A missing one is an error only where it is mounted.
fn read_of_host(path: &str) -> Result<String, String> {
    match std::fs::canonicalize(path) {
        Ok(path) => read_text(Path::new("/"), &c_path(&path).map_err(|error| error.to_string())?),
        Err(_) => Ok(String::new()),
    }
}

/// One line more at the end of a file of the image. A new file is for root alone, as podman has it.
fn append(root: &Path, path: &CStr, old: &str, line: &str) -> Result<(), Error> {
    let flags = sysfs::O_WRONLY | sysfs::O_APPEND | sysfs::O_CREAT | sysfs::O_NONBLOCK;
    let root = in_root::open_below(root, c".", sysfs::O_PATH)?;
    let resolve = sysfs::RESOLVE_IN_ROOT | sysfs::RESOLVE_NO_MAGICLINKS;
    let file = sysfs::openat2(root.as_fd(), path, flags, 0o600, resolve)?;
    sysio::write(file.as_fd(), [end_of(old), line].concat().as_bytes()).map(drop)
}

/// What is missing at the end of a file's last line.
fn end_of(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    }
}

/// `/etc/mtab`, which mount(8) and df(1) read, where the image has none; with an `/etc` of its own.
pub fn link_mtab(root: &Path) {
    let link = || -> Result<(), Error> {
        let root_dir = in_root::open_below(root, c".", sysfs::O_RDONLY)?;
        // Its error shows at the open below.
        let _ = sysfs::mkdirat(root_dir.as_fd(), c"etc", 0o755);
        let etc = in_root::open(root_dir.as_fd(), c"etc", sysfs::O_PATH | sysfs::O_DIRECTORY)?;
        sysfs::symlinkat(c"/proc/mounts", etc.as_fd(), c"mtab")
    };
    // It is there, or `/etc` is no directory.
    let _ = link();
}

/// Where the container has a file of its own, and what is in it.
pub type OwnFile = (&'static str, Vec<u8>);

/// The container's own `/etc/hostname`, `hosts`, `resolv.conf` and `/run/.containerenv`.
pub struct OwnFiles<'a> {
    pub spec: &'a ContainerSpec,
    pub image: &'a Image,
    /// The container's directory of the store.
    pub dir: &'a Path,
    pub hostname: &'a str,
    /// 64 hexadecimal digits.
    pub id: &'a str,
    /// The container's mounted root.
    pub root: &'a Path,
    /// Its `/etc/passwd` and `/etc/group`, where they have lines that the image's have not.
    pub users: Vec<OwnFile>,
    /// The directory of the container whose network it shares.
    pub network_of: Option<&'a Path>,
}

impl OwnFiles<'_> {
    /// Writes them into the directory `own` of `dir`: each, and where the container has it. `resolv_conf` is the host's
    /// `/etc/resolv.conf`.
    pub fn write(&self, resolv_conf: &str) -> Outcome<Vec<(PathBuf, &'static str)>> {
        let zone = self.spec.process.time_zone.as_deref().map(|zone| localtime(self.root, zone)).transpose()?.flatten();
        let own = self.dir.join("own");
        let path_of = |dir: &Path, target: &str| dir.join(target.rsplit('/').next().unwrap_or_default());
        let mut files = self.texts(resolv_conf);
        files.extend(zone.map(|bytes| ("/etc/localtime", bytes)));
        let mut all = Vec::new();
        let mut write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&own)?;
            for (target, bytes) in files.iter().chain(&self.users) {
                let path = path_of(&own, target);
                std::fs::write(&path, bytes)?;
                std::fs::set_permissions(&path, Permissions::from_mode(0o644))?;
                all.push((path, *target));
            }
            Ok(())
        };
        write().map_err(|error| Failure::new("container", ["its files of /etc: ", &io_text(&error)].concat()))?;
        // In another container's network its names are valid.
        if let Some(other) = self.network_of {
            for target in ["/etc/hosts", "/etc/resolv.conf"] {
                let path = path_of(&other.join("own"), target);
                if path.exists() {
                    all.push((path, target));
                }
            }
        }
        Ok(all)
    }

    /// Each file's path in the container, and its text.
    fn texts(&self, resolv_conf: &str) -> Vec<OwnFile> {
        let &OwnFiles { spec, image, hostname, id, network_of, .. } = self;
        let name = spec.process.name.as_deref().unwrap_or_default();
        let is_alone = spec.namespaces.network == Namespace::Empty;
        let mut files = vec![("/etc/hostname", [hostname, "\n"].concat())];
        let own_network = network_of.is_none();
        if !spec.files.no_hosts && own_network {
            let of_host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            let names: Vec<&str> = [hostname, name].into_iter().filter(|name| is_alone && !name.is_empty()).collect();
            files.push(("/etc/hosts", etc_files::hosts(&of_host, &spec.files.hosts, address().as_deref(), &names)));
        }
        if !spec.files.dns.none && !is_alone && own_network {
            files.push(("/etc/resolv.conf", etc_files::resolv_conf(resolv_conf, &spec.files.dns)));
        }
        files.push(match spec.rights.privileged {
            true => {
                ("/run/.containerenv", etc_files::container_env(name, id, &spec.pull.image.name(), &image.id.hex()))
            }
            false => ("/run/.containerenv", String::new()),
        });
        files.into_iter().map(|(target, text)| (target, text.into_bytes())).collect()
    }
}

/// The host's address towards the default route. Nothing is sent.
fn address() -> Option<String> {
    // A network for documentation (RFC 5737): there is no way to it but the default one.
    // As numbers: a text would bring the resolver of the C library, 10 KB that nothing else needs.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then(|| ip.to_string())
}

/// The container's `/etc/localtime`: of the host's zones, as podman has it, or else of the image's, since an initramfs
/// has none.
pub fn localtime(root: &Path, zone: &str) -> Outcome<Option<Vec<u8>>> {
    let fail = |why: &str| Failure::new("container", ["--tz ", zone, ": ", why].concat());
    let inside = ["usr/share/zoneinfo/", zone].concat();
    let on_host = match zone {
        "local" => String::from("/etc/localtime"),
        _ => ["/", &inside].concat(),
    };
    let bytes = match files::read(Path::new(&on_host), IMAGE_FILE_MAX) {
        Ok(bytes) => bytes,
        // A host without a zone is in UTC.
        Err(_) if zone == "local" => return Ok(None),
        Err(_) => read_inside(root, &CString::new(inside).unwrap_or_default()).map_err(|why| fail(&why))?,
    };
    if !bytes.starts_with(b"TZif") {
        let hint = "it is looked for in the host's /usr/share/zoneinfo, then in the image's (package tzdata)";
        return Err(fail("no such time zone").hint(hint));
    }
    Ok(Some(bytes))
}
