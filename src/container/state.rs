//! The state of a running container that has a `--name`: what others may share with it, recorded in its directory of
//! the store and removed with that.

use crate::container::pure::spec::{Mount, Source, VolumesFrom};
use crate::files;
use crate::report::{Failure, Hint, Outcome};
use crate::store::layers::Store;
use crate::sys::io_text;
use std::fs;
use std::path::{Path, PathBuf};

const FILE: &str = "named";

/// A running container as others find it.
pub struct State {
    /// Its directory of the store.
    pub dir: PathBuf,
    pub pid: u32,
    /// Its volumes, each as a path of the host.
    pub volumes: Vec<Mount>,
}

/// Records what others may share; `volumes` are source, target, and whether it is read-only there.
pub fn record(dir: &Path, name: &str, pid: i32, volumes: &[(String, String, bool)]) -> Outcome<()> {
    let mut fields = vec![name.to_string(), pid.to_string()];
    for (source, target, read_only) in volumes {
        fields.extend([source.clone(), target.clone(), if *read_only { "ro" } else { "rw" }.into()]);
    }
    // A path may hold anything but a NUL.
    let made = dir.join("named.new");
    let written = fs::write(&made, fields.join("\0")).and_then(|()| fs::rename(&made, dir.join(FILE)));
    written.map_err(|error| Failure::new("container", ["--name ", name, ": ", &io_text(&error)].concat()))
}

const NO_CONTAINER: Hint = Hint {
    at_boot: "start one with that --name before, for example by b2c.run_service=",
    on_host: "start one with that --name before",
};

/// The running container of that name.
pub fn find(store: &Store, name: &str) -> Option<State> {
    files::entries(&store.containers()).into_iter().find_map(|dir| read(dir, name))
}

/// As [`find`], where `flag` needs one.
pub fn expect(store: &Store, flag: &str, name: &str) -> Outcome<State> {
    find(store, name).ok_or_else(|| {
        let failure = Failure::new("container", [flag, ": no running container is named '", name, "'"].concat());
        failure.hint_of(Some(NO_CONTAINER))
    })
}

fn read(dir: PathBuf, name: &str) -> Option<State> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    let mut fields = text.split('\0');
    if fields.next()? != name {
        return None;
    }
    let pid: u32 = fields.next()?.parse().ok()?;
    // A killed program may have left its directory behind.
    if !Path::new("/proc").join(pid.to_string()).exists() {
        return None;
    }
    let mut volumes = Vec::new();
    while let (Some(source), Some(target), Some(mode)) = (fields.next(), fields.next(), fields.next()) {
        let read_only = mode == "ro";
        volumes.push(Mount { read_only, ..Mount::plain(Source::Path(source.into()), target) });
    }
    Some(State { dir, pid, volumes })
}

/// The volumes of others for `--volumes-from`.
pub fn volumes_from(store: &Store, asked: &[VolumesFrom]) -> Outcome<Vec<Mount>> {
    let mut all = Vec::new();
    for VolumesFrom { container, read_only } in asked {
        let volumes = expect(store, "--volumes-from", container)?.volumes;
        all.extend(volumes.into_iter().map(|mount| Mount { read_only: read_only.unwrap_or(mount.read_only), ..mount }));
    }
    Ok(all)
}
