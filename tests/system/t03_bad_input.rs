//! Every bad input is refused by name, with the right status, and hurts nobody else.

use serde_json::{Value, json};

use crate::host::{ok, refused, sh, wait_for};
use crate::http::{Connection, Reply, call, post_bytes};
use crate::t02_agents::deploy_echo;

fn post(path: &str, body: &[u8]) -> Reply {
    Connection::open(8000).unwrap().exchange(&post_bytes(path, body)).unwrap()
}

fn assert_refused(reply: &Reply, status: u16, code: &str) {
    let body = reply.json();
    assert_eq!((reply.status, &body["code"]), (status, &Value::from(code)), "{body}");
    assert_eq!(body["error"], true);
    assert!(body["message"].as_str().is_some_and(|message| 5 < message.len()), "{body}");
}

fn files_in_queue() -> String {
    sh("find /var/lib/ploinky/agents/localhost/echo/.tasks -mindepth 2 -not -name .runner")
}

#[test]
fn bodies_that_are_no_task() {
    deploy_echo();
    for body in [
        b"".as_slice(),
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{\"command\":\"echo.say\"} x",
        b"{\"command\":\"echo.say\",\"command\":\"echo.fail\"}",
        b"{\"command\":\"echo.say\",\"runForUserId\":\"root\"}",
        b"{\"command\":\"../../x\"}",
        b"{\"command\":7}",
        b"{\"params\":[]}",
    ] {
        assert_refused(&post("/echo", body), 400, "BAD_REQUEST");
    }
    let deep = format!(
        "{{\"command\":\"echo.say\",\"params\":[{}{}]}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_refused(&post("/echo", deep.as_bytes()), 400, "BAD_REQUEST");
    let large =
        format!("{{\"command\":\"echo.say\",\"params\":[\"{}\"]}}", "x".repeat(1024 * 1024));
    assert_refused(&post("/echo", large.as_bytes()), 413, "BODY_TOO_LARGE");
    assert_refused(&call("/echo", "echo.nothing", &json!([])).unwrap(), 404, "UNKNOWN_COMMAND");
    assert_refused(&call("/nothing", "echo.say", &json!([])).unwrap(), 404, "NOT_FOUND");
    assert_eq!(files_in_queue(), "");
    assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
}

#[test]
fn handlers_that_misbehave() {
    deploy_echo();
    sh(r#"rm -rf /tmp/bad && mkdir -p /tmp/bad && cd /tmp/bad
        printf '%s' '{"name":"bad","container":"localhost/ploinky-busybox:1","timeout":2,"commands":{
            "fail":"sh -c '\''echo reason >&2; exit 3'\''","json":"sh fail-json.sh","silent":"true","flood":"sh flood.sh",
            "hang":"sh -c '\''sleep 600'\''","missing":"./not-there.sh","gone":"no-such-program"}}' >manifest.json
        printf '%s' 'echo "{\"error\":true,\"message\":\"no such book\",\"code\":\"NOT_FOUND\",\"details\":{\"book\":1}}"; exit 1' >fail-json.sh
        printf 'exec head -c 100000000 /dev/zero' >flood.sh"#);
    ok(&["ploinkyctl", "deploy", "localhost", "/bad", "/tmp/bad"]);
    wait_for("a route", || (call("/bad", "silent", &json!([])).ok()?.status == 200).then_some(()));
    let failed = call("/bad", "fail", &json!([])).unwrap();
    assert_refused(&failed, 500, "HANDLER_FAILED");
    assert!(failed.text().contains("reason") && failed.text().contains('3'), "{}", failed.text());
    let own = call("/bad", "json", &json!([])).unwrap();
    assert_refused(&own, 404, "NOT_FOUND");
    assert_eq!(own.json()["details"], json!({"book": 1}));
    let silent = call("/bad", "silent", &json!([])).unwrap();
    assert_eq!((silent.status, silent.json()), (200, json!({"success": true, "data": null})));
    assert_refused(&call("/bad", "flood", &json!([])).unwrap(), 502, "RESULT_TOO_LARGE");
    assert_refused(&call("/bad", "hang", &json!([])).unwrap(), 504, "DEADLINE");
    for command in ["missing", "gone"] {
        let reply = call("/bad", command, &json!([])).unwrap();
        assert_refused(&reply, 500, "HANDLER_FAILED");
    }
    assert_eq!(
        sh("podman exec ploinky-localhost-bad ps -o args | grep -c '[s]leep 600' || true").trim(),
        "0"
    );
    let left =
        sh("find /var/lib/ploinky/agents/localhost/bad/.tasks -mindepth 2 -not -name .runner");
    assert_eq!(left, "");
    assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
    ok(&["ploinkyctl", "undeploy", "localhost", "/bad"]);
}

#[test]
fn images_that_are_missing_or_have_no_shell() {
    deploy_echo();
    sh(r#"rm -rf /tmp/none && mkdir -p /tmp/none && cd /tmp/none
        printf '{"name":"none","container":"localhost/not-here:1","commands":{"a":"true"}}' >manifest.json"#);
    let (status, text) = refused(&["ploinkyctl", "deploy", "localhost", "/none", "/tmp/none"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("localhost/not-here:1") && text.contains("podman build"), "{text}");
    assert_eq!(sh("ls -d /var/lib/ploinky/agents/localhost/none 2>/dev/null || true"), "");
    assert!(!ok(&["ploinkyctl", "config", "show"]).contains("/none"));

    sh(r#"rm -rf /tmp/bare && mkdir -p /tmp/bare && cd /tmp/bare
        printf '{"name":"bare","container":"localhost/ploinky-scratch:1","commands":{"a":"/agent/own","b":"sh -c true"}}' >manifest.json
        cp /usr/lib/ploinky/agentcore/agent-core own && chmod 755 own"#);
    ok(&["ploinkyctl", "deploy", "localhost", "/bare", "/tmp/bare"]);
    let (no_shell, _) =
        wait_for("an answer", || call("/bare", "b", &json!([])).ok().filter(|r| r.status == 500));
    assert_refused(&no_shell, 500, "HANDLER_FAILED");
    ok(&["ploinkyctl", "undeploy", "localhost", "/bare"]);
}

#[test]
fn manifests_that_are_wrong() {
    deploy_echo();
    for (manifest, expected) in [
        ("{", "EOF"),
        (r#"{"name":"x"}"#, "container"),
        (r#"{"name":"x","container":"a","colour":1}"#, "colour"),
        (r#"{"name":"x","container":"a\nPodmanArgs=--privileged"}"#, "is not an image name"),
        (r#"{"name":"x","container":"--privileged"}"#, "is not an image name"),
        (r#"{"name":"x","container":"a","volumes":["/:/host"]}"#, "volumes"),
        (r#"{"name":"x","container":"a","commands":{"../x":"y"}}"#, "is not a command name"),
    ] {
        sh(&format!(
            "rm -rf /tmp/wrong && mkdir /tmp/wrong && printf '%s' '{manifest}' >/tmp/wrong/manifest.json"
        ));
        let (_, text) = refused(&["ploinkyctl", "deploy", "localhost", "/wrong", "/tmp/wrong"]);
        assert!(text.contains(expected) && text.contains("manifest.json"), "{manifest}: {text}");
    }
    assert_eq!(sh("ls -d /var/lib/ploinky/agents/localhost/wrong 2>/dev/null || true"), "");
}

#[test]
fn names_that_are_hostile() {
    deploy_echo();
    let before = sh("find /etc/containers/systemd /var/lib/ploinky -not -path '*/.tasks/*' | sort");
    for (domain, path, agent) in [
        ("../etc", "/x", "echo"),
        ("-x", "/x", "echo"),
        ("a b", "/x", "echo"),
        ("%h", "/x", "echo"),
        ("localhost\nExecStartPre=/bin/sh", "/x", "echo"),
        ("localhost", "x", "echo"),
        ("localhost", "/../../etc", "echo"),
        ("localhost", "/.tasks", "echo"),
        ("localhost", "/a//b", "echo"),
        ("localhost", "/%2e%2e", "echo"),
        ("localhost", "/a\n[Service]\nExecStartPre=/bin/sh", "echo"),
        ("localhost", "/$HOME", "echo"),
        ("localhost", "/a;b", "echo"),
        ("localhost", "/management", "echo"),
        ("localhost", "/", "echo"),
        ("localhost", "/x", "Echo"),
        ("localhost", "/x", "not-installed"),
        ("localhost", "/x", "-x"),
    ] {
        let (status, text) = refused(&["ploinkyctl", "deploy", domain, path, "--", agent]);
        assert!([1, 64].contains(&status), "{domain}{path} {agent}: {status} {text}");
        assert!(text.contains("error:"), "{domain}{path} {agent}: {text}");
    }
    let after = sh("find /etc/containers/systemd /var/lib/ploinky -not -path '*/.tasks/*' | sort");
    assert_eq!(before, after);
}

#[test]
fn env_values_of_every_kind_arrive_as_they_are() {
    deploy_echo();
    let values = json!({
        "A": "plain", "B": "two words", "C": "%h %n %%", "D": "$HOME ${X}", "E": "back\\slash", "F": "quote\" and '",
        "G": "semi;colon # not a comment", "H": "-leading", "I": "ünïcode \u{2028}", "J": "tab\tand\nline", "K": "",
        "L": "--privileged", "M": "a\n[Service]\nExecStartPre=/bin/sh", "N": "\\x0a", "O": "trailing\\"
    });
    let manifest = json!({
        "name": "env", "container": "localhost/ploinky-busybox:1",
        "commands": {"env": "awk -f env.awk"}, "env": values
    });
    sh("rm -rf /tmp/env && mkdir /tmp/env");
    let encoded = manifest.to_string().replace('\'', "'\\''");
    sh(&format!("printf '%s' '{encoded}' >/tmp/env/manifest.json"));
    sh(
        r#"printf '%s' 'BEGIN { for (name in ENVIRON) printf "%s=%s\001", name, ENVIRON[name] }' >/tmp/env/env.awk"#,
    );
    ok(&["ploinkyctl", "deploy", "localhost", "/env", "/tmp/env"]);
    let (reply, _) =
        wait_for("an answer", || call("/env", "env", &json!([])).ok().filter(|r| r.status == 200));
    let body = reply.json();
    let found: Vec<&str> = body["data"].as_str().unwrap().split('\u{1}').collect();
    for (name, value) in values.as_object().unwrap() {
        let expected = format!("{name}={}", value.as_str().unwrap());
        assert!(found.contains(&expected.as_str()), "{expected:?} is not in {found:?}");
    }
    ok(&["ploinkyctl", "undeploy", "localhost", "/env"]);
}
