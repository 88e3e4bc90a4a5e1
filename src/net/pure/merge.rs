//! Lists to which several sources add: servers and domains of leases, of routers and of options.

/// Adds what is not there yet.
pub fn add_new<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}
