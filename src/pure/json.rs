//! JSON (RFC 8259), as Go's encoding/json reads it: podman, docker and the registries are written in Go, so what they
//! accept is in use. A key that differs in case is found, null counts as absent, and bytes that are no UTF-8 are
//! replaced.

/// The most arrays and objects that one value is in. Reading and dropping recurse that deep.
const DEPTH_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    /// Its text: only whole numbers that fit are used.
    Number(String),
    String(String),
    Array(Vec<Value>),
    /// In the document's order, with repeated keys.
    Object(Vec<(String, Value)>),
}

/// Reads one value, with nothing but white space around it.
pub fn parse(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: bytes };
    let value = reader.value(0)?;
    reader.rest.is_empty().then_some(value)
}

impl Value {
    /// A member of an object that has fixed names: the exact key, else one that differs in case only. Of several, the
    /// last one counts.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let members = self.members()?;
        let found = |is: &dyn Fn(&str) -> bool| {
            members.iter().rev().find(|(key, value)| *value != Value::Null && is(key)).map(|(_, value)| value)
        };
        found(&|key| key == name).or_else(|| found(&|key| is_folded(key, name)))
    }

    /// The member `name`, which is an object of fixed names or of data. Where it is repeated, each adds what it names,
    /// and replaces that of those before it, as where Go reads into the same struct or map; the exact key counts most.
    /// It is an empty object where there is none, and another value where one of them is.
    pub fn object(&self, name: &str) -> Value {
        let mut all = Vec::new();
        for is_exact in [false, true] {
            let members = self.members().unwrap_or_default().iter();
            for (_, value) in members.filter(|(key, _)| is_folded(key, name) && (key == name) == is_exact) {
                match value {
                    Value::Null => {}
                    Value::Object(members) => all.extend_from_slice(members),
                    other => return other.clone(),
                }
            }
        }
        Value::Object(all)
    }

    /// An entry of an object whose keys are data, such as annotations: only the exact key counts.
    pub fn entry(&self, name: &str) -> Option<&Value> {
        self.members()?.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn members(&self) -> Option<&[(String, Value)]> {
        match self {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text of the member `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The texts of the member `name`, none if it is absent or null. `None` if it is anything but a list of texts.
    pub fn texts(&self, name: &str) -> Option<Vec<&str>> {
        let mut texts = Vec::new();
        for item in self.list(name)? {
            texts.push(item.as_str()?);
        }
        Some(texts)
    }

    /// The items of the member `name`, none if it is absent or null. `None` if it is something else.
    pub fn list(&self, name: &str) -> Option<&[Value]> {
        self.get(name).map_or(Some(&[]), Value::as_array)
    }
}

/// Whether the texts differ in case only. Go folds by Unicode, where two more letters stand for ASCII ones.
fn is_folded(key: &str, name: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    /// A value and the white space around it.
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.skip_blanks();
        let value = match self.rest.first()? {
            b'{' | b'[' if depth >= DEPTH_MAX => return None,
            b'{' => self.object(depth + 1)?,
            b'[' => self.array(depth + 1)?,
            b'"' => Value::String(self.string()?),
            b'n' => self.word(b"null", Value::Null)?,
            b't' => self.word(b"true", Value::Bool(true))?,
            b'f' => self.word(b"false", Value::Bool(false))?,
            _ => self.number()?,
        };
        self.skip_blanks();
        Some(value)
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Takes `byte` if it comes next.
    fn has(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, word: &[u8], value: Value) -> Option<Value> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(value)
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.byte()?;
        self.skip_blanks();
        if self.has(b']') {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            match self.byte()? {
                b',' => {}
                b']' => return Some(Value::Array(items)),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut members = Vec::new();
        self.byte()?;
        self.skip_blanks();
        if self.has(b'}') {
            return Some(Value::Object(members));
        }
        loop {
            self.skip_blanks();
            let key = self.string()?;
            self.skip_blanks();
            self.has(b':').then_some(())?;
            members.push((key, self.value(depth)?));
            match self.byte()? {
                b',' => {}
                b'}' => return Some(Value::Object(members)),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.has(b'"').then_some(())?;
        let mut text = Vec::new();
        loop {
            let letter = match self.byte()? {
                b'"' => {
                    return Some(
                        String::from_utf8(text)
                            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
                    )
                }
                b'\\' => self.escaped()?,
                0..=0x1f => return None,
                byte => {
                    text.push(byte);
                    continue;
                }
            };
            text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// What follows a backslash. Half of a surrogate pair stands for no character, and is replaced.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.byte()? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let mut ahead = Reader { rest: self.rest };
                let second = if ahead.has(b'\\') && ahead.has(b'u') { ahead.hex() } else { None };
                match (first, second) {
                    (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) => {
                        self.rest = ahead.rest;
                        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
                    }
                    _ => char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            byte @ (b'"' | b'\\' | b'/') => byte.into(),
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| Some(value << 4 | char::from(self.byte()?).to_digit(16)?))
    }

    fn number(&mut self) -> Option<Value> {
        let all = self.rest;
        let _ = self.has(b'-');
        let starts_with_zero = self.rest.first() == Some(&b'0');
        if self.digits()? > 1 && starts_with_zero {
            return None;
        }
        if self.has(b'.') {
            self.digits()?;
        }
        if self.has(b'e') || self.has(b'E') {
            let _ = self.has(b'+') || self.has(b'-');
            self.digits()?;
        }
        let text = all.get(..all.len() - self.rest.len())?;
        Some(Value::Number(String::from_utf8_lossy(text).into_owned()))
    }

    /// Takes digits, and tells how many.
    fn digits(&mut self) -> Option<usize> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = self.rest.get(count..).filter(|_| count > 0)?;
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
    }

    /// What the other implementation has read, in our form; its objects are sorted.
    fn from_serde(value: &serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(is) => Value::Bool(*is),
            serde_json::Value::Number(number) => {
                Value::Number(number.as_u64().map_or_else(String::new, |n| n.to_string()))
            }
            serde_json::Value::String(text) => Value::String(text.clone()),
            serde_json::Value::Array(items) => Value::Array(items.iter().map(from_serde).collect()),
            serde_json::Value::Object(members) => {
                Value::Object(members.iter().map(|(key, value)| (key.clone(), from_serde(value))).collect())
            }
        }
    }

    /// Sorted by key, and only the last of each.
    fn sorted(value: Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
            Value::Object(members) => {
                let members: std::collections::BTreeMap<_, _> = members.into_iter().collect();
                Value::Object(members.into_iter().map(|(key, value)| (key, sorted(value))).collect())
            }
            // Only whole numbers are compared: the other implementation writes floats in its own way.
            Value::Number(text) if text.parse::<u64>().is_err() => Value::Number(String::new()),
            other => other,
        }
    }

    #[test]
    fn values_of_each_kind() {
        let text = " {\"a\" : [ null,true , false,0,12,-1,1.5,1e3,18446744073709551615,18446744073709551616] }\r\n\t";
        let texts = ["0", "12", "-1", "1.5", "1e3", "18446744073709551615", "18446744073709551616"];
        let numbers = texts.map(|text| Value::Number(text.into()));
        let whole = [Some(0), Some(12), None, None, None, Some(u64::MAX), None];
        assert_eq!(numbers.each_ref().map(Value::as_u64), whole);
        let items = [vec![Value::Null, Value::Bool(true), Value::Bool(false)], numbers.to_vec()].concat();
        assert_eq!(read(text), Value::Object(vec![("a".into(), Value::Array(items))]));
        assert_eq!(read(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#).as_str(), Some("\"\\/\u{8}\u{c}\n\r\té😀"));
        assert_eq!((read("[]"), read("{}")), (Value::Array(vec![]), Value::Object(vec![])));
    }

    /// Promise: json-as-go
    /// Input: json-text
    #[test]
    fn what_is_no_json() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{a:1}",
            "{1:1}",
            "nul",
            "nulll",
            "True",
            "01",
            "-",
            "-01",
            "1.",
            ".1",
            "1e",
            "1e+",
            "+1",
            "0x1",
            "1 2",
            "[1] x",
            "\"",
            "\"a",
            "\"\\",
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            "\"\n\"",
            "\"\0\"",
            "'a'",
            "NaN",
            "[1}",
            "{\"a\":1]",
            "\u{feff}{}",
            "/**/1",
            "\u{a0}1",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?}");
        }
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&nested(DEPTH_MAX)).is_some());
        assert_eq!(parse(&nested(DEPTH_MAX + 1)), None);
        assert_eq!(parse(&vec![b'['; 4 << 20]), None);
    }

    /// Promise: json-as-go
    /// Input: json-text
    #[test]
    fn texts_that_are_no_unicode_are_replaced() {
        assert_eq!(parse(b"\"a\xff\xfeb\"").unwrap().as_str(), Some("a\u{fffd}\u{fffd}b"));
        for (text, read_as) in [
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\udc00""#, "\u{fffd}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\u0000""#, "\0"),
        ] {
            assert_eq!(read(text).as_str(), Some(read_as), "{text}");
        }
        assert_eq!(read(r#"{"n":1e999,"a":2}"#).get("a"), Some(&Value::Number("2".into())));
    }

    /// Promise: json-as-go
    /// Input: json-keys
    #[test]
    fn the_exact_key_and_then_any_case() {
        let number = |text: &str, name: &str| read(text).get(name).and_then(Value::as_u64);
        for key in ["diff_ids", "DIFF_IDS", "Diff_Ids", "diff_id\u{17f}"] {
            assert_eq!(number(&format!(r#"{{"{key}":7}}"#), "diff_ids"), Some(7), "{key}");
        }
        assert_eq!(number("{\"bloc\u{212a}\":7}", "block"), Some(7));
        for (text, found) in [
            (r#"{"cmd":1,"Cmd":2,"CMD":3}"#, Some(2)),
            (r#"{"cmd":1,"CMD":3}"#, Some(3)),
            (r#"{"CMD":3,"cmd":1}"#, Some(1)),
            (r#"{"Cmd":1,"Cmd":2}"#, Some(2)),
            (r#"{"Cmd":null,"cmd":1}"#, Some(1)),
            (r#"{"cmd":1,"CMD":null}"#, Some(1)),
            (r#"{"Cmd":null}"#, None),
            (r#"{"Cm":1,"Cmds":2,"C_md":3,"Сmd":4}"#, None),
            (r#"["Cmd"]"#, None),
            ("null", None),
        ] {
            assert_eq!(number(text, "Cmd"), found, "{text}");
        }
        let map = read(r#"{"a.b":1,"A.b":2,"a.b":3,"c":null}"#);
        let entry = |name: &str| map.entry(name).cloned();
        assert_eq!(
            ["a.b", "A.b", "A.B", "c"].map(entry)[..2],
            [Some(Value::Number("3".into())), read("[2]").as_array().map(|a| a[0].clone())]
        );
        assert_eq!((entry("A.B"), entry("c")), (None, Some(Value::Null)));
        assert_eq!((read("{}").list("a"), read(r#"{"A":null}"#).list("a")), (Some(&[][..]), Some(&[][..])));
        assert_eq!(read(r#"{"a":{}}"#).list("a"), None);
    }

    /// As Go's encoding/json reads into a struct (`{a: {b, c: {d, e}}}`), and into a map.
    /// Promise: json-as-go
    /// Input: json-keys
    #[test]
    fn repeated_objects_are_one() {
        let all = read(r#"{"a":{"b":1,"c":{"d":2,"e":2}},"x":0,"a":{"c":{"d":3}},"a":null,"a":{"B":4}}"#);
        let a = all.object("a");
        assert_eq!(a.get("b").and_then(Value::as_u64), Some(1), "the exact key");
        let c = a.object("c");
        assert_eq!((c.get("d").and_then(Value::as_u64), c.get("e").and_then(Value::as_u64)), (Some(3), Some(2)));
        // A map's entry is replaced as a whole.
        let map = read(r#"{"m":{"r":{"u":1,"p":2},"s":1},"M":{"t":1},"m":{"r":{"u":3}}}"#).object("m");
        assert_eq!(map.entry("r").map(|r| (r.get("u").is_some(), r.get("p").is_some())), Some((true, false)));
        assert!(map.entry("s").is_some() && map.entry("t").is_some());
        // Whatever the case; the exact key's are the last.
        let exact = read(r#"{"a":{"n":1},"A":{"n":2,"o":2}}"#).object("a");
        assert_eq!(
            (exact.get("n").and_then(Value::as_u64), exact.get("o").and_then(Value::as_u64)),
            (Some(1), Some(2))
        );
        assert_eq!(read(r#"{"a":{"b":1},"a":[2]}"#).object("a"), read("[2]"));
        assert_eq!((read("{}").object("a"), read(r#"{"a":null}"#).object("a")), (read("{}"), read("{}")));
        assert_eq!(read("[]").object("a"), read("{}"));
    }

    /// What we read of texts that were changed at random is what serde_json reads.
    #[test]
    fn another_implementation_agrees() {
        let good = r#"{"a":[1,-2.5e+3,0,{"b":null,"b":true,"":""}],"é\u00e9\n":"x\\","c":{"d":[[],{}]},"e":false} "#;
        let mut seed = 11u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut text = good.as_bytes().to_vec();
            for _ in 0..=random(2) {
                let (at, byte) = (random(text.len()), b"{}[]\":,\\ue0159-+. ntf\n\x01"[random(23)]);
                match random(3) {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            let Ok(text) = String::from_utf8(text) else { continue };
            let theirs = serde_json::from_str(&text).ok().map(|value| from_serde(&value));
            accepted += usize::from(theirs.is_some());
            match parse(text.as_bytes()).map(sorted) {
                // Only we replace half of a pair, and read numbers beyond any float.
                Some(_) if theirs.is_none() && (text.contains("\\u") || text.contains('e')) => {}
                ours => assert_eq!(ours, theirs, "{text}"),
            }
        }
        assert!((2_000..15_000).contains(&accepted), "{accepted} of 20000 accepted: too tame or too wild");
    }
}
