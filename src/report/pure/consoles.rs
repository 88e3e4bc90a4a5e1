//! The kernel's list of the consoles that are there (/proc/consoles).

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
