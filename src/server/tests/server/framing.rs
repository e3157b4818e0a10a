//! Bytes that another server may read as another request, or as two.

use crate::agent::Agent;
use crate::client::{Client, exchange};
use crate::host::{Host, queue_files};

const NEXT: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

/// Requests with what is said of them.
fn ambiguous() -> Vec<(String, &'static str)> {
    let line = |first: &str| format!("{first}\r\nHost: localhost\r\n\r\n");
    let mut requests = vec![
        ("GET / HTTP/1.1\nHost: localhost\n\n".to_owned(), "line 1 of the request does not end"),
        (
            "GET / HTTP/1.1\r\nHost: localhost\n\r\n".to_owned(),
            "line 2 of the request does not end",
        ),
        (line("GET / HTTP/1.1 x"), "the first line"),
        (line("GET  / HTTP/1.1"), "the first line"),
        (line("G{T / HTTP/1.1"), "the first line"),
        (line("GET / HTTP/2.0"), "the version"),
        (line("GET /\u{e9} HTTP/1.1"), "percent-encoded"),
    ];
    requests.extend(
        [
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding must",
            ),
            ("Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding must"),
            ("Transfer-Encoding: ,chunked\r\n", "Transfer-Encoding must"),
            ("Transfer-Encoding: xchunked\r\n", "Transfer-Encoding must"),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "exclude each other"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "exclude each other"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length must"),
            ("Content-Length: 5, 5\r\n", "Content-Length must"),
            ("Content-Length: +5\r\n", "Content-Length must"),
            ("Content-Length: 99999999999999999999999\r\n", "Content-Length must"),
            ("Content-Length : 5\r\n", "line 3 of the request is not a header"),
            ("Content_Length: 5\r\n", "line 3 of the request has `_`"),
            ("X: a\r\n b\r\n", "line 4 of the request begins with a space"),
            ("X: a\0b\r\n", "line 3 of the request has a control character"),
            ("ploinky_fault: 1\r\n", "line 3 of the request has `_`"),
        ]
        .map(|(headers, said)| (post(headers, "0\r\n\r\n"), said)),
    );
    requests
}

#[test]
fn ambiguous_bytes_are_refused_and_nothing_behind_them_is_a_request() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    for (request, said) in ambiguous() {
        let mut client = Client::connect(server.address);
        client.send(format!("{request}{NEXT}"));
        let reply = client.reply();
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{request:?}");
        assert_eq!(reply.header("connection"), Some("close"));
        let message = reply.json()["message"].to_string();
        assert!(message.contains(said), "{request:?}: {message}");
        assert!(client.is_closed(), "{request:?}");
    }
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn what_came_before_the_fault_is_answered() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    for (request, _) in ambiguous() {
        let mut client = Client::connect(server.address);
        client.send(format!("{NEXT}{NEXT}{request}"));
        let statuses = [(); 3].map(|()| client.reply().status);
        assert_eq!(statuses, [200, 200, 400], "{request:?}");
        assert!(client.is_closed(), "{request:?}");
    }
}

#[test]
fn a_broken_chunk_is_refused_by_its_fault() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    for (body, said) in [
        ("2\n{}\r\n0\r\n\r\n", "not hexadecimal"),
        ("0x2\r\n{}\r\n0\r\n\r\n", "not hexadecimal"),
        ("2\r\n{}0\r\n\r\n", "longer than its size"),
        ("2\r\n{}\r\n0\r\nX: y\r\n\r\n", "trailer fields"),
        ("-2\r\n{}\r\n0\r\n\r\n", "not hexadecimal"),
        ("10000000000000002\r\n{}\r\n0\r\n\r\n", "more than 16 digits"),
    ] {
        let mut client = Client::connect(server.address);
        client.send(post("Transfer-Encoding: chunked\r\n", &format!("{body}{NEXT}")));
        let reply = client.reply();
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{body:?}");
        assert!(reply.json()["message"].to_string().contains(said), "{body:?}: {reply:?}");
        assert!(client.is_closed(), "{body:?}");
    }
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let rest = r#""command":"echo"}"#;
    let call = format!("{{{rest}");
    let whole = [
        NEXT.to_owned(),
        post(&format!("Content-Length: {}\r\n", call.len()), &call),
        format!("\r\n{NEXT}"),
        post(
            "Transfer-Encoding: chunked\r\n",
            &format!("1\r\n{{\r\n{:x};a=b\r\n{rest}\r\n0\r\n\r\n", rest.len()),
        ),
    ]
    .concat();
    for size in [1, 2, 3, 7, 50, whole.len()] {
        let mut client = Client::connect(server.address);
        for piece in whole.as_bytes().chunks(size) {
            client.send(piece);
        }
        let statuses = [(); 4].map(|()| client.reply().status);
        assert_eq!(statuses, [200; 4], "{size}");
        // Nothing follows a chunked request.
        assert!(client.is_closed(), "{size}");
    }
}

#[test]
fn proxies_and_tunnels_are_refused() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    for line in ["CONNECT localhost:80", "GET http://other/a", "POST http://localhost.evil/a"] {
        let reply = exchange(server.address, format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{line}");
    }
    let upgrade = post("Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n", "");
    assert_eq!(exchange(server.address, upgrade).failure(), (400, "BAD_REQUEST".to_owned()));
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost, other\r\n"] {
        let reply = exchange(server.address, format!("GET / HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{hosts:?}");
    }
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}
