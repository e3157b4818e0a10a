//! Tasks that are accepted: kept through everything, one per key, watched, ended, looked at by their owner.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::thread;

use serde_json::{Value, json};

use crate::host::{json as json_of, ok, power_cycle, refused, run, sh, wait_for};
use crate::http::{Reply, call, call_with, request, request_bytes};
use crate::t02_agents::deploy_echo;

const ASYNC: &str = "Prefer: respond-async\r\n";

/// The task that was accepted.
pub(crate) fn id_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 202, "{}", reply.text());
    let location = reply.header("location").unwrap();
    location.strip_prefix("/tasks/").unwrap().to_owned()
}

fn submit(headers: &str, command: &str, params: &Value) -> String {
    id_of(&call_with("/echo", &format!("{ASYNC}{headers}"), command, params).unwrap())
}

fn document(id: &str) -> Value {
    let reply = request("GET", &format!("/tasks/{id}"), "", b"").unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn is_final(document: &Value) -> bool {
    ["done", "failed", "cancelled", "dead"].contains(&document["state"].as_str().unwrap())
}

fn ended(id: &str) -> Value {
    wait_for(&format!("the end of {id}"), || Some(document(id)).filter(is_final)).0
}

/// Tasks of `echo` as root sees them.
fn listed(words: &[&str]) -> Vec<Value> {
    let words =
        [&["ploinkyctl", "--json", "task", "list", "--agent", "localhost/echo", "--all"], words]
            .concat();
    json_of(&words).as_array().unwrap().clone()
}

#[test]
fn only_who_has_the_id_sees_a_task_and_nobody_lists_them() {
    deploy_echo();
    let id = submit("", "echo.say", &json!(["secret"]));
    let unknown = "0".repeat(32);
    for path in [
        format!("/tasks/{unknown}"),
        format!("/tasks/{unknown}/result"),
        format!("/tasks/{}", id.to_ascii_uppercase()),
        format!("/tasks/{id}x"),
        format!("/tasks/{id}%0a"),
        "/tasks/..%2f".to_owned(),
        "/tasks/.runner".to_owned(),
    ] {
        let reply = request("GET", &path, "", b"").unwrap();
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
    }
    for (method, path) in [("GET", "/tasks"), ("DELETE", "/tasks?state=dead")] {
        let reply = request(method, path, "", b"").unwrap();
        assert_eq!((reply.status, &reply.json()["code"]), (401, &json!("UNAUTHENTICATED")));
    }
    // Root of this host is the admin; others do not even reach the socket.
    assert!(listed(&[]).iter().any(|task| task["id"] == id.as_str()));
    sh("id stranger >/dev/null 2>&1 || useradd --system stranger");
    let (_, said) = refused(&["runuser", "-u", "stranger", "--", "ploinkyctl", "task", "list"]);
    assert!(said.contains("root"), "{said}");
    assert_eq!(ended(&id)["data"], "secret");
}

#[test]
fn a_wrong_wish_is_refused_by_name_and_leaves_nothing() {
    deploy_echo();
    let before = listed(&[]).len();
    for (headers, part) in [
        ("Prefer: respond-async, wait=61\r\n", "wait"),
        ("Prefer: respond-async\r\nPriority: u=8\r\n", "Priority"),
        ("Prefer: respond-async\r\nTask-Deadline: 0\r\n", "Task-Deadline"),
        ("Prefer: respond-async\r\nTask-Deadline: 604801\r\n", "Task-Deadline"),
        ("Idempotency-Key: \r\n", "Idempotency-Key"),
        ("Prefer: respond-async\r\nCallback-Url: http://169.254.169.254/\r\n", "callbackOrigins"),
    ] {
        let reply = call_with("/echo", headers, "echo.say", &json!(["x"])).unwrap();
        assert_eq!(reply.status, 400, "{headers}: {}", reply.text());
        let said = reply.text().to_ascii_lowercase();
        assert!(said.contains(&part.to_ascii_lowercase()), "{headers}: {said}");
    }
    let reply = call_with("/echo", ASYNC, "echo.no", &json!([])).unwrap();
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert_eq!(listed(&[]).len(), before);
}

#[test]
fn a_hundred_posts_of_one_key_over_four_instances_make_one_task() {
    deploy_echo();
    sh("systemctl start ploinky@1 ploinky@2 ploinky@3 ploinky@4");
    let before = listed(&[]).len();
    let posts: Vec<_> = (0..100)
        .map(|_| {
            thread::spawn(|| {
                let headers = format!("{ASYNC}Idempotency-Key: \"hundred\"\r\n");
                id_of(&call_with("/echo", &headers, "echo.say", &json!(["once"])).unwrap())
            })
        })
        .collect();
    let ids: BTreeSet<String> = posts.into_iter().map(|post| post.join().unwrap()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids.first().unwrap();
    assert_eq!(ended(id)["data"], "once");
    assert_eq!(listed(&[]).len(), before + 1);
    let other =
        call_with("/echo", "Idempotency-Key: \"hundred\"\r\n", "echo.say", &json!(["twice"]))
            .unwrap();
    assert_eq!(
        (other.status, &other.json()["code"]),
        (422, &json!("IDEMPOTENCY_KEY_REUSED")),
        "{}",
        other.text()
    );
    // A call that is waited for gets the same outcome.
    let again =
        call_with("/echo", "Idempotency-Key: \"hundred\"\r\n", "echo.say", &json!(["once"]))
            .unwrap();
    assert_eq!((again.status, &again.json()["data"]), (200, &json!("once")), "{}", again.text());
    println!("100 posts of one key over 4 instances: {} task", ids.len());
}

#[test]
fn what_was_accepted_comes_to_its_end_after_a_power_cut() {
    deploy_echo();
    let ids: Vec<String> = (0..200)
        .map(|n| submit("", "echo.sleep", &json!([if n < 4 { 2.0 } else { 0.01 }])))
        .collect();
    power_cycle();
    wait_for("an answer", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
    let (mut done, mut crashed) = (0, 0);
    for id in &ids {
        let document = ended(id);
        match (document["state"].as_str().unwrap(), document["error"]["code"].as_str()) {
            ("done", None) => done += 1,
            // It ran when the power went; a task without retries is not run twice.
            ("failed", Some("AGENT_CRASHED")) => crashed += 1,
            other => panic!("{other:?}: {document}"),
        }
        // The outcome never changes.
        assert_eq!(ended(id), document);
    }
    println!("after the power cut: {done} done, {crashed} crashed, 0 lost of {}", ids.len());
    assert!(crashed <= 8, "{crashed}");
}

#[test]
fn a_task_is_ended_before_it_runs_while_it_runs_and_when_its_client_goes() {
    deploy_echo();
    let sleeping = || sh("pgrep -fc '^sleep 77' || true").trim().parse::<u32>().unwrap();
    // More than run at once: the last ones wait.
    let ids: Vec<String> = (0..6).map(|_| submit("", "echo.sleep", &json!([77]))).collect();
    wait_for("a run", || (0 < sleeping()).then_some(()));
    for id in ids.iter().rev() {
        let reply = request("DELETE", &format!("/tasks/{id}"), "", b"").unwrap();
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    for id in &ids {
        let document = ended(id);
        assert_eq!(
            (&document["state"], &document["error"]["code"]),
            (&json!("cancelled"), &json!("CANCELLED"))
        );
        let gone = request("DELETE", &format!("/tasks/{id}"), "", b"").unwrap();
        assert_eq!(gone.status, 204, "{}", gone.text());
        assert_eq!(request("GET", &format!("/tasks/{id}"), "", b"").unwrap().status, 404);
    }
    wait_for("the end of all handlers", || (sleeping() == 0).then_some(()));

    let mut stream = std::net::TcpStream::connect("127.0.0.1:8000").unwrap();
    let body = br#"{"command":"echo.sleep","params":[77]}"#;
    let call = request_bytes("POST", "/echo", "Content-Type: application/json\r\n", body);
    stream.write_all(&call).unwrap();
    wait_for("a run", || (0 < sleeping()).then_some(()));
    drop(stream);
    let ((), took) = wait_for("the end of the handler", || (sleeping() == 0).then_some(()));
    println!("the handler of a client that went away ended after {:.1} s", took.as_secs_f64());
}

#[test]
fn ploinkyctl_submits_watches_shows_and_ends_tasks() {
    deploy_echo();
    let submitted = json_of(&[
        "ploinkyctl",
        "--json",
        "task",
        "submit",
        "localhost",
        "/echo",
        "echo.say",
        "hi",
    ]);
    let id = submitted["task"]["id"].as_str().or(submitted["id"].as_str()).unwrap().to_owned();
    ok(&["ploinkyctl", "task", "watch", &id]);
    let shown = json_of(&["ploinkyctl", "--json", "task", "show", &id]);
    assert_eq!((&shown["data"], &shown["owner"]), (&json!("hi"), &json!("Admin")), "{shown}");
    assert_eq!(ok(&["ploinkyctl", "task", "result", &id]).trim(), "hi");
    let failing = json_of(&[
        "ploinkyctl",
        "--json",
        "task",
        "submit",
        "localhost",
        "/echo",
        "echo.fail",
        "no",
    ]);
    let failing = failing["task"]["id"].as_str().or(failing["id"].as_str()).unwrap().to_owned();
    assert_eq!(run(&["ploinkyctl", "task", "watch", &failing]).status.code(), Some(10));
    ok(&["ploinkyctl", "task", "remove", &id]);
    let (_, said) = refused(&["ploinkyctl", "task", "show", &id]);
    assert!(said.contains(&id), "{said}");
    // The journal knows the task by its id.
    let lines = sh(&format!("journalctl --no-pager -o cat TASK_ID={failing}"));
    assert!(lines.contains("echo.fail"), "{lines}");
}
