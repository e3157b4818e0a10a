//! Requests that hide another one: each gets as many responses as RFC 9112 sees requests in it (threat model I1).

use crate::client::Client;
use crate::host::{Host, queue_files};

/// What an attacker wants to have answered by itself.
const HIDDEN: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Follows every payload; a connection that was not refused answers it and ends.
const LAST: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

/// Heads that can be read in two ways.
fn two_readings() -> Vec<String> {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let heads = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding: chunked\x7f\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\n\r\nTransfer-Encoding: chunked\r\n",
        ": x\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nContent-Length: 60\r\n",
        "Content-Length: 60\r\nContent-Length: 60\r\n",
        "Content-Length: 0, 60\r\n",
        "Content-Length: 60, 60\r\n",
        "Content-Length: +60\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: 0x3c\r\n",
        "Content-Length: 6_0\r\n",
        "Content-Length: 6 0\r\n",
        "Content-Length: 60;\r\n",
        "Content-Length: \u{666}0\r\n",
        "Content-Length:\r\n",
        "Content-Length: \x0c60\r\n",
        "Content-Length: 60\0\r\n",
        "Content-Length : 60\r\n",
        "Content_Length: 60\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Host: localhost\r\nContent-Length: 0\r\n",
        "host : other\r\nContent-Length: 0\r\n",
    ];
    let mut all: Vec<_> = heads.iter().map(|head| post(head, &chunked)).collect();
    let old = "POST /a HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    all.push(format!("{old}{chunked}"));
    for first in [
        "GET /healthz",
        "GET  /healthz HTTP/1.1",
        "GET\t/healthz HTTP/1.1",
        "GET /healthz HTTP/1.1 ",
        "GET /healthz HTTP/1.2",
        "GET /healthz HTTP/01.1",
        "GET /healthz http/1.1",
        "GET /healthz\x0bHTTP/1.1",
        "GET /health z HTTP/1.1",
        "GET healthz HTTP/1.1",
        "GET localhost HTTP/1.1",
        "GET localhost:80 HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ? HTTP/1.1",
        "GET ftp://localhost/healthz HTTP/1.1",
        "GET /healthz#x HTTP/1.1",
        "GET\0/healthz HTTP/1.1",
        "G\x01ET /healthz HTTP/1.1",
        "PRI * HTTP/2.0",
        "CONNECT localhost:80 HTTP/1.1",
        "GET http://other/healthz HTTP/1.1",
        "GET http://localhost:81/healthz HTTP/1.1",
        "GET http://x@localhost/healthz HTTP/1.1",
    ] {
        all.push(format!("{first}\r\nHost: localhost\r\n\r\n{HIDDEN}"));
    }
    for rest in
        ["", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost, other\r\n", "Host:\r\n"]
    {
        all.push(format!("GET /healthz HTTP/1.1\r\n{rest}\r\n{HIDDEN}"));
    }
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    all.push(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n{HIDDEN}"));
    all.push(format!("\n{HIDDEN}"));
    all.push(format!("\r\n\r\n{HIDDEN}"));
    all
}

/// Chunked bodies with another end for whom reads them carelessly.
fn broken_chunks() -> Vec<String> {
    [
        "0\n\r\n",
        "0\r\n\n",
        "0\r\n\rX",
        "0\n\n",
        "0 \r\n\r\n",
        " 0\r\n\r\n",
        "0x0\r\n\r\n",
        "+0\r\n\r\n",
        "-1\r\n\r\n",
        "\r\n0\r\n\r\n",
        "0\r\nContent-Length: 60\r\n\r\n",
        "0;\n\r\n\r\n",
        "0;a=\"\n\"\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "10000000000000000\r\n\r\n",
        "g\r\n\r\n",
    ]
    .iter()
    .map(|body| post("Transfer-Encoding: chunked\r\n", &format!("{body}{HIDDEN}")))
    .collect()
}

/// Requests that have one reading, and the statuses of their answers.
fn one_reading() -> Vec<(String, Vec<u16>)> {
    let length = HIDDEN.len();
    let get = |headers: &str, body: &str| {
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
    };
    vec![
        (HIDDEN.repeat(2), vec![200, 200, 200]),
        (format!("\r\n{HIDDEN}"), vec![200, 200]),
        (post(&format!("Content-Length: {length}\r\n"), HIDDEN), vec![400, 200]),
        (post(&format!("CONTENT-LENGTH:\t0{length} \r\n"), HIDDEN), vec![400, 200]),
        (post("X: \u{e9}\r\nContent-Length: 0\r\n", ""), vec![400, 200]),
        (post("Content-Length: 0\r\n", HIDDEN), vec![400, 200, 200]),
        // After a chunked body the connection ends, whatever follows.
        (post("Transfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{HIDDEN}")), vec![400]),
        (post("transfer-encoding:\tCHUNKED\r\n", &format!("0;x\r\n\r\n{HIDDEN}")), vec![400]),
        (
            post("Transfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n")),
            vec![400],
        ),
        (get("Connection: close\r\n", HIDDEN), vec![200]),
        (HIDDEN.replace("HTTP/1.1", "HTTP/1.0"), vec![200]),
        (HIDDEN.replace("GET /", "GET http://localhost/"), vec![200, 200]),
        (HIDDEN.replace("GET /healthz", "OPTIONS *"), vec![404, 200]),
        (get("TE: chunked\r\nTrailer: x\r\nX-Transfer-Encoding: chunked\r\n", ""), vec![200, 200]),
    ]
}

/// The statuses of all answers to `payload`, until the connection ends.
fn statuses(client: &mut Client, payload: &str) -> Vec<u16> {
    client.try_send(format!("{payload}{LAST}").as_bytes());
    let text = client.rest();
    let mut rest = text.as_str();
    let mut statuses = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        statuses.push(status);
        let length = lines
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.parse().unwrap());
        rest = after.split_at(length).1;
    }
    statuses
}

#[test]
fn i1_what_has_two_readings_gets_one_answer_and_the_connection_ends() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    for payload in two_readings().into_iter().chain(broken_chunks()) {
        let mut client = Client::connect(server.address);
        assert_eq!(statuses(&mut client, &payload), [400], "{payload:?}");
        let mut client = Client::connect(server.address);
        let behind = format!("{HIDDEN}{payload}");
        assert_eq!(statuses(&mut client, &behind), [200, 400], "{payload:?}");
    }
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn i1_what_has_one_reading_gets_one_answer_for_each_request() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    for (payload, expected) in one_reading() {
        let mut client = Client::connect(server.address);
        assert_eq!(statuses(&mut client, &payload), expected, "{payload:?}");
    }
}
