//! Results that are files, of honest agents and others.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use ploinky_contract::TaskId;
use ploinky_queue::FileResult;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::agent::{Agent, Trick};
use crate::client::{Client, Reply, call, exchange, get};
use crate::host::{Host, eventually, queue_files};

/// Bytes of a file that is read in blocks.
const LONG: usize = 1 << 20;
const CALL: &str = r#"{"command":"hostile"}"#;
const CONTENT: &str = "<script>alert(document.domain)</script>";

/// Says that the result is a file of `size` bytes.
fn record(tasks: &Path, id: TaskId, size: usize) {
    let file = FileResult::new("Übersicht.html", "text/html", size as u64).unwrap();
    let staged = tasks.join("responses/.tmp-record");
    std::fs::write(&staged, file.encode(id)).unwrap();
    std::fs::rename(staged, tasks.join("responses").join(id.as_str())).unwrap();
}

fn output(tasks: &Path, id: TaskId) -> std::path::PathBuf {
    tasks.join("outputs").join(id.as_str())
}

fn honest(tasks: &Path, id: TaskId) {
    std::fs::write(output(tasks, id), CONTENT).unwrap();
    record(tasks, id, CONTENT.len());
}

#[test]
fn files_that_are_none_are_refused_and_removed() {
    let tricks: [(&str, Trick); 7] = [
        ("absent", |tasks, id| record(tasks, id, 1)),
        ("a link", |tasks, id| {
            symlink("/etc/passwd", output(tasks, id)).unwrap();
            record(tasks, id, 1);
        }),
        ("a pipe", |tasks, id| {
            mknodat(CWD, output(tasks, id), FileType::Fifo, Mode::RWXU, 0).unwrap();
            record(tasks, id, 0);
        }),
        ("a directory", |tasks, id| {
            std::fs::create_dir(output(tasks, id)).unwrap();
            record(tasks, id, 1);
        }),
        ("shorter", |tasks, id| {
            std::fs::write(output(tasks, id), CONTENT).unwrap();
            record(tasks, id, CONTENT.len() + 1);
        }),
        ("longer", |tasks, id| {
            std::fs::write(output(tasks, id), CONTENT).unwrap();
            record(tasks, id, CONTENT.len() - 1);
        }),
        ("of another name", |tasks, id| {
            let other = tasks.join("code");
            std::fs::write(&other, CONTENT).unwrap();
            std::fs::hard_link(&other, output(tasks, id)).unwrap();
            record(tasks, id, CONTENT.len());
        }),
    ];
    for (what, trick) in tricks {
        let (host, directory) = Host::with_agent(30);
        let server = host.start();
        let _agent = Agent::with_trick(&directory.tasks(), trick);
        let reply = call(server.address, "/a", CALL);
        assert_eq!(reply.failure(), (502, "AGENT_BAD_RESULT".to_owned()), "{what}");
        eventually(what, || {
            let left = queue_files(&directory.tasks());
            left.iter().all(|name| name.starts_with("locks/"))
        });
    }
}

#[test]
fn a_call_is_answered_with_the_file_and_nothing_of_it_stays() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), honest);
    let reply = call(server.address, "/a", CALL);
    assert_eq!((reply.status, reply.text()), (200, CONTENT));
    assert_shown_safely(&reply);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!((reply.header("etag"), reply.header("accept-ranges")), (None, None));
    eventually("the file is removed", || {
        queue_files(&directory.tasks()).iter().all(|name| name.starts_with("locks/"))
    });
}

fn assert_shown_safely(reply: &Reply) {
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("sandbox;"), "{policy}");
    assert_eq!(
        reply.header("content-disposition"),
        Some("attachment; filename=\"_bersicht.html\"; filename*=UTF-8''%C3%9Cbersicht.html")
    );
}

fn accepted(address: SocketAddr, command: &str) -> String {
    let body = format!(r#"{{"command":"{command}"}}"#);
    let reply = exchange(
        address,
        format!(
            "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Prefer: respond-async\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.header("location").unwrap().to_owned()
}

#[test]
fn the_file_of_a_kept_task_is_given_in_parts_until_it_is_removed() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::with_trick(&directory.tasks(), honest);
    let task = accepted(server.address, "hostile");
    let file = format!("{task}/file");
    let of = |headers: &str| get(server.address, &file, headers);
    eventually("the task has ended", || of("").status != 409);
    let whole = of("");
    assert_eq!((whole.status, whole.text()), (200, CONTENT));
    assert_shown_safely(&whole);
    assert_eq!(whole.header("cache-control"), Some("private, no-cache"));
    let tag = whole.header("etag").unwrap();
    let part = of(&format!("Range: bytes=1-6\r\nIf-Range: {tag}\r\n"));
    assert_eq!((part.status, part.text()), (206, "script"));
    assert_eq!(part.header("content-range"), Some("bytes 1-6/39"));
    assert_eq!(of("Range: bytes=1-6\r\nIf-Range: \"other\"\r\n").text(), CONTENT);
    assert_eq!(of("Range: bytes=100-\r\n").status, 416);
    assert_eq!(of(&format!("If-None-Match: {tag}\r\n")).status, 304);
    let mut client = Client::connect(server.address);
    client.send(format!("HEAD {file} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let head = client.head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("39")));
    let result = get(server.address, &format!("{task}/result"), "");
    assert_eq!((result.status, result.text()), (200, CONTENT));
    let document = get(server.address, &task, "").json();
    assert_eq!(document["file"]["location"], file.as_str());
    assert_eq!(document["file"]["type"], "text/html");
    drop(agent);
    let removed =
        exchange(server.address, format!("DELETE {task} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(removed.status, 204);
    assert_eq!(of("").failure(), (404, "TASK_NOT_FOUND".to_owned()));
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn a_result_that_is_no_file_has_none() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let task = accepted(server.address, "echo");
    let of = || get(server.address, &format!("{task}/file"), "");
    assert_eq!(of().failure(), (409, "TASK_NOT_ENDED".to_owned()));
    agent.wake();
    eventually("the task has ended", || of().status != 409);
    assert_eq!(of().failure(), (404, "NOT_FOUND".to_owned()));
    let post = format!("POST {task}/file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let reply = exchange(server.address, post);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn a_file_that_grows_is_given_as_it_was() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), |tasks, id| {
        std::fs::write(output(tasks, id), vec![b'x'; LONG]).unwrap();
        record(tasks, id, LONG);
    });
    let task = accepted(server.address, "hostile");
    let of = || get(server.address, &format!("{task}/file"), "");
    eventually("the task has ended", || of().status == 200);
    assert_eq!(of().body.len(), LONG);
    let id: TaskId = task.rsplit('/').next().unwrap().parse().unwrap();
    std::fs::write(output(&directory.tasks(), id), vec![b'y'; LONG + 1]).unwrap();
    assert_eq!(of().failure(), (502, "AGENT_BAD_RESULT".to_owned()));
}
