//! The consoles of the kernel's line (`console=`), and the kernel's list of those that are there (/proc/consoles).

use crate::boot::pure::cmdline::Word;
use std::ffi::CStr;

/// The names in `list` that have a character device, in the kernel's order: the first one is `/dev/console`.
pub fn with_device(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let device = |line: &[u8]| line.rsplit(|b| *b == b' ').next().is_some_and(|field| field.contains(&b':'));
    list.split(|b| *b == b'\n').filter(move |line| device(line)).map(name)
}

/// Whether the console `wanted` is in `list`.
pub fn is_listed(list: &[u8], wanted: &str) -> bool {
    list.split(|b| *b == b'\n').any(|line| name(line) == wanted.as_bytes())
}

fn name(line: &[u8]) -> &[u8] {
    line.split(|b| *b == b' ').next().unwrap_or_default()
}

/// `/dev/NAME`.
pub fn device_path<'a>(name: &[u8], path: &'a mut [u8]) -> Option<&'a CStr> {
    const DEV: &[u8] = b"/dev/";
    path.get_mut(..DEV.len())?.copy_from_slice(DEV);
    path.get_mut(DEV.len()..)?.get_mut(..name.len())?.copy_from_slice(name);
    CStr::from_bytes_until_nul(path).ok()
}

/// The consoles that the kernel's line names, each once, as they are called in the kernel's list: `ttyS0,115200` and
/// `0` are `ttyS0` (Linux, printk.c, console_setup).
pub fn named(words: &[Word]) -> Vec<String> {
    let mut names = Vec::new();
    for word in words.iter().filter(|word| word.key == "console") {
        let name = word.value.as_deref().and_then(listed_name);
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// None for one that has no name of its own: an early console by its address (`uart8250,io,0x3f8`), a device by its
/// place (`00:00:0.0`), and none at all (`null`).
fn listed_name(value: &str) -> Option<String> {
    let name = value.split(',').next().unwrap_or_default();
    if ["", "null", "ttynull", "brl"].contains(&name) || name.starts_with("uart") || name.contains(':') {
        return None;
    }
    let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let (kind, number) = name.split_at(digits);
    let kind = if kind.is_empty() { "ttyS" } else { kind };
    let number = number.find(|c: char| !c.is_ascii_digit()).map_or(number, |end| number.split_at(end).0);
    Some([kind, if number.is_empty() { "0" } else { number }].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::pure::cmdline;

    const LIST: &[u8] = b"hvc0                 -W- (EC p  )  229:0\n\
        ttyS1                -W- (E  p a)    4:65\n\
        netcon0              -W- (E     )\n\
        earlyvga0            -W- (E B   )\n";

    #[test]
    fn the_list_of_the_kernel() {
        assert_eq!(with_device(LIST).collect::<Vec<_>>(), [&b"hvc0"[..], b"ttyS1"]);
        assert!(is_listed(LIST, "netcon0") && !is_listed(LIST, "ttyS0") && !is_listed(LIST, "hvc"));
        assert_eq!(with_device(b"").count(), 0);
        assert_eq!(device_path(b"hvc0", &mut [0; 16]).unwrap(), c"/dev/hvc0");
        assert_eq!(device_path(b"hvc0", &mut [0; 9]), None);
    }

    #[test]
    fn names_of_the_kernels_line() {
        let line = br#"console=tty0 console=ttyS0,115200n8 "console=hvc0" console=ttyS0 xconsole=x console=1
            console=uart8250,io,0x3f8 console=null console= console console=00:00:0.0 console=ttyAMA,9600
            console=brl,ttyS0 b2c.run="img console=lp0""#;
        let names = named(&cmdline::parse(line).unwrap());
        assert_eq!(names, ["tty0", "ttyS0", "hvc0", "ttyS1", "ttyAMA0"]);
    }
}
