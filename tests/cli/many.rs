//! Images whose configurations have very many entries of one kind: they start at once, or are refused with a message.
//! The time limit of `Host::ocinit` is far below what a quadratic algorithm would take.

use super::{images, Host};
use serde_json::{json, Value};

/// An image of the payload with this in its configuration.
fn with(host: &Host, name: &str, key: &str, value: Value) -> String {
    let mut image = images::payload(&host.payload);
    image.config[key] = value;
    host.layout(name, image)
}

fn volumes(count: usize) -> Value {
    (0..count).map(|n| (format!("/volumes/{n}"), json!({}))).collect::<serde_json::Map<_, _>>().into()
}

/// Promise: very-many-entries
/// Input: very-many-entries
#[test]
fn volumes_without_number() {
    let Some(host) = Host::new("manyvolumes") else { return };
    let image = with(&host, "few", "Volumes", volumes(300));
    let ended = host.ocinit(&["run", &image, "stat", "/volumes/299"]);
    assert!(ended.code == 0 && ended.out.contains("/volumes/299 dir"), "{}{}", ended.out, ended.err);
    let image = with(&host, "many", "Volumes", volumes(30_000));
    for more in [None, Some("--image-volume=tmpfs")] {
        let words: Vec<&str> = ["run"].into_iter().chain(more).chain([image.as_str(), "hello"]).collect();
        let ended = host.ocinit(&words);
        assert_eq!((ended.code, ended.out.as_str()), (125, ""));
        let why = "the image declares 30000 volumes; the limit is 1024";
        assert!(ended.err.contains(why) && ended.err.contains("--image-volume=ignore"), "{}", ended.err);
        assert_eq!((host.left(), host.mounts()), (Vec::new(), Vec::new()));
    }
    let ended = host.ocinit(&["run", "--image-volume=ignore", &image, "stat", "/volumes"]);
    assert!(ended.code == 0 && ended.out.contains("/volumes No such file"), "{}{}", ended.out, ended.err);
}

/// Promise: very-many-entries
/// Input: very-many-entries
#[test]
fn variables_without_number() {
    let Some(host) = Host::new("manyenv") else { return };
    let env = |count: usize| -> Value { (0..count).map(|n| format!("N{n}=v")).collect::<Vec<_>>().into() };
    let image = with(&host, "env", "Env", env(60_000));
    let ended = host.ocinit(&["run", &image, "env"]);
    assert!(ended.out.lines().any(|line| line == "N59999=v"), "{}", ended.err);
    // More than exec takes is told with the image's name.
    let many = with(
        &host,
        "large",
        "Env",
        env(99_000)
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| json!(format!("{}{}", entry.as_str().unwrap(), "x".repeat(20))))
            .collect(),
    );
    let long = with(&host, "long", "Env", json!([format!("A={}", "x".repeat(200_000))]));
    for image in [many, long] {
        let ended = host.ocinit(&["run", &image, "hello"]);
        assert_eq!((ended.code, ended.out.as_str()), (126, ""));
        assert!(ended.err.contains("argument list too long") && ended.err.contains(&image), "{}", ended.err);
        assert!(ended.err.contains("128 KiB each") && ended.err.len() < 1000, "{}", ended.err);
    }
    // Faulty ones are counted, not told one by one.
    let image = with(&host, "faulty", "Env", (0..60_000).map(|n| json!(format!("faulty{n}"))).collect());
    let ended = host.ocinit(&["run", &image, "hello"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.lines().count() < 20 && ended.err.contains("and 59992 more entries"), "{}", ended.err);
}

/// Texts of a megabyte: each is an error that can be read, or no matter.
/// Promise: very-many-entries
/// Input: very-many-entries
#[test]
fn texts_without_an_end() {
    let Some(host) = Host::new("longtexts") else { return };
    let long = |text: &str| text.repeat((1 << 20) / text.len());
    for (index, (key, value, code, why)) in [
        ("WorkingDir", json!(long("/a")), 126, "file name too long"),
        ("User", json!(long("u")), 126, "in the image's /etc/passwd"),
        ("StopSignal", json!(long("S")), 0, "TERM is used"),
        ("Entrypoint", json!([long("/e")]), 126, ""),
        ("Entrypoint", json!([long("e")]), 126, ""),
        ("Cmd", vec!["x"; 90_000].into(), 1, ""),
        ("Cmd", vec!["x"; 1_000_000].into(), 125, "more than 100 000 values"),
        ("Env", json!([format!("PATH={}", long(":"))]), 126, "argument list too long"),
    ]
    .into_iter()
    .enumerate()
    {
        let image = with(&host, &format!("long{index}"), key, value);
        let ended = host.ocinit(&["run", &image]);
        assert!(ended.err.contains(why) && ended.err.len() < 64 << 10, "{key}: {} bytes", ended.err.len());
        assert!(ended.code == code || (code == 1 && ended.code < 125), "{key}: {}", ended.code);
        assert_eq!(host.left(), Vec::<String>::new(), "{key}");
    }
}
