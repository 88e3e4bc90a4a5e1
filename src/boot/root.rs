//! The image as the machine's root (`b2c.root`): its overlay becomes `/`, and its own init process 1.
//!
//! The boot prepares everything beside the old root, and checks what can be checked, so that a mistake is told as that
//! of a container. Then it stops all processes and ends; PID 1 goes over to the new root and executes the init.

use crate::boot::pure::options::DEFAULT_HOSTNAME;
use crate::boot::{early_mounts, pid1, root_end, shutdown};
use crate::container::host_context::HostContext;
use crate::container::mount_target::MountTarget;
use crate::container::ops::{Builder, Op};
use crate::container::pure::etc_files;
use crate::container::pure::passwd::Identity;
use crate::container::pure::paths::{c_string, c_strings};
use crate::container::pure::process::{merge, starts_init, Environment, Process};
use crate::container::pure::program::{program, runs_on, Program, HEAD_BYTES};
use crate::container::pure::spec::{ContainerSpec, ImageVolumes};
use crate::container::{files, in_root, mounts};
use crate::disk::remove_tree;
use crate::image::pull::Image;
use crate::layer::overlay;
use crate::layer::packed::Layer;
use crate::report::{Failure, Outcome, Report};
use crate::store::layers::{Store, STORE};
use crate::sys::path::c_path;
use crate::sys::{fs as sysfs, handover, io_text, machine, mount, process, signal, Error, ENOENT};
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};

/// Where an image has its init, in the order of the kernel (init/main.c), which is also that of switch_root(8).
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/lib/systemd/systemd"];
/// What comes along from the old root, with all that is mounted below.
const KERNELS: [&str; 4] = ["proc", "sys", "dev", "run"];
const MODULES: &str = "/lib/modules";

/// A root that is prepared.
pub struct Root {
    /// What is told at the end.
    handing_over: String,
    /// Files of the old root that the new one uses.
    kept: Vec<PathBuf>,
    /// Nothing of the new root writes to the cache disk.
    cache_is_idle: bool,
}

/// Mounts the root of `image`, and finds out how its init starts. A root that fails is taken down again.
pub fn prepare(spec: &mut ContainerSpec, image: &Image, store: &Store, host: &HostContext) -> Outcome<Root> {
    let root = Path::new(pid1::NEW_ROOT);
    let prepared = mount_root(image, store, host.report).and_then(|()| fill_root(spec, image, root, host));
    let prepared = prepared.and_then(|(kept, is_idle)| {
        let process = process(spec, image, root, host)?;
        let path = init_path(&process, root)?;
        leave(&path, &process)?;
        let handing_over = [&spec.pull.image.shown(), ": handing over to ", &path].concat();
        Ok(Root { handing_over, kept, cache_is_idle: is_idle && store.is_durable() })
    });
    if prepared.is_err() {
        let _ = c_path(Path::new(pid1::PARTS)).and_then(|parts| mount::umount(&parts, mount::MNT_DETACH));
    }
    prepared
}

fn fail(what: &str, why: &str) -> Failure {
    Failure::new("root", [what, ": ", why].concat())
}

/// Mounts the overlay. What is written to it is in memory, in a tmpfs of its own, whatever the store is on: so a cache
/// disk can be made read-only, and is clean however the machine ends.
fn mount_root(image: &Image, store: &Store, report: &Report) -> Outcome<()> {
    let parts = Path::new(pid1::PARTS);
    let made = fs::create_dir_all(parts).map_err(|error| io_text(&error)).and_then(|()| {
        c_path(parts)
            .and_then(|parts| mount::mount(c"root", &parts, c"tmpfs", 0, c"mode=755"))
            .map_err(|error| error.to_string())
    });
    made.and_then(|()| {
        let make = |name: &str| fs::create_dir(parts.join(name));
        let made = make("upper").and_then(|()| make("work")).and_then(|()| make("root"));
        // overlayfs needs a lower layer, where the image has none.
        made.and_then(|()| symlink(store.empty(), parts.join("empty"))).map_err(|error| io_text(&error))
    })
    .map_err(|why| fail(pid1::PARTS, &why))?;
    let mounted = overlay::mount_writable(&image.layers, parts, 0, report);
    mounted.map(drop).map_err(|error| fail("overlay", &error.text).hint_of(error.hint))
}

/// Puts the files of `/etc`, the kernel's file systems, the volumes and the modules into the root. The answer is what
/// the root uses of the old one, and whether nothing of it writes to the store's disk.
fn fill_root(
    spec: &mut ContainerSpec,
    image: &Image,
    root: &Path,
    host: &HostContext,
) -> Outcome<(Vec<PathBuf>, bool)> {
    etc(spec, root, host)?;
    spec.files.image_volumes = ImageVolumes::Ignored;
    let identity = Identity { uid: 0, gid: 0, groups: Vec::new(), home: None };
    let dir = Path::new(pid1::PARTS);
    let target = MountTarget { root, dir, volumes: host.volumes, identity: &identity, report: host.report };
    let mut mounts = mounts::prepare(&spec.files, &[], &[], &target)?;
    if spec.files.read_only {
        // The machine's own is writable anyway.
        mounts.take("run");
    }
    let sources = std::mem::take(&mut mounts.volumes);
    let mut ops: Vec<Op> = KERNELS.iter().map(|path| bind(path)).collect();
    ops.extend(mounts.rest());
    apply(root, &ops)?;
    // The new root's own mounts hold them.
    std::mem::forget(mounts);
    let device = |path: &str| fs::metadata(path).ok().map(|meta| meta.dev());
    let store = device(STORE);
    let is_idle = sources.iter().all(|(source, _, read_only)| *read_only || device(source) != store);
    let layers = image.layers.iter().map(|layer| match layer {
        Layer::Directory(path) | Layer::Blob(path) => path.clone(),
    });
    let volumes = sources.iter().map(|(source, ..)| source.into());
    let kept = layers.chain(volumes).chain(offer_modules(root)?).collect();
    if spec.files.read_only {
        let remounted = c_path(root).and_then(|root| mount::remount(&root, mount::MS_RDONLY));
        remounted.map_err(|error| fail("--read-only", &error.to_string()))?;
    }
    Ok((kept, is_idle))
}

/// A directory of the old root, with all that is mounted below, at the same place of the new one.
fn bind(path: &str) -> Op {
    let (is_directory, recursive, flags) = (true, true, None);
    let propagation = mount::MS_PRIVATE | mount::MS_REC;
    Op::Bind {
        source: c_string(&["/", path].concat()),
        path: c_string(path),
        is_directory,
        recursive,
        flags,
        propagation,
    }
}

/// Puts the initramfs's modules where the image has none for this kernel. The answer is their directory, if they are
/// used.
fn offer_modules(root: &Path) -> Outcome<Option<PathBuf>> {
    let release = machine::kernel_release().map_err(|error| fail("modules", &error.to_string()))?;
    let modules = [MODULES, "/", &release].concat();
    if has(root, &modules, sysfs::S_IFDIR) || !Path::new(&modules).is_dir() {
        return Ok(None);
    }
    apply(root, &[bind(modules.trim_start_matches('/'))])?;
    index_modules(root, &release, &modules);
    Ok(Some(modules.into()))
}

/// The initramfs's modules have the indexes in text, which busybox and we read, and not those that udev and kmod read:
/// the image's own depmod(8) makes these. Without it, or where it fails, modules are not found by their devices.
fn index_modules(root: &Path, release: &str, modules: &str) {
    const DEPMOD: &str = "/sbin/depmod";
    let is_indexed = has(root, &[modules, "/modules.dep.bin"].concat(), sysfs::S_IFREG);
    if is_indexed
        || !has(root, &[modules, "/modules.dep"].concat(), sysfs::S_IFREG)
        || !has(root, DEPMOD, sysfs::S_IFREG)
    {
        return;
    }
    let arguments = [c_string(DEPMOD), c_string(release)];
    let (arguments, environment) = (process::Arguments::new(&arguments), process::Arguments::new(&[]));
    let child = process::fork(&mut || {
        // It warns of files that the initramfs does not have.
        if let Ok(null) = sysfs::openat(sysfs::CWD, c"/dev/null", sysfs::O_RDWR, 0) {
            for number in 0..3 {
                let _ = process::dup_onto(null.as_fd(), number);
            }
        }
        process::close_all_but(&[]);
        signal::reset();
        if process::chdir(&c_string(pid1::NEW_ROOT)).and_then(|()| process::chroot(c".")).is_ok() {
            process::exec(&c_string(DEPMOD), &arguments, &environment);
        }
        127
    });
    // Its result shows where a module is not found.
    let _ = child.and_then(process::wait);
}

fn apply(root: &Path, ops: &[Op]) -> Outcome<()> {
    let top = in_root::open_below(root, c".", sysfs::O_PATH).map_err(|error| fail("/", &error.to_string()))?;
    let mut tree = Builder::new(top.as_fd());
    ops.iter().try_for_each(|op| {
        tree.apply(op).map_err(|error| fail(&["/", &op.path().to_string_lossy()].concat(), &error.to_string()))
    })
}

/// Whether the image has a file of this kind there.
fn has(root: &Path, path: &str, kind: u32) -> bool {
    let stat =
        in_root::open_below(root, &c_string(path), sysfs::O_PATH).and_then(|file| sysfs::statat(file.as_fd(), c""));
    stat.is_ok_and(|stat| stat.is(kind))
}

/// What a container always gets in `/etc`, a machine gets where it has nothing of its own, or where it was asked for.
fn etc(spec: &ContainerSpec, root: &Path, host: &HostContext) -> Outcome<()> {
    let files = &spec.files;
    let hostname = spec.process.hostname.as_deref();
    if let Some(name) = hostname {
        early_mounts::set_hostname(name, host.report);
    }
    let asks_name = hostname.is_some() || host.hostname != DEFAULT_HOSTNAME;
    let name = [hostname.unwrap_or(host.hostname), "\n"].concat();
    let dns = &files.dns;
    let asks_dns = !(dns.servers.is_empty() && dns.search.is_empty() && dns.options.is_empty());
    let own = files::read_text(root, c"etc/hosts").unwrap_or_default();
    let texts = [
        (c"hostname", asks_name, name),
        (c"resolv.conf", asks_dns, etc_files::resolv_conf(&host.resolv_conf, dns)),
        (c"hosts", !files.hosts.is_empty(), etc_files::hosts(&own, &files.hosts, None, &[])),
    ];
    for (file, is_asked, text) in texts {
        let is_own = file == c"resolv.conf" && dns.none || file == c"hosts" && files.no_hosts;
        if !is_own && (is_asked || is_vacant(root, file)) {
            write_etc(root, file, text.as_bytes())?;
        }
    }
    if let Some(zone) = &spec.process.time_zone {
        if let Some(bytes) = files::localtime(root, zone)? {
            write_etc(root, c"localtime", &bytes)?;
        }
    }
    // By this file, which docker export leaves, systemd believes to be in a container.
    let _ = fs::remove_file(root.join(".dockerenv"));
    Ok(())
}

/// A new file in `/etc`. Whatever the image has there is replaced and never followed.
fn write_etc(root: &Path, file: &CStr, bytes: &[u8]) -> Outcome<()> {
    let write = || -> Result<(), Error> {
        let top = in_root::open_below(root, c".", sysfs::O_RDONLY)?;
        // Its error shows at the open below.
        let _ = sysfs::mkdirat(top.as_fd(), c"etc", 0o755);
        let etc = in_root::open(top.as_fd(), c"etc", sysfs::O_PATH | sysfs::O_DIRECTORY)?;
        match sysfs::unlinkat(etc.as_fd(), file) {
            Err(error) if error.errno != ENOENT => return Err(error),
            _ => {}
        }
        let flags = sysfs::O_CREAT | sysfs::O_EXCL | sysfs::O_NOFOLLOW | sysfs::O_WRONLY;
        sysfs::write_all_at(sysfs::openat(etc.as_fd(), file, flags, 0o644)?.as_fd(), bytes, 0)
    };
    write().map_err(|error| fail(&["/etc/", &file.to_string_lossy()].concat(), &error.to_string()))
}

/// Whether the image has no such file in `/etc`, or an empty one, as image builders leave where they have mounted their
/// own. A symbolic link is of a service that makes the file.
fn is_vacant(root: &Path, file: &CStr) -> bool {
    let path = c_string(&["etc/", &file.to_string_lossy()].concat());
    match in_root::open_below(root, &path, sysfs::O_PATH | sysfs::O_NOFOLLOW) {
        Ok(found) => sysfs::statat(found.as_fd(), c"").is_ok_and(|stat| stat.is(sysfs::S_IFREG) && stat.size == 0),
        Err(error) => error.errno == ENOENT,
    }
}

/// The init with its arguments and environment: the words after the image, else the image's own entry point and command
/// if they start an init, else the first of [`INITS`] that the image has.
fn process(spec: &mut ContainerSpec, image: &Image, root: &Path, host: &HostContext) -> Outcome<Process> {
    let none = || {
        let what = ["the image has no init: none of ", &INITS.join(", ")].concat();
        Failure::new("root", what).hint("write its path after the image, or run the image by b2c.run")
    };
    if spec.process.entrypoint.is_none() {
        if !spec.command.is_empty() {
            spec.process.entrypoint = Some(std::mem::take(&mut spec.command));
        } else if !starts_init(&image.config) {
            let found = INITS.iter().find(|path| has(root, path, sysfs::S_IFREG)).ok_or_else(none)?;
            spec.process.entrypoint = Some(vec![found.to_string()]);
        }
    }
    let files = files::env_files(&spec.process.env_files)?;
    let env = Environment { extra: &host.env, own: &host.own_env, files: &files, hostname: "", is_machine: true };
    let process = merge(&image.config, spec, &env).ok_or_else(none)?;
    for warning in spec.warnings.iter().chain(&process.warnings) {
        host.report.warn("root", warning);
    }
    Ok(process)
}

/// Where the init is, once it is known that the kernel can execute it: after the old root is gone, nobody can tell.
fn init_path(process: &Process, root: &Path) -> Outcome<String> {
    let name = process.arguments.first().map(String::as_str).unwrap_or_default();
    let candidates = process.candidates();
    let path = candidates.iter().find(|path| has(root, path, sysfs::S_IFREG)).map_or(name, String::as_str);
    let opened = in_root::open_below(root, c".", sysfs::O_PATH).map_err(|error| error.to_string());
    let checked = opened.and_then(|root| check(root.as_fd(), path.as_bytes(), INTERPRETERS_MAX));
    checked.map(|()| path.into()).map_err(|why| {
        fail(&["init ", path].concat(), &why)
            .hint("it has to be a program of the image, and for this machine's processor")
    })
}

/// How many interpreters of interpreters the kernel follows (Linux, fs/exec.c).
const INTERPRETERS_MAX: u32 = 5;

/// Checks that the kernel can execute `path`.
fn check(root: BorrowedFd<'_>, path: &[u8], depth: u32) -> Result<(), String> {
    let path = c_string(&String::from_utf8_lossy(path));
    let text = |error: crate::sys::Error| match error.errno {
        ENOENT => "the image has no such file".into(),
        _ => error.to_string(),
    };
    let stat = in_root::open(root, &path, sysfs::O_PATH).and_then(|file| sysfs::statat(file.as_fd(), c""));
    let stat = stat.map_err(text)?;
    if !stat.is(sysfs::S_IFREG) || stat.mode & 0o111 == 0 {
        return Err("a directory, or a file without the x bit".into());
    }
    let mut head = vec![0; HEAD_BYTES];
    let length = in_root::open(root, &path, sysfs::O_RDONLY | sysfs::O_NONBLOCK)
        .and_then(|file| sysfs::pread(file.as_fd(), &mut head, 0))
        .map_err(text)?;
    let needs = |what: &str, path: &[u8]| {
        let checked = if depth == 0 { Err("too many".into()) } else { check(root, path, depth - 1) };
        checked.map_err(|why| ["its ", what, " ", &String::from_utf8_lossy(path), ": ", &why].concat())
    };
    match program(head.get(..length).unwrap_or_default()) {
        Program::Script(interpreter) => needs("interpreter", interpreter),
        Program::Elf { machine, .. } if !runs_on(machine, own_machine()) => {
            Err(["a program for another processor (ELF machine ", &machine.to_string(), ")"].concat())
        }
        Program::Elf { loader: Some(loader), .. } => needs("loader", loader),
        Program::Elf { .. } => Ok(()),
        Program::Unknown => Err("neither an ELF program nor a script".into()),
    }
}

/// elf(5), `e_machine`, of this program.
fn own_machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "x86" => 3,
        "aarch64" => 183,
        "arm" => 40,
        "riscv64" | "riscv32" => 243,
        _ => 0,
    }
}

/// Leaves path, arguments and environment where PID 1 finds them.
fn leave(path: &str, process: &Process) -> Outcome<()> {
    let left = handover::leave(&c_string(path), &c_strings(&process.arguments), &c_strings(&process.env));
    left.map_err(|error| {
        fail(&["init ", path].concat(), &error.to_string()).hint("its arguments and its environment may have 1 MiB")
    })
}

/// Stops all processes, frees the old root, and ends this process: PID 1 then goes over to the new root.
pub fn hand_over(root: &Root, report: &Report) -> ! {
    shutdown::stop_processes();
    early_mounts::set_rcu_expedited(false);
    // An init mounts the control groups as it wants them.
    early_mounts::switch_controllers("-");
    let _ = c_path(&Path::new(pid1::NEW_ROOT).join("sys/fs/cgroup")).and_then(|groups| mount::umount(&groups, 0));
    if root.cache_is_idle {
        if let Err(error) = c_path(Path::new(STORE)).and_then(|store| mount::remount_read_only(&store)) {
            report.warn("root", format_args!("the cache stays writable: {STORE}: {error}"));
        }
    }
    root_end::install();
    report.end_section();
    report.line("root", &root.handing_over);
    shutdown::drain_console();
    if early_mounts::has_left() {
        let _ = mount::umount(c"/init", mount::MNT_DETACH);
        // The initramfs's own file system has the modules, and stays below for ever.
        for top in ["/", MODULES].map(Path::new) {
            if let Ok(meta) = fs::metadata(top) {
                free(top, meta.dev(), &root.kept);
            }
        }
    }
    process::exit(pid1::HAND_OVER)
}

/// Removes what is in `dir` on the file system `device` but `kept`: the memory is the machine's. What cannot be removed
/// stays.
fn free(dir: &Path, device: u64, kept: &[PathBuf]) {
    for path in crate::files::entries(dir) {
        // A cache disk that is mounted there is not ours to empty.
        let is_other = fs::symlink_metadata(&path).map_or(true, |meta| meta.dev() != device);
        if is_other || kept.iter().any(|kept| path.starts_with(kept)) {
            continue;
        }
        if kept.iter().any(|kept| kept.starts_with(&path)) {
            free(&path, device, kept);
        } else {
            let _ = remove_tree::tree(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn checked(root: &Path, path: &str) -> Result<(), String> {
        let root = fs::File::open(root).unwrap();
        check(root.as_fd(), path.as_bytes(), INTERPRETERS_MAX)
    }

    /// Promise: root-refused
    #[test]
    fn an_init_that_the_kernel_could_not_execute() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let make = |name: &str, mode: u32, bytes: &[u8]| {
            fs::write(root.join(name), bytes).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        let own = fs::read("/proc/self/exe").unwrap();
        let Program::Elf { loader: Some(loader), .. } = program(&own[..HEAD_BYTES]) else { panic!("no loader") };
        let loader = String::from_utf8(loader.to_vec()).unwrap();
        make("init", 0o755, &own);
        assert_eq!(checked(root, "/init"), Err(["its loader ", &loader, ": the image has no such file"].concat()));
        let place = root.join(loader.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let mut fixed = own[..HEAD_BYTES].to_vec();
        // Without program headers it is as a static program.
        fixed[56..58].fill(0);
        fs::write(&place, &fixed).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        // By an absolute link, which leads to the host's outside of the root.
        symlink("/init", root.join("link")).unwrap();
        symlink("/bin/sh", root.join("dangling")).unwrap();
        make("static", 0o755, &fixed);
        make("script", 0o755, b"#!/link -x\n");
        make("no-shell", 0o755, b"#!/bin/sh\n");
        make("circle", 0o755, b"#!/circle\n");
        make("text", 0o755, b"exec /init\n");
        make("plain", 0o644, &fixed);
        let mut foreign = fixed.clone();
        foreign[18..20].copy_from_slice(&8u16.to_le_bytes());
        make("foreign", 0o755, &foreign);
        fs::create_dir(root.join("directory")).unwrap();
        for good in ["/init", "/link", "/static", "/script", "init"] {
            assert_eq!(checked(root, good), Ok(()), "{good}");
        }
        let circle = ["its interpreter /circle: "; 6].concat() + "too many";
        for (bad, why) in [
            ("/missing", "the image has no such file"),
            ("/dangling", "the image has no such file"),
            ("/no-shell", "its interpreter /bin/sh: the image has no such file"),
            ("/circle", &circle),
            ("/text", "neither an ELF program nor a script"),
            ("/plain", "a directory, or a file without the x bit"),
            ("/directory", "a directory, or a file without the x bit"),
            ("/foreign", "a program for another processor (ELF machine 8)"),
        ] {
            assert_eq!(checked(root, bad), Err(why.into()), "{bad}");
        }
    }

    #[test]
    fn what_is_kept_of_the_old_root() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["store/layers/a/x", "store/layers/b", "store/tmp", "user/data/deep", "other"] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("file"), "").unwrap();
        }
        fs::write(at("init"), "").unwrap();
        let device = fs::metadata(dir.path()).unwrap().dev();
        let kept = [at("store/layers/a"), at("user/data"), at("nowhere")];
        // Another file system is left alone.
        free(dir.path(), device + 1, &kept);
        assert!(at("other/file").exists());
        free(dir.path(), device, &kept);
        for (name, is_left) in [
            ("store/layers/a/x/file", true),
            ("user/data/deep/file", true),
            ("store/layers/b", false),
            ("store/tmp", false),
            ("other", false),
            ("init", false),
        ] {
            assert_eq!(at(name).exists(), is_left, "{name}");
        }
        // All of it is a volume.
        free(dir.path(), device, &[PathBuf::from("/")]);
        assert!(at("user/data/deep/file").exists());
    }

    /// Promise: machine-root
    #[test]
    fn files_that_the_image_has_stay() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        assert!(is_vacant(dir.path(), c"hosts"));
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("hosts"), "::1 own\n").unwrap();
        fs::write(etc.join("hostname"), "").unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", etc.join("resolv.conf")).unwrap();
        let vacant = |file| is_vacant(dir.path(), file);
        assert_eq!([vacant(c"hosts"), vacant(c"hostname"), vacant(c"resolv.conf")], [false, true, false]);
        fs::create_dir(etc.join("localtime")).unwrap();
        assert!(!vacant(c"localtime") && vacant(c"none"));
    }
}
