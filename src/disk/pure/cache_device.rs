//! The values of `b2c.cache_device`.

use crate::disk::pure::filesystem::is_name;

/// The label that `auto` looks for, as in boot2container.
const CACHE_LABEL: &str = "B2C_CACHE";

/// Where images are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheDevice {
    /// In memory.
    None,
    Label(String),
    /// `/dev/…`
    Path(String),
    /// A `b2c.filesystem`.
    FileSystem(String),
}

impl CacheDevice {
    /// The label, path or name.
    pub fn name(&self) -> &str {
        match self {
            CacheDevice::None => "",
            CacheDevice::Label(name) | CacheDevice::Path(name) | CacheDevice::FileSystem(name) => name,
        }
    }

    /// Parses the value; the error is the reason why it is wrong.
    pub fn parse(value: &str) -> Result<CacheDevice, &'static str> {
        match value {
            "none" | "" => Ok(CacheDevice::None),
            "auto" => Ok(CacheDevice::Label(CACHE_LABEL.into())),
            "reset" => Err("reset is not supported yet: use auto for a partition with the label B2C_CACHE"),
            _ => match (value.strip_prefix("LABEL="), value.starts_with("/dev/")) {
                (Some(label), _) => Ok(CacheDevice::Label(label.into())),
                (None, true) if !value.contains("/..") => Ok(CacheDevice::Path(value.into())),
                (None, false) if is_name(value) => Ok(CacheDevice::FileSystem(value.into())),
                _ => Err("not one of none, auto, /dev/..., LABEL=..., nor a b2c.filesystem"),
            },
        }
    }
}
