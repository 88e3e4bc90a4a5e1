//! Named file systems (`b2c.filesystem`), each mounted when it is first needed. They are unmounted with all others when
//! the machine ends.

use crate::disk::block_device;
use crate::disk::pure::cache_device::CacheDevice;
use crate::disk::pure::filesystem::FileSystem;
use crate::kernel::coldplug;
use crate::net::dns::Resolver;
use crate::report::{Failure, Outcome, Report};
use crate::sys::path::c_path;
use crate::sys::{
    mount, Error, EACCES, ECONNREFUSED, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, ENOENT, EPERM, EPROTONOSUPPORT,
    ETIMEDOUT,
};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where they are mounted: a directory for each.
const MOUNTED_AT: &str = "/run/filesystems";

/// The modules that a type needs in addition. The kernel would load them by a program, modprobe, that is not here.
const MODULES: [(&str, &[&str]); 4] = [
    ("9p", &["9pnet_virtio"]),
    ("nfs", &["nfsv3", "nfsv4"]),
    ("nfs4", &["nfs", "nfsv4"]),
    // The encodings of names. Which of them are needed depends on the kernel's configuration.
    ("vfat", &["nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"]),
];
/// The option that takes the server's address. The kernel resolves no names, and mount(8)'s helpers, which do, are not
/// here.
const ADDRESSES: [(&str, &str); 4] = [("nfs", "addr="), ("nfs4", "addr="), ("cifs", "ip="), ("smb3", "ip=")];
/// The versions to try if the options name none, as mount.nfs does. Version 3 needs a daemon for locks, which is not
/// here.
const NFS_VERSIONS: [&str; 4] = ["vers=4.2", "vers=4.1", "vers=4.0", "vers=3,nolock"];

/// Mounts the file system, if it is not mounted yet, and returns its path.
pub fn path(wanted: &FileSystem, resolver: &Resolver, report: &Report) -> Outcome<PathBuf> {
    let path = Path::new(MOUNTED_AT).join(&wanted.name);
    if !is_mounted(&path) {
        mount_at(wanted, &path, resolver, report)?;
    }
    Ok(path)
}

/// Mounts the file system at `target`.
pub fn mount_at(wanted: &FileSystem, target: &Path, resolver: &Resolver, report: &Report) -> Outcome<()> {
    let (name, kind) = (wanted.name.as_str(), wanted.kind.as_str());
    let fail = |why: &str| Failure::new("filesystem", [name, ": ", kind, " ", &wanted.source, ": ", why].concat());
    let source = source(wanted, report).ok_or_else(|| fail("not there after 10 s"))?;
    let data = data(wanted, resolver).map_err(|why| fail(&why))?;
    coldplug::ensure(kind, report);
    for module in MODULES.iter().filter(|(of, _)| *of == kind).flat_map(|(_, modules)| *modules) {
        coldplug::ensure(module, report);
    }
    // If this fails, the mount below fails, too, and says why.
    let _ = fs::create_dir_all(target);
    match mount_first_version(wanted, &source, target, &data) {
        Ok(()) => {
            report.line("filesystem", [name, ": ", kind, " ", &source].concat());
            Ok(())
        }
        Err(error) => {
            let failure = fail(&error.to_string());
            Err(match hint(error.errno) {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

/// Mounts with the first version of the protocol that kernel and server support.
fn mount_first_version(wanted: &FileSystem, source: &str, target: &Path, data: &str) -> Result<(), Error> {
    let (source, target, kind) = (c_string(source)?, c_path(target)?, c_string(&wanted.kind)?);
    let mut why = None;
    for version in versions(&wanted.kind, data) {
        match mount::mount(&source, &target, &kind, wanted.flags as _, &c_string(&with(data, version))?) {
            Ok(()) => return Ok(()),
            Err(error) => {
                let error = better(why, error);
                // Kernel or server do not support this version. ENOENT: before version 4 a path has another root.
                if ![EPROTONOSUPPORT, EINVAL, ENOENT].contains(&error.errno) {
                    return Err(error);
                }
                why = Some(error);
            }
        }
    }
    Err(why.unwrap_or(Error::new("mount", EINVAL)))
}

/// The first of two errors that says more than that a version is not supported.
fn better(first: Option<Error>, second: Error) -> Error {
    first.filter(|error| error.errno != EPROTONOSUPPORT).unwrap_or(second)
}

/// The version options to try, one after the other.
fn versions(kind: &str, data: &str) -> &'static [&'static str] {
    let names_one = |word: &str| {
        ["vers=", "nfsvers=", "minorversion="].iter().any(|option| word.starts_with(option))
            || word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    match kind {
        "nfs" | "nfs4" if data.split(',').any(names_one) => &[""],
        "nfs" => &NFS_VERSIONS,
        "nfs4" => NFS_VERSIONS.split_last().map_or(&[], |(_, rest)| rest),
        _ => &[""],
    }
}

/// What to do about an error of mount(2).
fn hint(errno: i32) -> Option<&'static str> {
    Some(match errno {
        ENODEV => "this kernel does not support the type: the initramfs may need its module",
        EINVAL => "src= has another file system, or opts= has a wrong option: the kernel's log says which (loglevel=7)",
        ENOENT => "the other side has no such export, share or tag: check src=",
        EACCES | EPERM => "the server refuses this machine: check what it exports, and to which hosts",
        ECONNREFUSED | EHOSTUNREACH | ENETUNREACH | ETIMEDOUT => "is the server up, and its port (opts=port=N) open?",
        EPROTONOSUPPORT => "the server does not support this version: choose another with opts=vers=N",
        _ => return None,
    })
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::new("mount", EINVAL))
}

/// The source as mount(2) takes it. A device is waited for; None if it does not appear.
fn source(wanted: &FileSystem, report: &Report) -> Option<String> {
    let device = match wanted.source.strip_prefix("LABEL=") {
        Some(label) => CacheDevice::Label(label.into()),
        None if wanted.source.starts_with("/dev/") => CacheDevice::Path(wanted.source.clone()),
        None => return Some(wanted.source.clone()),
    };
    Some(block_device::wait_for(&device, "filesystem", report)?.to_string_lossy().into_owned())
}

/// The options, with the server's address if the type needs it.
fn data(wanted: &FileSystem, resolver: &Resolver) -> Result<String, String> {
    let option = ADDRESSES.iter().find(|(kind, _)| *kind == wanted.kind).map(|(_, option)| *option);
    let given = |option: &str| wanted.data.split(',').any(|word| word.starts_with(option));
    let Some(option) = option.filter(|option| !given(option)) else { return Ok(wanted.data.clone()) };
    let address = resolver.resolve(host(&wanted.source)).map_err(|error| error.text)?;
    let address = address.first().map(ToString::to_string).unwrap_or_default();
    Ok(with(&wanted.data, &[option, &address].concat()))
}

/// `data` with one more option.
fn with(data: &str, option: &str) -> String {
    let comma = if data.is_empty() || option.is_empty() { "" } else { "," };
    [data, comma, option].concat()
}

/// The host of `HOST:/path`, `[V6]:/path` or `//HOST/share`.
fn host(source: &str) -> &str {
    match source.strip_prefix("//") {
        Some(share) => share.split('/').next().unwrap_or_default(),
        None => source.split_once(":/").map_or(source, |(host, _)| host),
    }
}

/// Whether something is mounted at `path`. Only the kernel knows, since processes of services mount, too.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let parent = path.parent().and_then(device);
    device(path).is_some_and(|own| Some(own) != parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: nfs-versions
    #[test]
    fn versions_where_none_is_named() {
        assert_eq!(versions("nfs", "rsize=8192,addr=10.0.0.1"), NFS_VERSIONS);
        assert_eq!(versions("nfs4", ""), ["vers=4.2", "vers=4.1", "vers=4.0"]);
        for named in ["vers=3", "timeo=5,nfsvers=4", "vers=4,minorversion=1", "v4.2", "v3,nolock"] {
            assert_eq!(versions("nfs", named), [""], "{named}");
        }
        assert_eq!(versions("cifs", "vers=3.0"), [""]);
        assert_eq!((with("", "a"), with("b", ""), with("b", "a")), ("a".into(), "b".into(), "b,a".into()));
        let (missing, absent) = (Error::new("mount", EPROTONOSUPPORT), Error::new("mount", ENOENT));
        let told = |first, second| better(first, second).errno;
        assert_eq!(told(Some(missing), absent), ENOENT);
        assert_eq!(told(Some(absent), Error::new("mount", ECONNREFUSED)), ENOENT);
        assert_eq!(told(None, missing), EPROTONOSUPPORT);
    }

    /// Promise: filesystem-as-cache
    #[test]
    fn servers_get_their_address() {
        let options = |value: &str| data(&FileSystem::parse(value).unwrap(), &Resolver::default());
        assert_eq!(options("a,type=nfs,src=10.0.0.1:/x,opts=vers=3|nolock").unwrap(), "vers=3,nolock,addr=10.0.0.1");
        assert_eq!(options("a,type=nfs4,src=[fd00::1]:/x").unwrap(), "addr=fd00::1");
        assert_eq!(options("a,type=nfs,src=no.such:/x,opts=addr=10.0.0.2").unwrap(), "addr=10.0.0.2");
        assert_eq!(options("a,type=cifs,src=//10.0.0.1/x/y,opts=guest").unwrap(), "guest,ip=10.0.0.1");
        assert_eq!(options("a,type=9p,src=tag,opts=trans=virtio").unwrap(), "trans=virtio");
        assert_eq!(options("a,type=nfs,src=no.such:/x").unwrap_err(), "no.such: no nameserver is known");
    }
}
