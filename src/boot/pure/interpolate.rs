//! `${mac}`, `${ip}`, `${uuid}` and `${serial}` in the values of options: what this machine is called by its hardware.

/// The names that have a value, and why one may have none.
const NAMES: [(&str, &str); 4] = [
    ("mac", "no wired interface is there"),
    ("ip", "no interface has an address"),
    ("uuid", "the firmware tells none (DMI)"),
    ("serial", "the firmware tells none (DMI, device tree)"),
];

/// What firmware holds where nobody has filled in a serial number.
const FILLERS: [&str; 9] = [
    "to be filled by o.e.m.",
    "default string",
    "system serial number",
    "serial number",
    "not specified",
    "not applicable",
    "unknown",
    "none",
    "n/a",
];

/// The longest value that is taken.
const VALUE_MAX: usize = 128;

/// How a value is written into a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Percent-encoded but for letters, digits and `-._~:`.
    Url,
    /// In letters, digits and `-`, for what else there is.
    HostName,
}

/// `text` with the values of its `${NAME}`; `value` is asked for each. A `$` without `{` is a letter like others.
pub fn expand(text: &str, form: Form, value: &mut dyn FnMut(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or("'${' without a '}'")?;
        let Some((name, why)) = NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(name));
        };
        let found = value(name).map(|found| written(&found, form)).filter(|found| !found.is_empty());
        out.push_str(&found.ok_or_else(|| ["${", name, "}: ", why].concat())?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// `text` with an example for each value, to check the rest of it before the values are known.
pub fn example(text: &str, form: Form) -> Result<String, String> {
    expand(text, form, &mut |_| Some("0".into()))
}

fn unknown(name: &str) -> String {
    // What stands there may be anything, a password too.
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len()).min(16);
    ["${", name.get(..end).unwrap_or_default(), "} is not one of ${mac}, ${ip}, ${uuid} and ${serial}"].concat()
}

fn written(value: &str, form: Form) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match form {
            _ if byte.is_ascii_alphanumeric() || byte == b'-' => out.push(byte.into()),
            Form::HostName => out.push('-'),
            Form::Url if b"._~:".contains(&byte) => out.push(byte.into()),
            Form::Url => crate::pure::percent::escape(byte, &mut out),
        }
    }
    match form {
        Form::Url => out,
        Form::HostName => out.trim_matches('-').into(),
    }
}

/// The value in what a file of the firmware holds: without blanks and NULs at its ends. None where it holds nothing, or
/// what the maker has left there.
pub fn of_firmware(file: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(file);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let is_filler =
        FILLERS.contains(&text.to_ascii_lowercase().as_str()) || text.bytes().all(|byte| b"0-. ".contains(&byte));
    (!is_filler && text.len() <= VALUE_MAX).then(|| text.into())
}

/// `52:54:00:12:34:56`: in lower case.
pub fn mac(bytes: [u8; 6]) -> String {
    let hex = |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    bytes.map(|byte| String::from_iter(hex(byte))).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> Option<String> {
        match name {
            "mac" => Some(mac([0x52, 0x54, 0, 0xAB, 0x34, 0x56])),
            "ip" => Some("fd00::7".into()),
            "serial" => of_firmware(b"AB 12/\xc3\xa9\n"),
            _ => None,
        }
    }

    /// Promise: interpolation
    #[test]
    fn values_are_written_for_their_place() {
        for (text, form, want) in [
            ("http://h/${mac}/x?i=${ip}", Form::Url, "http://h/52:54:00:ab:34:56/x?i=fd00::7"),
            ("http://h/${serial}", Form::Url, "http://h/AB%2012%2F%C3%A9"),
            ("dut-${mac}", Form::HostName, "dut-52-54-00-ab-34-56"),
            ("${ip}.lab", Form::HostName, "fd00--7.lab"),
            ("${serial}", Form::HostName, "AB-12"),
            ("a$mac $ {mac} $}", Form::Url, "a$mac $ {mac} $}"),
            ("", Form::Url, ""),
        ] {
            assert_eq!(expand(text, form, &mut |name| machine(name)).as_deref(), Ok(want), "{text}");
        }
    }

    /// Promise: interpolation
    #[test]
    fn what_has_no_value_is_an_error() {
        for (text, why) in [
            ("${uuid}", "${uuid}: the firmware tells none (DMI)"),
            ("x${hostname}", "${hostname} is not one of ${mac}, ${ip}, ${uuid} and ${serial}"),
            ("${MAC}", "${MAC} is not one of ${mac}, ${ip}, ${uuid} and ${serial}"),
            ("${}", "${} is not one of ${mac}, ${ip}, ${uuid} and ${serial}"),
            ("${u:SECRET}", "${u} is not one of ${mac}, ${ip}, ${uuid} and ${serial}"),
            ("${mac", "'${' without a '}'"),
        ] {
            assert_eq!(expand(text, Form::Url, &mut |name| machine(name)).unwrap_err(), why, "{text}");
        }
        let nothing_left = expand("${serial}", Form::HostName, &mut |_| Some("//".into()));
        assert_eq!(nothing_left.unwrap_err(), "${serial}: the firmware tells none (DMI, device tree)");
        assert_eq!(example("a-${serial}", Form::HostName).as_deref(), Ok("a-0"));
    }

    #[test]
    fn serial_numbers_that_are_none() {
        for none in
            ["", "\n", "\0", "Default string\n", "To Be Filled By O.E.M.", "None", "0000000", "00-00", &"x".repeat(129)]
        {
            assert_eq!(of_firmware(none.as_bytes()), None, "{none}");
        }
        assert_eq!(of_firmware(b"10000000abcdef01\0").as_deref(), Some("10000000abcdef01"));
        assert_eq!(of_firmware(&[0xff, b'x', b'\n']).as_deref(), Some("\u{fffd}x"));
    }
}
