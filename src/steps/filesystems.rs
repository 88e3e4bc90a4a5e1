//! Named file systems (`b2c.filesystem`): what the kernel mounts, each when it
//! is first needed. They are unmounted with all others at the machine's end.

use super::cache;
use super::drivers;
use super::resolver::Resolver;
use super::rootfs::c_path;
use crate::proto::options::CacheDevice;
use crate::proto::volume::FileSystem;
use crate::report::{Failure, Outcome, Report};
use crate::sys::{mount, Error, EINVAL, ENODEV};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One folder a file system.
const FOLDER: &str = "/run/filesystems";

/// What else a type needs of modules: the kernel asks for them by a program that
/// is not here.
const MODULES: [(&str, &[&str]); 3] =
    [("9p", &["9pnet_virtio"]), ("nfs", &["nfsv3", "nfsv4"]), ("nfs4", &["nfs", "nfsv4"])];
/// The option that takes a server's address: names are resolved by mount(8)'s
/// helpers, which are not here either.
const ADDRESSES: [(&str, &str); 4] = [("nfs", "addr="), ("nfs4", "addr="), ("cifs", "ip="), ("smb3", "ip=")];

/// Where it is mounted; mounts it there first where it is not yet.
pub fn path(wanted: &FileSystem, resolver: &Resolver, report: &Report) -> Outcome<PathBuf> {
    let path = Path::new(FOLDER).join(&wanted.name);
    if !is_mounted(&path) {
        mount_at(wanted, &path, resolver, report)?;
    }
    Ok(path)
}

/// Mounts it at `target`.
pub fn mount_at(wanted: &FileSystem, target: &Path, resolver: &Resolver, report: &Report) -> Outcome<()> {
    let (name, kind) = (wanted.name.as_str(), wanted.kind.as_str());
    let fail = |why: &str| Failure::new("filesystem", [name, ": ", kind, " ", &wanted.source, ": ", why].concat());
    let source = source(wanted).ok_or_else(|| fail("not there after 10 s"))?;
    let data = data(wanted, resolver).map_err(|why| fail(&why))?;
    drivers::ensure(kind, report);
    for module in MODULES.iter().filter(|(of, _)| *of == kind).flat_map(|(_, modules)| *modules) {
        drivers::ensure(module, report);
    }
    // Where it cannot be made, the mount says why.
    let _ = fs::create_dir_all(target);
    let mounted = (|| {
        let kind = c_string(kind)?;
        mount::mount(&c_string(&source)?, &c_path(target)?, &kind, wanted.flags as _, &c_string(&data)?)
    })();
    match mounted {
        Ok(()) => {
            report.line("filesystem", [name, ": ", kind, " ", &source].concat());
            Ok(())
        }
        Err(error) if error.errno == ENODEV => {
            Err(fail(&error.to_string()).hint("this kernel does not know the type: the initramfs may need its module"))
        }
        Err(error) => Err(fail(&error.to_string())),
    }
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::new("mount", EINVAL))
}

/// A device is waited for, as the cache's is.
fn source(wanted: &FileSystem) -> Option<String> {
    let device = match wanted.source.strip_prefix("LABEL=") {
        Some(label) => CacheDevice::Label(label.into()),
        None if wanted.source.starts_with("/dev/") => CacheDevice::Path(wanted.source.clone()),
        None => return Some(wanted.source.clone()),
    };
    Some(cache::wait_for(&device)?.to_string_lossy().into_owned())
}

/// The options, with the server's address where the type wants one.
fn data(wanted: &FileSystem, resolver: &Resolver) -> Result<String, String> {
    let option = ADDRESSES.iter().find(|(kind, _)| *kind == wanted.kind).map(|(_, option)| *option);
    let given = |option: &str| wanted.data.split(',').any(|word| word.starts_with(option));
    let Some(option) = option.filter(|option| !given(option)) else { return Ok(wanted.data.clone()) };
    let address = resolver.resolve(host(&wanted.source))?;
    let address = address.first().map(ToString::to_string).unwrap_or_default();
    let comma = if wanted.data.is_empty() { "" } else { "," };
    Ok([&wanted.data, comma, option, &address].concat())
}

/// `HOST:/path`, `[V6]:/path`, `//HOST/share`.
fn host(source: &str) -> &str {
    match source.strip_prefix("//") {
        Some(share) => share.split('/').next().unwrap_or_default(),
        None => source.split_once(":/").map_or(source, |(host, _)| host),
    }
}

/// Whether something is mounted there: asked of the kernel, since services mount, too.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let parent = path.parent().and_then(device);
    device(path).is_some_and(|own| Some(own) != parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::volume;

    #[test]
    fn servers_get_their_address() {
        let options = |value: &str| data(&volume::filesystem(value).unwrap(), &Resolver::default());
        assert_eq!(options("a,type=nfs,src=10.0.0.1:/x,opts=vers=3|nolock").unwrap(), "vers=3,nolock,addr=10.0.0.1");
        assert_eq!(options("a,type=nfs4,src=[fd00::1]:/x").unwrap(), "addr=fd00::1");
        assert_eq!(options("a,type=nfs,src=no.such:/x,opts=addr=10.0.0.2").unwrap(), "addr=10.0.0.2");
        assert_eq!(options("a,type=cifs,src=//10.0.0.1/x/y,opts=guest").unwrap(), "guest,ip=10.0.0.1");
        assert_eq!(options("a,type=9p,src=tag,opts=trans=virtio").unwrap(), "trans=virtio");
        assert_eq!(options("a,type=nfs,src=no.such:/x").unwrap_err(), "no.such: no nameserver is known");
    }
}
