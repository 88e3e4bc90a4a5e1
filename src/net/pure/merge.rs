//! Lists to which several sources add: servers and domains of leases, of routers and of options; and lists in words.

/// Adds what is not there yet.
pub fn add_new<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}

/// Adds a part to a list in words, with `between` in front of it if it is not the first.
pub fn join(text: &mut String, between: &str, part: &str) {
    if !text.is_empty() {
        text.push_str(between);
    }
    text.push_str(part);
}
