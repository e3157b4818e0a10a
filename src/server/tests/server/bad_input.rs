//! Bad input at every entry point: each value of a list meets each place that takes such values (test catalogue C.4).

use std::os::unix::fs::symlink;

use ploinky_contract::limits::REQUEST_MAX_BYTES;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::agent::Agent;
use crate::client::{Client, Reply, call, call_with, exchange, get};
use crate::host::{Host, Server, config, eventually, queue_files};

/// Stands in every file that nobody may see.
const SECRET: &str = "SECRET";

/// Paths that lead elsewhere, or that one program reads in another way than the next.
fn paths() -> Vec<String> {
    let mut paths: Vec<String> = [
        "../secret",
        "../../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "..%252fsecret",
        "%252e%252e/secret",
        "..%c0%afsecret",
        "%c0%ae%c0%ae/secret",
        "....//secret",
        "./secret",
        "/etc/passwd",
        "//etc/passwd",
        "\\..\\secret",
        "..\\secret",
        "..%5csecret",
        "%00",
        "secret%00.html",
        ";x=/../secret",
        "..;/secret",
        "C:",
        "C:%5csecret",
        "file:///etc/passwd",
        ".tasks/requests",
        ".tasks",
        ".admin",
        ".git/config",
        ".env",
        "%2eenv",
        "secret.",
        "secret%20",
        "secret%0a",
        "secret::$DATA",
        "cafe%cc%81",
        "%e2%80%aesecret",
        "%ff%fe",
        "%",
        "%2",
        "%zz",
        "out/secret",
        "out",
        "link",
        "pipe",
        "Admin",
        "*",
        "~root",
        "$HOME",
        "`id`",
        "'",
        "<script>alert(1)<%2fscript>",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push("a".repeat(255 + 1));
    paths.push("a".repeat(4096));
    paths.push("a/".repeat(2000));
    paths.push("../".repeat(2000));
    paths
}

/// A host with a site at `/`, an agent at `/a`, and secrets around them.
fn host() -> (Host, Server, ploinky_contract::paths::AgentDir) {
    let host = Host::new();
    let directory = host.agent("localhost", "/a", 30);
    let files = host.site("localhost");
    host.configure(&config(&["/a", "/"]));
    let secret = host.state().root().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::write(files.join("../secret"), SECRET).unwrap();
    std::fs::create_dir(files.join(".git")).unwrap();
    std::fs::create_dir_all(files.join(".tasks/requests")).unwrap();
    for hidden in [".env", ".admin", ".git/config"] {
        std::fs::write(files.join(hidden), SECRET).unwrap();
    }
    symlink(&secret, files.join("link")).unwrap();
    symlink(host.state().root(), files.join("out")).unwrap();
    mknodat(CWD, files.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    std::fs::write(files.join("caf\u{e9}"), "composed").unwrap();
    let server = host.start();
    (host, server, directory)
}

/// Refused as the client's fault, in words, and with nothing of ours in them.
fn assert_refused(reply: &Reply, what: &str) {
    let text = reply.text();
    assert!((400..500).contains(&reply.status), "{what:.200}: {} {text:.300}", reply.status);
    for inside in [SECRET, "os error", "/state", "root:", "panicked", "src/"] {
        assert!(!text.contains(inside), "{what:.200}: {text:.300}");
    }
}

#[test]
fn i3_a_path_names_nothing_but_what_is_meant_at_any_entry_point() {
    let (_host, server, directory) = host();
    let body = r#"{"command":"absent"}"#;
    for path in paths() {
        let line = |method: &str, target: &str| {
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n")
        };
        let form =
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 7\r\n\r\n--x--\r\n";
        let call = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let json = serde_json::json!({ "command": path }).to_string();
        for request in [
            format!("{}\r\n", line("GET", &format!("/{path}"))),
            format!("{}\r\n", line("HEAD", &format!("/{path}"))).replacen("HEAD", "GET", 1),
            format!("{}Range: bytes=0-9\r\n\r\n", line("GET", &format!("/{path}"))),
            format!("{}{call}", line("POST", &format!("/a/{path}"))),
            format!("{}{form}", line("POST", &format!("/a/upload/{path}"))),
            format!("{}{form}", line("POST", &format!("/a/upload?command={path}"))),
            format!("{}\r\n", line("GET", &format!("/a/subscribe/{path}"))),
            format!("{}\r\n", line("GET", &format!("/a/subscribe?command={path}"))),
            format!("{}\r\n", line("GET", &format!("/a/subscribe?command=echo&params={path}"))),
            format!("{}\r\n", line("GET", &format!("/tasks/{path}"))),
            format!("{}\r\n", line("GET", &format!("/tasks/{path}/result"))),
            format!("{}\r\n", line("DELETE", &format!("/tasks/{path}"))),
            format!("{}\r\n", line("GET", &format!("/tasks?agent={path}"))),
            format!("GET / HTTP/1.1\r\nHost: {path}\r\n\r\n"),
            call_with("/a", "", &json),
        ] {
            assert_refused(&exchange(server.address, &request), &request);
        }
    }
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
    assert_eq!(get(server.address, "/caf%c3%a9", "").text(), "composed");
}

#[test]
fn ranges_without_sense_give_no_more_than_the_file() {
    let (host, server, _directory) = host();
    let files = host.directory("localhost", "/").code().join("public");
    std::fs::write(files.join("ten"), "0123456789").unwrap();
    let many = format!("bytes={}", vec!["0-0"; 1000].join(","));
    for range in [
        "bytes=-",
        "bytes=--1",
        "bytes=5-1",
        "bytes=10-",
        "bytes=-0",
        "bytes=18446744073709551615-",
        "bytes=0-18446744073709551616",
        "bytes=99999999999999999999999-",
        "bytes=0-0,1-1",
        "lines=0-1",
        "bytes 0-1",
        &many,
    ] {
        let reply = get(server.address, "/ten", &format!("Range: {range}\r\n"));
        assert!(matches!(reply.status, 200 | 206 | 416), "{range}: {reply:?}");
        assert!(reply.body.len() <= 10, "{range}");
    }
}

#[test]
fn a_body_of_any_length_is_taken_whole_or_refused() {
    let (_host, server, directory) = host();
    let _agent = Agent::start(&directory.tasks());
    let body = r#"{"command":"echo"}"#;
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    for (length, status) in
        [(REQUEST_MAX_BYTES - 1, 200), (REQUEST_MAX_BYTES, 200), (REQUEST_MAX_BYTES + 1, 413)]
    {
        assert_eq!(call(server.address, "/a", &padded(length)).status, status, "{length}");
    }
    for text in ["", " "] {
        assert_eq!(call(server.address, "/a", text).status, 400);
    }
    // Lengths that do not come: nothing is begun, and the server waits for nobody else.
    for (path, kind) in
        [("/a", "application/json"), ("/a/upload?command=echo", "multipart/form-data; boundary=x")]
    {
        for length in ["2147483648", "4294967297", "9223372036854775807"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
            );
            let mut client = Client::connect(server.address);
            client.send(&head);
            assert_eq!(client.reply().failure(), (413, "BODY_TOO_LARGE".to_owned()), "{head}");
        }
        for length in ["9223372036854775808", "18446744073709551615", "18446744073709551616"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            );
            let refused = exchange(server.address, &head);
            assert_eq!(refused.failure(), (400, "BAD_REQUEST".to_owned()), "{head}");
        }
        for head in
            ["Content-Length: 1000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"com"]
        {
            let mut client = Client::connect(server.address);
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{head}"
            ));
            client.shut_down();
        }
    }
    assert_eq!(call(server.address, "/a", body).status, 200);
    eventually("nothing is left", || queue_files(&directory.tasks()).is_empty());
}

/// JSON values, and whether a parameter may be one.
fn values() -> Vec<(Vec<u8>, bool)> {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
    let keys = (0..50_000).map(|key| format!("\"k{key}\":0")).collect::<Vec<_>>().join(",");
    vec![
        (deep(61), true),
        (deep(63), false),
        (deep(64), false),
        (deep(65), false),
        (deep(100_000), false),
        (format!("{{{keys}}}").into_bytes(), true),
        ("7".repeat(100_000).into_bytes(), true),
        (b"1e400".to_vec(), true),
        (b"-0".to_vec(), true),
        (br#""\u0000""#.to_vec(), true),
        (br#""\ud83d\ude00""#.to_vec(), true),
        (br#"{"__proto__":{"a":1}}"#.to_vec(), true),
        (br#"{"runForUserId":"Admin"}"#.to_vec(), true),
        (br#""\ud800""#.to_vec(), false),
        (br#""\udc00\ud800""#.to_vec(), false),
        (b"\"\xff\"".to_vec(), false),
        (b"\"\xc0\xaf\"".to_vec(), false),
        (b"\"\xed\xa0\x80\"".to_vec(), false),
        (b"\xef\xbb\xbf1".to_vec(), false),
        (b"\"\0\"".to_vec(), false),
        (b"\"\n\"".to_vec(), false),
        (b"01".to_vec(), false),
        (b"+1".to_vec(), false),
        (b".5".to_vec(), false),
        (b"NaN".to_vec(), false),
        (b"'a'".to_vec(), false),
        (b"1,".to_vec(), false),
        (b"1 2".to_vec(), false),
        (b"[1".to_vec(), false),
        (b"1]}x".to_vec(), false),
        (b"/**/1".to_vec(), false),
    ]
}

#[test]
fn json_is_taken_as_it_is_or_refused_by_every_entry_point_that_takes_it() {
    let (_host, server, directory) = host();
    let _agent = Agent::start(&directory.tasks());
    for (value, is_good) in values() {
        let shown = String::from_utf8_lossy(&value).into_owned();
        let body = [br#"{"command":"echo","params":["#, value.as_slice(), b"]}"].concat();
        let head = format!(
            "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let reply = exchange(server.address, [head.as_bytes(), &body].concat());
        if is_good {
            let expected = format!(r#"{{"success":true,"data":["InternetUser",{shown}]}}"#);
            assert!(
                reply.status == 200 && reply.text() == expected,
                "{shown:.99}: {:.300}",
                reply.text()
            );
        } else {
            assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{shown:.99}");
        }
        // The same in the query of a URL, as long as it fits there.
        let escaped = value.iter().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        let target = format!("/a/subscribe?command=echo&params=%5b{escaped}%5d");
        if target.len() < 8000 {
            let reply = get(server.address, &target, "");
            // Without memory for calls a stream that is good cannot be carried out.
            let expected = if is_good { 503 } else { 400 };
            assert_eq!(reply.status, expected, "{shown:.99}: {:.300}", reply.text());
        }
    }
    eventually("nothing is left", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn i4_what_is_no_token_makes_nobody_of_a_stranger() {
    let (_host, server, directory) = host();
    let _agent = Agent::start(&directory.tasks());
    let digits = "0123456789abcdef".repeat(4);
    let long = "a".repeat(10 << 10);
    let upper = digits.to_uppercase();
    let quoted = format!("\"{digits}\"");
    let line = format!("{digits}%0a");
    let body = r#"{"command":"echo"}"#;
    let nobody = r#"{"success":true,"data":["InternetUser"]}"#;
    for token in [
        "",
        "Admin",
        "admin",
        "*",
        "../../x",
        "a",
        &long,
        &upper,
        &quoted,
        &line,
        &digits,
        "InternetUser",
    ] {
        let cookie = format!("Cookie: authorizationToken={token}\r\n");
        let asked = exchange(server.address, call_with("/a", &cookie, body));
        assert_eq!((asked.status, asked.text()), (200, nobody), "{token:.80}");
        let tasks = get(server.address, "/tasks", &cookie);
        assert_eq!(tasks.status, 401, "{token:.80}");
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for reply in [
            exchange(server.address, call_with("/a", &bearer, body)),
            get(server.address, "/tasks", &bearer),
        ] {
            assert!(matches!(reply.status, 400 | 401), "{token:.80}: {reply:?}");
        }
        if !token.contains(['"', '%', '*']) && token.len() < 4096 {
            let inside = call_with(&format!("/a?authorizationToken={token}"), "", body);
            assert_eq!(exchange(server.address, inside).text(), nobody, "{token}");
            let listed = get(server.address, &format!("/tasks?authorizationToken={token}"), "");
            assert!(matches!(listed.status, 400 | 401), "{token}");
        }
        let twice = format!("Cookie: authorizationToken={token}; authorizationToken={digits}\r\n");
        assert_eq!(
            exchange(server.address, call_with("/a", &twice, body)).status,
            400,
            "{token:.80}"
        );
    }
}
