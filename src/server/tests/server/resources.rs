//! `/tasks/<id>` and what lies below it: who may do what, with what, when.

use std::net::SocketAddr;

use serde_json::json;

use crate::accepted::{accept, ask, ended};
use crate::agent::Agent;
use crate::client::{Reply, ask_text, exchange, exchange_as_admin};
use crate::host::{Host, config, eventually, queue_files};

const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";

fn at(address: SocketAddr, host: &str, method: &str, path: &str) -> Reply {
    exchange(address, format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn what_is_no_id_is_no_task() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    let long = "a".repeat(5000);
    let upper = UNKNOWN.to_uppercase();
    for id in [
        UNKNOWN,
        "Admin",
        "admin",
        "*",
        "..%2f..%2fx",
        "%2e%2e",
        "a",
        &upper,
        &format!("{UNKNOWN}%0a"),
        &format!("{UNKNOWN}%00"),
        &format!("{UNKNOWN}0"),
        &format!("\"{UNKNOWN}\""),
        ".runner",
        &long,
        &format!("{UNKNOWN}/file/x"),
        &format!("{UNKNOWN}/Result"),
        "../a",
    ] {
        for method in ["GET", "DELETE"] {
            let reply = ask(&server, method, &format!("/tasks/{id}"));
            assert_eq!(reply.failure(), (404, "TASK_NOT_FOUND".to_owned()), "{method} {id:.60}");
        }
    }
    let retry = ask(&server, "POST", &format!("/tasks/{UNKNOWN}/retry"));
    assert_eq!(retry.failure(), (404, "TASK_NOT_FOUND".to_owned()));
    let page = exchange(
        server.address,
        ask_text("GET", &format!("/tasks/{UNKNOWN}"), "Accept: text/html\r\n"),
    );
    assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
}

#[test]
fn other_methods_are_refused_by_name() {
    let (host, _) = Host::with_agent(30);
    let server = host.start();
    for (path, allowed, refused) in [
        ("/tasks".to_owned(), "GET, HEAD, DELETE", &["POST", "PUT", "PATCH", "OPTIONS"][..]),
        (format!("/tasks/{UNKNOWN}"), "GET, HEAD, DELETE", &["POST", "PUT", "X"]),
        (format!("/tasks/{UNKNOWN}/result"), "GET, HEAD", &["POST", "DELETE"]),
        (format!("/tasks/{UNKNOWN}/retry"), "POST", &["GET", "DELETE", "PUT"]),
    ] {
        for method in refused {
            let reply = ask(&server, method, &path);
            assert_eq!(reply.failure(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method} {path}");
            assert_eq!(reply.header("allow"), Some(allowed));
        }
    }
    let cross = ask_text("DELETE", &format!("/tasks/{UNKNOWN}"), "Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(exchange(server.address, cross).failure(), (403, "FORBIDDEN".to_owned()));
    let wait = ask_text("GET", &format!("/tasks/{UNKNOWN}"), "Prefer: wait=61\r\n");
    assert_eq!(exchange(server.address, wait).failure(), (400, "BAD_REQUEST".to_owned()));
}

#[test]
fn a_task_is_seen_on_the_domain_of_its_agent_only() {
    let host = Host::new();
    host.agent("localhost", "/a", 30);
    host.agent("other.org", "/a", 30);
    host.configure(
        r#"{"domains":[{"name":"localhost"},{"name":"other.org"}],"deployments":[
            {"domain":"localhost","path":"/a","agent":"a"},
            {"domain":"other.org","path":"/a","agent":"a"}]}"#,
    );
    let server = host.start();
    let id = accept(&server, "", r#"{"command":"echo"}"#);
    let path = format!("/tasks/{id}");
    for foreign in ["other.org", "unknown.org", "10.0.0.1"] {
        let reply = at(server.address, foreign, "GET", &path);
        assert_eq!(reply.failure(), (404, "TASK_NOT_FOUND".to_owned()), "{foreign}");
    }
    for own in ["localhost", "localhost:8000", "127.0.0.1"] {
        assert_eq!(at(server.address, own, "GET", &path).status, 200, "{own}");
    }
    let text = format!("GET {path} HTTP/1.1\r\nHost: other.org\r\n\r\n");
    assert_eq!(exchange_as_admin(&server.admin, text).json()["agent"], "localhost/a");
}

#[test]
fn a_task_that_waits_is_cancelled_at_once() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let id = accept(&server, "", r#"{"command":"echo"}"#);
    let path = format!("/tasks/{id}");
    let reply = ask(&server, "DELETE", &path);
    let document = reply.json();
    assert_eq!((reply.status, &document["state"]), (202, &json!("cancelled")), "{document}");
    // Nothing makes it run any more.
    let _agent = Agent::start(&directory.tasks());
    let result = ask(&server, "GET", &format!("{path}/result"));
    assert_eq!(result.failure(), (503, "CANCELLED".to_owned()));
    assert_eq!(ended(&server, &id)["error"]["code"], "CANCELLED");
    assert_eq!(ask(&server, "DELETE", &path).status, 204);
    assert_eq!(ask(&server, "DELETE", &path).status, 404);
    assert!(queue_files(&directory.tasks()).is_empty());
}

#[test]
fn a_task_that_runs_is_asked_to_end() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let id = accept(&server, "", r#"{"command":"hang"}"#);
    let path = format!("/tasks/{id}");
    eventually("it runs", || ask(&server, "GET", &path).json()["state"] == "running");
    let running = ask(&server, "GET", &path).json();
    assert_eq!(running["attempt"], 1);
    assert!(running["startedAt"].is_string(), "{running}");
    let reply = ask(&server, "DELETE", &path);
    assert_eq!(reply.status, 202);
    let document = ended(&server, &id);
    assert_eq!(
        (&document["state"], &document["error"]["message"]),
        (&json!("cancelled"), &json!("was asked to end"))
    );
}

#[test]
fn only_what_failed_is_run_again() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let retry = |id: &str| ask(&server, "POST", &format!("/tasks/{id}/retry"));
    let waiting = accept(&server, "", r#"{"command":"echo"}"#);
    assert_eq!(retry(&waiting).failure(), (409, "TASK_NOT_REPEATABLE".to_owned()));
    agent.wake();
    ended(&server, &waiting);
    assert_eq!(retry(&waiting).failure(), (409, "TASK_NOT_REPEATABLE".to_owned()));
    let failed = accept(&server, "Priority: u=7\r\n", r#"{"command":"fail","params":[1]}"#);
    ended(&server, &failed);
    let reply = retry(&failed);
    assert_eq!(reply.status, 202, "{reply:?}");
    let again = reply.header("task-id").unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(format!("/tasks/{again}").as_str()));
    let task = &reply.json()["task"];
    assert_eq!((&task["state"], &task["urgency"]), (&json!("queued"), &json!(7)));
    assert_ne!(again, failed);
    assert_eq!(ended(&server, &again)["state"], "failed");
    let request = std::fs::read_to_string(directory.tasks().join("requests").join(&again)).unwrap();
    assert!(request.contains(&format!(r#""retry_of":"{failed}""#)), "{request}");
    // One whose parameters do not tell its files.
    let directory = directory.tasks().join("requests");
    let with_files = request.replace(r#""retry_of""#, r#""files":true,"retry_of""#);
    assert_ne!(with_files, request);
    std::fs::write(directory.join(&again), with_files).unwrap();
    assert_eq!(retry(&again).failure(), (409, "TASK_NOT_REPEATABLE".to_owned()));
    // The old one tells its own end still.
    assert_eq!(ended(&server, &failed)["state"], "failed");
}

#[test]
fn a_command_with_retries_says_so() {
    let host = Host::new();
    let directory = host.agent("localhost", "/a", 30);
    let manifest = std::fs::read_to_string(directory.manifest()).unwrap();
    let manifest = manifest.replace(
        r#""echo":"x""#,
        r#""echo":{"run":"x","timeout":7,"retry":{"attempts":3,"backoff":0.5,"maxBackoff":2}}"#,
    );
    std::fs::write(directory.manifest(), manifest).unwrap();
    host.configure(&config(&["/a"]));
    let server = host.start();
    let id = accept(&server, "", r#"{"command":"echo"}"#);
    assert_eq!(ask(&server, "GET", &format!("/tasks/{id}")).json()["attempts"], 3);
    let text = std::fs::read_to_string(directory.tasks().join("requests").join(&id)).unwrap();
    let request: serde_json::Value = serde_json::from_str(&text).unwrap();
    let second = 1_000_000_000_u64;
    assert_eq!(
        [
            &request["run_ns"],
            &request["attempts"],
            &request["backoff_ns"],
            &request["backoff_max_ns"]
        ],
        [&json!(7 * second), &json!(3), &json!(second / 2), &json!(2 * second)]
    );
    assert_eq!(request["deadline_in_ns"], json!(24 * 3600 * second));
}
#[test]
fn a_late_task_is_ended_though_no_agent_runs() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    let id = accept(&server, "Task-Deadline: 1\r\n", r#"{"command":"echo"}"#);
    let document = ended(&server, &id);
    assert_eq!(
        (&document["state"], &document["error"]["code"]),
        (&json!("failed"), &json!("DEADLINE"))
    );
}

#[test]
fn a_task_that_its_agent_does_not_end_is_cancelled_for_it() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), |_, _| ());
    let id = accept(&server, "", r#"{"command":"hostile"}"#);
    let path = format!("/tasks/{id}");
    eventually("it runs", || ask(&server, "GET", &path).json()["state"] == "running");
    assert_eq!(ask(&server, "DELETE", &path).status, 202);
    assert_eq!(ended(&server, &id)["state"], "cancelled");
}

#[test]
fn what_was_kept_long_enough_is_removed() {
    let (host, directory) = Host::with_agent(30);
    host.configure(&config(&["/a"]).replacen('{', r#"{"settings":{"taskRetention":1},"#, 1));
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let id = accept(&server, "", r#"{"command":"echo"}"#);
    eventually("it is gone", || ask(&server, "GET", &format!("/tasks/{id}")).status == 404);
    // Its request goes first.
    eventually("all of it is gone", || queue_files(&directory.tasks()).is_empty());
}

#[test]
fn the_key_of_callbacks_is_for_the_admin() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    let path = "/tasks/callback-key?agent=localhost/a";
    assert_eq!(ask(&server, "GET", path).failure(), (404, "TASK_NOT_FOUND".to_owned()));
    let of = |path: &str| exchange_as_admin(&server.admin, ask_text("GET", path, ""));
    assert_eq!(of("/tasks/callback-key").failure(), (400, "BAD_REQUEST".to_owned()));
    let unknown = of("/tasks/callback-key?agent=localhost/b");
    assert_eq!(unknown.failure(), (404, "NOT_FOUND".to_owned()));
    let key = of(path).json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("whsec_"), "{key}");
}
