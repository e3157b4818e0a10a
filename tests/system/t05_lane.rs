//! The queue in memory: who owns it, when it is there, and what becomes of calls when it is not.

use serde_json::json;

use crate::host::{json as json_of, ok, power_cycle, refused, sh, wait_for};
use crate::http::call;
use crate::t02_agents::deploy_echo;

const LANE: &str = "/run/ploinky/sync/localhost-echo";

/// Owners and modes of the lane of `echo`, in the order of the names.
fn lane() -> Vec<String> {
    let found = sh(&format!("cd {LANE} && stat -c '%n %u %g %a' .. . *"));
    found.lines().map(str::to_owned).collect()
}

/// What they have to be.
fn protocol() -> Vec<String> {
    let status = json_of(&["ploinkyctl", "--json", "agent", "status", "/echo"]);
    let agent = status.get("agents").map_or(&status, |agents| &agents[0]);
    let base = agent["uidFirst"].as_u64().unwrap();
    let server = sh("id -u ploinky").trim().to_owned();
    vec![
        ".. 0 0 711".to_owned(),
        format!(". {server} {base} 2750"),
        format!("locks {server} {base} 3770"),
        format!("requests {server} {base} 2750"),
        format!("responses {server} {base} 2750"),
        format!("streams {server} {base} 2750"),
        format!("urgent {server} {base} 2750"),
    ]
}

fn answers() {
    wait_for("an answer", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
}

/// The verdict of one check of `ploinkyctl doctor`.
fn doctor(check: &str) -> String {
    let output = crate::host::run(&["ploinkyctl", "--json", "doctor"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["check"] == check).unwrap();
    found["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn a_lane_has_the_owners_and_modes_of_the_protocol_after_a_power_cut_too() {
    deploy_echo();
    assert_eq!(lane(), protocol());
    power_cycle();
    answers();
    assert_eq!(lane(), protocol());
    sh(&format!("rmdir {LANE}/streams && chmod 777 {LANE}/requests"));
    ok(&["ploinkyctl", "agent", "restart", "/echo"]);
    assert_eq!(lane(), protocol());
}

#[test]
fn the_memory_is_a_file_system_of_its_own_without_programs_and_devices() {
    deploy_echo();
    let on_host = sh("findmnt --noheadings --output FSTYPE,OPTIONS /run/ploinky/sync");
    let inside = ok(&[
        "podman",
        "exec",
        "ploinky-localhost-echo",
        "grep",
        "/run/ploinky/sync",
        "/proc/mounts",
    ]);
    for text in [&on_host, &inside] {
        for word in ["tmpfs", "nosuid", "nodev", "noexec"] {
            assert!(text.contains(word), "{word} is missing in {text}");
        }
    }
    assert!(on_host.contains("nr_inodes=262144"), "{on_host}");
    assert_eq!(doctor("memory"), "ok");
}

#[test]
fn an_agent_that_serves_its_queue_itself_has_no_lane() {
    deploy_echo();
    sh(r#"rm -rf /tmp/own && mkdir -p /tmp/own && printf '%s' '{"name":"own",
        "container":"localhost/ploinky-busybox:1","run":"sleep 1000","commands":{"x":"echo 1"}}' >/tmp/own/manifest.json"#);
    ok(&["ploinkyctl", "deploy", "localhost", "/own", "/tmp/own"]);
    let text = ok(&["systemctl", "cat", "ploinky-agent-localhost-own.service"]);
    assert!(!text.contains("/run/ploinky/sync"), "{text}");
    refused(&["test", "-e", "/run/ploinky/sync/localhost-own"]);
    // What stands in front of its program shows that the queue is served.
    let locks = "/var/lib/ploinky/agents/localhost/own/.tasks/locks";
    refused(&["flock", "--nonblock", "--shared", &format!("{locks}/.runner"), "true"]);
    ok(&["ploinkyctl", "undeploy", "localhost", "/own"]);
}

#[test]
fn undeployment_removes_the_lane() {
    deploy_echo();
    ok(&["ploinkyctl", "deploy", "localhost", "/other", "echo"]);
    assert!(!sh("ls -A /run/ploinky/sync/localhost-other").is_empty());
    ok(&["ploinkyctl", "undeploy", "localhost", "/other"]);
    for parent in ["sync", "lane"] {
        refused(&["ls", "-d", &format!("/run/ploinky/{parent}/localhost-other")]);
    }
}

#[test]
fn an_agent_that_fills_the_memory_leaves_the_others_served() {
    deploy_echo();
    ok(&["ploinkyctl", "deploy", "localhost", "/filler", "echo"]);
    // As large as on a tiny host, so that the test does not take the memory of the machine.
    sh("mount -o remount,size=8m,nr_inodes=1000 /run/ploinky/sync");
    let fill = |script: &str| {
        ok(&["podman", "exec", "ploinky-localhost-filler", "/bin/sh", "-c", script]);
    };
    for script in [
        "dd if=/dev/zero of=/run/ploinky/sync/locks/fill bs=64k count=1000; true",
        "cd /run/ploinky/sync/locks && for i in $(seq 2000); do touch n$i || break; done; true",
    ] {
        fill(script);
        for text in ["short".to_owned(), "long ".repeat(10_000)] {
            let reply = call("/echo", "echo.say", &json!([text])).unwrap();
            assert_eq!((reply.status, &reply.json()["data"]), (200, &json!(text)), "{script}");
        }
        assert_eq!(doctor("memory"), "warn", "{script}");
        // What is there is enough for a new start; who has nothing there starts without.
        ok(&["ploinkyctl", "agent", "restart", "/echo"]);
        answers();
        ok(&["ploinkyctl", "deploy", "localhost", "/late", "echo"]);
        assert_eq!(call("/late", "echo.ping", &json!([])).unwrap().status, 200, "{script}");
        ok(&["ploinkyctl", "undeploy", "localhost", "/late"]);
        fill("rm -rf /run/ploinky/sync/locks/fill /run/ploinky/sync/locks/n*");
    }
    ok(&["ploinkyctl", "undeploy", "localhost", "/filler"]);
    sh("mount -o remount,size=25%,nr_inodes=262144 /run/ploinky/sync");
    assert_eq!(doctor("memory"), "ok");
    answers();
}

#[test]
fn where_the_memory_is_masked_all_calls_go_through_the_disk() {
    deploy_echo();
    sh("systemctl stop ploinky.target && systemctl mask --runtime run-ploinky-sync.mount && \
        systemctl start ploinky.target");
    answers();
    let mounted = "/run/ploinky/lane/localhost-echo";
    assert_eq!(sh(&format!("stat -c '%u %g %a' {mounted}; ls -A {mounted}")), "0 0 711\n");
    refused(&["test", "-e", LANE]);
    refused(&["findmnt", "/run/ploinky/sync"]);
    let inside = |script: &str| {
        refused(&["podman", "exec", "ploinky-localhost-echo", "/bin/sh", "-c", script]);
    };
    inside("echo x >/run/ploinky/sync/x");
    inside("mkdir /run/ploinky/sync/requests");
    assert_eq!(doctor("memory"), "warn");
    sh("systemctl stop ploinky.target && systemctl unmask --runtime run-ploinky-sync.mount && \
        systemctl start ploinky.target");
    answers();
    assert_eq!(lane(), protocol());
}
