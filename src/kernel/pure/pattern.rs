//! Names of modules, and the patterns of aliases.

/// Names are equal with `-` for `_`: files say `virtio-rng.ko`, the kernel `virtio_rng`.
pub fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| fold(a) == fold(b))
}

/// Whether the kernel's alias `pattern` (`*`, `?`, `[0-9a]`) matches all of
/// `modalias`; `-` and `_` are equal outside of brackets. An unclosed bracket
/// matches nothing. Time is bounded by the product of the lengths.
pub fn alias_matches(pattern: &[u8], modalias: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, modalias);
    // Where to continue when what follows the last star does not match.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            (None, None) => return true,
            (Some((head, rest)), Some((byte, after))) => {
                if let Some(rest) = step(*head, rest, *byte) {
                    (pattern, text) = (rest, after);
                    continue;
                }
            }
            _ => {}
        }
        // Only the last star is tried again: the shortest match of earlier ones is enough.
        let Some((rest, from)) = star else { return false };
        let Some((_, after)) = from.split_first() else { return false };
        star = Some((rest, after));
        (pattern, text) = (rest, after);
    }
}

/// Matches one byte against the pattern's element `head`; gives the rest of the pattern.
fn step(head: u8, rest: &[u8], byte: u8) -> Option<&[u8]> {
    match head {
        b'?' => Some(rest),
        b'[' => {
            let end = rest.iter().position(|b| *b == b']')?;
            let (set, after) = rest.split_at(end);
            set_has(set, byte).then(|| after.get(1..).unwrap_or(&[]))
        }
        _ => (fold(head) == fold(byte)).then_some(rest),
    }
}

/// `0-9a-f`, `abc`.
fn set_has(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

fn fold(byte: u8) -> u8 {
    if byte == b'-' {
        b'_'
    } else {
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_as_the_kernel_writes_them() {
        let virtio = b"pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00";
        assert!(alias_matches(b"pci:v00001AF4d*sv*sd*bc*sc*i*", virtio));
        assert!(!alias_matches(b"pci:v00008086d*sv*sd*bc*sc*i*", virtio));
        assert!(alias_matches(b"virtio:d00000001v*", b"virtio:d00000001v00001AF4"));
        assert!(!alias_matches(b"virtio:d00000001v*", b"virtio:d00000002v00001AF4"));
        assert!(alias_matches(b"usb:v0BDAp815[0-36]d*", b"usb:v0BDAp8153d3000"));
        assert!(alias_matches(b"usb:v0BDAp815[0-36]d*", b"usb:v0BDAp8156d3000"));
        assert!(!alias_matches(b"usb:v0BDAp815[0-36]d*", b"usb:v0BDAp8154d3000"));
        assert!(alias_matches(b"of:N*T*Cbrcm,bcm2711-genet-v5C*", b"of:NethernetT(null)Cbrcm,bcm2711_genet_v5Cx"));
        assert!(!alias_matches(b"mdio:0000000????1000*", b"mdio:00000001011000000"));
        assert!(alias_matches(b"mdio:0000000????1000*", b"mdio:00000001011100011"));
        assert!(alias_matches(b"*", b""));
        assert!(alias_matches(b"a*", b"a"));
        assert!(!alias_matches(b"a?", b"a"));
        assert!(!alias_matches(b"", b"a"));
        assert!(!alias_matches(b"a[0-9", b"a5"));
        assert!(alias_matches(b"*a*b", b"xaxbxaxb"));
    }

    #[test]
    fn many_stars_are_not_exponential() {
        let pattern = b"a*".repeat(200);
        let text = [b"a".repeat(4000), b"b".to_vec()].concat();
        assert!(alias_matches(&pattern, &text));
        assert!(!alias_matches(&[pattern, b"c".to_vec()].concat(), &text));
    }
}
