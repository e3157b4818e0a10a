//! One runner for both queues.

use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_queue::Cancel;
use rustix::process::Signal;

use crate::agent::Agent;

const ONE: &str = r#""concurrency":1,"commands":{"run":"run.sh"}"#;

#[test]
fn a_call_whose_runner_was_killed_has_crashed_and_does_not_run_again() {
    let mut agent = Agent::prepare(ONE);
    let lane = agent.sync_lane();
    agent.put("run.sh", "echo $$ > pid; echo x >> runs; sleep 20");
    agent.start();
    let id = agent.call_over(&lane, &[]);
    let handler: i32 = agent.line_of("pid").parse().unwrap();
    let waiting = agent.call_over(&lane, &[]);
    agent.signal(Signal::KILL);
    agent.ended();
    agent.put("run.sh", "echo y >> runs");
    agent.start();
    let crashed =
        "AGENT_CRASHED: the agent ended while the task ran; whether it had effects is unknown";
    assert_eq!(agent.outcome_of_call(&lane, id), crashed);
    assert_eq!(agent.outcome_of_call(&lane, waiting), "null");
    assert_eq!(std::fs::read_to_string(agent.code("runs")).unwrap(), "x\ny\n");
    let handler = rustix::process::Pid::from_raw(handler).unwrap();
    rustix::process::kill_process_group(handler, Signal::KILL).ok();
}

#[test]
fn a_call_that_nobody_waits_for_is_ended_or_never_started() {
    let mut agent = Agent::prepare(ONE);
    let lane = agent.sync_lane();
    agent.put("run.sh", "echo x >> runs; echo $$ > pid; [ $2 = 1 ] || sleep 60");
    agent.start();
    let running = agent.call_over(&lane, &["0"]);
    agent.line_of("pid");
    let waiting = agent.call_over(&lane, &["0"]);
    assert_eq!(lane.cancel(waiting).unwrap(), Cancel::NeverStarted);
    // It may have ended before the answer.
    assert_ne!(lane.cancel(running).unwrap(), Cancel::NeverStarted);
    assert_eq!(agent.outcome_of_call(&lane, running), "CANCELLED: the task was cancelled");
    let last = agent.call_over(&lane, &["1"]);
    assert_eq!(agent.outcome_of_call(&lane, last), "null");
    assert_eq!(std::fs::read_to_string(agent.code("runs")).unwrap(), "x\nx\n");
}

#[test]
fn a_second_runner_of_either_lane_is_refused() {
    let mut agent = Agent::prepare(ONE);
    let lane = agent.sync_lane();
    agent.put("run.sh", "echo x");
    agent.start();
    let output = agent.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "agent-core: another agent-core serves this queue\n");
    assert!(lane.runner_is_alive() && agent.producer.runner_is_alive());
}

#[test]
fn calls_are_not_kept_waiting_by_a_backlog_and_the_backlog_goes_on() {
    let mut agent = Agent::prepare(ONE);
    let lane = agent.sync_lane();
    agent.put("run.sh", "echo $2 >> order");
    let kept: Vec<_> = (0..30).map(|_| agent.submit(&["\"kept\""])).collect();
    let calls: Vec<_> = (0..9).map(|_| agent.call_over(&lane, &["\"call\""])).collect();
    agent.start();
    for id in calls {
        assert_eq!(agent.outcome_of_call(&lane, id), "null");
    }
    for id in kept {
        assert_eq!(agent.outcome(id), "null");
    }
    let order = std::fs::read_to_string(agent.code("order")).unwrap();
    let head: Vec<&str> = order.lines().take(12).collect();
    assert_eq!(head, ["call", "call", "call", "kept"].repeat(3));
}

#[test]
fn a_command_has_a_bound_of_its_own() {
    let mut agent = Agent::prepare(
        r#""concurrency":3,"commands":{"run":"run.sh","one":{"run":"one.sh","concurrency":1}}"#,
    );
    agent.put("run.sh", "echo $TASK_ID >> free");
    agent.put("one.sh", "mkdir busy || exit 1; while [ ! -e go ]; do sleep 0.02; done; rmdir busy");
    agent.start();
    let bound = [(); 4].map(|()| agent.submit_to("one", &[], Duration::from_secs(30)));
    agent.wait_for("one runs", || agent.code("busy").exists());
    for _ in 0..4 {
        assert_eq!(agent.call(&[]), "null");
    }
    agent.put("go", "");
    for id in bound {
        assert_eq!(agent.outcome(id), "null");
    }
}

#[test]
fn both_lanes_are_served_at_once_and_each_task_runs_once() {
    let mut agent = Agent::prepare(r#""commands":{"run":"run.sh"}"#);
    let lane = agent.sync_lane();
    agent.put("run.sh", "echo $TASK_ID >> runs; echo \"$2\"");
    let mut kept = vec![agent.submit(&["1"])];
    let mut calls = vec![agent.call_over(&lane, &["2"])];
    agent.start();
    for _ in 0..60 {
        kept.push(agent.submit(&["1"]));
        calls.push(agent.call_over(&lane, &["2"]));
    }
    for id in &calls {
        assert_eq!(agent.outcome_of_call(&lane, *id), "2");
    }
    for id in &kept {
        assert_eq!(agent.outcome(*id), "1");
    }
    let runs = std::fs::read_to_string(agent.code("runs")).unwrap();
    let mut seen: Vec<&str> = runs.lines().collect();
    seen.sort_unstable();
    let mut expected: Vec<&str> = calls.iter().chain(&kept).map(TaskId::as_str).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}
