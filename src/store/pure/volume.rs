//! The values of `b2c.volume`.

use crate::disk::pure::filesystem::{checked, fields};
use crate::pure::suggest::suggest;

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// On which `b2c.filesystem`; otherwise it is kept with the images.
    pub filesystem: Option<String>,
    /// Removed at the end of the pipeline.
    pub expires: bool,
}

/// Keys of `b2c.volume` that are not supported yet and can be ignored: alone they do nothing.
const LATER: [&str; 6] = ["pull_on", "push_on", "overwrite", "remove", "preserve", "exclude"];
/// Keys that bring data in or results out.
const MIRRORS: [&str; 3] = ["mirror", "pull_from", "push_to"];
/// Keys that protect what is stored.
const SECRETS: [&str; 3] = ["encrypt_key", "fscrypt_key", "fscrypt_reset_key"];

/// `NAME[,filesystem=FS][,expiration=never|pipeline_end]`. What is known and not done goes to `later`, unless data
/// would be lost, or stored in the clear. For the same reason what is not known is an error.
pub fn volume(value: &str, later: &mut Vec<String>) -> Result<Volume, String> {
    let (name, rest) = fields(value)?;
    let mut volume = Volume { name: name.into(), filesystem: None, expires: false };
    let refused =
        |key: &str, why: &str| Err([name, ": ", key, " is not supported yet, and cannot be ignored: ", why].concat());
    for (key, value) in rest {
        match (key, value) {
            ("filesystem", name) => volume.filesystem = Some(checked(name)?.into()),
            ("expiration", "never") => volume.expires = false,
            ("expiration", "pipeline_end") => volume.expires = true,
            ("expiration", _) => return Err(["'", value, "' is not one of never, pipeline_end"].concat()),
            _ if LATER.contains(&key) => later.push(key.into()),
            _ if MIRRORS.contains(&key) => return refused(key, "take it out, and copy the data in a container"),
            _ if SECRETS.contains(&key) => {
                return refused(key, "take it out, and keep secrets in memory, without b2c.cache_device");
            }
            _ => return Err(unknown(key)),
        }
    }
    Ok(volume)
}

fn unknown(key: &str) -> String {
    // What follows another sign than `=` may be a secret.
    let end = key.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(key.len());
    let key = key.get(..end).unwrap_or_default();
    let mut known = ["filesystem", "expiration"].iter().chain(&LATER).chain(&MIRRORS).chain(&SECRETS).copied();
    match suggest(&mut known, key) {
        Some(near) if near == key => ["'", key, "': write = after it"].concat(),
        Some(near) => ["'", key, "' is not one of filesystem, expiration: did you mean ", near, "?"].concat(),
        None => ["'", key, "' is not one of filesystem, expiration"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: volume-names
    #[test]
    fn volumes() {
        let mut later = Vec::new();
        let volume =
            super::volume("perm,filesystem=share,pull_on=changes,overwrite,expiration=pipeline_end", &mut later);
        assert_eq!(volume, Ok(Volume { name: "perm".into(), filesystem: Some("share".into()), expires: true }));
        assert_eq!(later, ["pull_on", "overwrite"]);
        assert_eq!(super::volume("tmp", &mut later).map(|volume| volume.expires), Ok(false));
        for (value, start) in [
            ("a,expiration=soon", "'soon' is not one of never"),
            ("a,expiraton=never", "'expiraton' is not one of"),
            ("", "'' is not a name"),
            ("../etc", "'../etc' is not a name"),
            (".hidden", "'.hidden' is not a name"),
            ("a/b", "'a/b' is not a name"),
            ("a,filesystem=..", "'..' is not a name"),
        ] {
            assert!(super::volume(value, &mut later).unwrap_err().starts_with(start), "{value}");
        }
    }

    /// Each of them, and near misses of them: none is a volume without it.
    /// Promise: protecting-options
    /// Input: misspelt-options
    #[test]
    fn what_protects_or_delivers_is_never_left_out() {
        let told = |value: &str| super::volume(value, &mut Vec::new()).unwrap_err();
        for key in MIRRORS.iter().chain(&SECRETS) {
            for value in
                [format!("v,{key}=S"), format!("v,{key}"), format!("v,{key}="), format!("v,remove,{key}=a/b,preserve")]
            {
                let start = format!("v: {key} is not supported yet, and cannot be ignored: take it out");
                assert!(told(&value).starts_with(&start), "{value}: {}", told(&value));
            }
            let colon = format!("v,{key}:SECRET");
            assert_eq!(told(&colon), format!("'{key}': write = after it"));
        }
        for (key, near) in [
            ("fscript_key", "fscrypt_key"),
            ("fs_crypt_key", "fscrypt_key"),
            ("fscrypt_keys", "fscrypt_key"),
            ("encrypted_key", "encrypt_key"),
            ("mirrors", "mirror"),
            ("push-to", "push_to"),
            ("pull_form", "pull_from"),
        ] {
            let want = format!("'{key}' is not one of filesystem, expiration: did you mean {near}?");
            assert_eq!(told(&format!("v,{key}=SECRET")), want);
        }
        assert_eq!(told("v,secret=SECRET"), "'secret' is not one of filesystem, expiration");
        assert!(super::volume("v,push_on=changes,exclude=*.tmp", &mut Vec::new()).is_ok());
    }
}
