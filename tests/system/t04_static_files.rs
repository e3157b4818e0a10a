//! Unmapped paths are served from the domain's static agent, and nothing outside of it.

use crate::host::{ok, refused, sh, wait_for};
use crate::http::{Connection, Reply, get_bytes};

fn get(path: &str, headers: &str) -> Reply {
    Connection::open(8000).unwrap().exchange(&get_bytes(path, headers)).unwrap()
}

#[test]
fn a_directory_of_files_is_served() {
    sh("systemctl start ploinky-supervisor ploinky@1");
    sh(r"rm -rf /tmp/site && mkdir -p /tmp/site/css && cd /tmp/site
        printf '<h1>Hallo</h1>' >index.html; printf 'a{}' >css/a.css; printf 'secret' >.env
        head -c 300000 /dev/zero | tr '\0' 'z' >large.bin");
    assert_eq!(get("/", "Accept: text/html\r\n").status, 404);
    ok(&["ploinkyctl", "deploy", "localhost", "/", "/tmp/site"]);
    let (index, _) =
        wait_for("the index", || Some(get("/", "")).filter(|reply| reply.status == 200));
    assert_eq!(
        (index.text().as_str(), index.header("content-type")),
        ("<h1>Hallo</h1>", Some("text/html; charset=utf-8"))
    );
    let etag = index.header("etag").unwrap().to_owned();
    assert_eq!(get("/", &format!("If-None-Match: {etag}\r\n")).status, 304);
    assert_eq!(get("/css/a.css", "").header("content-type"), Some("text/css; charset=utf-8"));
    let part = get("/large.bin", "Range: bytes=299990-\r\n");
    assert_eq!((part.status, part.text().as_str()), (206, "zzzzzzzzzz"));
    assert_eq!(part.header("content-range"), Some("bytes 299990-299999/300000"));
    assert_eq!(get("/large.bin", "").body.len(), 300_000);
    assert_eq!(get("/large.bin", "Range: bytes=300000-\r\n").status, 416);
    assert_eq!(get("/nothing", "Accept: text/html\r\n").status, 404);

    sh(
        "ln -s /etc /var/lib/ploinky/agents/localhost/_root/code/out; mkfifo /var/lib/ploinky/agents/localhost/_root/code/pipe",
    );
    for path in [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/manifest.json",
        "/..%252f..%252fmanifest.json",
        "/....//....//manifest.json",
        "/..%c0%af..%c0%afetc/passwd",
        "//etc/passwd",
        "/out/passwd",
        "/out",
        "/pipe",
        "/.env",
        "/css/../.env",
        "/css/./../.env",
        "/..\\..\\etc\\passwd",
        "/%00",
        "/index.html%00.css",
        "/.tasks/requests",
        "/index.html/",
    ] {
        let reply = get(path, "");
        assert!([400, 404].contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
        assert!(
            !reply.text().contains("root:") && !reply.text().contains("secret"),
            "{path}: {}",
            reply.text()
        );
    }
    ok(&["ploinkyctl", "undeploy", "localhost", "/"]);
    wait_for("a 404", || (get("/css/a.css", "").status == 404).then_some(()));
}

#[test]
fn trees_that_would_lead_out_are_refused() {
    sh("systemctl start ploinky-supervisor");
    for (make, expected) in [
        ("ln -s /etc/passwd link", "link"),
        ("ln -s ../../x link", "link"),
        ("mkfifo pipe", "pipe"),
        ("mkdir .tasks", ".tasks"),
    ] {
        sh(&format!(
            "rm -rf /tmp/tree && mkdir /tmp/tree && cd /tmp/tree && echo x >index.html && {make}"
        ));
        let (_, text) = refused(&["ploinkyctl", "deploy", "localhost", "/", "/tmp/tree"]);
        assert!(text.contains(expected), "{make}: {text}");
    }
    assert_eq!(sh("ls -d /var/lib/ploinky/agents/localhost/_root 2>/dev/null || true"), "");
}
