//! What answers tell browsers (threat model A1, C5).

use crate::agent::Agent;
use crate::client::{Reply, call_text, exchange, get};
use crate::host::{Host, config};

const OWN: [(&str, &str); 5] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];
/// A site may be framed, embedded and opened by others, as on any web server.
const SITE: [(&str, &str); 2] =
    [("referrer-policy", "strict-origin-when-cross-origin"), ("x-content-type-options", "nosniff")];

/// Headers of a reply that concern browsers, or tell of us.
fn told(reply: &Reply) -> Vec<(&str, &str)> {
    let ours = ["referrer-policy", "content-security-policy", "x-powered-by", "server", "via"];
    let mut told: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| {
            ours.contains(name)
                || name.starts_with("cross-origin")
                || (name.starts_with("x-") && *name != "x-accel-buffering")
        })
        .collect();
    told.sort_unstable();
    told
}

#[test]
fn a1_every_answer_of_our_own_is_of_no_use_to_other_sites() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let line = |method: &str, path: &str, headers: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    };
    for (request, status) in [
        (call_text("/a", r#"{"command":"echo"}"#), 200),
        (call_text("/a", r#"{"command":"fail"}"#), 500),
        (call_text("/a", "{"), 400),
        (line("GET", "/a", ""), 405),
        (line("GET", "/x", ""), 404),
        (line("GET", "/x", "Accept: text/html\r\n"), 404),
        (line("GET", "/healthz", ""), 200),
        (line("GET", "/tasks/x", ""), 404),
        (line("GET", "/tasks", ""), 401),
        (line("GET", "/a/subscribe?command=echo", "Last-Event-ID: 1\r\n"), 204),
        (line("POST", "/a/upload", "Content-Length: 0\r\n"), 415),
        ("GET / HTTP/1.1\n\n".to_owned(), 400),
    ] {
        let reply = exchange(server.address, &request);
        assert_eq!((reply.status, told(&reply)), (status, OWN.to_vec()), "{request}");
        if status != 204 {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{request}");
        }
    }
}

#[test]
fn c5_a_site_gets_what_no_site_needs_to_be_without() {
    let host = Host::new();
    let files = host.site("localhost");
    std::fs::create_dir(files.join("d")).unwrap();
    std::fs::write(files.join("d/index.html"), "<p>").unwrap();
    host.configure(&config(&["/"]));
    let server = host.start();
    let page = get(server.address, "/d/", "");
    let tag = format!("If-None-Match: {}\r\n", page.header("etag").unwrap());
    for (reply, status) in [
        (page, 200),
        (get(server.address, "/d/", &tag), 304),
        (get(server.address, "/d/", "Range: bytes=9-\r\n"), 416),
        (get(server.address, "/d", ""), 308),
    ] {
        assert_eq!((reply.status, told(&reply)), (status, SITE.to_vec()));
    }
}
