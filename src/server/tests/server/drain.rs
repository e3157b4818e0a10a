//! A worker that is stopped while clients are connected.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::agent::Agent;
use crate::client::{Client, call_text};
use crate::host::{Host, eventually, queue_files};

const PROBE: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn an_idle_connection_gets_its_answer_and_is_told_to_close() {
    let (host, directory) = Host::with_agent(30);
    let mut server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let mut probing = Client::connect(server.address);
    let mut calling = Client::connect(server.address);
    for client in [&mut probing, &mut calling] {
        client.send(PROBE);
        assert_eq!(client.reply().header("connection"), None);
    }
    server.stop();
    // Whether the drain has begun is not to be seen from here: it has when an answer says so.
    let mut last = None;
    eventually("an answer says close", || {
        probing.send(PROBE);
        let reply = probing.reply();
        assert_eq!(reply.status, 200);
        last = reply.header("connection").map(str::to_owned);
        last.is_some()
    });
    assert_eq!(last.as_deref(), Some("close"));
    assert!(probing.is_closed());
    calling.send(call_text("/a", r#"{"command":"echo"}"#));
    let reply = calling.reply();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(calling.is_closed());
    eventually("the worker ends early", || server.has_ended());
}

#[test]
fn a_connection_that_comes_while_draining_is_answered() {
    let host = Host::new();
    let mut server = host.start();
    let mut idle = Client::connect(server.address);
    idle.send(PROBE);
    idle.reply();
    server.stop();
    // The idle connection keeps the drain open.
    let mut late = Client::connect(server.address);
    late.send(PROBE);
    assert_eq!(late.reply().status, 200);
    assert!(idle.is_closed());
    eventually("the worker ends", || server.has_ended());
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn a_request_in_flight_is_answered() {
    let (host, directory) = Host::with_agent(30);
    let mut server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let mut client = Client::connect(server.address);
    client.send(call_text("/a", r#"{"command":"echo"}"#));
    eventually("the task is written", || !queue_files(&directory.tasks()).is_empty());
    server.stop();
    eventually("no more connections are taken", || TcpStream::connect(server.address).is_err());
    agent.wake();
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    eventually("the worker ends", || server.has_ended());
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn an_idle_worker_ends_at_once() {
    let host = Host::new();
    let mut server = host.start();
    server.stop();
    eventually("the worker ends", || server.has_ended());
}

#[test]
fn restarts_under_load_fail_no_request() {
    const RESTARTS: usize = 3;
    let (host, directory) = Host::with_agent(30);
    let _agent = Agent::start(&directory.tasks());
    // Held here, as systemd does, while the workers come and go.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for pause_ms in [0, 0, 0, 1, 20, 300] {
            let (over, answered) = (&over, &answered);
            threads.spawn(move || {
                let mut client = Client::connect(address);
                while !over.load(Ordering::Relaxed) {
                    client.send(call_text("/a", r#"{"command":"echo"}"#));
                    let reply = client.reply();
                    assert_eq!(reply.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                    if reply.header("connection") == Some("close") {
                        client = Client::connect(address);
                    }
                    std::thread::park_timeout(Duration::from_millis(pause_ms));
                }
            });
        }
        for _ in 0..RESTARTS {
            let mut server = host.start_on(socket.try_clone().unwrap());
            let before = answered.load(Ordering::Relaxed);
            eventually("requests are answered", || before + 100 < answered.load(Ordering::Relaxed));
            server.stop();
            eventually("the worker ends", || server.has_ended());
        }
        let _server = host.start_on(socket.try_clone().unwrap());
        let before = answered.load(Ordering::Relaxed);
        eventually("requests are answered", || before + 100 < answered.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
    });
}
