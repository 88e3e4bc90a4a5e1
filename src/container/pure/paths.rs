//! Paths in a container, by their words alone: no file is looked at.

use std::ffi::CString;

/// A string for the kernel; it ends at a NUL, should one be in it.
pub fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// The same of many.
pub fn c_strings(texts: &[String]) -> Vec<CString> {
    texts.iter().map(|text| c_string(text)).collect()
}

/// A path relative to the container's root: `.` is the root itself. Each `..` stays for the kernel to follow.
pub fn relative(path: &str) -> String {
    join(path.split('/').filter(|part| !part.is_empty() && *part != ".").collect())
}

/// As [`relative`], with each `..` taken together with the component before it.
pub fn below_root(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    join(parts)
}

fn join(parts: Vec<&str>) -> String {
    match parts.is_empty() {
        true => ".".into(),
        false => parts.join("/"),
    }
}

/// Every directory on the way to `path`, and `path` itself, relative to the root; the root is not among them.
pub fn directories(path: &str) -> Vec<CString> {
    let path = relative(path);
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.map(|end| path.get(..end).unwrap_or_default()).filter(|path| *path != ".").map(c_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_root() {
        for (path, kept, resolved) in [
            ("/a//b/./c/", "a/b/c", "a/b/c"),
            ("/", ".", "."),
            ("", ".", "."),
            ("/a/../b", "a/../b", "b"),
            ("/../..", "../..", "."),
        ] {
            assert_eq!((relative(path).as_str(), below_root(path).as_str()), (kept, resolved), "{path}");
        }
        assert_eq!(directories("/a/b//c"), [c_string("a"), c_string("a/b"), c_string("a/b/c")]);
        assert!(directories("/").is_empty());
        assert_eq!(c_string("a\0b"), c_string("a"));
    }
}
