//! The rules for names and messages: one word for one thing, and plain ASCII where a serial console shows it.

use super::tokens::{is_for_tests, lines_of, Source};
use syn::visit::Visit;

/// Names that the field has a better word for, and that word; where a name is no fault elsewhere, it is one in the
/// sources whose path begins with the second text, or as the type, function or module of that name only.
const WORDS: [(&str, &str, &str); 49] = [
    ("Place", "", "LowerLookup, MountTarget or WhiteoutTarget"),
    ("fn hurry", "", "what it does: prefer_cached, set_rcu_expedited"),
    ("looks", "", "attributes, or LookupBudget"),
    ("type Container", "src/container/pure/spec", "ContainerSpec"),
    ("Asked", "src/container", "RebootRequest"),
    ("mod asked", "", "spec"),
    ("Trouble", "", "SetupError"),
    ("mod trouble", "", "setup_error"),
    ("mod inside", "", "child"),
    ("Ends", "", "ChildFds"),
    ("mod place", "", "in_root"),
    ("mod rights", "", "security"),
    ("Protect", "", "ReadonlyPath"),
    ("OwnFolder", "", "MkdirChown"),
    ("Seal", "src/container", "RemountOptional"),
    ("Surroundings", "", "HostContext"),
    ("around", "src/container", "host_context"),
    ("Parts", "src/container", "PlanInputs"),
    ("Others", "src/container", "SharedWith"),
    ("Choice", "src/container", "NamespaceSetup"),
    ("CAREFUL", "", "NOSUID_NODEV"),
    ("QUIET", "src/container", "NOSUID_NODEV_NOEXEC"),
    ("Manner", "", "ClientConfig"),
    ("Patience", "", "RetryState"),
    ("put_down", "", "mark_down"),
    ("Access", "src/image/pull", "PullContext"),
    ("Fetched", "", "BlobReader"),
    ("fn wanted", "src/image", "pinned_digest"),
    ("fn another", "", "clone_box"),
    ("fn again", "", "retry, or coldplug_again"),
    ("Wanted", "src/image", "LayerPlan"),
    ("Seat", "", "LayerSlot"),
    ("hands", "", "workers"),
    ("come", "src/image", "received"),
    ("Beside", "", "LayerQueue"),
    ("Late", "", "Deferred"),
    ("Lates", "", "Deferred"),
    ("fn settle", "", "finalize"),
    ("Unsettled", "", "PendingLayer"),
    ("Sought", "", "Query"),
    ("Birth", "", "InheritedAttrs"),
    ("Part", "src/image", "FileSection"),
    ("Arriving", "", "HashingReader"),
    ("mod ahead", "", "prefetch"),
    ("mod halt", "", "cancel"),
    ("nearest", "src/pure", "suggest"),
    ("fn floor", "", "raise_to_build_time"),
    ("Truth", "", "Bool"),
    ("NOT_YET", "", "supported: bool"),
];

/// What no name contains, in whatever case, with the better word.
const PIECES: [(&str, &str); 1] = [("folder", "directory")];

/// Each thing is called by the field's word for it. Only what defines a name is looked at: its uses follow.
pub fn words(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let mut names = Names(Vec::new());
    let items = source.items.iter().filter(|item| !is_for_tests(item));
    items.for_each(|item| names.visit_item(item));
    let mut findings = Vec::new();
    for (name, line) in names.0 {
        let is_it = |word: &str| word == name || word == name.rsplit(' ').next().unwrap_or_default();
        let word = WORDS.iter().find(|(word, place, _)| is_it(word) && source.path.starts_with(place));
        let piece = PIECES.iter().find(|(piece, _)| name.to_lowercase().contains(piece));
        let better = word.map(|(_, _, better)| *better).or(piece.map(|(_, better)| *better));
        findings.extend(better.map(|better| format!("{}:{line}: {name}: say {better}", source.path)));
    }
    findings
}

/// Names where they are defined, each with its line: types and constants with `type ` in front, functions with `fn `,
/// modules with `mod `; fields, variants, parameters and variables as they are.
struct Names(Vec<(String, usize)>);

impl<'a> Visit<'a> for Names {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let name = match item {
            syn::Item::Const(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Static(item) => Some(&item.ident),
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Type(item) => Some(&item.ident),
            _ => None,
        };
        self.0.extend(name.map(|name| (format!("type {name}"), lines_of(name).0)));
        syn::visit::visit_item(self, item);
    }
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.0.push((format!("mod {}", item.ident), lines_of(&item.ident).0));
        syn::visit::visit_item_mod(self, item);
    }
    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        self.0.push((format!("fn {}", signature.ident), lines_of(&signature.ident).0));
        syn::visit::visit_signature(self, signature);
    }
    fn visit_impl_item_const(&mut self, item: &'a syn::ImplItemConst) {
        self.0.push((item.ident.to_string(), lines_of(&item.ident).0));
        syn::visit::visit_impl_item_const(self, item);
    }
    fn visit_field(&mut self, field: &'a syn::Field) {
        self.0.extend(field.ident.as_ref().map(|name| (name.to_string(), lines_of(name).0)));
        syn::visit::visit_field(self, field);
    }
    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.0.push((variant.ident.to_string(), lines_of(&variant.ident).0));
        syn::visit::visit_variant(self, variant);
    }
    fn visit_pat_ident(&mut self, pattern: &'a syn::PatIdent) {
        self.0.push((pattern.ident.to_string(), lines_of(&pattern.ident).0));
        syn::visit::visit_pat_ident(self, pattern);
    }
}

/// Spellings that are not ASCII and that somebody else writes: microseconds, as Go does.
const FOREIGN: [&str; 1] = ["\"\u{b5}s\""];

/// A serial line knows no other letters than ASCII's: no text of the init has any, and nothing of src quotes by
/// guillemets. Tests may: what they feed in is somebody else's text. A `TABLE` is for the documentation.
pub fn plain_ascii(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let tests = source.items.iter().find(|item| is_for_tests(item)).map_or(usize::MAX, |item| lines_of(item).0);
    let lines = source.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let quoted = lines.filter(|(at, line)| *at < tests && line.contains(['\u{ab}', '\u{bb}']));
    let mut findings: Vec<String> =
        quoted.map(|(at, _)| format!("{}:{at}: quotes that are not ASCII", source.path)).collect();
    let tables = source.items.iter().filter(|item| matches!(item, syn::Item::Const(item) if item.ident == "TABLE"));
    let tables: Vec<(usize, usize)> = tables.map(lines_of).collect();
    let in_table = |line: usize| tables.iter().any(|(first, last)| (*first..=*last).contains(&line));
    for (index, token) in source.product.iter().enumerate().filter(|_| source.is_init()) {
        let is_text = token.text.starts_with(['"', '\'']) && !FOREIGN.contains(&token.text.as_str());
        let before = |n: usize| index.checked_sub(n).and_then(|at| source.product.get(at)).map(|t| t.text.as_str());
        let is_doc = before(1) == Some("=") && before(2) == Some("doc");
        if is_text && !is_doc && !token.text.is_ascii() && !in_table(token.line) {
            findings.push(format!("{}:{}: a text that is not ASCII", source.path, token.line));
        }
    }
    findings
}
