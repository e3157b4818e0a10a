//! Calls with an idempotency key: the same task, however often and wherever they come.

use std::collections::BTreeSet;

use serde_json::json;

use crate::accepted::ask;
use crate::agent::Agent;
use crate::client::{Reply, call_with, exchange};
use crate::host::{Host, Mounted, Server, eventually, queue_files};

const BODY: &str = r#"{"command":"echo","params":[1]}"#;

fn post(server: &Server, headers: &str, body: &str) -> Reply {
    exchange(server.address, call_with("/a", &format!("Idempotency-Key: k-1\r\n{headers}"), body))
}

#[test]
fn a_key_stands_for_one_call() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let first = post(&server, "Prefer: respond-async\r\n", BODY);
    assert_eq!(first.status, 202);
    for other in [
        r#"{"command":"echo","params":[2]}"#,
        r#"{"command":"echo"}"#,
        r#"{"command":"fail","params":[1]}"#,
    ] {
        for headers in ["", "Prefer: respond-async\r\n"] {
            let reply = post(&server, headers, other);
            assert_eq!(reply.failure(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()), "{other}");
            assert_eq!(reply.header("task-id"), first.header("task-id"));
        }
    }
    assert_eq!(queue_files(&directory.tasks()).len(), 1);
    // White space around the members is no difference.
    let again =
        post(&server, "Prefer: respond-async\r\n", r#"{ "params" : [1], "command": "echo" }"#);
    assert_eq!((again.status, again.header("task-id")), (202, first.header("task-id")));
}

#[test]
fn without_the_secret_no_key_is_accepted() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let key = host.state().task_key();
    std::fs::remove_file(&key).unwrap();
    assert_eq!(post(&server, "", BODY).failure(), (503, "UNAVAILABLE".to_owned()));
    assert!(queue_files(&directory.tasks()).is_empty());
    std::fs::write(&key, "0a".repeat(32)).unwrap();
    assert_eq!(post(&server, "Prefer: respond-async\r\n", BODY).status, 202);
}

#[test]
fn a_call_with_a_key_is_waited_for_and_answered_again() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::start(&directory.tasks());
    let first = post(&server, "", BODY);
    assert_eq!(
        (first.status, first.text()),
        (200, r#"{"success":true,"data":["InternetUser",1]}"#)
    );
    assert_eq!(first.header("preference-applied"), None);
    drop(agent);
    // The agent is gone, the answer is not.
    let again = post(&server, "", BODY);
    assert_eq!((again.status, again.text()), (200, first.text()));
    assert_eq!(again.header("task-id"), first.header("task-id"));
    let accepted = post(&server, "Prefer: respond-async\r\n", BODY);
    assert_eq!((accepted.status, &accepted.json()["task"]["state"]), (202, &json!("done")));
    // Removed, it may be used for anything.
    let id = first.header("task-id").unwrap();
    assert_eq!(ask(&server, "DELETE", &format!("/tasks/{id}")).status, 204);
    let _agent = Agent::start(&directory.tasks());
    assert_eq!(post(&server, "", r#"{"command":"echo","params":[2]}"#).json()["data"][1], 2);
}

#[test]
fn a_client_that_went_away_finds_its_task_again() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let mut client = crate::client::Client::connect(server.address);
    client.send(call_with("/a", "Idempotency-Key: k-1\r\n", BODY));
    eventually("the task is written", || !queue_files(&directory.tasks()).is_empty());
    client.shut_down();
    drop(client);
    // The process dies between the commit and the answer, as far as the client can tell.
    drop(server);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    assert_eq!(post(&server, "", BODY).json()["data"], json!(["InternetUser", 1]));
    assert_eq!(
        queue_files(&directory.tasks()).iter().filter(|name| name.starts_with("requests/")).count(),
        1
    );
}

#[test]
fn a_hundred_posts_of_one_key_through_four_instances_are_one_task() {
    let (host, directory) = Host::with_agent(30);
    let servers = [host.start(), host.start(), host.start(), host.start()];
    let _agent = Agent::start(&directory.tasks());
    let ids: BTreeSet<String> = std::thread::scope(|threads| {
        let posts: Vec<_> = (0..100)
            .map(|number| {
                let server = &servers[number % servers.len()];
                threads.spawn(move || {
                    let headers = if number % 3 == 0 { "Prefer: respond-async\r\n" } else { "" };
                    let reply = post(server, headers, BODY);
                    assert!(matches!(reply.status, 200 | 202), "{reply:?}");
                    if reply.status == 200 {
                        assert_eq!(reply.json()["data"], json!(["InternetUser", 1]));
                    }
                    reply.header("task-id").unwrap().to_owned()
                })
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let requests = queue_files(&directory.tasks());
    assert_eq!(requests.iter().filter(|name| name.starts_with("requests/")).count(), 1);
}

#[test]
fn a_repeat_is_answered_on_a_full_disk() {
    let host = Host::new();
    let tasks = host.directory("localhost", "/a").tasks();
    std::fs::create_dir_all(&tasks).unwrap();
    let _mounted = Mounted::small(&tasks);
    host.agent("localhost", "/a", 30);
    std::fs::create_dir(host.state().callbacks()).unwrap();
    host.configure(&crate::host::config(&["/a"]).replacen(
        '{',
        r#"{"settings":{"callbackOrigins":["https://example.org"]},"#,
        1,
    ));
    let server = host.start();
    let headers = "Prefer: respond-async\r\nCallback-Url: https://example.org/done\r\n";
    let first = post(&server, headers, BODY);
    assert_eq!(first.status, 202, "{}", first.text());
    let fill = std::fs::File::create(tasks.join("outputs/fill")).unwrap();
    while rustix::io::pwrite(&fill, &[1; 4096], fill.metadata().unwrap().len()).is_ok() {}
    let other = call_with("/a", &format!("Idempotency-Key: k-2\r\n{headers}"), BODY);
    let refused = exchange(server.address, other);
    assert_eq!(refused.failure(), (507, "NO_SPACE".to_owned()));
    for headers in [headers, "Prefer: respond-async\r\n"] {
        let again = post(&server, headers, BODY);
        assert_eq!((again.status, again.header("task-id")), (202, first.header("task-id")));
    }
    let another_body = post(&server, headers, r#"{"command":"echo"}"#);
    assert_eq!(another_body.failure(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    assert!(host.state().callbacks().join(first.header("task-id").unwrap()).exists());
}
