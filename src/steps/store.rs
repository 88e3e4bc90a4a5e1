//! The store: complete layers by chain ID, image records, and what is half done.
//!
//! ```text
//! layers/HEX     one folder a layer, named by its chain ID (OCI image spec,
//!                config.md): what a layer's folder holds may depend on the
//!                layers below it (implied parents, hardlinks)
//! configs/HEX    image configurations by digest
//! images/NAME    image name → digest of its configuration
//! tmp/           what is being made: renamed when complete, removed at the start
//! containers/    upper and work folders of containers that run
//! ```

use crate::proto::digest::Digest;
use crate::report::{Failure, Outcome};
use crate::sys::machine;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// An open store.
pub struct Store {
    root: PathBuf,
    /// On a disk, what is complete must be there before its name is.
    durable: bool,
}

const FOLDERS: [&str; 5] = ["layers", "configs", "images", "tmp", "containers"];

impl Store {
    /// Opens the store in `root`, makes what is missing and, on a machine that
    /// is ours alone, removes what an earlier boot left half done.
    pub fn open(root: &Path, durable: bool, alone: bool) -> io::Result<Store> {
        if alone {
            for folder in ["tmp", "containers"] {
                remove(&root.join(folder))?;
            }
        }
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder))?;
        }
        Ok(Store { root: root.canonicalize()?, durable })
    }

    /// Opens the store of a machine that is ours alone.
    pub fn at_boot(root: &str, on_disk: bool) -> Outcome<Store> {
        Store::open(Path::new(root), on_disk, true)
            .map_err(|error| Failure::new("store", [root, ": ", &error.to_string()].concat()))
    }

    /// The folder of a complete layer.
    pub fn layer(&self, chain: &Digest) -> Option<PathBuf> {
        let path = self.root.join("layers").join(chain.hex());
        path.is_dir().then_some(path)
    }

    /// An empty folder for a layer in the making.
    pub fn begin_layer(&self, chain: &Digest) -> io::Result<PathBuf> {
        let path = self.temporary(&chain.hex());
        remove(&path)?;
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Makes the folder of [`Store::begin_layer`] a complete layer.
    pub fn commit_layer(&self, made: &Path, chain: &Digest) -> io::Result<PathBuf> {
        let path = self.root.join("layers").join(chain.hex());
        self.flush()?;
        match fs::rename(made, &path) {
            // Another process was faster; its layer is the same.
            Err(_) if path.is_dir() => remove(made)?,
            result => result?,
        }
        Ok(path)
    }

    /// Gives up the folder of [`Store::begin_layer`].
    pub fn abandon(&self, made: &Path) {
        // What stays is removed at the next start.
        let _ = remove(made);
    }

    pub fn config(&self, digest: &Digest) -> Option<Vec<u8>> {
        fs::read(self.root.join("configs").join(digest.hex())).ok()
    }

    pub fn put_config(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.write("configs", &digest.hex(), bytes)
    }

    /// The configuration's digest of the image that was last pulled as `name`.
    pub fn image(&self, name: &str) -> Option<Digest> {
        let text = fs::read_to_string(self.root.join("images").join(file_name(name)?)).ok()?;
        Digest::parse(text.trim_end()).ok()
    }

    pub fn put_image(&self, name: &str, config: &Digest) -> io::Result<()> {
        let Some(file) = file_name(name) else { return Ok(()) };
        self.write("images", &file, [&config.text(), "\n"].concat().as_bytes())
    }

    /// An empty folder for a container that runs, with `upper` and `work` in it.
    pub fn begin_container(&self) -> io::Result<PathBuf> {
        for number in 0..=u32::MAX {
            let path = self.root.join("containers").join(number.to_string());
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    for part in ["upper", "work", "root", "empty"] {
                        fs::create_dir(path.join(part))?;
                    }
                    return Ok(path);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Removes a container's folder.
    pub fn end_container(&self, path: &Path) -> io::Result<()> {
        remove(path)
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.root.join("tmp").join([name, ".", &std::process::id().to_string()].concat())
    }

    /// Whole or not at all.
    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let made = self.temporary(name);
        fs::write(&made, bytes)?;
        self.flush()?;
        fs::rename(&made, self.root.join(folder).join(name))
    }

    fn flush(&self) -> io::Result<()> {
        if self.durable {
            let root = File::open(&self.root)?;
            machine::syncfs(root.as_fd()).map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        }
        Ok(())
    }
}

/// An image's name as a file's: slashes have no place there. Names that are
/// too long for one are not recorded: such an image is pulled each time.
fn file_name(name: &str) -> Option<String> {
    let file = name.replace('%', "%25").replace('/', "%2F");
    (file.len() <= 200 && !file.starts_with('.')).then_some(file)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
