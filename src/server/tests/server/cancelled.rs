//! `POST /tasks/<id>/cancel`: ends a task and never takes an outcome.

use serde_json::json;

use crate::accepted::{accept, ask, ended};
use crate::agent::Agent;
use crate::client::{ask_text, call_with, exchange_as_admin};
use crate::host::{Host, eventually, queue_files};

const ECHO: &str = r#"{"command":"echo","params":[1]}"#;

#[test]
fn a_cancellation_is_refused_for_strangers_and_in_other_forms() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    let unknown = format!("/tasks/{}/cancel", "0".repeat(32));
    assert_eq!(ask(&server, "POST", &unknown).failure(), (404, "TASK_NOT_FOUND".to_owned()));
    let text = call_with("/a", "Prefer: respond-async\r\n", ECHO);
    let of_admin = exchange_as_admin(&server.admin, text).header("task-id").unwrap().to_owned();
    let path = format!("/tasks/{of_admin}/cancel");
    assert_eq!(ask(&server, "POST", &path).failure(), (404, "TASK_NOT_FOUND".to_owned()));
    for method in ["GET", "DELETE"] {
        let reply = ask(&server, method, &path);
        assert_eq!(reply.failure(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method}");
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    let reply = ask(&server, "POST", &format!("{path}?now=1"));
    assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()));
    let text = ask_text("GET", &format!("/tasks/{of_admin}"), "");
    assert_eq!(exchange_as_admin(&server.admin, text).json()["state"], "queued");
}

#[test]
fn a_task_that_has_ended_keeps_its_outcome_when_it_is_cancelled() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    for (body, state) in [(ECHO, "done"), (r#"{"command":"fail"}"#, "failed")] {
        let id = accept(&server, "", body);
        let document = ended(&server, &id);
        assert_eq!(document["state"], state);
        for _ in 0..2 {
            let reply = ask(&server, "POST", &format!("/tasks/{id}/cancel"));
            assert_eq!(reply.failure(), (409, "TASK_ENDED".to_owned()));
            assert_eq!(reply.json()["message"], format!("the task has ended: it is {state}"));
        }
        assert_eq!(ended(&server, &id), document);
    }
}

#[test]
fn a_task_that_waits_is_cancelled_at_once_and_may_be_again() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let id = accept(&server, "", ECHO);
    for _ in 0..2 {
        let reply = ask(&server, "POST", &format!("/tasks/{id}/cancel"));
        assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("cancelled")), "{reply:?}");
    }
    let _agent = Agent::start(&directory.tasks());
    let document = ended(&server, &id);
    assert_eq!((&document["state"], &document["attempt"]), (&json!("cancelled"), &json!(0)));
    assert_eq!(document["error"]["code"], "CANCELLED");
    assert_eq!(ask(&server, "DELETE", &format!("/tasks/{id}")).status, 204);
}

#[test]
fn a_task_that_runs_is_told_to_end() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let id = accept(&server, "", r#"{"command":"hang"}"#);
    eventually("the task runs", || {
        queue_files(&directory.tasks()).contains(&format!("locks/{id}"))
    });
    let reply = ask(&server, "POST", &format!("/tasks/{id}/cancel"));
    // It may have ended by the time that is looked at.
    assert!([200, 202].contains(&reply.status), "{reply:?}");
    assert_eq!(reply.json()["id"], id.as_str());
    assert_eq!(ended(&server, &id)["state"], "cancelled");
}
