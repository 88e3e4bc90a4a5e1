//! `ocinit-host boot` as a person starts it: a command after the image, from another directory.

use crate::lab::lab;
use crate::support::images;
use std::process::{Command, Stdio};

/// Promise: boot-from-anywhere
#[test]
fn a_command_after_an_image_of_this_host() {
    let Some(lab) = lab() else { return };
    let (layout, _) = images::write(&lab.dir, "of-this-host", images::payload(&lab.payload));
    let init = std::path::absolute(std::env::var("OCINIT_INIT").unwrap_or_else(|_| crate::lab::INIT.into())).unwrap();
    let boot = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocinit-host"));
        command.arg("boot").arg("--init").arg(&init).arg("--kernel").arg(std::path::absolute(&lab.kernel).unwrap());
        command.arg("--kernel-modules").arg(std::path::absolute(&lab.modules).unwrap());
        let output = command.args(words).current_dir("/").stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        println!("{words:?}\n{out}{err}");
        (output.status.success(), out)
    };
    let image = format!("oci:{}", layout.display());
    let (good, out) =
        boot(&["--memory", "300", &image, "args", "-x", "a b", "it's", "$HOME", "--", "b2c.hostname=there"]);
    assert!(good);
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    for line in ["[-x]", "[a b]", "[it's]", "[$HOME]"] {
        assert!(lines.contains(&line), "{line}");
    }
    assert!(out.contains("b2c.hostname=there") && out.contains("300 MB"));
    // The container's failure is the tool's, and a word that looks like one of our options is the container's.
    let (good, out) = boot(&[&image, "args", "--timeout", "1"]);
    assert!(good && out.contains("[--timeout]"), "{out}");
    assert!(!boot(&[&image, "exit", "3"]).0);
}
