//! Reads the sections and symbols of an unstripped binary, and counts them by crate.

use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::BTreeMap;

/// A function or a named constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Symbol {
    pub name: String,
    /// The crate that it comes from; [`C_LIBRARY`] for musl and libgcc.
    pub krate: String,
    pub bytes: u64,
    pub code: bool,
}

/// The name under which code without a Rust path is counted.
pub const C_LIBRARY: &str = "musl, libgcc";

/// An unstripped binary.
pub struct Binary {
    /// Name and bytes of each loaded section, in the order of the file.
    pub sections: Vec<(String, u64)>,
    /// Largest first.
    pub symbols: Vec<Symbol>,
    /// The Rust compiler, from the section `.comment`.
    pub compiler: String,
}

/// Bytes of one crate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    pub code: u64,
    pub data: u64,
}

impl Share {
    pub fn total(self) -> u64 {
        self.code + self.data
    }
}

/// Reads an unstripped ELF file.
pub fn read(bytes: &[u8]) -> Result<Binary, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let sections = file.sections().filter(is_loaded).map(|s| (s.name().unwrap_or("?").to_string(), s.size())).collect();
    let compiler = file.section_by_name(".comment").and_then(|s| s.data().ok()).map(compiler_of).unwrap_or_default();
    Ok(Binary { sections, symbols: symbols_of(&file), compiler })
}

/// Whether a section is loaded: sections for tools (debugging information, comments) have no address.
fn is_loaded(section: &object::Section) -> bool {
    let zeroed = matches!(section.kind(), SectionKind::UninitializedData | SectionKind::UninitializedTls);
    section.address() > 0 && section.size() > 0 && !zeroed
}

/// The line of the Rust compiler; the C compilers of the libraries have lines too.
fn compiler_of(comment: &[u8]) -> String {
    let lines = comment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    lines.filter(|line| line.starts_with("rustc")).map(|line| line.into_owned()).next().unwrap_or_default()
}

/// The symbols of a file; an address with several names counts once.
fn symbols_of(file: &object::File) -> Vec<Symbol> {
    let mut at: BTreeMap<u64, Symbol> = BTreeMap::new();
    for symbol in file.symbols() {
        let (Ok(name), true) = (symbol.name(), symbol.size() > 0) else { continue };
        let code = symbol.kind() == SymbolKind::Text;
        let stored =
            symbol.section_index().and_then(|index| file.section_by_index(index).ok()).is_some_and(|s| is_loaded(&s));
        if stored && (code || symbol.kind() == SymbolKind::Data) {
            let (name, krate) = name_of(name);
            at.entry(symbol.address()).or_insert(Symbol { name, krate, bytes: symbol.size(), code });
        }
    }
    let mut symbols: Vec<Symbol> = at.into_values().collect();
    symbols.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    symbols
}

/// The readable name of a symbol, and its crate.
fn name_of(mangled: &str) -> (String, String) {
    match rustc_demangle::try_demangle(mangled) {
        Ok(name) => {
            let name = format!("{name:#}");
            let krate = crate_of(&name).to_string();
            (name, krate)
        }
        Err(_) => (mangled.to_string(), c_crate_of(mangled).to_string()),
    }
}

/// The crate of a C or assembler symbol; ring prefixes most of its own with name and version.
fn c_crate_of(name: &str) -> &'static str {
    if name.starts_with("ring_core_") || name.contains("nistz256") || name.contains("x25519") || name.contains("fiat_")
    {
        "ring"
    } else {
        C_LIBRARY
    }
}

/// The crate of a demangled path. `<T as Trait>::f` counts for T's crate,
/// or for the trait's if T is built into the language.
pub fn crate_of(path: &str) -> &str {
    let path = path.trim_start_matches(['<', '&', '*', '(', '[']);
    let path = ["mut ", "const ", "dyn ", "impl "].iter().fold(path, |path, word| path.trim_start_matches(word));
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(path.len());
    let (word, rest) = path.split_at(end);
    if rest.starts_with("::") || rest.is_empty() {
        return word;
    }
    match rest.split_once(" as ") {
        Some((_, of_trait)) => crate_of(of_trait),
        None => "core",
    }
}

/// The crates, largest first.
pub fn by_crate(symbols: &[Symbol]) -> Vec<(String, Share)> {
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for symbol in symbols {
        let share = shares.entry(&symbol.krate).or_default();
        *(if symbol.code { &mut share.code } else { &mut share.data }) += symbol.bytes;
    }
    let mut shares: Vec<_> = shares.into_iter().map(|(name, share)| (name.to_string(), share)).collect();
    shares.sort_by(|a, b| b.1.total().cmp(&a.1.total()).then_with(|| a.0.cmp(&b.0)));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_for_the_crate_of_its_type() {
        assert_eq!(crate_of("rustls::conn::kernel"), "rustls");
        assert_eq!(crate_of("<rustls::Stream<T> as std::io::Read>::read"), "rustls");
        assert_eq!(crate_of("<&mut dyn ocinit::sys::Fd as core::fmt::Debug>::fmt"), "ocinit");
        assert_eq!(crate_of("<[u8] as serde_json::read::Fused>::next"), "serde_json");
        assert_eq!(crate_of("<u64 as core::fmt::Display>::fmt"), "core");
        assert_eq!(crate_of("<(A, B)>::f"), "core");
    }

    #[test]
    fn c_code_counts_for_its_library() {
        assert_eq!(name_of("ring_core_0_17_14__sha256_block_data_order").1, "ring");
        assert_eq!(name_of("__libc_start_main").1, C_LIBRARY);
        assert_eq!(
            name_of("_ZN6ocinit6report4fail17h0123456789abcdefE"),
            ("ocinit::report::fail".into(), "ocinit".into())
        );
    }

    #[test]
    fn shares_add_up_and_are_ordered() {
        let symbol = |krate: &str, bytes, code| Symbol { name: String::new(), krate: krate.into(), bytes, code };
        let shares = by_crate(&[symbol("a", 5, true), symbol("b", 7, true), symbol("a", 4, false)]);
        assert_eq!(shares[0], ("a".into(), Share { code: 5, data: 4 }));
        assert_eq!(shares[1], ("b".into(), Share { code: 7, data: 0 }));
    }

    #[test]
    fn the_tests_own_binary_can_be_read() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let binary = read(&this).unwrap();
        assert!(binary.sections.iter().any(|(name, bytes)| name == ".text" && *bytes > 1000));
        assert!(binary.symbols.iter().any(|symbol| symbol.krate == "ocinit" && symbol.code));
        assert!(binary.compiler.starts_with("rustc"), "{:?}", binary.compiler);
    }
}
