//! `ocinit check`: reads the files, and has them checked.

use crate::boot::pure::check::{self, Checked};
use crate::boot::pure::extra_args::SIZE_MAX;
use crate::boot::pure::help::CHECK;
use crate::boot::pure::option_error::{EXTRA, SOURCES};
use crate::files;
use crate::report::{Failure, Outcome};
use crate::sys::{io_text, STDIN};
use std::fs::File;
use std::path::Path;

/// The largest source that is read, as at boot.
const LENGTH_MAX: u64 = 1 << 20;
/// The flags that name a file, in the order of [`SOURCES`].
const FLAGS: [&str; SOURCES.len()] = ["--file", "--cmdline", "--extra"];

/// Runs `check` with the words of its command line.
pub fn run(words: &[String]) -> Outcome<Checked> {
    let mut texts: [Option<Vec<u8>>; SOURCES.len()] = Default::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let (flag, value) = match word.split_once('=').filter(|(flag, _)| FLAGS.contains(flag)) {
            Some((flag, value)) => (flag, Some(value)),
            None => (word.as_str(), None),
        };
        let number = FLAGS.iter().position(|name| *name == flag);
        if number.is_none() && flag.starts_with("--") {
            return usage(&["no flag '", flag, "': only --file, --cmdline and --extra"].concat());
        }
        let text = match number {
            None => word.as_bytes().to_vec(),
            Some(_) => match value.or_else(|| rest.next().map(String::as_str)) {
                Some(path) => read(path, if number == Some(EXTRA) { SIZE_MAX } else { LENGTH_MAX })?,
                None => return usage(&[flag, ": its value is missing"].concat()),
            },
        };
        let place = texts.get_mut(number.unwrap_or(0)).filter(|place| place.is_none());
        match place {
            Some(place) => *place = Some(text),
            None => return usage("check takes one line: write single quotes around it"),
        }
    }
    if texts.iter().all(Option::is_none) {
        return usage("check takes a line, or --file FILE");
    }
    Ok(check::check(&texts))
}

fn usage<T>(what: &str) -> Outcome<T> {
    Err(Failure::new("usage", what).hint("ocinit check --help"))
}

/// A file, or standard input as `-`.
fn read(path: &str, size_max: u64) -> Outcome<Vec<u8>> {
    let bytes = match path {
        "-" => match STDIN.try_clone_to_owned().and_then(|fd| files::read_stream(&mut File::from(fd), size_max)) {
            Ok(bytes) => bytes.ok_or_else(|| files::too_large(size_max)),
            Err(error) => Err(io_text(&error)),
        },
        path => files::read(Path::new(path), size_max),
    };
    bytes.map_err(|why| Failure::new(CHECK, [path, ": ", &why].concat()))
}
