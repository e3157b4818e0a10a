//! Which deployment answers.

use crate::agent::Agent;
use crate::client::{call, exchange, get};
use crate::host::{Host, config};

#[test]
fn hosts_that_are_missing_doubled_or_hostile_are_refused() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    for hosts in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: \r\n",
        "Host: ../localhost\r\n",
        "Host: localhost/..\r\n",
        "Host: user@localhost\r\n",
        "Host: local host\r\n",
        "Host: localhost:x\r\n",
        "Host: localhost:99999\r\n",
        "Host: [::1\r\n",
        "Host: 0x7f.1\r\n",
        "Host: l\u{f6}calhost\r\n",
    ] {
        for path in ["/a", "/", "/healthz"] {
            let reply = exchange(server.address, format!("GET {path} HTTP/1.1\r\n{hosts}\r\n"));
            assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{hosts:?}");
        }
    }
    let old = exchange(server.address, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.failure(), (400, "BAD_REQUEST".to_owned()));
}

#[test]
fn what_is_not_deployed_here_is_not_found() {
    let host = Host::new();
    host.agent("localhost", "/a", 30);
    host.agent("localhost", "/off", 30);
    host.agent("off.org", "/a", 30);
    host.agent("b.org", "/b", 30);
    host.configure(
        r#"{"domains":[{"name":"localhost"},{"name":"b.org"},{"name":"off.org","enabled":false}],
        "deployments":[{"domain":"localhost","path":"/a","agent":"a"},
        {"domain":"localhost","path":"/off","agent":"a","enabled":false},
        {"domain":"off.org","path":"/a","agent":"a"},{"domain":"b.org","path":"/b","agent":"a"}]}"#,
    );
    let server = host.start();
    for (name, path) in [
        ("localhost", "/"),
        ("localhost", "/b"),
        ("localhost", "/ab"),
        ("localhost", "/A"),
        ("localhost", "//a"),
        ("localhost", "/./a"),
        ("localhost", "/x/../a"),
        ("localhost", "/%61"),
        ("localhost", "/off"),
        ("localhost", "/management"),
        ("localhost", "/auth"),
        ("b.org", "/a"),
        ("off.org", "/a"),
        ("c.org", "/a"),
        ("10.0.0.1", "/a"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: 0\r\n\r\n");
        let reply = exchange(server.address, request);
        assert_eq!(reply.failure(), (404, "NOT_FOUND".to_owned()), "{name}{path}");
    }
}

#[test]
fn the_port_the_case_and_the_query_do_not_matter() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    for (name, path) in [
        ("localhost", "/a"),
        ("LOCALHOST:8000", "/a/"),
        ("127.0.0.1", "/a/below/it"),
        ("127.9.9.9:1", "/a?command=fail"),
        ("[::1]:8000", "/a"),
        ("localhost", "http://localhost/a"),
    ] {
        let body = r#"{"command":"echo"}"#;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = exchange(server.address, request);
        assert_eq!(reply.text(), r#"{"success":true,"data":["InternetUser"]}"#, "{name}{path}");
    }
}

#[test]
fn a_broken_deployment_does_not_break_the_others() {
    let host = Host::new();
    let good = host.agent("localhost", "/good", 30);
    let broken = host.agent("localhost", "/broken", 30);
    std::fs::write(broken.manifest(), "{").unwrap();
    let files = host.agent("localhost", "/files", 30);
    std::fs::write(files.manifest(), r#"{"name":"a","static":"."}"#).unwrap();
    let no_queue = host.agent("localhost", "/no-queue", 30);
    std::fs::remove_dir_all(no_queue.tasks()).unwrap();
    host.configure(&config(&["/good", "/broken", "/absent", "/files", "/no-queue"]));
    let server = host.start();
    let _agent = Agent::start(&good.tasks());
    for path in ["/broken", "/absent", "/files", "/no-queue"] {
        let reply = call(server.address, path, r#"{"command":"echo"}"#);
        assert_eq!(reply.failure(), (503, "UNAVAILABLE".to_owned()), "{path}");
    }
    assert_eq!(call(server.address, "/good", r#"{"command":"echo"}"#).status, 200);
}

#[test]
fn a_stopped_agent_says_so() {
    let (host, _) = Host::with_agent(30);
    host.configure(
        r#"{"domains":[{"name":"localhost"}],
        "deployments":[{"domain":"localhost","path":"/a","agent":"a","stopped":true}]}"#,
    );
    let server = host.start();
    let reply = call(server.address, "/a", r#"{"command":"echo"}"#);
    assert_eq!(reply.failure(), (503, "AGENT_STOPPED".to_owned()));
}

#[test]
fn a_probe_is_answered_without_any_configuration() {
    let host = Host::new();
    let server = host.start();
    let reply = get(server.address, "/healthz", "");
    assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ok","instance":7}"#));
    let reply = call(server.address, "/healthz", "{}");
    assert_eq!(reply.failure(), (405, "METHOD_NOT_ALLOWED".to_owned()));
}
