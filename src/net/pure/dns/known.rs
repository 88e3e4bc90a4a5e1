//! What is known without asking: the names that a search list makes of one, and earlier answers.

use core::net::IpAddr;

/// Positive answers are kept for what their records say, within these limits: a name that moves during a boot is
/// found, and a server that says 0 is not asked for each of a pull's connections.
const KEPT_S: (u32, u32) = (1, 300);
/// A name that is not there: long enough for threads that ask at once, and soon asked for again.
const ABSENT_MS: u64 = 2_000;
/// A boot names a handful of hosts.
const ENTRIES_MAX: usize = 64;

/// The names to look up for `name`, in their order, as glibc's resolver has it with `ndots:1`: a name with a dot is
/// tried as it is first, one without a dot in the domains first. A dot at the end keeps the domains out.
pub fn candidates(name: &str, search: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for domain in search.iter().filter(|_| !name.ends_with('.')) {
        names.push([name, ".", domain.trim_matches('.')].concat());
    }
    let at = if name.contains('.') { 0 } else { names.len() };
    names.insert(at, name.into());
    names
}

/// Answers of this boot. An error is the text of a name that is not there.
#[derive(Debug, Default)]
pub struct Cache(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    /// Asked for both families.
    both: bool,
    until_ms: u64,
    answer: Result<Vec<IpAddr>, String>,
}

impl Cache {
    /// What is known of `name`.
    pub fn get(&self, name: &str, both: bool, now_ms: u64) -> Option<Result<Vec<IpAddr>, String>> {
        let found = self.0.iter().find(|entry| entry.both == both && entry.name.eq_ignore_ascii_case(name));
        found.filter(|entry| now_ms < entry.until_ms).map(|entry| entry.answer.clone())
    }

    /// Keeps an answer, for `ttl_s` within limits where it is positive.
    pub fn put(&mut self, (name, both): (&str, bool), answer: Result<Vec<IpAddr>, String>, ttl_s: u32, now_ms: u64) {
        self.0
            .retain(|entry| now_ms < entry.until_ms && !(entry.both == both && entry.name.eq_ignore_ascii_case(name)));
        if self.0.len() >= ENTRIES_MAX {
            // The first in the list is the oldest.
            self.0.remove(0);
        }
        let kept_ms = if answer.is_ok() { u64::from(ttl_s.clamp(KEPT_S.0, KEPT_S.1)) * 1000 } else { ABSENT_MS };
        self.0.push(Entry { name: name.into(), both, until_ms: now_ms + kept_ms, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(last: u8) -> Result<Vec<IpAddr>, String> {
        Ok(vec![IpAddr::from([192, 0, 2, last])])
    }

    /// Promise: search-list
    #[test]
    fn domains_come_before_single_labels_and_after_names_with_dots() {
        let search = ["lab".to_string(), "example.org.".to_string()];
        assert_eq!(candidates("db", &search), ["db.lab", "db.example.org", "db"]);
        assert_eq!(candidates("db.rack", &search), ["db.rack", "db.rack.lab", "db.rack.example.org"]);
        assert_eq!(candidates("db.", &search), ["db."]);
        assert_eq!(candidates("db", &[]), ["db"]);
    }

    /// Promise: names-are-kept
    #[test]
    fn answers_are_kept_as_long_as_they_say_within_limits() {
        let mut cache = Cache::default();
        for (name, ttl_s, kept_ms) in [("a", 0, 1_000), ("b", 60, 60_000), ("c", u32::MAX, 300_000)] {
            cache.put((name, true), one(1), ttl_s, 5);
            assert_eq!(cache.get(&name.to_uppercase(), true, 4 + kept_ms), Some(one(1)), "{name}");
            assert_eq!(cache.get(name, true, 5 + kept_ms), None, "{name}");
        }
        cache.put(("absent", true), Err("why".into()), 3600, 0);
        assert_eq!(cache.get("absent", true, 1_999), Some(Err("why".into())));
        assert_eq!(cache.get("absent", true, 2_000), None);
        assert_eq!(cache.get("b", false, 6), None, "one family says nothing of both");
    }

    /// Promise: names-are-kept
    #[test]
    fn the_number_of_answers_is_limited() {
        let mut cache = Cache::default();
        for number in 0..1000 {
            cache.put((&format!("n{number}"), true), one(1), 60, 0);
        }
        assert_eq!(cache.0.len(), ENTRIES_MAX);
        assert_eq!(cache.get("n0", true, 1), None);
        assert_eq!(cache.get("n999", true, 1), Some(one(1)));
        cache.put(("n999", true), one(2), 60, 0);
        assert_eq!(cache.get("n999", true, 1), Some(one(2)), "the newer one replaces it");
        cache.put(("x", true), one(1), 60, 60_000);
        assert_eq!(cache.0.len(), 1, "what is over goes first");
    }
}
