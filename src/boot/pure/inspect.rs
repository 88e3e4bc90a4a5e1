//! What `inspect` prints: JSON, with the names of skopeo's fields and, where skopeo has none, of podman's.

use crate::image::pure::oci::{self, Descriptor};
use crate::pure::digest::Digest;
use crate::pure::json::Value;

/// An image, as far as it is known.
pub struct Image<'a> {
    /// Its full name.
    pub name: &'a str,
    /// The digest of what the name stands for: of an index or a manifest.
    pub digest: Option<Digest>,
    /// The digest of this platform's manifest, and its layers, lowest first.
    pub manifest: Option<(Digest, &'a [Descriptor])>,
    /// The digest of the configuration, and its bytes.
    pub id: Digest,
    pub config: &'a [u8],
}

/// The image as JSON, a member a line. An error says why the configuration cannot be read.
pub fn emit(image: &Image) -> Result<String, oci::Error> {
    let config = oci::json(image.config)?;
    let inner = Some(config.object("config")).filter(|_| config.get("config").is_some());
    let inner = inner.as_ref();
    let mut out = String::from("{");
    let put = &mut |name: &str, value: Option<&Value>| {
        let Some(value) = value else { return };
        out += if out.len() > 1 { ",\n    " } else { "\n    " };
        string(&mut out, name);
        out += ": ";
        write(&mut out, value, "\n    ");
    };
    put("Name", Some(&text(image.name)));
    put("Digest", image.digest.map(digest).as_ref());
    put("ManifestDigest", image.manifest.map(|manifest| digest(manifest.0)).as_ref());
    put("Id", Some(&digest(image.id)));
    for (name, key) in OWN {
        put(name, config.get(key));
    }
    for name in ["Labels", "Env"] {
        put(name, inner.and_then(|inner| inner.get(name)));
    }
    if let Some((_, layers)) = image.manifest {
        let size = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        put("Size", Some(&Value::Number(size.to_string())));
        put("Layers", Some(&Value::Array(layers.iter().map(|layer| digest(layer.digest)).collect())));
        put("LayersData", Some(&Value::Array(layers.iter().map(layer).collect())));
    }
    put("DiffIDs", config.object("rootfs").get("diff_ids"));
    put("Config", inner);
    Ok(out + "\n}\n")
}

/// Members that are the configuration's own, and their names there.
const OWN: [(&str, &str); 4] =
    [("Created", "created"), ("Os", "os"), ("Architecture", "architecture"), ("Variant", "variant")];

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn digest(digest: Digest) -> Value {
    Value::String(digest.text())
}

fn layer(layer: &Descriptor) -> Value {
    let members = [
        ("MIMEType", text(&layer.media_type)),
        ("Digest", digest(layer.digest)),
        ("Size", Value::Number(layer.size.to_string())),
    ];
    Value::Object(members.map(|(name, value)| (name.into(), value)).into())
}

/// Writes a value; `start` is the line feed and the indentation of the line that it stands on.
fn write(out: &mut String, value: &Value, start: &str) {
    let deeper = [start, "    "].concat();
    let (count, ends) = match value {
        Value::Null => return *out += "null",
        Value::Bool(is) => return *out += if *is { "true" } else { "false" },
        Value::Number(text) => return *out += text,
        Value::String(text) => return string(out, text),
        Value::Array(items) => (items.len(), ["[", "]"]),
        Value::Object(members) => (members.len(), ["{", "}"]),
    };
    let begin = |out: &mut String, at| {
        *out += if at == 0 { "" } else { "," };
        *out += &deeper;
    };
    *out += ends[0];
    match value {
        Value::Object(members) => members.iter().enumerate().for_each(|(at, (name, value))| {
            begin(out, at);
            string(out, name);
            *out += ": ";
            write(out, value, &deeper);
        }),
        value => value.as_array().into_iter().flatten().enumerate().for_each(|(at, value)| {
            begin(out, at);
            write(out, value, &deeper);
        }),
    }
    if count > 0 {
        *out += start;
    }
    *out += ends[1];
}

/// Writes a string (RFC 8259, section 7). The image's author must not control the terminal, so all control characters
/// are escaped, and those that change the direction of writing.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let digit = |at: u32| char::from_digit(c as u32 >> at & 15, 16).unwrap_or_default();
                *out += "\\u";
                out.extend([12, 8, 4, 0].map(digit));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"architecture":"arm","variant":"v7","os":"linux","created":"2024-01-01T00:00:00Z",
        "config":{"Env":["A=b"],"Cmd":["/bin/sh","-c"],"Labels":{"x":"y"},"Healthcheck":{"Interval":-5,"Test":[]}},
        "rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]},"history":[{}]}"#;

    fn image(config: &str) -> Image<'_> {
        let manifest = None;
        Image { name: "example.org/a:1", digest: None, manifest, id: Digest([3; 32]), config: config.as_bytes() }
    }

    #[test]
    fn fields_as_skopeo_names_them() {
        let descriptor = |size| Descriptor { digest: Digest([4; 32]), size, media_type: "application/x".into() };
        let layers = [descriptor(5), descriptor(7)];
        let all = Image {
            digest: Some(Digest([1; 32])),
            manifest: Some((Digest([2; 32]), layers.as_slice())),
            ..image(CONFIG)
        };
        let shown: serde_json::Value = serde_json::from_str(&emit(&all).unwrap()).unwrap();
        let digest = |byte: u8| Digest([byte; 32]).text();
        assert_eq!(shown["Name"], "example.org/a:1");
        assert_eq!(shown["Digest"], digest(1));
        assert_eq!(shown["ManifestDigest"], digest(2));
        assert_eq!(shown["Id"], digest(3));
        assert_eq!(
            (&shown["Os"], &shown["Architecture"], &shown["Variant"]),
            (&"linux".into(), &"arm".into(), &"v7".into())
        );
        assert_eq!(shown["Env"], serde_json::json!(["A=b"]));
        assert_eq!(shown["Labels"]["x"], "y");
        assert_eq!(shown["Size"], 12);
        assert_eq!(shown["Layers"], serde_json::json!([digest(4), digest(4)]));
        let data = serde_json::json!({"MIMEType": "application/x", "Digest": digest(4), "Size": 5});
        assert_eq!(shown["LayersData"][0], data);
        assert_eq!(shown["DiffIDs"], serde_json::json!(["sha256:1", "sha256:2"]));
        let whole: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
        assert_eq!(shown["Config"], whole["config"]);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = emit(&image(r#"{"os":"linux","config":null,"rootfs":{}}"#)).unwrap();
        assert_eq!(
            text,
            format!(
                "{{\n    \"Name\": \"example.org/a:1\",\n    \"Id\": \"{}\",\n    \"Os\": \"linux\"\n}}\n",
                Digest([3; 32]).text()
            )
        );
        assert_eq!(emit(&image("{")), Err(oci::Error::Json));
        for odd in ["[]", "7", r#"{"config":[],"rootfs":7}"#, r#"{"config":{"Env":{"a":[[]]}}}"#] {
            let text = emit(&image(odd)).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{odd}: {error}"));
        }
    }

    /// Input: control-characters-in-json
    #[test]
    fn no_text_of_an_image_moves_the_cursor() {
        let hostile = "\u{1b}[2J\u{9b}31m\u{7f}\r\n\u{202e}\u{2066} \"\\ \u{e9}\u{1f600}";
        let config = serde_json::json!({"config": {"Labels": {hostile: hostile}}}).to_string();
        let text = emit(&image(&config)).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{7f}', '\r', '\u{202e}', '\u{2066}']), "{text}");
        assert!(text.lines().all(|line| line.trim_start().starts_with(['"', '{', '}'])), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["Labels"][hostile], hostile);
        // The neighbour: letters of all languages are as they were.
        assert!(text.contains("\u{e9}\u{1f600}"));
    }
}
