//! Calls that are answered with events.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ploinky_contract::AgentId;
use ploinky_contract::limits::STREAMS_PER_AGENT;
use ploinky_contract::paths::RuntimeDir;
use ploinky_queue::{Claimed, SyncClaim, SyncConsumer, SyncProducer, TaskError, boot_id};
use serde_json::value::RawValue;

use crate::client::{Client, call, exchange, get};
use crate::host::{Host, Server, eventually};

/// A worker that is not started here.
const OTHER: u16 = 3;

/// The lane of the agent `/a`, and who serves it: `echo` writes its parameters, a line each, and ends with
/// their number; `hang` writes one line, and no other before it is asked to end; `request` is never taken;
/// `fail` fails.
struct Lane {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    fn start(host: &Host) -> Self {
        let id = AgentId::new(&"localhost".parse().unwrap(), &"/a".parse().unwrap()).unwrap();
        let path = RuntimeDir::new(host.runtime()).sync_of(&id);
        for name in ["requests", "urgent", "streams", "responses", "locks"] {
            std::fs::create_dir_all(path.join(name)).unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, lane) = (Arc::clone(&stop), path.clone());
        let thread = std::thread::spawn(move || run(&lane, &stopped));
        eventually("the lane is served", || {
            SyncProducer::open(&path, OTHER).unwrap().runner_is_alive()
        });
        Self { path, stop, thread: Some(thread) }
    }

    fn assert_empty(&self) {
        for name in ["requests", "urgent", "streams", "responses/7"] {
            eventually(name, || std::fs::read_dir(self.path.join(name)).unwrap().count() == 0);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().ok();
    }
}

fn run(lane: &Path, stopped: &AtomicBool) {
    let consumer = SyncConsumer::open(lane, boot_id().unwrap()).unwrap();
    let _runner = consumer.become_runner().unwrap().unwrap();
    let mut hanging = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        for id in consumer.waiting(&|_| false).unwrap() {
            let request = std::fs::read_to_string(lane.join("requests").join(id.as_str()));
            if request.is_ok_and(|request| request.contains(r#""command":"request""#)) {
                continue;
            }
            if let Claimed::Ours(claim) = consumer.claim(hanging.len() % 4, id).unwrap() {
                if let Some(pipe) = consumer.open_stream(id).unwrap() {
                    work(&consumer, claim, File::from(pipe), &mut hanging);
                } else {
                    let value = RawValue::from_string("\"a call\"".to_owned()).unwrap();
                    consumer.complete(&claim, &value).unwrap();
                }
            }
        }
        let asked = consumer.urgent().unwrap();
        hanging.retain(|(claim, _pipe): &(SyncClaim, File)| {
            let is_asked = asked.contains(&claim.id());
            if is_asked {
                consumer.fail(claim, &TaskError::new("CANCELLED", "was asked to end")).unwrap();
            }
            !is_asked
        });
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn work(
    consumer: &SyncConsumer,
    claim: SyncClaim,
    mut pipe: File,
    hanging: &mut Vec<(SyncClaim, File)>,
) {
    match claim.command().as_str() {
        "echo" => {
            let params = claim.request().unwrap().params;
            for param in &params {
                writeln!(pipe, "{}", param.get()).unwrap();
            }
            write!(pipe, "the end").unwrap();
            let count = RawValue::from_string(params.len().to_string()).unwrap();
            consumer.complete(&claim, &count).unwrap();
        }
        "hang" => {
            writeln!(pipe, "waiting").unwrap();
            hanging.push((claim, pipe));
        }
        _ => {
            consumer.fail(&claim, &TaskError::new("HANDLER_FAILED", "it failed")).unwrap();
        }
    }
}

fn subscribe(server: &Server, query: &str) -> Client {
    let mut client = Client::connect(server.address);
    // Without chunks, so that the events stand as they are.
    client.send(format!("GET /a/subscribe?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
    let head = client.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(head.header("cross-origin-resource-policy"), Some("same-origin"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    let id = format!("id: {}-0", head.header("task-id").unwrap());
    assert_eq!((client.line(), client.line()), (id, String::new()));
    client
}

/// The rest of a stream, without the ids.
fn events(mut client: Client) -> String {
    let rest = client.rest();
    rest.lines().filter(|line| !line.starts_with("id: ")).collect::<Vec<_>>().join("|")
}

#[test]
fn what_is_no_subscription_is_refused() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let server = host.start();
    let of =
        |query: &str, headers: &str| get(server.address, &format!("/a/subscribe{query}"), headers);
    assert_eq!(of("", "").failure(), (400, "BAD_REQUEST".to_owned()));
    assert_eq!(of("?command=echo&params=1", "").failure(), (400, "BAD_REQUEST".to_owned()));
    assert_eq!(of("?command=absent", "").failure(), (404, "UNKNOWN_COMMAND".to_owned()));
    let cross = of("?command=echo", "Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(cross.failure(), (403, "FORBIDDEN".to_owned()));
    let post =
        "POST /a/subscribe?command=echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let reply = exchange(server.address, post);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")));
    lane.assert_empty();
}

#[test]
fn a_stream_that_was_lost_is_not_run_again() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let server = host.start();
    let reply = get(server.address, "/a/subscribe?command=echo", "Last-Event-ID: x-1\r\n");
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    lane.assert_empty();
}

#[test]
fn an_agent_without_streams_says_so() {
    let (host, directory) = Host::with_agent(30);
    let manifest = r#"{"name":"a","container":"localhost/a","run":"own","commands":{"echo":"x"}}"#;
    std::fs::write(directory.manifest(), manifest).unwrap();
    let server = host.start();
    let reply = get(server.address, "/a/subscribe?command=echo", "");
    assert_eq!(reply.failure(), (501, "STREAM_UNSUPPORTED".to_owned()));
}

#[test]
fn an_agent_that_is_not_there_gives_no_stream() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    let reply = get(server.address, "/a/subscribe?command=echo", "");
    assert_eq!(reply.failure(), (503, "AGENT_DOWN".to_owned()));
}

#[test]
fn a_failure_is_the_last_event() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let server = host.start();
    assert_eq!(
        events(subscribe(&server, "command=fail")),
        r#"event: error|data: {"error":true,"message":"it failed","code":"HANDLER_FAILED","details":{}}|"#
    );
    lane.assert_empty();
}

#[test]
fn a_handler_whose_time_is_over_is_ended() {
    let (host, _) = Host::with_agent(1);
    let lane = Lane::start(&host);
    let server = host.start();
    let events = events(subscribe(&server, "command=hang"));
    assert!(events.starts_with("data: \"waiting\"||event: error|data: "), "{events}");
    assert!(events.contains(r#""code":"DEADLINE""#), "{events}");
    lane.assert_empty();
}

#[test]
fn a_client_that_goes_away_ends_the_handler() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let server = host.start();
    let mut client = subscribe(&server, "command=hang");
    assert!(client.line().starts_with("id: "));
    assert_eq!(client.line(), "data: \"waiting\"");
    client.shut_down();
    lane.assert_empty();
}

#[test]
fn streams_of_an_agent_have_a_bound_and_leave_room_for_calls() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let server = host.start();
    let streams: Vec<Client> =
        (0..STREAMS_PER_AGENT).map(|_| subscribe(&server, "command=request")).collect();
    let refused = get(server.address, "/a/subscribe?command=request", "");
    assert_eq!(refused.failure(), (429, "AGENT_BUSY".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text().contains("128 streams of the agent"), "{}", refused.text());
    let reply = call(server.address, "/a", r#"{"command":"echo"}"#);
    assert_eq!((reply.status, reply.text()), (200, r#"{"success":true,"data":"a call"}"#));
    drop(streams);
    lane.assert_empty();
}

#[test]
fn a_restart_ends_streams_with_a_word() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let mut server = host.start();
    let mut client = subscribe(&server, "command=hang");
    assert!(client.line().starts_with("id: "));
    server.stop();
    let events = events(client);
    assert!(events.contains(r#"event: error|data: {"error":true"#), "{events}");
    assert!(events.contains(r#""code":"SERVER_RESTART""#), "{events}");
    eventually("the worker ends", || server.has_ended());
    lane.assert_empty();
}

#[test]
fn lines_come_as_events_and_the_value_as_the_last_one() {
    let (host, _) = Host::with_agent(30);
    let lane = Lane::start(&host);
    let server = host.start();
    let query = "command=echo&params=%5B%7B%22n%22:1%7D,%22two+words%22%5D";
    assert_eq!(
        events(subscribe(&server, query)),
        "data: \"InternetUser\"||data: {\"n\":1}||data: \"two words\"||data: \"the end\"||\
         event: end|data: {\"success\":true,\"data\":3}|"
    );
    lane.assert_empty();
}
