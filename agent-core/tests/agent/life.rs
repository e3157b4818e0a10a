//! Start, end, crash and health of agent-core itself.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use ploinky_queue::Cancel;
use rustix::process::{Pid, Signal};

use crate::agent::{Agent, LIMIT, arrives, is_gone, pause};

const SCRIPT: &str = r#""commands":{"run":"run.sh"}"#;

#[test]
fn a_command_line_that_is_wrong_is_refused() {
    let agent = Agent::prepare(SCRIPT);
    let output = agent.command(&["bogus"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("agent-core: `bogus` is neither a command"), "{said}");
}

#[test]
fn a_manifest_without_commands_to_run_is_a_configuration_error() {
    let agent = Agent::prepare(SCRIPT);
    for (manifest, expected) in [
        (r#"{"name":"a","static":"."}"#, "static agent"),
        (r#"{"name":"a"}"#, "`container`: is missing"),
    ] {
        agent.put("../manifest.json", manifest);
        let output = agent.command(&["run"]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{manifest}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_second_runner_is_refused() {
    let agent = Agent::with_script("echo x");
    let output = agent.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "agent-core: another agent-core serves this queue\n");
    assert_eq!(agent.call(&[]), "\"x\"");
}

#[test]
fn the_version_is_told() {
    let output = Agent::prepare(SCRIPT).command(&["version"]).output().unwrap();
    let expected = format!("agent-core {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_task_whose_runner_was_killed_has_crashed_and_does_not_run_again() {
    let mut agent = Agent::prepare(SCRIPT);
    agent.put("run.sh", "echo $$ > pid; echo x >> runs; sleep 20");
    agent.start();
    let id = agent.submit(&[]);
    let handler = agent.line_of("pid").parse().unwrap();
    assert!(agent.producer.runner_is_alive());
    agent.signal(Signal::KILL);
    assert_eq!(agent.ended().signal(), Some(9));
    assert!(!agent.producer.runner_is_alive());
    let waiting = agent.submit(&[]);
    assert_eq!(agent.cancel(waiting), Cancel::NeverStarted);
    agent.put("run.sh", "echo x >> runs; echo done");
    agent.start();
    assert_eq!(
        agent.outcome(id),
        "AGENT_CRASHED: the agent ended while the task ran; whether it had effects is unknown"
    );
    assert_eq!(agent.call(&[]), "\"done\"");
    assert_eq!(std::fs::read_to_string(agent.code("runs")).unwrap(), "x\nx\n");
    assert!(agent.log().contains("1 tasks of the last runner are recorded as crashed"));
    // In a container it would have gone with the runner.
    let handler = Pid::from_raw(handler).unwrap();
    rustix::process::kill_process_group(handler, Signal::KILL).ok();
}

#[test]
fn through_many_crashes_every_task_has_one_outcome_and_runs_at_most_once() {
    let mut agent = Agent::prepare(SCRIPT);
    agent.put("run.sh", "echo $TASK_ID >> runs; echo \"id $TASK_ID\"");
    let mut ids = Vec::new();
    for round in 1..=8 {
        ids.extend((0..20).map(|_| agent.submit(&[])));
        agent.start_only();
        // Killed at another place in each round: after some tasks were run, in the middle of others.
        let runs = || std::fs::read_to_string(agent.code("runs")).unwrap_or_default();
        agent.wait_for("some tasks run", || round * 12 <= runs().lines().count());
        agent.signal(Signal::KILL);
        agent.ended();
    }
    agent.start();
    let outcomes: Vec<(String, String)> =
        ids.iter().map(|id| (id.to_string(), agent.outcome(*id))).collect();
    let runs = std::fs::read_to_string(agent.code("runs")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for id in runs.lines() {
        assert!(seen.insert(id), "task {id} ran twice");
    }
    for (id, outcome) in outcomes {
        let crashed = outcome.starts_with("AGENT_CRASHED: ");
        let done = outcome == format!("\"id {id}\"") && seen.contains(id.as_str());
        assert!(crashed || done, "{id}: {outcome}");
    }
}

#[test]
fn sigterm_lets_running_tasks_end_and_starts_no_others() {
    let mut agent = Agent::prepare(r#""concurrency":1,"commands":{"run":"run.sh"}"#);
    agent.put("run.sh", "echo $$ > pid; while [ ! -e go ]; do sleep 0.02; done; echo done");
    agent.start();
    let running = agent.submit(&[]);
    agent.line_of("pid");
    let waiting = agent.submit(&[]);
    agent.signal(Signal::TERM);
    agent.put("go", "");
    assert_eq!(agent.ended().code(), Some(0));
    assert_eq!(agent.outcome(running), "\"done\"");
    assert_eq!(agent.producer.collect(waiting).unwrap().map(|_| ()), None);
    agent.start();
    assert_eq!(agent.outcome(waiting), "\"done\"");
}

#[test]
fn sigterm_ends_tasks_that_do_not_end_and_says_so() {
    let mut agent = Agent::prepare(
        r#""commands":{"run":"run.sh","work":"worker"},"worker":{"command":"worker.sh"}"#,
    );
    agent.put("run.sh", "echo $$ > handler; trap '' TERM; while :; do sleep 1; done");
    agent.put_worker("echo $$ > worker; trap '' TERM; while :; do sleep 1; done");
    agent.start();
    let tasks = ["run", "work"].map(|name| agent.submit_to(name, &[], Duration::from_secs(60)));
    agent.line_of("handler");
    agent.line_of("worker");
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended().code(), Some(0));
    for id in tasks {
        assert_eq!(
            agent.outcome(id),
            "AGENT_CRASHED: the agent was stopped while the task ran; whether it had effects is unknown"
        );
    }
    agent.wait_until_gone("handler");
    agent.wait_until_gone("worker");
}

#[test]
fn nothing_that_a_test_started_outlives_it() {
    let agent = Agent::with_worker("trap '' TERM; echo $$ > pid; while :; do sleep 1; done");
    agent.submit(&[]);
    let worker = Pid::from_raw(agent.line_of("pid").parse().unwrap()).unwrap();
    // Without a word, as where a test fails.
    drop(agent);
    let start = Instant::now();
    while !is_gone(worker) {
        assert!(start.elapsed() < LIMIT, "{worker:?} goes on");
        pause();
    }
}

#[test]
fn health_needs_a_runner_and_a_probe_that_succeeds() {
    let mut agent =
        Agent::prepare(r#""commands":{"run":"true"},"health":{"liveness":"test -e well"}"#);
    let health = |agent: &Agent| agent.command(&["health"]).output().unwrap();
    agent.put("well", "");
    let said = String::from_utf8(health(&agent).stderr).unwrap();
    assert!(said.starts_with("agent-core: nobody serves the queue in "), "{said}");
    agent.start();
    assert_eq!(health(&agent).status.code(), Some(0));
    std::fs::remove_file(agent.code("well")).unwrap();
    let output = health(&agent);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "agent-core: the probe `test -e well` ended with exit status: 1\n");
}

#[test]
fn a_probe_that_hangs_is_not_well() {
    let mut agent = Agent::prepare(r#""commands":{"run":"true"},"health":{"liveness":"sleep 60"}"#);
    agent.start();
    let output = agent.command(&["health"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "agent-core: the probe `sleep 60` did not end within 5s\n");
}

#[test]
fn ready_is_told_when_the_probe_succeeds_and_not_before() {
    let mut agent =
        Agent::prepare(r#""commands":{"run":"run.sh"},"health":{"readiness":"probe.sh"}"#);
    agent.put("run.sh", r#"echo "notify:$NOTIFY_SOCKET""#);
    agent.put("probe.sh", "echo x >> probes; test -e ready");
    let socket = UnixDatagram::bind(agent.code("notify")).unwrap();
    agent.notify_at(agent.code("notify"));
    agent.start_only();
    let id = agent.submit(&[]);
    let probes =
        || std::fs::read_to_string(agent.code("probes")).unwrap_or_default().lines().count();
    agent.wait_for("two probes failed", || 3 <= probes());
    assert!(!arrives(&socket, Duration::ZERO), "ready although the probe failed");
    assert!(agent.producer.collect(id).unwrap().is_none());
    agent.put("ready", "");
    assert!(arrives(&socket, LIMIT));
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\nSTATUS=serving 1 command\n");
    assert_eq!(agent.outcome(id), "\"notify:\"");
}

#[test]
fn sigterm_ends_the_wait_for_readiness() {
    let mut agent =
        Agent::prepare(r#""commands":{"run":"true"},"health":{"readiness":"probe.sh"}"#);
    agent.put("probe.sh", "echo x > probed; exit 1");
    agent.start_only();
    agent.line_of("probed");
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended().code(), Some(0));
}

#[test]
fn tasks_from_before_the_start_are_served() {
    let mut agent = Agent::prepare(SCRIPT);
    agent.put("run.sh", "echo x");
    let before = agent.submit(&[]);
    agent.start();
    assert_eq!(agent.outcome(before), "\"x\"");
}

#[test]
fn a_runner_whose_threads_cannot_go_on_ends_with_a_failure() {
    let mut agent = Agent::with_script("echo x");
    // More descriptors than the limit cannot be waited for, and each thread waits for some.
    agent.limit_descriptors(1);
    assert_eq!(agent.ended().code(), Some(1));
    let log = agent.log();
    assert!(log.contains("agent-core: cannot wait for "), "{log}");
    agent.start();
    assert_eq!(agent.call(&[]), "\"x\"");
}

#[test]
fn steady_hints_do_not_keep_a_wish_without_a_hint_from_being_found() {
    let mut agent = Agent::prepare(SCRIPT);
    agent.put("run.sh", "sleep 60");
    let id = agent.submit(&[]);
    // Nobody listens yet: there will be no hint on this one.
    std::fs::File::create(agent.tasks("urgent").join(id.as_str())).unwrap();
    agent.start();
    let other = agent.tasks("urgent").join("0".repeat(32));
    let has_outcome = || agent.tasks("responses").join(id.as_str()).exists();
    agent.wait_for("the task ends", || {
        std::fs::File::create(&other).unwrap();
        std::fs::remove_file(&other).unwrap();
        has_outcome()
    });
    assert_eq!(agent.outcome(id), "CANCELLED: the task was cancelled");
}

#[test]
fn lost_hints_cost_no_task_and_no_wish() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: u32 = limit.trim().parse().unwrap();
    if 100_000 < limit {
        eprintln!("skipped: the kernel queues {limit} events");
        return;
    }
    let agent = Agent::with_script("echo $$ > pid; [ $2 = 1 ] || sleep 60");
    let running = agent.submit(&["2"]);
    agent.line_of("pid");
    agent.signal(Signal::STOP);
    for directory in ["requests", "urgent"] {
        for number in 0..=limit {
            let name = agent.tasks(directory).join(format!("junk-{number}"));
            std::fs::File::create(&name).unwrap();
            std::fs::remove_file(&name).unwrap();
        }
    }
    let waiting = agent.submit(&["1"]);
    assert_eq!(agent.cancel(running), Cancel::Asked);
    agent.signal(Signal::CONT);
    assert_eq!(agent.outcome(running), "CANCELLED: the task was cancelled");
    assert_eq!(agent.outcome(waiting), "null");
}
