//! Sessions on a host: what a login is good for, on all four instances, and how it ends.

use std::time::Instant;

use serde_json::{Value, json};

use crate::host::{copy, json as json_of, ok, refused, run, sh, start_four, wait_for};
use crate::http::{Connection, Reply, call, call_with, get_bytes, request, request_bytes};
use crate::t02_agents::deploy_echo;

/// An agent at `/auth`, as long as this value lives.
struct Doorman;

impl Doorman {
    fn deploy() -> Self {
        let source = format!("{}/tests/system/agents/doorman", env!("CARGO_MANIFEST_DIR"));
        sh("rm -rf /var/tmp/doorman");
        copy(&source, "/var/tmp/doorman");
        ok(&["ploinkyctl", "deploy", "localhost", "/auth", "/var/tmp/doorman"]);
        wait_for("nobody is let in without a session", || (echo("").status == 401).then_some(()));
        Self
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        run(&["ploinkyctl", "undeploy", "localhost", "/auth"]);
        sh("rm -rf /var/tmp/doorman; rm -f /var/lib/ploinky/activeUsers/????????*");
    }
}

fn echo(headers: &str) -> Reply {
    call_with("/echo", headers, "echo.say", &json!(["hello"])).unwrap()
}

fn log_in(user: &str) -> Reply {
    call("/auth", "login", &json!([user, "open sesame"])).unwrap()
}

fn token(user: &str) -> String {
    let reply = log_in(user);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"]["authorizationToken"].as_str().unwrap().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn code(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json()["code"].clone())
}

/// A connection to each of the four instances.
fn one_to_each() -> Vec<Connection> {
    let mut found: Vec<(Value, Connection)> = Vec::new();
    wait_for("a connection to each instance", || {
        let mut connection = Connection::open(8000).unwrap();
        let instance =
            connection.exchange(&get_bytes("/healthz", "")).unwrap().json()["instance"].clone();
        if found.iter().all(|(known, _)| *known != instance) {
            found.push((instance, connection));
        }
        (found.len() == 4).then_some(())
    });
    found.into_iter().map(|(_, connection)| connection).collect()
}

fn call_bytes(headers: &str) -> Vec<u8> {
    let body = br#"{"command":"echo.say","params":["hello"]}"#;
    request_bytes("POST", "/echo", &format!("Content-Type: application/json\r\n{headers}"), body)
}

#[test]
fn only_who_logged_in_calls_and_only_what_was_granted() {
    start_four();
    deploy_echo();
    let _doorman = Doorman::deploy();
    for shown in
        ["Cookie: authorizationToken=Admin\r\n", &bearer("Admin"), &bearer(&"0".repeat(64))]
    {
        assert_eq!(code(&echo(shown)), (401, json!("UNAUTHENTICATED")), "{shown}");
    }
    let wrong = call("/auth", "login", &json!(["alice", "wrong"])).unwrap();
    assert_eq!(code(&wrong), (401, json!("INVALID_CREDENTIALS")));
    let stored = || sh("ls /var/lib/ploinky/activeUsers | grep -vc used || true").trim().to_owned();
    assert_eq!(stored(), "0");
    let reply = log_in("alice");
    let token = reply.json()["data"]["authorizationToken"].as_str().unwrap().to_owned();
    let cookie = format!("Cookie: authorizationToken={token}\r\n");
    assert!(reply.header("set-cookie").unwrap().contains("HttpOnly; SameSite=Strict"));
    for headers in [&bearer(&token), &cookie] {
        assert_eq!(echo(headers).json()["data"], "hello");
    }
    let beyond = call_with("/echo", &bearer(&token), "echo.env", &json!([])).unwrap();
    assert_eq!(code(&beyond), (403, json!("FORBIDDEN")));
    // The file is the worker's alone, and the token is in none.
    let digest = sh(&format!("printf %s {token} | sha256sum | cut -d' ' -f1")).trim().to_owned();
    let file = format!("/var/lib/ploinky/activeUsers/{digest}");
    assert_eq!(sh(&format!("stat -c '%U:%G %a' {file}")), "ploinky:ploinky 600\n");
    refused(&["grep", "-rqF", &token, "/var/lib/ploinky", "/run/ploinky"]);
    refused(&["/bin/sh", "-c", &format!("journalctl -u 'ploinky*' --no-pager | grep -F {token}")]);
    let said = sh("journalctl AUDIT=1 ACTION=session.begin -o cat --no-pager | tail -n 1");
    assert!(said.starts_with("alice: session.begin localhost"), "{said}");
    // A restart keeps it.
    sh("systemctl restart ploinky@1 ploinky@2 ploinky@3 ploinky@4");
    assert_eq!(echo(&bearer(&token)).status, 200);
    let out = call_with("/auth", &bearer(&token), "logout", &json!([])).unwrap();
    assert_eq!(out.status, 200, "{}", out.text());
    wait_for("the session is over", || (echo(&bearer(&token)).status == 401).then_some(()));
    assert_eq!(stored(), "0");
}

#[test]
fn a_session_that_root_ends_is_over_on_all_instances() {
    start_four();
    deploy_echo();
    let _doorman = Doorman::deploy();
    let (alice, bob) = (token("alice"), token("bob"));
    let (asked, of_bob) = (call_bytes(&bearer(&alice)), call_bytes(&bearer(&bob)));
    let mut instances = one_to_each();
    for instance in &mut instances {
        assert_eq!(instance.exchange(&asked).unwrap().status, 200);
    }
    let listed = json_of(&["ploinkyctl", "--json", "session", "list", "--user", "alice"]);
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["domain"]), (1, &json!("localhost")));
    ok(&["ploinkyctl", "session", "revoke", id]);
    let since = Instant::now();
    for instance in &mut instances {
        wait_for("the instance refuses", || {
            (instance.exchange(&asked).unwrap().status == 401).then_some(())
        });
    }
    println!("all instances refuse {} ms after the command", since.elapsed().as_millis());
    for number in 0..800 {
        assert_eq!(instances[number % 4].exchange(&asked).unwrap().status, 401, "{number}");
    }
    assert_eq!(echo(&bearer(&bob)).status, 200);
    // The agent at /auth ends those of whom it names.
    assert_eq!(
        request("POST", "/auth", &bearer(&bob), br#"{"command":"leave"}"#).unwrap().status,
        200
    );
    for instance in &mut instances {
        wait_for("the instance refuses", || {
            (instance.exchange(&of_bob).unwrap().status == 401).then_some(())
        });
    }
    // A file that is gone is a session that is over.
    let carol = token("carol");
    assert_eq!(echo(&bearer(&carol)).status, 200);
    sh("rm -f /var/lib/ploinky/activeUsers/????????*");
    wait_for("the session is over", || (echo(&bearer(&carol)).status == 401).then_some(()));
}
