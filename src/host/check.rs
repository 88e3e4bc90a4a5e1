//! What is checked of the files that become a part of an initramfs, by the code of the init itself: a mistake is told
//! where it is made, and not by a machine that does not boot.

use crate::boot::pure::cmdline::{self, UnmatchedQuote, Word};
use crate::boot::pure::option_error::{readable, Mistake};
use crate::boot::pure::options::{Config, OWN_FILE};
use crate::pure::scrub::clean;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::RootCertStore;

/// Checks that `pem` has certificates that a registry's can be checked by.
pub fn certificates(pem: &[u8]) -> Result<(), String> {
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    let all = found.len();
    let (good, _) = RootCertStore::empty().add_parsable_certificates(found);
    match (good, all, pem.first()) {
        (1.., ..) => Ok(()),
        (0, 0, Some(0x30)) => {
            Err("a certificate in DER: openssl x509 -inform der -in FILE -out FILE.pem makes it PEM".into())
        }
        (0, 0, _) if pem.contains(&0) => Err(["a text in UTF-16, or none", SAVE].concat()),
        (0, 0, _) => Err("holds no certificate in PEM".into()),
        _ => Err("holds no certificate that can be read".into()),
    }
}

const SAVE: &str = ": save it in UTF-8";

/// Reads options as the init reads them from the initramfs. The result is what it will warn of.
pub fn cmdline(file: &[u8]) -> Result<Vec<String>, String> {
    // With a byte order mark, UTF-16 is read as what it is. NULs at the end do no harm.
    let is_marked = file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]);
    let last = file.iter().rposition(|byte| *byte != 0).unwrap_or_default();
    if !is_marked && file.iter().take(last).any(|byte| *byte == 0) {
        return Err(["a text in UTF-16 without a byte order mark, or none", SAVE].concat());
    }
    warnings(cmdline::parse_file(file), 1)
}

/// The same of the kernel's line.
pub fn kernel_line(line: &str) -> Result<Vec<String>, String> {
    warnings(cmdline::parse(line.as_bytes()), 0)
}

/// The warnings of the source of this number, or all its errors, in a line each.
fn warnings(words: Result<Vec<Word>, UnmatchedQuote>, source: usize) -> Result<Vec<String>, String> {
    let mut mistakes = Vec::new();
    let mut sources = [Vec::new(), Vec::new()];
    sources[source] = readable(words, source, &mut mistakes);
    let (config, mistakes) = Config::collect(&sources, mistakes);
    let fatal = mistakes.iter().filter(|mistake| mistake.is_fatal());
    let told: Vec<String> = fatal.map(told).collect();
    if told.is_empty() {
        return Ok(config.warnings);
    }
    Err(told.join("\n"))
}

/// A mistake in one line: a word may have a line feed in it, or a password.
fn told(mistake: &Mistake) -> String {
    clean(&match mistake.hint.as_str() {
        "" => mistake.text.clone(),
        hint => format!("{}; {}", mistake.text, place(hint)),
    })
}

/// Where it is, without the name that the file has in the initramfs.
fn place(text: &str) -> String {
    text.replace(&format!(" of {}", OWN_FILE), "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Promise: build-checks
    #[test]
    fn certificates_and_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (key, pem) = (dir.path().join("key.pem"), dir.path().join("ca.pem"));
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=lab -days 9";
        let output =
            Command::new("openssl").args(words.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&pem).output();
        let output = output.expect("openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (key, pem) = (std::fs::read(key).unwrap(), std::fs::read(pem).unwrap());
        assert_eq!(certificates(&pem), Ok(()));
        assert_eq!(certificates(&[b"# lab\n", &key[..], &pem].concat()), Ok(()), "a bundle");
        assert_eq!(certificates(&["\u{feff}".as_bytes(), &pem].concat()), Ok(()), "an editor's habit");
        let utf16: Vec<u8> = pem.iter().flat_map(|byte| [*byte, 0]).collect();
        let damaged = String::from_utf8(pem.clone()).unwrap().replacen("MII", "MIA", 1).into_bytes();
        for (bytes, why) in [
            (key, "holds no certificate in PEM"),
            (b"".to_vec(), "holds no certificate in PEM"),
            ([&[0xff, 0xfe][..], &utf16].concat(), "a text in UTF-16, or none: save it in UTF-8"),
            (pem[..pem.len() / 2].to_vec(), "holds no certificate in PEM"),
            (b"\x30\x82\x01\x00".to_vec(), "a certificate in DER"),
            (damaged, "holds no certificate that can be read"),
        ] {
            let told = certificates(&bytes).unwrap_err();
            assert!(told.starts_with(why), "{told}: {why}");
        }
    }

    /// Promise: build-checks
    #[test]
    fn options_as_the_init_reads_them() {
        for good in [
            "",
            "# a comment, with a \" in it\nb2c.run=\"-ti alpine\"\r\nb2c.ntp_peer=auto\n",
            "\u{feff}b2c.cache_device=auto",
            "console=ttyS0",
            "b2c.run=alpine\n\0\0",
        ] {
            assert_eq!(cmdline(good.as_bytes()), Ok(Vec::new()), "{good}");
        }
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(cmdline(&utf16("\u{feff}b2c.run=alpine")), Ok(Vec::new()));
        for bad in [utf16("b2c.run=alpine"), utf16("b2c.run=alpine").split_off(1)] {
            let told = cmdline(&bad).unwrap_err();
            assert!(told.starts_with("a text in UTF-16 without a byte order mark, or none: save"), "{told}");
        }
        let warned = cmdline(b"b2c.run=alpine b2c.ntp_pere=auto").unwrap();
        assert!(warned.len() == 1 && warned[0].contains("b2c.ntp_peer"), "{warned:?}");
        let both = cmdline(b"b2c.onfail=x b2c.log=y").unwrap_err();
        assert_eq!(both.lines().count(), 2, "{both}");
        for (bad, why) in [
            ("b2c.run=\"-ti alpine", "an unmatched double quote: "),
            ("b2c.poweroff_delay=soon", "b2c.poweroff_delay"),
            ("b2c.run=\"--nmae x alpine\"", "--nmae is not a known flag: did you mean --name?"),
            ("b2c.contianer=alpine", "b2c.container"),
            ("b2c.onfail=explode", "b2c.onfail"),
        ] {
            let told = cmdline(bad.as_bytes()).expect_err(bad);
            assert!(told.contains(why) && !told.contains("/etc/ocinit"), "{told}: {why}");
        }
    }
}
