//! `ocinit pull` as a program, with a store of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The longest time limit of the product is a minute; a busy host may need longer.
const PATIENCE_S: &str = "150";

pub struct Client {
    pub dir: PathBuf,
    pub env: Vec<(&'static str, String)>,
}

/// How a pull ended.
#[derive(Debug)]
pub struct Pulled {
    pub code: i32,
    /// Its output and its messages.
    pub text: String,
}

impl Client {
    /// Unpacking layers takes root.
    pub fn new(name: &str) -> Option<Client> {
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            skip!("this takes root");
        }
        Some(Client { dir: super::scratch(name), env: Vec::new() })
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args([PATIENCE_S, env!("CARGO_BIN_EXE_ocinit"), "pull", "--store"]).arg(self.store()).args(words);
        // A proxy of the host is not for the tests.
        for name in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    pub fn pull(&self, words: &[&str]) -> Pulled {
        let output = self.command(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let pulled =
            Pulled { code: output.status.code().unwrap_or(-1), text: String::from_utf8_lossy(&text).into_owned() };
        println!("ocinit pull {words:?}: {}\n{}", pulled.code, pulled.text);
        pulled
    }

    /// A pull that has to succeed.
    pub fn done(&self, words: &[&str]) -> Pulled {
        let pulled = self.pull(words);
        assert_eq!(pulled.code, 0, "{words:?}: {}", pulled.text);
        pulled
    }

    /// A pull that has to fail with a message that contains `why`.
    pub fn refused(&self, words: &[&str], why: &str) -> Pulled {
        let pulled = self.pull(words);
        assert!(pulled.code == 125 && pulled.text.contains(why), "'{why}': {} {}", pulled.code, pulled.text);
        pulled
    }

    /// The names below a directory of the store.
    pub fn stored(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.store().join(directory)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}
