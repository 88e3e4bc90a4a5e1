//! What a machine wants of its modules: modprobe.d(5), modules-load.d(5), and words of the kernel's line.
//!
//! All becomes one text of lines as in modprobe.d, with single spaces: it is scanned, like the files of depmod(8).

use crate::kernel::pure::pattern::{alias_matches, same_name};

/// Appends the lines of a file of modprobe.d: joined where a backslash ends them, without comments.
pub fn add_file(conf: &mut String, file: &str) {
    for line in file.replace("\\\n", "").lines() {
        if !line.starts_with('#') {
            add_line(conf, &line.split_ascii_whitespace().collect::<Vec<_>>());
        }
    }
}

fn add_line(conf: &mut String, words: &[&str]) {
    let line = words.join(" ");
    // A value in quotes may have a line's end.
    if words.len() > 1 && !line.contains('\n') {
        conf.extend([&*line, "\n"]);
    }
}

/// The modules that a file of modules-load.d names, one a line.
pub fn names(file: &str) -> impl Iterator<Item = &str> {
    file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// Appends what the words of a kernel's line say: `modprobe.blacklist=A,B` and `module_blacklist=A,B` as `blacklist`
/// lines, `NAME.PARAM=VALUE` as `options`, as kmod does (the kernel itself reads the latter for built-in modules only).
/// The modules of `modules_load=A,B` go to `wanted`, as systemd reads it: `-` is `_`, and `rd.` may precede it.
/// In the initramfs's own `file` of options, what follows a `#` that begins a word is a comment up to the line's end.
pub fn add_cmdline(conf: &mut String, wanted: &mut String, line: &str, file: bool) {
    let mut rest = line.trim_start_matches('\u{feff}');
    while let Some(word) = next_word(&mut rest, file) {
        let bare = unquoted(word);
        let (key, value) = bare.split_once('=').unwrap_or((bare, ""));
        let is = |name| same_name(key, name);
        let (loads, lists) =
            (is("modules_load") || is("rd.modules_load"), is("modprobe.blacklist") || is("module_blacklist"));
        if loads || lists {
            for name in unquoted(value).split(',') {
                match loads {
                    true => wanted.extend([name, "\n"]),
                    false => add_line(conf, &["blacklist", name]),
                }
            }
        } else if let Some((module, _)) =
            key.split_once('.').filter(|(module, param)| !module.is_empty() && !param.is_empty() && *module != "b2c")
        {
            // The kernel removes quotes, those before the name too.
            let quote = if word.starts_with('"') { "\"" } else { "" };
            let param = word.get(quote.len() + module.len() + 1..).unwrap_or_default();
            add_line(conf, &["options", module, &[quote, param].concat()]);
        }
    }
}

fn unquoted(text: &str) -> &str {
    let text = text.strip_prefix('"').unwrap_or(text);
    text.strip_suffix('"').unwrap_or(text)
}

/// The next word of a kernel's line, with its quotes: white space between double quotes does not end it.
fn next_word<'a>(rest: &mut &'a str, comments: bool) -> Option<&'a str> {
    *rest = rest.trim_ascii_start();
    while comments && rest.starts_with('#') {
        *rest = rest.split_once('\n')?.1.trim_ascii_start();
    }
    let mut quoted = false;
    let end = rest.bytes().position(|byte| {
        quoted ^= byte == b'"';
        !quoted && byte.is_ascii_whitespace()
    });
    let (word, next) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
    *rest = next;
    (!word.is_empty()).then_some(word)
}

/// What follows `COMMAND MODULE` in the lines of `conf`. The module of `install` is a pattern.
fn lines_of<'a>(conf: &'a str, command: &'a str, module: &'a str) -> impl Iterator<Item = &'a str> {
    conf.lines().filter_map(move |line| {
        let line = line.strip_prefix(command)?.strip_prefix(' ')?;
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let same =
            same_name(name, module) || (command == "install" && alias_matches(name.as_bytes(), module.as_bytes()));
        same.then_some(rest)
    })
}

/// Whether no device and no alias loads the module; it can be loaded by its name.
pub fn is_blacklisted(conf: &str, module: &str) -> bool {
    lines_of(conf, "blacklist", module).next().is_some()
}

/// The module's options, in the order in which the kernel reads them: a later one overrides.
pub fn options(conf: &str, module: &str) -> String {
    lines_of(conf, "options", module).collect::<Vec<_>>().join(" ")
}

/// The command that stands in the place of loading the module.
pub fn install<'a>(conf: &'a str, module: &'a str) -> Option<&'a str> {
    lines_of(conf, "install", module).next()
}

/// Whether an `install` command does nothing: that is how modprobe.d says that a module is never loaded.
pub fn is_nothing(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default();
    matches!(program.rsplit('/').next().unwrap_or_default(), "true" | "false" | ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(file: &str) -> String {
        let mut conf = String::new();
        add_file(&mut conf, file);
        conf
    }

    fn of_line(line: &str, file: bool) -> (String, Vec<String>) {
        let (mut conf, mut wanted) = (String::new(), String::new());
        add_cmdline(&mut conf, &mut wanted, line, file);
        (conf, names(&wanted).map(String::from).collect())
    }

    /// Promise: modprobe-d
    #[test]
    fn a_file_of_modprobe_d() {
        let conf = of_file(
            "# blacklist a\nblacklist b\n\tblacklist\tc-d  # no comment here\r\noptions e  x=1 \\\n  y=2,\\\n3\n\
             options e z=3\nblacklist\n\ninstall f /bin/true\ninstall g /sbin/modprobe --ignore-install g\n\
             install usb* /usr/bin/false\nsoftdep h pre: i j post: k\nalias net-pf-3 off\nblacklistx l\noptions m",
        );
        let listed = |name| is_blacklisted(&conf, name);
        assert_eq!(["a", "b", "c_d", "c-d", "e", "x", "l"].map(listed), [false, true, true, true, false, false, false]);
        assert_eq!((options(&conf, "e").as_str(), options(&conf, "b").as_str()), ("x=1 y=2,3 z=3", ""));
        assert_eq!(options(&conf, "m"), "");
        let nothing = |name| install(&conf, name).map(is_nothing);
        assert_eq!(["f", "g", "usb_storage", "h"].map(nothing), [Some(true), Some(false), Some(true), None]);
        assert!(conf.contains("\nsoftdep h pre: i j post: k\n"), "{conf}");
        for (command, is) in
            [("/bin/true", true), (":", true), ("false --x", true), ("/sbin/true-ish", false), ("", false)]
        {
            assert_eq!(is_nothing(command), is, "{command}");
        }
    }

    /// Promise: modules-load
    #[test]
    fn a_file_of_modules_load_d() {
        let file = "# a\n; b\n\n  loop \r\nvirtio-rng\n#c\nbr_netfilter";
        assert_eq!(names(file).collect::<Vec<_>>(), ["loop", "virtio-rng", "br_netfilter"]);
        assert_eq!(names("").count() + names("#\n\n;").count(), 0);
    }

    /// Promise: modules-load, module-blacklist
    #[test]
    fn words_of_the_kernels_line() {
        let (conf, wanted) = of_line(
            "quiet modules_load=loop,dm-mod modprobe.blacklist=e1000e,igb module_blacklist=pcspkr rd.modules_load=a \
             modules-load=b,, \"modules_load=c,d\" modules_load modules_load= b2c.run=\"-ti x modules_load=no\" \
             xmodules_load=no e1000e.blacklist=1",
            false,
        );
        assert_eq!(wanted, ["loop", "dm-mod", "a", "b", "c", "d"]);
        assert_eq!(
            ["e1000e", "igb", "pcspkr", "loop"].map(|name| is_blacklisted(&conf, name)),
            [true, true, true, false]
        );
        let (_, wanted) =
            of_line("\u{feff}modules_load=a\r\n# modules_load=b \" c\n modules_load=c # modules_load=d", true);
        assert_eq!(wanted, ["a", "c"], "a file of the initramfs");
        assert_eq!(of_line("#x modules_load=a # modules_load=b", false).1, ["a", "b"], "the kernel has no comments");
    }

    /// As kmod does, which gives a module its parameters as they are.
    /// Promise: module-parameters
    #[test]
    fn parameters_of_the_kernels_line() {
        let line = "quiet virtio_net.napi_tx=1 b2c.run=x virtio-net.csum=0 virtio_net. other.a=1 .x=1 \
                    dyndbg.q=\"a b\" \"dyndbg.r=c d\" dyndbg.flag x.y.z=2";
        let (conf, _) = of_line(line, false);
        let of = |name| options(&conf, name);
        assert_eq!(of("virtio_net"), "napi_tx=1 csum=0");
        assert_eq!((of("dyndbg"), of("x")), ("q=\"a b\" \"r=c d\" flag".into(), "y.z=2".into()));
        assert_eq!((of("other"), of("b2c"), of("")), ("a=1".into(), "".into(), "".into()));
        let both = [of_file("options virtio_net csum=1\n"), conf].concat();
        assert_eq!(options(&both, "virtio-net"), "csum=1 napi_tx=1 csum=0", "the kernel's line comes last");
    }

    #[test]
    fn any_text_does_no_harm() {
        const PARTS: [&str; 16] = [
            "\"",
            "=",
            ".",
            "#",
            "\n",
            " ",
            "\\",
            "blacklist ",
            "options ",
            "modules_load=",
            "é",
            "a",
            ",",
            "install ",
            "*",
            "\u{feff}",
        ];
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(PARTS[(seed >> 28) as usize]);
            }
            let (mut conf, _) = of_line(&text, true);
            add_file(&mut conf, &text);
            let _ = (names(&text).count(), options(&conf, "a"), install(&conf, "a").map(is_nothing));
            assert!(conf.lines().all(|line| line.contains(' ')), "{text}");
        }
    }
}
