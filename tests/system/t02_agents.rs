//! The way of a person: deploy, call, look, read the journal.

use serde_json::json;

use crate::host::{json as json_of, ok, property, refused, sh, wait_for};
use crate::http::{Connection, call, call_bytes};

/// Has the bundled `echo` at `/echo`.
pub(crate) fn deploy_echo() {
    sh("systemctl start ploinky-supervisor ploinky@1");
    ok(&["ploinkyctl", "deploy", "localhost", "/echo", "echo"]);
    wait_for("a route to /echo", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
}

/// Whether nothing of an agent is left: unit, Quadlet file, container, directory.
fn leftovers(id: &str, directory: &str) -> String {
    sh(&format!(
        "systemctl list-units --all --plain --no-legend 'ploinky-agent-{id}.service'
         ls /etc/containers/systemd/ploinky | grep -x 'ploinky-agent-{id}.container' || true
         podman ps -a --format '{{{{.Names}}}}' | grep -x 'ploinky-{id}' || true
         ls -d '/var/lib/ploinky/agents/{directory}' 2>/dev/null || true"
    ))
}

#[test]
fn a_shell_agent_answers() {
    deploy_echo();
    let reply = call("/echo", "echo.say", &json!(["hello", {"a": [1, null]}, 7])).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    assert_eq!(body["success"], true);
    let said = body["data"].to_string();
    for part in ["hello", "{\\\"a\\\":[1,null]}", "7"] {
        assert!(
            said.contains(part) || said.contains(&part.replace("\\\"", "\"")),
            "{part} is not in {said}"
        );
    }
    let user = call("/echo", "echo.whoami", &json!([])).unwrap().json();
    assert_eq!(user, json!({"success": true, "data": "InternetUser"}));
    let worker = call("/echo", "echo.ping", &json!([])).unwrap();
    assert_eq!(worker.status, 200, "{}", worker.text());
}

#[test]
fn a_node_agent_answers() {
    sh("systemctl start ploinky-supervisor ploinky@1");
    ok(&["ploinkyctl", "deploy", "localhost", "/hello/node", "hello-node"]);
    let ((), _) = wait_for("a route", || {
        (call("/hello/node", "hello.greet", &json!(["Ada"])).ok()?.status == 200).then_some(())
    });
    let greeting = call("/hello/node", "hello.greet", &json!(["Ada"])).unwrap().json();
    assert!(greeting["data"].to_string().contains("Ada"), "{greeting}");
    let sum = call("/hello/node", "hello.sum", &json!([1, 2, 39])).unwrap().json();
    assert!(sum["data"].to_string().contains("42"), "{sum}");
    let failure = call("/hello/node", "hello.fail", &json!([])).unwrap();
    assert!(400 <= failure.status && failure.json()["error"] == true, "{}", failure.text());
    let fast = call("/hello/node", "hello.fast", &json!(["x"])).unwrap();
    assert_eq!(fast.status, 200, "{}", fast.text());
    ok(&["ploinkyctl", "undeploy", "localhost", "/hello/node"]);
    assert_eq!(leftovers("localhost-hello-node", "localhost/hello-node"), "");
    assert_eq!(call("/hello/node", "hello.greet", &json!([])).unwrap().status, 404);
}

#[test]
fn a_directory_of_mine_becomes_an_agent_and_its_next_version_replaces_it() {
    deploy_echo();
    sh(r#"rm -rf /tmp/mine && mkdir -p /tmp/mine && cd /tmp/mine
        printf '{"name":"mine","container":"localhost/ploinky-busybox:1","commands":{"v":"./v.sh"}}' >manifest.json
        printf 'echo one' >v.sh"#);
    let deployed = json_of(&["ploinkyctl", "--json", "deploy", "localhost", "/mine", "/tmp/mine"]);
    assert_eq!(deployed["path"], "/mine");
    let version = || {
        call("/mine", "v", &json!([]))
            .ok()
            .filter(|r| r.status == 200)
            .map(|r| r.json()["data"].clone())
    };
    assert_eq!(wait_for("version one", version).0, "one");
    sh("printf 'echo two' >/tmp/mine/v.sh");
    ok(&["ploinkyctl", "deploy", "localhost", "/mine", "/tmp/mine"]);
    assert_eq!(version(), Some(json!("two")));
    // A version that cannot start is not taken, and the one before goes on.
    sh(
        r#"printf '{"name":"mine","container":"localhost/ploinky-busybox:1","run":"/no/such/program"}' >/tmp/mine/manifest.json"#,
    );
    let (status, text) = refused(&["ploinkyctl", "deploy", "localhost", "/mine", "/tmp/mine"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("journalctl -u ploinky-agent-localhost-mine.service"), "{text}");
    assert_eq!(wait_for("version two again", version).0, "two");
    ok(&["ploinkyctl", "undeploy", "localhost", "/mine"]);
    assert_eq!(leftovers("localhost-mine", "localhost/mine"), "");
}

#[test]
fn status_agrees_with_systemd_and_podman() {
    deploy_echo();
    let unit = "ploinky-agent-localhost-echo.service";
    let status = json_of(&["ploinkyctl", "--json", "agent", "status", "/echo"]);
    let agent = status.get("agents").map_or(&status, |agents| &agents[0]);
    assert_eq!(agent["unit"], unit);
    assert_eq!(agent["activeState"], property(unit, "ActiveState"));
    assert_eq!(agent["subState"], property(unit, "SubState"));
    assert_eq!(agent["restarts"].to_string(), property(unit, "NRestarts"));
    let inspected = json_of(&["podman", "inspect", "ploinky-localhost-echo"]);
    let inspected = &inspected[0];
    assert_eq!(agent["containerId"], inspected["Id"]);
    assert_eq!(agent["containerState"], inspected["State"]["Status"]);
    assert_eq!(agent["pid"], inspected["State"]["Pid"]);
    assert_eq!(agent["imageId"], inspected["Image"]);
    assert_eq!(agent["health"], "healthy");
    assert_eq!(agent["statusText"], property(unit, "StatusText"));
    assert!(agent["lastAlive"].is_string(), "{agent}");
    let first =
        inspected["HostConfig"]["IDMappings"]["UidMap"][0].as_str().unwrap_or_default().to_owned();
    assert!(first.contains(&agent["uidFirst"].to_string()), "{first} and {}", agent["uidFirst"]);
    let table = ok(&["ploinkyctl", "agent", "list"]);
    let row = table.lines().find(|line| line.contains("/echo")).unwrap();
    assert!(row.contains("running") && row.contains("healthy"), "{table}");
}

#[test]
fn the_journal_finds_a_task() {
    deploy_echo();
    let mut connection = Connection::open(8000).unwrap();
    let reply = connection.exchange(&call_bytes("/echo", "echo.fail", &json!([]))).unwrap();
    assert_eq!(reply.status, 500, "{}", reply.text());
    let id = reply.header("task-id").unwrap().to_owned();
    let lines = || {
        let text = sh(&format!("journalctl --no-pager -o json TASK_ID={id}"));
        (!text.trim().is_empty()).then_some(text)
    };
    let (text, _) = wait_for("the task's line", lines);
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["AGENT"], "localhost-echo");
    assert_eq!(line["USER_ID"], "InternetUser");
    assert!(line["_SYSTEMD_UNIT"].as_str().unwrap().starts_with("ploinky@"), "{line}");
    wait_for("the handler's words", || {
        sh(&format!("journalctl --no-pager -u 'ploinky-agent-*' | grep -F '[{id}]' || true"))
            .contains(&id)
            .then_some(())
    });
    let logs = ok(&["ploinkyctl", "agent", "logs", "/echo", "--task", &id]);
    assert!(logs.contains(&id), "{logs}");
}

#[test]
fn stop_and_start_are_desired_state() {
    deploy_echo();
    ok(&["ploinkyctl", "agent", "stop", "/echo"]);
    let (stopped, _) = wait_for("a 503", || {
        call("/echo", "echo.ping", &json!([])).ok().filter(|r| r.status == 503)
    });
    assert_eq!(stopped.json()["code"], "AGENT_STOPPED");
    assert_eq!(property("ploinky-agent-localhost-echo.service", "ActiveState"), "inactive");
    assert!(ok(&["ploinkyctl", "config", "show"]).contains("\"stopped\": true"));
    ok(&["ploinkyctl", "agent", "start", "/echo"]);
    wait_for("an answer", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
    ok(&["ploinkyctl", "agent", "restart", "/echo"]);
    wait_for("an answer", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
}

/// Puts the configuration back, also when the test fails.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        sh("cp /tmp/config.before /var/lib/ploinky/config.json");
    }
}

#[test]
fn a_configuration_edited_by_hand_is_applied_and_a_broken_one_changes_nothing() {
    deploy_echo();
    sh("cp /var/lib/ploinky/config.json /tmp/config.before");
    let restored = Restored;
    // Written in place, as an editor might: a reader may see half of it, which has to be as if broken.
    sh(
        r#"jq '.deployments += [{"domain":"localhost","path":"/by-hand","agent":"echo"}]' /tmp/config.before >/var/lib/ploinky/config.json"#,
    );
    wait_for("the agent made by hand", || {
        (call("/by-hand", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
    sh(r#"printf '{"domains":[],"deployments":[],"colour":"blue"}' >/var/lib/ploinky/config.json"#);
    let (status, text) = refused(&["ploinkyctl", "config", "check"]);
    assert_eq!(status, 78, "{text}");
    assert!(text.contains("/var/lib/ploinky/config.json") && text.contains("colour"), "{text}");
    wait_for("the report of the broken file", || {
        json_of(&["ploinkyctl", "--json", "status"])["config"]["error"]
            .as_str()
            .is_some_and(|e| e.contains("colour"))
            .then_some(())
    });
    let (_, text) = refused(&["ploinkyctl", "agent", "stop", "/echo"]);
    assert!(text.contains("colour"), "{text}");
    assert_eq!(call("/by-hand", "echo.ping", &json!([])).unwrap().status, 200);
    assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
    drop(restored);
    wait_for("the removal", || {
        (call("/by-hand", "echo.ping", &json!([])).ok()?.status == 404).then_some(())
    });
    wait_for("no leftovers", || {
        leftovers("localhost-by--hand", "localhost/by--hand").is_empty().then_some(())
    });
    assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
}
