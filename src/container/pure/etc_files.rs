//! The files of a container's `/etc` that are ours, and `/run/.containerenv`:
//! as podman writes them.

use crate::container::pure::spec::Dns;

/// `/etc/resolv.conf`: the host's. `--dns` replaces its servers, `--dns-search` its domains, `--dns-option` its
/// options; the domain `.` removes all.
pub fn resolv_conf(host: &str, dns: &Dns) -> String {
    let mut servers = dns.servers.clone();
    let (mut search, mut options) = (dns.search.clone(), dns.options.clone());
    for line in host.lines() {
        let mut words = line.split_ascii_whitespace();
        let key = words.next().unwrap_or_default();
        match key {
            "nameserver" if dns.servers.is_empty() => servers.extend(words.next().map(String::from)),
            // The last of them is the one that counts.
            "search" | "domain" if dns.search.is_empty() => search = words.map(String::from).collect(),
            "options" if dns.options.is_empty() => options.extend(words.map(String::from)),
            _ => {}
        }
    }
    let mut text = String::new();
    if !dns.search.iter().any(|domain| domain == ".") {
        line(&mut text, "search", &search);
    }
    for server in servers {
        line(&mut text, "nameserver", &[server]);
    }
    line(&mut text, "options", &options);
    text
}

fn line(text: &mut String, key: &str, words: &[String]) {
    if !words.is_empty() {
        text.push_str(&[key, " ", &words.join(" "), "\n"].concat());
    }
}

/// `/etc/hosts`: `added` (name, address), then the host's own lines, then the names that neither has: localhost, the
/// host by its `address`, and the container itself where its network has no other host (containers/common, etchosts).
pub fn hosts(host: &str, added: &[(String, String)], address: Option<&str>, own: &[&str]) -> String {
    let mut entries: Vec<(&str, Vec<&str>)> = Vec::new();
    for (names, host) in added {
        // podman's word for what is `host.containers.internal`.
        let host = if host == "host-gateway" { address.unwrap_or("127.0.0.1") } else { host };
        entries.push((host, names.split(' ').collect()));
    }
    for line in host.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_ascii_whitespace().collect();
        if let [address, names @ ..] = words.as_slice() {
            entries.push((address, names.to_vec()));
        }
    }
    let mut more = vec![("127.0.0.1", vec!["localhost"]), ("::1", vec!["localhost"])];
    more.extend(address.map(|address| (address, vec!["host.containers.internal"])));
    if !own.is_empty() {
        more.push(("127.0.0.1", own.to_vec()));
    }
    let given = entries.len();
    for (address, mut names) in more {
        names.retain(|name| !entries.iter().take(given).any(|(_, names)| names.contains(name)));
        entries.push((address, names));
    }
    let mut text = String::new();
    for (address, names) in entries.iter().filter(|(_, names)| !names.is_empty()) {
        text.push_str(&[address, "\t", &names.join(" "), "\n"].concat());
    }
    text
}

/// `/run/.containerenv`, which a container without privileges finds empty.
pub fn container_env(name: &str, id: &str, image: &str, image_id: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let pairs = [("name", name), ("id", id), ("image", image), ("imageid", image_id)];
    let mut text = ["engine=\"ocinit-", version, "\"\n"].concat();
    for (key, value) in pairs {
        text.push_str(&[key, "=\"", &value.replace('\\', "\\\\").replace('"', "\\\""), "\"\n"].concat());
    }
    text + "rootless=0\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| String::from(*word)).collect()
    }

    /// Promise: etc-files
    #[test]
    fn name_servers_of_the_host_and_of_the_flags() {
        let host = "# made\ndomain old.test\nsearch lab.test more.test\nnameserver 10.0.2.3\nnameserver fe80::1\noptions edns0\n";
        let own = "search lab.test more.test\nnameserver 10.0.2.3\nnameserver fe80::1\noptions edns0\n";
        assert_eq!(resolv_conf(host, &Dns::default()), own);
        let dns = Dns { servers: list(&["1.1.1.1", "9.9.9.9"]), ..Dns::default() };
        let text = resolv_conf(host, &dns);
        assert_eq!(text, "search lab.test more.test\nnameserver 1.1.1.1\nnameserver 9.9.9.9\noptions edns0\n");
        let dns = Dns { search: list(&["."]), options: list(&["ndots:2", "rotate"]), ..Dns::default() };
        let servers = "nameserver 10.0.2.3\nnameserver fe80::1\n";
        assert_eq!(resolv_conf(host, &dns), servers.to_string() + "options ndots:2 rotate\n");
        let dns = Dns { servers: list(&["1.1.1.1"]), search: list(&["a.test"]), options: list(&["rotate"]), ..dns };
        assert_eq!(resolv_conf(host, &dns), "search a.test\nnameserver 1.1.1.1\noptions rotate\n");
        let dns = Dns { search: list(&["first.test"]), ..Dns::default() };
        let text = "search first.test\n".to_string() + servers + "options edns0\n";
        assert_eq!(resolv_conf(host, &dns), text);
        assert_eq!(resolv_conf("", &Dns::default()), "");
    }

    /// Promise: etc-files
    #[test]
    fn hosts_by_flag_host_and_us() {
        assert_eq!(hosts("", &[], None, &[]), "127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        let host = "# ours\n127.0.0.1 localhost  # always\n10.0.0.7\tnas   nas.lab\nbroken\n";
        let added = [("db".into(), "10.0.0.9".into()), ("localhost".into(), "10.0.0.1".into())];
        let text = hosts(host, &added, Some("10.0.2.15"), &["box", "nas"]);
        let lines = [
            "10.0.0.9\tdb",
            "10.0.0.1\tlocalhost",
            "127.0.0.1\tlocalhost",
            "10.0.0.7\tnas nas.lab",
            "10.0.2.15\thost.containers.internal",
            "127.0.0.1\tbox",
        ];
        assert_eq!(text, lines.join("\n") + "\n");
        // A host whose own file has localhost elsewhere keeps that.
        assert_eq!(hosts("10.0.0.7 localhost\n", &[], None, &["nas"]), "10.0.0.7\tlocalhost\n127.0.0.1\tnas\n");
    }

    #[test]
    fn a_container_knows_itself() {
        let text = container_env("a\"b", "1", "docker.io/library/alpine:latest", "abc");
        assert!(text.starts_with("engine=\"ocinit-"), "{text}");
        assert!(text.contains("\nname=\"a\\\"b\"\nid=\"1\"\nimage=\"docker.io/library/alpine:latest\"\n"), "{text}");
    }
}
