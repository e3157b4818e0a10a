//! Files of a static agent.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::client::{Client, exchange, get};
use crate::host::{Host, Server, config};

fn site() -> (Host, std::path::PathBuf, Server) {
    let host = Host::new();
    let files = host.site("localhost");
    host.configure(&config(&["/"]));
    std::fs::write(files.join("index.html"), "<h1>home</h1>").unwrap();
    std::fs::write(files.join("a.txt"), "0123456789").unwrap();
    std::fs::create_dir(files.join("d")).unwrap();
    std::fs::write(files.join("d/index.html"), "<h1>d</h1>").unwrap();
    std::fs::create_dir(files.join("empty")).unwrap();
    let server = host.start();
    (host, files, server)
}

fn content(address: SocketAddr, path: &str) -> (u16, String) {
    let reply = get(address, path, "");
    (reply.status, reply.text().to_owned())
}

#[test]
fn nothing_outside_and_nothing_hidden_is_served() {
    let (host, files, server) = site();
    let secret = host.state().root().join("secret");
    std::fs::write(&secret, "SECRET").unwrap();
    std::fs::write(files.join("../secret"), "SECRET").unwrap();
    for hidden in [".env", ".admin", ".git", ".tasks"] {
        std::fs::write(files.join(hidden), "SECRET").unwrap();
    }
    symlink(&secret, files.join("link")).unwrap();
    symlink(host.state().root(), files.join("out")).unwrap();
    symlink("a.txt", files.join("inner")).unwrap();
    mknodat(CWD, files.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for path in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/..%252fsecret",
        "/..%c0%afsecret",
        "/....//secret",
        "/./a.txt",
        "/d/../a.txt",
        "//a.txt",
        "//etc/passwd",
        "/\\..\\secret",
        "/a.txt%00",
        "/a.txt%00.html",
        "/;x=/../secret",
        "/C:",
        "/.env",
        "/.admin",
        "/.git",
        "/.tasks",
        "/%2eenv",
        "/link",
        "/out/secret",
        "/out/",
        "/inner",
        "/pipe",
        "/a.txt/",
        "/a.txt.",
        "/a.txt%20",
        "/empty",
        "/empty/",
        "/none",
        "/management",
        &format!("/{}", "a".repeat(300)),
        &format!("/{}", "a/".repeat(2000)),
        &format!("/{}", "../".repeat(1000)),
    ] {
        let reply = get(server.address, path, "");
        assert_eq!(reply.failure(), (404, "NOT_FOUND".to_owned()), "{path}");
        assert!(!reply.text().contains("SECRET"));
    }
}

#[test]
fn a_directory_shows_its_index() {
    let (_host, _files, server) = site();
    assert_eq!(content(server.address, "/"), (200, "<h1>home</h1>".to_owned()));
    assert_eq!(content(server.address, "/d/"), (200, "<h1>d</h1>".to_owned()));
    let reply = get(server.address, "/d?x=1", "");
    assert_eq!((reply.status, reply.header("location")), (308, Some("/d/?x=1")));
}

#[test]
fn a_file_has_what_caches_need() {
    let (_host, files, server) = site();
    let reply = get(server.address, "/a.txt", "");
    assert_eq!((reply.status, reply.text()), (200, "0123456789"));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    let etag = reply.header("etag").unwrap().to_owned();
    let modified = reply.header("last-modified").unwrap().to_owned();
    for condition in
        [format!("If-None-Match: {etag}\r\n"), format!("If-Modified-Since: {modified}\r\n")]
    {
        let again = get(server.address, "/a.txt", &condition);
        assert_eq!((again.status, again.header("etag")), (304, Some(etag.as_str())));
    }
    std::fs::write(files.join("a.txt"), "abcdefghij").unwrap();
    let changed = get(server.address, "/a.txt", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((changed.status, changed.text()), (200, "abcdefghij"));
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}

#[test]
fn a_range_gives_a_part() {
    let (_host, _files, server) = site();
    let get = |headers: &str| get(server.address, "/a.txt", headers);
    let etag = get("").header("etag").unwrap().to_owned();
    for (headers, status, body, range) in [
        ("Range: bytes=2-4\r\n".to_owned(), 206, "234", Some("bytes 2-4/10")),
        ("Range: bytes=-3\r\n".to_owned(), 206, "789", Some("bytes 7-9/10")),
        ("Range: bytes=8-99\r\n".to_owned(), 206, "89", Some("bytes 8-9/10")),
        ("Range: bytes=10-\r\n".to_owned(), 416, "", Some("bytes */10")),
        ("Range: bytes=4-2\r\n".to_owned(), 200, "0123456789", None),
        ("Range: bytes=0-1,4-5\r\n".to_owned(), 200, "0123456789", None),
        (format!("Range: bytes=0-0\r\nIf-Range: {etag}\r\n"), 206, "0", Some("bytes 0-0/10")),
        ("Range: bytes=0-0\r\nIf-Range: \"x\"\r\n".to_owned(), 200, "0123456789", None),
    ] {
        let reply = get(&headers);
        assert_eq!(
            (reply.status, reply.text(), reply.header("content-range")),
            (status, body, range),
            "{headers}"
        );
    }
}

#[test]
fn head_gives_the_head_alone() {
    let (_host, _files, server) = site();
    let mut client = Client::connect(server.address);
    for (path, status) in [("/a.txt", 200), ("/none", 404), ("/healthz", 200)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let reply = client.head();
        assert_eq!(reply.status, status, "{path}");
        assert_ne!(reply.header("content-length"), Some("0"), "{path}");
    }
    // The next response on the same connection starts where it should.
    client.send("GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.reply().text(), "0123456789");
}

#[test]
fn a_long_file_comes_whole_and_in_parts() {
    let (_host, files, server) = site();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(files.join("long.bin"), &bytes).unwrap();
    let whole = get(server.address, "/long.bin", "");
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert!(whole.body == bytes);
    let part = get(server.address, "/long.bin", "Range: bytes=100001-1000000\r\n");
    assert_eq!(part.status, 206);
    assert!(part.body == bytes[100_001..=1_000_000]);
    std::fs::write(files.join("nothing"), "").unwrap();
    assert_eq!(content(server.address, "/nothing"), (200, String::new()));
}

#[test]
fn only_browsers_get_a_page() {
    let (_host, _files, server) = site();
    let reply = get(server.address, "/none", "Accept: text/html,*/*\r\n");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.text().contains("<h1>404 Not Found</h1>"));
    let post =
        "POST /none HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(server.address, post).failure(), (404, "NOT_FOUND".to_owned()));
}

#[test]
fn a_site_that_is_gone_is_not_found() {
    let (host, files, server) = site();
    std::fs::remove_dir_all(&files).unwrap();
    assert_eq!(get(server.address, "/", "").status, 404);
    // A link in place of the directory that the manifest names leads nowhere.
    symlink(host.state().root(), &files).unwrap();
    std::fs::write(host.state().root().join("index.html"), "SECRET").unwrap();
    assert_eq!(get(server.address, "/", "").status, 404);
    assert!(Path::new(&files).join("index.html").exists());
}
