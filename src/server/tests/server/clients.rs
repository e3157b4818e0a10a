//! Clients that want more than their share.

use crate::client::{Client, Reply, exchange};
use crate::host::Host;

fn host(settings: &str) -> Host {
    let host = Host::new();
    host.configure(&format!(
        r#"{{"domains":[{{"name":"localhost"}}],"deployments":[],"settings":{settings}}}"#
    ));
    host
}

fn probe(headers: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

#[test]
fn a_client_behind_a_trusted_proxy_has_a_share_of_its_own() {
    let host =
        host(r#"{"trustedProxies":["127.0.0.0/8"],"limits":{"requestsPerSecond":1,"burst":3}}"#);
    let server = host.start();
    let mut proxy = Client::connect(server.address);
    let mut ask = |client: &str| -> Reply {
        proxy.send(probe(&format!("X-Forwarded-For: {client}\r\n")));
        proxy.reply()
    };
    let mut refused = ask("127.9.9.9, 192.0.2.1");
    for forged in 0..8 {
        refused = ask(&format!("192.0.2.{}, 192.0.2.1", 50 + forged));
    }
    assert_eq!(refused.failure(), (429, "TOO_MANY_REQUESTS".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("connection"), None);
    assert_eq!(ask("192.0.2.2").status, 200);
}

#[test]
fn a_refused_client_that_still_sends_sees_why() {
    let host =
        host(r#"{"trustedProxies":["127.0.0.1"],"limits":{"requestsPerSecond":1,"burst":1}}"#);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(probe(""));
    client.reply();
    client.send("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 800000\r\n\r\n");
    client.try_send(&vec![b' '; 800_000]);
    let reply = client.reply();
    assert_eq!(reply.failure(), (429, "TOO_MANY_REQUESTS".to_owned()));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn programs_of_this_host_are_not_counted() {
    let host = host(r#"{"limits":{"requestsPerSecond":1,"burst":1,"connectionsPerAddress":1}}"#);
    let server = host.start();
    let mut clients: Vec<_> = (0..9).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        client.send(probe("X-Forwarded-For: 192.0.2.1\r\n"));
        assert_eq!(client.reply().status, 200);
    }
    let admin = crate::client::exchange_as_admin(&server.admin, probe(""));
    assert_eq!(admin.status, 200);
    assert_eq!(exchange(server.address, probe("")).status, 200);
}
