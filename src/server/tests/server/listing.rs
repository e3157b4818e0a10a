//! `/tasks`: pages of many tasks, and the removal of the dead ones.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::accepted::{accept, ask, ended};
use crate::agent::Agent;
use crate::client::{ask_text, call_with, exchange, exchange_as_admin};
use crate::host::{Host, config};

fn page(admin: &Path, query: &str) -> Value {
    let reply = exchange_as_admin(admin, ask_text("GET", &format!("/tasks{query}"), ""));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn ids(page: &Value) -> Vec<String> {
    let tasks = page["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nobody_in_particular_lists_and_purges_nothing() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    let id = accept(&server, "", r#"{"command":"echo"}"#);
    for (method, path) in [
        ("GET", "/tasks"),
        ("GET", "/tasks?owner=InternetUser"),
        ("GET", "/tasks?agent=localhost/a"),
        ("DELETE", "/tasks?state=dead"),
    ] {
        let reply = ask(&server, method, path);
        assert_eq!(reply.failure(), (401, "UNAUTHENTICATED".to_owned()), "{method} {path}");
        assert!(reply.header("www-authenticate").is_some());
        assert!(!reply.text().contains(&id));
    }
}

#[test]
fn wrong_parameters_are_refused_by_name() {
    let (host, _directory) = Host::with_agent(30);
    let server = host.start();
    for (method, path, said) in [
        ("GET", "/tasks?x=1", "the parameter `x` has the value `1`"),
        ("GET", "/tasks?state=over", "the parameter `state` has the value `over`"),
        ("GET", "/tasks?limit=1001", "the parameter `limit` has the value `1001`"),
        ("GET", "/tasks?cursor=x", "the parameter `cursor` has the value `x`"),
        ("DELETE", "/tasks", "only tasks in the state `dead`"),
        ("DELETE", "/tasks?state=done", "only tasks in the state `dead`"),
        ("GET", "/tasks/0123456789abcdef0123456789abcdef?x=1", "there are no parameters here"),
    ] {
        let reply = exchange_as_admin(&server.admin, ask_text(method, path, ""));
        assert_eq!(reply.failure(), (400, "BAD_REQUEST".to_owned()), "{method} {path}");
        assert!(reply.text().contains(said), "{}", reply.text());
    }
    let reply = exchange_as_admin(&server.admin, ask_text("GET", "/tasks?agent=localhost/b", ""));
    assert_eq!(reply.failure(), (404, "NOT_FOUND".to_owned()));
}

#[test]
fn a_list_says_why_a_task_failed_in_brief() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::with_trick(&directory.tasks(), |tasks, id| {
        let message = "ä".repeat(100_000);
        let record = format!(
            r#"{{"v":1,"id":"{id}","error":true,"message":"{message}","code":"LONG","details":{{"a":1}}}}"#
        );
        let staged = tasks.join("responses/.staged");
        std::fs::write(&staged, record).unwrap();
        std::fs::rename(staged, tasks.join("responses").join(id.as_str())).unwrap();
    });
    let long = accept(&server, "", r#"{"command":"hostile"}"#);
    let failed = accept(&server, "", r#"{"command":"fail"}"#);
    let done = accept(&server, "", r#"{"command":"echo"}"#);
    for id in [&long, &failed, &done] {
        ended(&server, id);
    }
    let all = page(&server.admin, "");
    let error = |id: &str| {
        let tasks = all["tasks"].as_array().unwrap();
        tasks.iter().find(|task| task["id"] == id).unwrap().get("error").cloned()
    };
    assert_eq!(error(&done), None);
    let brief = json!({"message":"the handler failed","code":"HANDLER_FAILED"});
    assert_eq!(error(&failed), Some(brief));
    let cut = "ä".repeat(199) + "…";
    assert_eq!(error(&long), Some(json!({"message":cut,"code":"LONG"})));
}

#[test]
fn the_admin_sees_all_tasks_newest_first_page_by_page() {
    let host = Host::new();
    let directories = [host.agent("localhost", "/a", 30), host.agent("localhost", "/b", 30)];
    host.configure(&config(&["/a", "/b"]));
    let server = host.start();
    let mut expected = Vec::new();
    for number in 0..7 {
        let path = if number % 2 == 0 { "/a" } else { "/b" };
        let text = call_with(path, "Prefer: respond-async\r\n", r#"{"command":"echo"}"#);
        let reply = exchange(server.address, text);
        let id = reply.header("task-id").unwrap().to_owned();
        // The clock of the file system is too coarse to tell them apart.
        let directory = &directories[number % 2];
        let request = File::open(directory.tasks().join("requests").join(&id)).unwrap();
        let age = Duration::from_secs(1_700_000_000 + number as u64);
        request.set_modified(UNIX_EPOCH + age).unwrap();
        expected.insert(0, id);
    }
    let all = page(&server.admin, "");
    assert_eq!(ids(&all), expected);
    assert_eq!(all.get("next"), None);
    let mut found = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let one = page(&server.admin, &query);
        assert!(ids(&one).len() <= 3);
        found.extend(ids(&one));
        let Some(next) = one.get("next") else { break };
        query = format!("?limit=3&cursor={}", next.as_str().unwrap());
    }
    assert_eq!(found, expected);
    let _agent = Agent::start(&directories[0].tasks());
    ended(&server, &expected[0]);
    ended(&server, &expected[6]);
    let count = |query: &str| ids(&page(&server.admin, query)).len();
    assert_eq!(count("?agent=localhost/b"), 3);
    assert_eq!(count("?state=queued"), 3);
    assert_eq!(count("?state=queued&agent=localhost%2Fa"), 0);
    assert_eq!(count("?command=echo&owner=InternetUser"), 7);
    assert_eq!(count("?command=fail"), 0);
    assert_eq!(count("?owner=Admin"), 0);
    let done = page(&server.admin, "?state=done");
    assert_eq!(ids(&done).len(), 4);
    assert!(done["tasks"][0].get("data").is_none(), "{done}");
}
