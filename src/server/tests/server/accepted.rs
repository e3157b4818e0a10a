//! Tasks that are accepted with 202: refused, accepted, ended.

use std::path::Path;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::client::{Reply, ask_text, call, call_with, exchange, exchange_as_admin};
use crate::host::{Host, Server, config, eventually, queue_files};

const ASYNC: &str = "Prefer: respond-async\r\n";
const ECHO: &str = r#"{"command":"echo","params":[1]}"#;

/// Hands a task over and gives its id.
pub(crate) fn accept(server: &Server, headers: &str, body: &str) -> String {
    let reply = exchange(server.address, call_with("/a", &format!("{ASYNC}{headers}"), body));
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.header("task-id").unwrap().to_owned()
}

pub(crate) fn ask(server: &Server, method: &str, path: &str) -> Reply {
    exchange(server.address, ask_text(method, path, ""))
}

/// Waits for the end of a task and gives its document.
pub(crate) fn ended(server: &Server, id: &str) -> Value {
    let path = format!("/tasks/{id}");
    let reply = exchange(server.address, ask_text("GET", &path, "Prefer: wait=20\r\n"));
    assert_eq!((reply.status, reply.header("preference-applied")), (200, Some("wait=20")));
    let document = reply.json();
    let state = document["state"].as_str().unwrap();
    assert!(!["queued", "running", "retrying"].contains(&state), "{document}");
    document
}

/// Whether the queue holds nothing but what agents leave.
fn is_clean(tasks: &Path) -> bool {
    queue_files(tasks).is_empty()
}

#[test]
fn a_wrong_header_is_refused_before_anything_is_written() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    for (headers, said) in [
        ("Prefer: respond-async, wait=61\r\n", "the header prefer has the value"),
        ("Prefer: respond-async=1\r\n", "the header prefer has the value"),
        ("Idempotency-Key: a b\r\n", "the header idempotency-key has the value `a b`"),
        ("Idempotency-Key: a\r\nIdempotency-Key: a\r\n", "must be there once"),
        ("Priority: u=8\r\n", "the header priority has the value `u=8`"),
        ("Task-Deadline: 0\r\n", "the header task-deadline has the value `0`"),
        ("Task-Deadline: 604801\r\n", "the header task-deadline has the value `604801`"),
        ("Task-Deadline: 31\r\n", "at most the 30 s of its command"),
        ("Task-Deadline: 31\r\nIdempotency-Key: a\r\n", "at most the 30 s of its command"),
        ("Callback-Url: https://example.org/\r\n", "goes with `Prefer: respond-async`"),
    ] {
        let reply = exchange(server.address, call_with("/a", headers, ECHO));
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{headers}");
        let text = reply.text();
        assert!(text.contains(said), "{text}");
    }
    let reply = exchange(
        server.address,
        call_with("/a", &format!("{ASYNC}Callback-Url: https://example.org/x\r\n"), ECHO),
    );
    assert_eq!(reply.failure(), (400, "CALLBACK_REFUSED".to_owned()));
    let unknown = call_with("/a", ASYNC, r#"{"command":"ech"}"#);
    assert_eq!(exchange(server.address, unknown).failure(), (404, "UNKNOWN_COMMAND".to_owned()));
    assert!(is_clean(&directory.tasks()));
}

#[test]
fn only_allowed_origins_are_called_back() {
    let (host, directory) = Host::with_agent(30);
    host.configure(&config(&["/a"]).replacen(
        '{',
        r#"{"settings":{"callbackOrigins":["https://example.org"]},"#,
        1,
    ));
    let server = host.start();
    let post = |url: &str| {
        let headers = format!("{ASYNC}Callback-Url: {url}\r\n");
        exchange(server.address, call_with("/a", &headers, ECHO))
    };
    for url in ["https://example.org.evil/", "http://example.org/", "https://example.org:444/"] {
        assert_eq!(post(url).failure(), (400, "CALLBACK_REFUSED".to_owned()), "{url}");
    }
    // Where to note it is not there yet.
    let done = "https://example.org/done";
    assert_eq!(post(done).failure(), (503, "UNAVAILABLE".to_owned()));
    assert!(is_clean(&directory.tasks()));
    std::fs::create_dir(host.state().callbacks()).unwrap();
    let accepted = post(done);
    assert_eq!(accepted.status, 202);
    let note = host.state().callbacks().join(accepted.header("task-id").unwrap());
    assert!(std::fs::read_to_string(note).unwrap().contains(done));
    let requests = queue_files(&directory.tasks());
    let request = std::fs::read_to_string(directory.tasks().join(&requests[0])).unwrap();
    assert!(request.contains(r#""callback":"https://example.org/done""#), "{request}");
}

#[test]
fn an_accepted_task_is_there_until_it_is_removed() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let headers = format!("{ASYNC}Priority: u=1\r\nTask-Deadline: 3600\r\n");
    let reply = exchange(server.address, call_with("/a", &headers, ECHO));
    assert_eq!(reply.status, 202);
    let id = reply.header("task-id").unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(format!("/tasks/{id}").as_str()));
    assert_eq!(reply.header("preference-applied"), Some("respond-async"));
    let body = reply.json();
    let submitted_at = body["task"]["submittedAt"].clone();
    assert_eq!(
        body,
        json!({"success":true,"task":{
            "id":id,"agent":"localhost/a","command":"echo","owner":"InternetUser","state":"queued",
            "submittedAt":submitted_at,"attempt":0,"attempts":1,"urgency":1
        }})
    );
    // No agent runs, and nobody is impatient.
    let waiting = ask(&server, "GET", &format!("/tasks/{id}"));
    assert_eq!((waiting.status, waiting.json()), (200, body["task"].clone()));
    let result = ask(&server, "GET", &format!("/tasks/{id}/result"));
    assert_eq!(result.failure(), (409, "TASK_NOT_ENDED".to_owned()));
    assert_eq!(result.json()["message"], "the task is queued; it has no result yet");
    let _agent = Agent::start(&directory.tasks());
    let document = ended(&server, &id);
    assert_eq!(document["state"], "done");
    assert_eq!(document["data"], json!(["InternetUser", 1]));
    assert!(document["endedAt"].is_string(), "{document}");
    for _ in 0..2 {
        let result = ask(&server, "GET", &format!("/tasks/{id}/result"));
        assert_eq!(result.status, 200);
        assert_eq!(result.text(), r#"{"success":true,"data":["InternetUser",1]}"#);
        assert_eq!(result.header("task-id"), Some(id.as_str()));
    }
    let removed = ask(&server, "DELETE", &format!("/tasks/{id}"));
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    let gone = ask(&server, "GET", &format!("/tasks/{id}"));
    assert_eq!(gone.failure(), (404, "TASK_NOT_FOUND".to_owned()));
    // Its runner may be about to let go of the lock.
    eventually("all of it is gone", || is_clean(&directory.tasks()));
}

#[test]
fn a_quick_task_is_answered_at_once_if_the_client_waits() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::start(&directory.tasks());
    let waiting = "Prefer: respond-async, wait=20\r\n";
    let reply = exchange(server.address, call_with("/a", waiting, ECHO));
    assert_eq!(reply.text(), r#"{"success":true,"data":["InternetUser",1]}"#);
    assert_eq!((reply.status, reply.header("preference-applied")), (200, Some("wait=20")));
    // It is kept all the same.
    let id = reply.header("task-id").unwrap();
    assert_eq!(ask(&server, "GET", &format!("/tasks/{id}")).json()["state"], "done");
    drop(agent);
    let short = "Prefer: respond-async, wait=1\r\n";
    let reply = exchange(server.address, call_with("/a", short, ECHO));
    assert_eq!((reply.status, &reply.json()["task"]["state"]), (202, &json!("queued")));
    assert_eq!(reply.header("preference-applied"), Some("respond-async, wait=1"));
}

#[test]
fn a_failed_task_says_why() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let id = accept(&server, "", r#"{"command":"fail"}"#);
    let document = ended(&server, &id);
    assert_eq!(document["state"], "failed");
    assert_eq!(
        document["error"],
        json!({"message":"the handler failed","code":"HANDLER_FAILED","details":{"exitCode":3,"stderr":"oh"}})
    );
    let result = ask(&server, "GET", &format!("/tasks/{id}/result"));
    assert_eq!(result.failure(), (500, "HANDLER_FAILED".to_owned()));
}

#[test]
fn a_hostile_result_is_an_outcome_that_stays() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), |tasks, id| {
        let place = tasks.join("responses").join(id.as_str());
        std::os::unix::fs::symlink("/etc/passwd", place).unwrap();
    });
    let id = accept(&server, "", r#"{"command":"hostile"}"#);
    for _ in 0..2 {
        let document = ended(&server, &id);
        assert_eq!(
            (&document["state"], &document["error"]["code"]),
            (&json!("failed"), &json!("AGENT_BAD_RESULT"))
        );
    }
}

#[test]
fn a_task_survives_the_process_that_accepted_it() {
    let (host, directory) = Host::with_agent(30);
    let first = host.start();
    let id = accept(&first, "", ECHO);
    drop(first);
    let second = host.start();
    assert_eq!(ask(&second, "GET", &format!("/tasks/{id}")).json()["state"], "queued");
    let _agent = Agent::start(&directory.tasks());
    assert_eq!(ended(&second, &id)["data"], json!(["InternetUser", 1]));
}

#[test]
fn a_task_of_a_stopped_agent_can_still_be_seen() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    let id = accept(&server, "", ECHO);
    let stopped = config(&["/a"]).replace(r#""agent":"a""#, r#""agent":"a","stopped":true"#);
    host.configure(&stopped);
    eventually("the agent is stopped", || call(server.address, "/a", ECHO).status == 503);
    assert_eq!(ask(&server, "GET", &format!("/tasks/{id}")).json()["state"], "queued");
}

#[test]
fn waiting_for_a_task_is_hinted_at_and_harms_nothing() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let id = accept(&server, "", ECHO);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| assert_eq!(ended(&server, &id)["state"], "done"));
        }
        // One that goes away ends nothing.
        let path = format!("/tasks/{id}");
        let mut client = crate::client::Client::connect(server.address);
        client.send(ask_text("GET", &path, "Prefer: wait=60\r\n"));
        drop(client);
        agent.wake();
    });
    let nothing =
        exchange(server.address, ask_text("GET", &format!("/tasks/{id}"), "Prefer: wait=0\r\n"));
    assert_eq!(nothing.json()["state"], "done");
}

#[test]
fn a_task_of_the_admin_is_the_admins() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let reply = exchange_as_admin(&server.admin, call_with("/a", "", ECHO));
    assert_eq!(reply.text(), r#"{"success":true,"data":["Admin",1]}"#);
    let reply = exchange_as_admin(&server.admin, call_with("/a", ASYNC, ECHO));
    let id = reply.header("task-id").unwrap().to_owned();
    assert_eq!(reply.json()["task"]["owner"], "Admin");
    for (method, path) in [
        ("GET", format!("/tasks/{id}")),
        ("GET", format!("/tasks/{id}/result")),
        ("DELETE", format!("/tasks/{id}")),
        ("POST", format!("/tasks/{id}/retry")),
    ] {
        let reply = ask(&server, method, &path);
        assert_eq!(reply.failure(), (404, "TASK_NOT_FOUND".to_owned()), "{method} {path}");
    }
    let text = ask_text("GET", &format!("/tasks/{id}"), "Prefer: wait=20\r\n");
    assert_eq!(exchange_as_admin(&server.admin, text).json()["data"], json!(["Admin", 1]));
    // A name in a header or in the body makes nobody the admin.
    let claimed = call_with("/a", "User: Admin\r\nCookie: authorizationToken=Admin\r\n", ECHO);
    assert_eq!(exchange(server.address, claimed).json()["data"][0], "InternetUser");
}

#[test]
fn a_task_is_not_denied_while_its_queue_cannot_be_opened() {
    let (host, directory) = Host::with_agent(30);
    let id = accept(&host.start(), "", ECHO);
    let (manifest, aside) = (directory.manifest(), directory.root().join("aside"));
    std::fs::rename(&manifest, &aside).unwrap();
    let server = host.start();
    for method in ["GET", "DELETE"] {
        let reply = ask(&server, method, &format!("/tasks/{id}"));
        assert_eq!(reply.failure(), (503, "UNAVAILABLE".to_owned()), "{method}");
    }
    std::fs::rename(&aside, &manifest).unwrap();
    eventually("the task is seen", || ask(&server, "GET", &format!("/tasks/{id}")).status == 200);
}
