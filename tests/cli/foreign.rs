//! Directories that belong to somebody else, and stores that somebody else has written to.

use super::{images, snapshot, Ended, Host};
use std::ffi::CString;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PARTS: [&str; 11] = [
    "layers",
    "blobs",
    "compressed",
    "configs",
    "images",
    "tmp",
    "containers",
    "volumes",
    "empty",
    "empty/0",
    "empty/1",
];

/// The words after `--store`, and whether a command line can be read that has them.
fn ocinit(command: &str, store: &Path, words: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_ocinit"))
        .arg(command)
        .arg("--store")
        .arg(store)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ended = Ended::new(&output);
    println!("ocinit {command} --store {} {words:?}: {}\n{}", store.display(), ended.code, ended.err);
    ended
}

fn fifo(path: &Path) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o644) }, 0);
}

/// A home directory with names in it that a store has, too.
fn home(host: &Host) -> PathBuf {
    let home = host.dir.join("home");
    for part in PARTS {
        std::fs::create_dir_all(home.join(part).join("0/upper")).unwrap();
        std::fs::write(home.join(part).join("0/letter"), part).unwrap();
    }
    let canary = host.dir.join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("kept"), "kept").unwrap();
    symlink(&canary, home.join("layers/x")).unwrap();
    symlink(&canary, home.join("tmp/link")).unwrap();
    std::fs::create_dir(home.join(".tried")).unwrap();
    std::fs::write(home.join("tmp/0/pull.0"), "earlier-boot\nlayers/sha256:0\n").unwrap();
    fifo(&home.join("images/fifo"));
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    home
}

/// Promise: foreign-directories
#[test]
fn a_directory_of_somebody_else_stays_as_it_is() {
    let Some(host) = Host::new("somebody") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let (home, target) = (home(&host), host.dir.join("target"));
    std::fs::create_dir(&target).unwrap();
    let target = target.to_string_lossy().into_owned();
    let good: [(&str, &[&str]); 4] = [
        ("run", &[&image, "exit", "0"]),
        ("run", &["-v", "kept:/w", &image, "exit", "0"]),
        ("pull", &[&image]),
        ("mount", &[&image, &target]),
    ];
    let bad: [(&str, &[&str]); 8] = [
        ("run", &[]),
        ("run", &["--nonsense", &image]),
        ("run", &["--memory=much", &image]),
        ("run", &["--store"]),
        ("pull", &[&image, "another"]),
        ("pull", &["--pull=sometimes", &image]),
        ("mount", &[&image]),
        ("mount", &[&image, "/no/such/directory"]),
    ];
    let before = snapshot(&host.dir);
    for store in [&home, &host.dir, &home.join("tmp"), &home.join("tmp/0"), &home.join("images")] {
        for (command, words) in good {
            let ended = ocinit(command, store, words);
            let what = format!("FAIL store  {}: is not empty and has no file 'ocinit-store'", store.display());
            assert!(ended.code == 125 && ended.err.starts_with(&what), "{command} {words:?}: {}", ended.err);
            assert_eq!(snapshot(&host.dir), before, "{command} {words:?}");
        }
        for (command, words) in bad {
            assert_eq!(ocinit(command, store, words).code, 125, "{command} {words:?}");
            assert_eq!(snapshot(&host.dir), before, "{command} {words:?}");
        }
    }
    // A line that cannot be read makes no store either.
    for (command, words) in bad {
        assert_eq!(ocinit(command, &host.dir.join("new"), words).code, 125);
        assert_eq!(snapshot(&host.dir), before, "{command} {words:?}");
    }
}

/// Promise: foreign-directories
#[test]
fn what_becomes_a_store() {
    let Some(host) = Host::new("becomes") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let pull = |store: &Path| ocinit("pull", store, &[&image]);
    // A new file system, which everybody could look into.
    let new = host.dir.join("new");
    std::fs::create_dir_all(new.join("lost+found")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(pull(&new).code, 0);
    assert_eq!(std::fs::metadata(&new).unwrap().mode() & 0o7777, 0o700);
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(pull(&new).code, 0);
    assert_eq!(std::fs::metadata(&new).unwrap().mode() & 0o7777, 0o700);
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o720)).unwrap();
    assert!(pull(&new).err.contains("can be written to by others"));
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700)).unwrap();
    // One whose making was interrupted; and what is in it is ours.
    let cut = host.dir.join("cut");
    std::fs::create_dir_all(cut.join("tmp/7/left")).unwrap();
    std::fs::write(cut.join("ocinit-store"), "").unwrap();
    assert_eq!(pull(&cut).code, 0);
    assert_eq!(std::fs::read_to_string(cut.join("ocinit-store")).unwrap(), "1\n");
    assert_eq!(std::fs::read_dir(cut.join("tmp")).unwrap().count(), 0);
    // A later format, and no format at all.
    for (mark, why) in [("2\n", "is a store of a newer ocinit (format 2, not 1)"), ("x", "was not written by ocinit")] {
        std::fs::write(cut.join("ocinit-store"), mark).unwrap();
        let before = snapshot(&host.dir);
        let ended = pull(&cut);
        assert!(ended.code == 125 && ended.err.contains(why), "{}", ended.err);
        assert_eq!(snapshot(&host.dir), before);
    }
    std::fs::remove_file(cut.join("ocinit-store")).unwrap();
    symlink(new.join("ocinit-store"), cut.join("ocinit-store")).unwrap();
    assert!(pull(&cut).err.contains("was not written by ocinit"));
}

/// Each part of a store that has come from elsewhere, in all the ways in which it may not be what it should.
/// Promise: foreign-store
#[test]
fn parts_that_lead_elsewhere_are_refused_by_their_names() {
    let Some(host) = Host::new("parts") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["run", "-v", "kept:/w", &image, "exit", "0"]).code, 0);
    let elsewhere = host.dir.join("elsewhere");
    for part in PARTS {
        let (path, aside) = (host.store().join(part), host.dir.join("aside"));
        let refused = |why: &str| {
            let before = snapshot(&elsewhere);
            for (command, words) in [("run", &["-v", "kept:/w", &image, "exit", "0"][..]), ("pull", &[&image])] {
                let ended = ocinit(command, &host.store(), words);
                let what = format!("FAIL store  {}: '{part}' {why}", host.store().display());
                assert!(ended.code == 125 && ended.err.starts_with(&what), "{part}: {}", ended.err);
                assert_eq!(snapshot(&elsewhere), before, "{part}");
            }
        };
        // What is behind the link could well be a store's: with something half done, and what nobody holds.
        std::fs::rename(&path, &elsewhere).unwrap();
        if !part.starts_with("empty/") {
            std::fs::create_dir_all(elsewhere.join("0/kept")).unwrap();
        }
        symlink(&elsewhere, &path).unwrap();
        refused("is a symbolic link");
        std::fs::remove_file(&path).unwrap();
        fifo(&path);
        refused("is not a directory");
        std::fs::remove_file(&path).unwrap();
        if !part.starts_with("empty") {
            std::fs::remove_dir_all(elsewhere.join("0")).unwrap();
        }
        std::fs::rename(&elsewhere, &aside).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        refused("can be written to by others");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&path, Some(1234), Some(0)).unwrap();
        refused("belongs to user 1234");
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        if part == "empty" {
            std::fs::remove_dir(path.join("0/kept")).unwrap();
        }
        std::fs::remove_dir_all(&elsewhere).unwrap();
    }
    std::fs::write(host.store().join("empty/1/file"), "").unwrap();
    let ended = host.ocinit(&["run", &image, "exit", "0"]);
    assert!(ended.code == 125 && ended.err.contains("'empty/1' is not empty"), "{}", ended.err);
}

/// Names within a store: links of all kinds are not followed, and a FIFO does not block.
/// Promise: foreign-store
#[test]
fn names_that_lead_elsewhere_are_not_followed() {
    let Some(host) = Host::new("names") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["pull", &image]).code, 0);
    let elsewhere = host.dir.join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("0/kept")).unwrap();
    std::fs::write(elsewhere.join("file"), "kept").unwrap();
    let before = snapshot(&elsewhere);
    let store = |part: &str| host.store().join(part);
    let only = |part: &str| store(part).join(host.stored(part).first().unwrap());
    // Left by nobody of ours: removed, not followed, whatever it says.
    symlink(&elsewhere, store("tmp/8")).unwrap();
    symlink(&elsewhere, store("containers/8")).unwrap();
    for part in ["tmp/9", "containers/9"] {
        std::fs::create_dir(store(part)).unwrap();
        symlink(&elsewhere, store(part).join("root")).unwrap();
        fifo(&store(part).join("named"));
        fifo(&store(part).join("pull.fifo"));
        symlink(elsewhere.join("file"), store(part).join("pull.link")).unwrap();
        let name = only("images").file_name().unwrap().to_string_lossy().into_owned();
        let line = format!("earlier-boot\nimage {name} \nimage ../../elsewhere/file \nlayers/../../elsewhere\n");
        std::fs::write(store(part).join("pull.list"), line).unwrap();
    }
    let record = only("images");
    std::fs::remove_file(&record).unwrap();
    symlink(elsewhere.join("file"), &record).unwrap();
    assert_eq!(host.ocinit(&["run", &image, "exit", "0"]).code, 0);
    assert_eq!((host.left(), snapshot(&elsewhere)), (vec![], before.clone()));
    for part in ["images", "configs"] {
        let file = only(part);
        std::fs::remove_file(&file).unwrap();
        symlink(elsewhere.join("file"), &file).unwrap();
        assert_eq!(host.ocinit(&["pull", &image]).code, 0);
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file(), "{part}");
        std::fs::remove_file(&file).unwrap();
        fifo(&file);
        assert_eq!(host.ocinit(&["pull", &image]).code, 0);
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file(), "{part}");
        std::fs::write(&file, vec![b'x'; 5 << 20]).unwrap();
        assert_eq!(host.ocinit(&["pull", &image]).code, 0);
        assert!(std::fs::metadata(&file).unwrap().len() < 1 << 20, "{part}");
    }
    let layer = only("layers");
    std::fs::remove_dir_all(&layer).unwrap();
    symlink(&elsewhere, &layer).unwrap();
    let ended = host.ocinit(&["run", &image, "exit", "0"]);
    let name = layer.file_name().unwrap().to_string_lossy().into_owned();
    let why = format!("'layers/{name}' is a symbolic link, which is not followed");
    assert!(ended.code == 125 && ended.err.contains(&why), "{}", ended.err);
    std::fs::remove_file(&layer).unwrap();
    symlink(&elsewhere, store("volumes/x")).unwrap();
    let ended = host.ocinit(&["run", "-v", "x:/w", &image, "write", "/w/file", "changed"]);
    assert!(ended.code == 125 && ended.err.contains("x: 'x' is a symbolic link"), "{}", ended.err);
    // A lab's own mount in a volume's place is its own affair.
    std::fs::create_dir(store("volumes/mounted")).unwrap();
    let mounted = store("volumes/mounted");
    let mount = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&mounted).status().unwrap();
    let ended = host.ocinit(&["run", "-v", "mounted:/w", &image, "write", "/w/file", "there"]);
    let found = std::fs::read_to_string(mounted.join("file"));
    assert!(Command::new("umount").arg(&mounted).status().unwrap().success());
    assert!(mount.success() && ended.code == 0, "{}", ended.err);
    assert_eq!(found.unwrap(), "there\n");
    assert_eq!((host.left(), snapshot(&elsewhere)), (vec![], before));
}

/// What is mounted in the place of something left, or below it, is not emptied.
/// Promise: foreign-store
#[test]
fn mounts_are_not_crossed() {
    let Some(host) = Host::new("crossed") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["pull", &image]).code, 0);
    let places = ["containers/9", "tmp/8/upper/deep"].map(|place| host.store().join(place));
    for place in &places {
        std::fs::create_dir_all(place).unwrap();
        assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(place).status().unwrap().success());
        std::fs::write(place.join("kept"), "").unwrap();
    }
    let ended = host.ocinit(&["run", &image, "exit", "0"]);
    let kept = places.iter().filter(|place| place.join("kept").exists()).count();
    for place in &places {
        assert!(Command::new("umount").arg(place).status().unwrap().success());
    }
    assert_eq!((ended.code, kept), (0, 2), "{}", ended.err);
    assert!(ended.err.contains("containers/9: '9' is a mount point; it stays"), "{}", ended.err);
    assert!(ended.err.contains("tmp/8: device or resource busy; it stays"), "{}", ended.err);
    assert_eq!(host.ocinit(&["run", &image, "exit", "0"]).code, 0);
    assert_eq!(host.left(), Vec::<String>::new());
}

/// Where descriptors run out, a command says so, and makes no directories without end.
/// Promise: no-descriptors
#[test]
fn without_descriptors_it_ends_and_says_so() {
    let Some(host) = Host::new("descriptors") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    assert_eq!(host.ocinit(&["pull", &image]).code, 0);
    let mut codes = Vec::new();
    for files in 3..40 {
        let mut command = host.command(&["run", &image, "exit", "0"]);
        let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
        // SAFETY: one call that is safe between fork and exec; the struct is the closure's own.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let ended = Ended::new(&command.output().unwrap());
        if ended.err.contains("error while loading shared libraries") {
            continue;
        }
        assert!(ended.code == 0 || ended.code >= 125 && ended.err.contains("FAIL "), "{files}: {}", ended.err);
        // Removing takes descriptors, too: what stays for that is told, and is the next command's to remove.
        let told = ended.err.contains("containers/0: too many open files");
        let left = if told { vec!["0".to_string()] } else { vec![] };
        assert_eq!((host.left(), host.stored("tmp").len()), (left, 0), "{files} descriptors: {}", ended.err);
        codes.push(ended.code);
        assert_eq!(host.ocinit(&["pull", &image]).code, 0);
        assert_eq!(host.left(), Vec::<String>::new());
    }
    assert_eq!((codes.first(), codes.last()), (Some(&125), Some(&0)), "{codes:?}");
}

/// What every user of the host can reach of an image: no set-user-ID program, no device.
/// Promise: store-and-other-users
#[test]
fn users_of_the_host_reach_nothing_of_an_image() {
    let Some(host) = Host::new("reach") else { return };
    let image = host.layout("payload", images::payload(&host.payload));
    let target = host.dir.join("target");
    std::fs::create_dir(&target).unwrap();
    assert_eq!(host.ocinit(&["mount", &image, &target.to_string_lossy()]).code, 0);
    let mounts = host.mounts();
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    let [mount] = mounts.as_slice() else { panic!("{mounts:?}") };
    assert!(mount.contains(" ro,nosuid,nodev") || mount.contains(" rw,nosuid,nodev"), "{mount}");
    // By another user's own eyes.
    let [layer] = host.stored("layers").try_into().unwrap();
    let mut look = Command::new("ls");
    look.arg(host.store().join("layers").join(layer)).uid(1234).gid(1234);
    let output = look.output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("Permission denied"));
}
