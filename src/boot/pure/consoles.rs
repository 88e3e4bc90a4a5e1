//! The consoles of the kernel's line (`console=`).

use crate::boot::pure::cmdline::Word;

/// A console that the kernel's line names.
pub struct Named {
    /// As it is called in the kernel's list.
    pub name: String,
    /// The speed of a serial line; 0 if the line does not say.
    pub baud: u32,
}

/// The consoles that the kernel's line names, each once: `ttyS0,115200` and `0` are `ttyS0` (Linux, printk.c,
/// console_setup).
pub fn named(words: &[Word]) -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    for word in words.iter().filter(|word| word.key == "console") {
        let console = word.value.as_deref().and_then(console);
        all.extend(console.filter(|console| !all.iter().any(|other| other.name == console.name)));
    }
    all
}

/// None for one that has no name of its own: an early console by its address (`uart8250,io,0x3f8`), a device by its
/// place (`00:00:0.0`), and none at all (`null`).
fn console(value: &str) -> Option<Named> {
    let (name, options) = value.split_once(',').unwrap_or((value, ""));
    if ["", "null", "ttynull", "brl"].contains(&name) || name.starts_with("uart") || name.contains(':') {
        return None;
    }
    let (kind, number) = name.split_at(name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len()));
    let kind = if kind.is_empty() { "ttyS" } else { kind };
    let number = digits(number);
    let name = [kind, if number.is_empty() { "0" } else { number }].concat();
    Some(Named { name, baud: digits(options).parse().unwrap_or(0) })
}

fn digits(text: &str) -> &str {
    text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| text.split_at(end).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::pure::cmdline;

    #[test]
    fn names_of_the_kernels_line() {
        let line = br#"console=tty0 console=ttyS0,115200n8 "console=hvc0" console=ttyS0 xconsole=x console=1
            console=uart8250,io,0x3f8 console=null console= console console=00:00:0.0 console=ttyAMA,9600
            console=brl,ttyS0 b2c.run="img console=lp0""#;
        let all = named(&cmdline::parse(line).unwrap());
        let all: Vec<(&str, u32)> = all.iter().map(|console| (console.name.as_str(), console.baud)).collect();
        assert_eq!(all, [("tty0", 0), ("ttyS0", 115_200), ("hvc0", 0), ("ttyS1", 0), ("ttyAMA0", 9600)]);
    }
}
