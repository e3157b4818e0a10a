//! Calls through memory, and through the disk where memory is not to be had.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ploinky_contract::AgentId;
use ploinky_contract::paths::{AgentDir, RuntimeDir};
use ploinky_queue::{
    Claimed, SYNC_REQUEST_MAX_BYTES, SyncClaim, SyncConsumer, SyncProducer, TaskError, boot_id,
    code,
};
use serde_json::value::RawValue;

use crate::agent::Agent;
use crate::client::{Client, call, call_text};
use crate::host::{Host, Server, eventually, queue_files};

/// A worker that is not started here.
const OTHER: u16 = 3;
const DIRECTORIES: [&str; 5] = ["requests", "urgent", "streams", "responses", "locks"];

/// The lane of the agent `/a` on localhost; it need not be there.
fn lane_of(host: &Host) -> PathBuf {
    let id = AgentId::new(&"localhost".parse().unwrap(), &"/a".parse().unwrap()).unwrap();
    RuntimeDir::new(host.runtime()).sync_of(&id)
}

fn make(lane: &Path) {
    for name in DIRECTORIES {
        std::fs::create_dir_all(lane.join(name)).unwrap();
    }
}

/// Names of the files of tasks in the lane.
fn files(lane: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["requests", "urgent", "streams", "responses/7"] {
        // The worker makes its directory when it finds the lane.
        for entry in std::fs::read_dir(lane.join(directory)).into_iter().flatten() {
            found.push(format!("{directory}/{}", entry.unwrap().file_name().display()));
        }
    }
    found
}

/// Serves a lane: `echo` says that it came through memory, `hang` waits until it is asked to end.
struct Runner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    fn start(lane: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (Arc::clone(&stop), lane.to_owned());
        let thread = std::thread::spawn(move || run(&path, &stopped));
        eventually("the lane is served", || {
            SyncProducer::open(lane, OTHER).unwrap().runner_is_alive()
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().ok();
    }
}

fn run(lane: &Path, stopped: &AtomicBool) {
    let consumer = SyncConsumer::open(lane, boot_id().unwrap()).unwrap();
    let _runner = consumer.become_runner().unwrap().unwrap();
    consumer.recover().unwrap();
    let mut hanging = Vec::new();
    let value = RawValue::from_string("\"memory\"".to_owned()).unwrap();
    while !stopped.load(Ordering::Relaxed) {
        for id in consumer.waiting(&|_| false).unwrap() {
            // A slot of its own for each that hangs.
            let Claimed::Ours(claim) = consumer.claim(hanging.len(), id).unwrap() else { continue };
            if claim.command().as_str() == "hang" {
                hanging.push(Some(claim));
            } else {
                consumer.complete(&claim, &value).unwrap();
            }
        }
        for id in consumer.urgent().unwrap() {
            // Once: the worker may have removed the record, and not yet the wish.
            let is_it = |claim: &mut SyncClaim| claim.id() == id;
            if let Some(claim) = hanging.iter_mut().find_map(|place| place.take_if(is_it)) {
                let why = TaskError::new(code::CANCELLED, "was asked to end");
                consumer.fail(&claim, &why).unwrap();
            }
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn went_through_memory(reply: &crate::client::Reply) -> bool {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["data"] == "memory"
}

const ECHO: &str = r#"{"command":"echo"}"#;

/// An agent that is served on the disk and in memory, and a worker. What uses something goes before it.
struct Served {
    server: Server,
    memory: Runner,
    _disk: Agent,
    lane: PathBuf,
    directory: AgentDir,
    _host: Host,
}

impl Served {
    /// Its tasks may take `timeout_s`.
    fn start(timeout_s: u64) -> Self {
        let (host, directory) = Host::with_agent(timeout_s);
        let lane = lane_of(&host);
        make(&lane);
        let disk = Agent::start(&directory.tasks());
        let memory = Runner::start(&lane);
        let server = host.start();
        Self { server, memory, _disk: disk, lane, directory, _host: host }
    }
}

#[test]
fn a_call_goes_through_memory_and_leaves_nothing() {
    let served = Served::start(30);
    for _ in 0..20 {
        assert!(went_through_memory(&call(served.server.address, "/a", ECHO)));
    }
    eventually("the lane is clean", || files(&served.lane).is_empty());
    assert!(queue_files(&served.directory.tasks()).is_empty());
}

#[test]
fn without_memory_or_a_runner_there_calls_go_through_the_disk() {
    let (host, directory) = Host::with_agent(30);
    let lane = lane_of(&host);
    let _disk = Agent::start(&directory.tasks());
    let server = host.start();
    assert!(!went_through_memory(&call(server.address, "/a", ECHO)));
    make(&lane);
    eventually("the worker found the lane", || lane.join("responses/7").exists());
    assert!(!went_through_memory(&call(server.address, "/a", ECHO)));
    let _memory = Runner::start(&lane);
    eventually("the lane is used", || went_through_memory(&call(server.address, "/a", ECHO)));
}

#[test]
fn a_lane_that_was_made_anew_is_used_anew() {
    let served = Served::start(30);
    let (address, lane) = (served.server.address, &served.lane);
    assert!(went_through_memory(&call(address, "/a", ECHO)));
    std::fs::rename(lane, lane.with_extension("old")).unwrap();
    drop(served.memory);
    make(lane);
    let _second = Runner::start(lane);
    eventually("the new lane is used", || {
        lane.join("responses/7").exists() && went_through_memory(&call(address, "/a", ECHO))
    });
}

#[test]
fn a_long_call_goes_through_the_disk() {
    let served = Served::start(30);
    let long = "x".repeat(SYNC_REQUEST_MAX_BYTES);
    let body = format!(r#"{{"command":"echo","params":["{long}"]}}"#);
    assert!(!went_through_memory(&call(served.server.address, "/a", &body)));
    assert!(went_through_memory(&call(served.server.address, "/a", ECHO)));
}

#[test]
fn a_call_in_memory_whose_client_goes_away_is_ended() {
    let served = Served::start(30);
    let mut client = Client::connect(served.server.address);
    client.send(call_text("/a", r#"{"command":"hang"}"#));
    eventually("the call is there", || !files(&served.lane).is_empty());
    client.shut_down();
    eventually("the lane is clean", || files(&served.lane).is_empty());
}

#[test]
fn a_call_in_memory_has_its_time() {
    let served = Served::start(1);
    let reply = call(served.server.address, "/a", r#"{"command":"hang"}"#);
    assert_eq!(reply.failure(), (504, "DEADLINE".to_owned()));
    eventually("the lane is clean", || files(&served.lane).is_empty());
}

#[test]
fn what_a_dead_worker_left_in_memory_is_removed() {
    let (host, directory) = Host::with_agent(30);
    let lane = lane_of(&host);
    make(&lane);
    let _disk = Agent::start(&directory.tasks());
    // From a worker whose lock nobody holds.
    let dead = SyncProducer::open(&lane, OTHER).unwrap();
    let now = ploinky_queue::boottime_ns();
    let text = format!(
        r#"{{"v":1,"id":"{:032}","command":"hang","params":["a"],"owner":"a","mode":"sync","seq":{now},"deadline_boot_ns":{},"boot_id":"{}","submitter":{{"instance":{OTHER},"invocation":"{}"}},"attempt":1}}"#,
        7,
        now + 60_000_000_000,
        boot_id().unwrap(),
        "0".repeat(32)
    );
    dead.submit_encoded(format!("{:032}", 7).parse().unwrap(), text.as_bytes()).unwrap();
    let _server = host.start();
    eventually("the request is gone", || files_of(&lane, "requests") == 0);
}

fn files_of(lane: &Path, directory: &str) -> usize {
    std::fs::read_dir(lane.join(directory)).unwrap().count()
}
