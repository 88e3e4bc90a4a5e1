//! The values of `b2c.volume`.

use crate::disk::pure::filesystem::{checked, fields};

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// On which `b2c.filesystem`; otherwise it is kept with the images.
    pub filesystem: Option<String>,
    /// Removed at the end of the pipeline.
    pub expires: bool,
}

/// Keys of `b2c.volume` that speak of mirrors and encryption.
const LATER: [&str; 12] = [
    "mirror",
    "pull_from",
    "push_to",
    "pull_on",
    "push_on",
    "overwrite",
    "remove",
    "preserve",
    "exclude",
    "encrypt_key",
    "fscrypt_key",
    "fscrypt_reset_key",
];

/// `NAME[,filesystem=FS][,expiration=never|pipeline_end]`. What is known and not
/// done goes to `later`.
pub fn volume(value: &str, later: &mut Vec<String>) -> Result<Volume, String> {
    let (name, rest) = fields(value)?;
    let mut volume = Volume { name: name.into(), filesystem: None, expires: false };
    for (key, value) in rest {
        match (key, value) {
            ("filesystem", name) => volume.filesystem = Some(checked(name)?.into()),
            ("expiration", "never") => volume.expires = false,
            ("expiration", "pipeline_end") => volume.expires = true,
            ("expiration", _) => return Err(["'", value, "' is not one of never, pipeline_end"].concat()),
            _ if LATER.contains(&key) => later.push(key.into()),
            _ => return Err(["'", key, "' is not one of filesystem, expiration"].concat()),
        }
    }
    Ok(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: volume-names
    #[test]
    fn volumes() {
        let mut later = Vec::new();
        let volume = super::volume("perm,filesystem=share,mirror=a/b,overwrite,expiration=pipeline_end", &mut later);
        assert_eq!(volume, Ok(Volume { name: "perm".into(), filesystem: Some("share".into()), expires: true }));
        assert_eq!(later, ["mirror", "overwrite"]);
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
}
