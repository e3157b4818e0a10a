//! Requests that are refused before anything is written.

use ploinky_contract::limits::{
    BODIES_MAX_BYTES, FREE_BYTES, IN_FLIGHT_PER_AGENT, REQUEST_MAX_BYTES,
};

use crate::agent::Agent;
use crate::client::{Client, call, call_text, exchange};
use crate::host::{Host, eventually, queue_files};

fn post(headers: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

#[test]
fn only_post_with_json_is_a_call() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "post", "X"] {
        let request = format!("{method} /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let reply = exchange(server.address, request);
        assert_eq!(reply.failure(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method}");
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    for media_type in ["multipart/form-data; boundary=x", "text/html", ""] {
        let headers = format!("Content-Type: {media_type}\r\nContent-Length: 2\r\n");
        let reply = exchange(server.address, post(&headers, "{}"));
        assert_eq!(reply.failure(), (415, "BAD_REQUEST".to_owned()), "{media_type}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_announcement() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    for length in [REQUEST_MAX_BYTES as u64 + 1, 1 << 31, (1 << 32) + 1, u64::MAX / 2] {
        let mut client = Client::connect(server.address);
        client.send(post(&format!("Content-Length: {length}\r\n"), ""));
        let reply = client.reply();
        assert_eq!(reply.failure(), (413, "BODY_TOO_LARGE".to_owned()), "{length}");
        assert_eq!(reply.header("connection"), Some("close"));
    }
}

#[test]
fn a_client_that_asks_first_is_refused_first() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(post("Expect: 100-continue\r\nContent-Length: 1048577\r\n", ""));
    assert_eq!(client.reply().failure(), (413, "BODY_TOO_LARGE".to_owned()));
    let mut client = Client::connect(server.address);
    client.send(post("Expect: 100-continue\r\nContent-Length: 2\r\n", ""));
    assert_eq!(client.reply().status, 100);
    client.send("{}");
    assert_eq!(client.reply().failure(), (400, "BAD_REQUEST".to_owned()));
}

#[test]
fn a_head_over_the_limit_is_refused() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.try_send(post(&format!("X: {}\r\n", "x".repeat(100_000)), "").as_bytes());
    assert_eq!(client.reply().status, 431);
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(9000));
    assert_eq!(exchange(server.address, long).failure(), (414, "BAD_REQUEST".to_owned()));
}

#[test]
fn a_client_that_still_sends_sees_why_it_is_refused() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(post("Content-Length: 8000000\r\n", ""));
    client.try_send(&vec![b' '; 8_000_000]);
    assert_eq!(client.reply().failure(), (413, "BODY_TOO_LARGE".to_owned()));
}

#[test]
fn a_body_over_the_limit_is_refused_while_it_comes() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(post("Transfer-Encoding: chunked\r\n", ""));
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..20 {
        client.try_send(chunk.as_bytes());
    }
    assert_eq!(client.reply().failure(), (413, "BODY_TOO_LARGE".to_owned()));
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn bodies_take_no_more_memory_than_there_is() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let large = format!(r#"{{"command":"echo"{}}}"#, " ".repeat(REQUEST_MAX_BYTES - 100));
    let whole = call_text("/a", &large);
    let (unfinished, _rest) = whole.split_at(REQUEST_MAX_BYTES - 100);
    let mut waiting = Vec::new();
    let mut wait = || {
        let mut client = Client::connect(server.address);
        client.try_send(unfinished.as_bytes());
        waiting.push(client);
    };
    for _ in 0..BODIES_MAX_BYTES / (REQUEST_MAX_BYTES - FREE_BYTES) {
        wait();
    }
    eventually("there is no memory left", || {
        wait();
        call(server.address, "/a", &large).status == 503
    });
    let reply = call(server.address, "/a", &large);
    assert_eq!(reply.failure(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(call(server.address, "/a", r#"{"command":"echo"}"#).status, 200);
    drop(waiting);
    eventually("the memory is back", || call(server.address, "/a", &large).status == 200);
}

#[test]
fn a_body_that_is_no_request_is_refused() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let deep = |levels: usize| {
        format!(r#"{{"command":"echo","params":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    let many = format!(r#"{{"command":"echo","params":[{}1]}}"#, "1,".repeat(1024));
    for (body, said) in [
        ("", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ("[\"echo\",[]]", "is not a JSON object"),
        ("\u{feff}{}", "is not a JSON object"),
        ("{", "EOF"),
        ("{}", "missing field `command`"),
        (r#"{"command":"echo"} x"#, "trailing characters"),
        (r#"{"command":"echo","params":[}"#, "expected value"),
        (r#"{"command":"echo","command":"fail"}"#, "duplicate field `command`"),
        (r#"{"command":"echo","runForUserId":"Admin"}"#, "`runForUserId` is set by the server"),
        (r#"{"command":"echo","__proto__":{}}"#, "unknown field `__proto__`"),
        (r#"{"command":"../echo"}"#, "`../echo` is not a command name"),
        (r#"{"command":"echo","params":["\ud800"]}"#, "half of a surrogate pair"),
        (&deep(64), "nests deeper than 64"),
        (&deep(100_000), "nests deeper than 64"),
        (&many, "has 1025 entries; 1024 are allowed"),
    ] {
        let reply = call(server.address, "/a", body);
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()));
        let json = reply.json();
        let message = json["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
    }
    let raw = [post("Content-Length: 4\r\n", "").as_bytes(), b"{\"\xff}"].concat();
    assert_eq!(exchange(server.address, raw).failure(), (400, "BAD_REQUEST".to_owned()));
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn an_unknown_command_is_refused_before_anything_is_written() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let reply = call(server.address, "/a", r#"{"command":"ech"}"#);
    assert_eq!(reply.failure(), (404, "UNKNOWN_COMMAND".to_owned()));
    assert_eq!(reply.json()["message"], "the agent has no command `ech`");
    assert_eq!(reply.header("task-id"), None);
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn a_full_agent_asks_for_patience() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let body = r#"{"command":"hang"}"#;
    let mut waiting = Vec::new();
    for _ in 0..IN_FLIGHT_PER_AGENT {
        let mut client = Client::connect(server.address);
        client.send(call_text("/a", body));
        waiting.push(client);
    }
    let requests = || queue_files(&directory.tasks()).len();
    eventually("all tasks are written", || requests() == IN_FLIGHT_PER_AGENT);
    let reply = call(server.address, "/a", body);
    assert_eq!(reply.failure(), (429, "AGENT_BUSY".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(waiting);
    eventually("tasks that nobody waits for are gone", || requests() == 0);
}
