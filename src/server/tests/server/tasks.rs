//! A task from its request to its outcome, with agents of all kinds.

use std::os::unix::fs::symlink;
use std::path::Path;

use ploinky_contract::limits::{JSON_DEPTH_MAX, PARAMS_MAX, RESULT_MAX_BYTES};
use ploinky_contract::{TaskId, UserId};
use ploinky_queue::{Producer, Request, Submitter, Terms, boot_id, boottime_ns};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::value::RawValue;

use crate::agent::{Agent, Trick};
use crate::client::{Client, call, call_text, exchange};
use crate::host::{Host, eventually, queue_files};

#[test]
fn the_agent_gets_the_user_first_and_its_value_comes_back() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let body =
        r#"{"command":"echo","params":["a b",1e400,{"k": [true ]},"InternetUser","\ud83d\ude00"]}"#;
    let reply = call(server.address, "/a", body);
    assert_eq!(
        reply.text(),
        r#"{"success":true,"data":["InternetUser","a b",1e400,{"k": [true ]},"InternetUser","\ud83d\ude00"]}"#
    );
    assert_eq!(reply.status, 200);
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    assert!(reply.header("task-id").unwrap().parse::<TaskId>().is_ok());
    assert_eq!(reply.header("server"), None);
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn the_most_that_is_admitted_reaches_the_agent() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let list = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let object = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let many = vec!["1"; PARAMS_MAX].join(",");
    let depth = JSON_DEPTH_MAX;
    for (params, echoed) in [
        (format!("[{many}]"), many),
        (list(depth - 1), list(depth - 2)),
        (object(depth - 2), object(depth - 2)),
    ] {
        let reply =
            call(server.address, "/a", &format!(r#"{{"command":"echo","params":{params}}}"#));
        let expected = format!(r#"{{"success":true,"data":["InternetUser",{echoed}]}}"#);
        assert_eq!(reply.text(), expected);
    }
    let body = format!(r#"{{"command":"echo","params":{}}}"#, object(depth - 1));
    assert_eq!(call(server.address, "/a", &body).failure(), (400, "BAD_REQUEST".to_owned()));
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn no_credential_reaches_the_agent() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let body = r#"{"command":"request","params":7}"#;
    let request = format!(
        "POST /a?token=SECRET HTTP/1.1\r\nHost: localhost\r\nCookie: authorizationToken=SECRET\r\n\
         runForUserId: SECRET\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = exchange(server.address, request);
    assert!(!reply.text().contains("SECRET"), "{}", reply.text());
    let written = &reply.json()["data"];
    assert_eq!(written["params"], serde_json::json!(["InternetUser", 7]));
    assert_eq!(written["owner"], "InternetUser");
    assert_eq!(written["submitter"]["instance"], 7);
    assert_eq!(written["id"], reply.header("task-id").unwrap());
}

#[test]
fn a_failed_task_keeps_the_words_of_its_agent() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let reply = call(server.address, "/a", r#"{"command":"fail"}"#);
    assert_eq!(reply.status, 500);
    assert_eq!(
        reply.text(),
        r#"{"error":true,"message":"the handler failed","code":"HANDLER_FAILED","details":{"exitCode":3,"stderr":"oh"}}"#
    );
}

#[test]
fn many_calls_on_one_connection_are_answered_in_order() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let mut client = Client::connect(server.address);
    for n in 0..50 {
        client.send(call_text("/a", &format!(r#"{{"command":"echo","params":[{n}]}}"#)));
        let expected = format!(r#"{{"success":true,"data":["InternetUser",{n}]}}"#);
        assert_eq!(client.reply().text(), expected);
    }
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn an_agent_that_does_not_run_is_not_waited_for_long() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let reply = call(server.address, "/a", r#"{"command":"echo"}"#);
    assert_eq!(reply.failure(), (503, "AGENT_DOWN".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn an_agent_that_starts_soon_is_waited_for() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(call_text("/a", r#"{"command":"echo"}"#));
    eventually("the task is written", || !queue_files(&directory.tasks()).is_empty());
    let _agent = Agent::start(&directory.tasks());
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_task_that_takes_too_long_is_ended() {
    let (host, directory) = Host::with_agent(1);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let reply = call(server.address, "/a", r#"{"command":"hang"}"#);
    assert_eq!(reply.failure(), (504, "DEADLINE".to_owned()));
    assert_eq!(reply.json()["message"], "the agent did not answer within 1 s");
    // The agent was asked to end it, did, and everything is gone.
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn a_late_task_that_the_agent_does_not_end_is_ended_for_it() {
    let (host, directory) = Host::with_agent(1);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), |_, _| ());
    let reply = call(server.address, "/a", r#"{"command":"hostile"}"#);
    assert_eq!(reply.failure(), (504, "DEADLINE".to_owned()));
    let id = reply.header("task-id").unwrap().to_owned();
    assert!(queue_files(&directory.tasks()).contains(&format!("urgent/{id}")));
    // The agent holds its lock still, and may do so as long as it lives.
    let held = [format!("locks/{id}")];
    eventually("only the lock is left", || queue_files(&directory.tasks()) == held);
}

#[test]
fn a_client_that_goes_away_takes_its_waiting_task_with_it() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(call_text("/a", r#"{"command":"echo"}"#));
    eventually("the task is written", || !queue_files(&directory.tasks()).is_empty());
    client.shut_down();
    eventually("the task is gone", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn a_client_that_goes_away_ends_its_running_task() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let mut client = Client::connect(server.address);
    client.send(call_text("/a", r#"{"command":"hang"}"#));
    let is_locked =
        || queue_files(&directory.tasks()).iter().any(|name| name.starts_with("locks/"));
    eventually("the task runs", is_locked);
    client.shut_down();
    eventually("the task is gone", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn a_hostile_result_is_no_result() {
    let responses = |tasks: &Path, id: TaskId| tasks.join("responses").join(id.as_str());
    let tricks: [(&str, Trick); 9] = [
        ("a link to a file", |tasks, id| {
            symlink("/etc/passwd", tasks.join("responses").join(id.as_str())).unwrap();
        }),
        ("a link to a directory", |tasks, id| {
            symlink("/", tasks.join("errors").join(id.as_str())).unwrap();
        }),
        ("a pipe", |tasks, id| {
            let place = tasks.join("responses").join(id.as_str());
            mknodat(CWD, place, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }),
        ("a directory", |tasks, id| {
            std::fs::create_dir(tasks.join("responses").join(id.as_str())).unwrap();
        }),
        ("a second name of a request", |tasks, id| {
            let from = tasks.join("requests").join(id.as_str());
            std::fs::hard_link(from, tasks.join("responses").join(id.as_str())).unwrap();
        }),
        ("no JSON", |tasks, id| put(tasks, id, "{")),
        ("the result of another task", |tasks, id| {
            put(tasks, id, &format!(r#"{{"v":1,"id":"{}","response":1}}"#, "0".repeat(32)));
        }),
        ("a deep result", |tasks, id| {
            let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
            put(tasks, id, &format!(r#"{{"v":1,"id":"{id}","response":{deep}}}"#));
        }),
        ("a bare value", |tasks, id| put(tasks, id, "1")),
    ];
    for (what, trick) in tricks {
        let (host, directory) = Host::with_agent(30);
        let server = host.start();
        let _agent = Agent::with_trick(&directory.tasks(), trick);
        let reply = call(server.address, "/a", r#"{"command":"hostile"}"#);
        assert_eq!(reply.failure(), (502, "AGENT_BAD_RESULT".to_owned()), "{what}");
        let id: TaskId = reply.header("task-id").unwrap().parse().unwrap();
        let place = responses(&directory.tasks(), id);
        eventually(what, || std::fs::symlink_metadata(&place).is_err());
        // The server serves on.
        assert_eq!(call(server.address, "/a", r#"{"command":"echo"}"#).status, 200, "{what}");
    }
}

#[test]
fn a_huge_result_is_not_read() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), |tasks, id| {
        let staged = tasks.join("responses/.huge");
        let file = std::fs::File::create(&staged).unwrap();
        file.set_len(RESULT_MAX_BYTES as u64 + 1).unwrap();
        std::fs::rename(staged, tasks.join("responses").join(id.as_str())).unwrap();
    });
    let reply = call(server.address, "/a", r#"{"command":"hostile"}"#);
    assert_eq!(reply.failure(), (502, "RESULT_TOO_LARGE".to_owned()));
}

#[test]
fn names_that_nobody_waits_for_are_left_alone() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let stranger = directory.tasks().join("responses").join("0".repeat(32));
    for name in ["x", "..x", "zz", &"f".repeat(200)] {
        std::fs::write(directory.tasks().join("responses").join(name), "x").unwrap();
    }
    std::fs::write(&stranger, "x").unwrap();
    assert_eq!(call(server.address, "/a", r#"{"command":"echo"}"#).status, 200);
    assert!(stranger.exists());
}

fn put(tasks: &Path, id: TaskId, text: &str) {
    let staged = tasks.join("responses/.staged");
    std::fs::write(&staged, text).unwrap();
    std::fs::rename(staged, tasks.join("responses").join(id.as_str())).unwrap();
}

#[test]
fn what_a_dead_worker_left_is_removed() {
    let (host, directory) = Host::with_agent(30);
    let _servers = [host.start(), host.start()];
    let producer = Producer::open(&directory.tasks()).unwrap();
    let request = Request {
        id: TaskId::from_random([7; 16]),
        command: "echo".parse().unwrap(),
        params: vec![RawValue::from_string(r#""InternetUser""#.to_owned()).unwrap()],
        owner: UserId::internet_user(),
        seq: boottime_ns(),
        deadline_boot_ns: boottime_ns() + 1_000_000_000_000,
        boot_id: boot_id().unwrap(),
        submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
        attempt: 1,
        terms: Terms::default(),
    };
    producer.submit(&request).unwrap();
    assert_eq!(queue_files(&directory.tasks()).len(), 1);
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn workers_that_share_an_agent_do_not_mix_up_results() {
    let (host, directory) = Host::with_agent(30);
    let servers = [host.start(), host.start()];
    let _agent = Agent::start(&directory.tasks());
    std::thread::scope(|threads| {
        for (index, server) in servers.iter().enumerate() {
            for thread in 0..4 {
                threads.spawn(move || {
                    for n in 0..25 {
                        let own = format!("[{index},{thread},{n}]");
                        let body = format!(r#"{{"command":"echo","params":[{own}]}}"#);
                        let reply = call(server.address, "/a", &body);
                        let expected =
                            format!(r#"{{"success":true,"data":["InternetUser",{own}]}}"#);
                        assert_eq!(reply.text(), expected);
                    }
                });
            }
        }
    });
    eventually("the queue is clean", || queue_files(&directory.tasks()).is_empty());
}
