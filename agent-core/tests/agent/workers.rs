//! Persistent workers.

use std::time::Duration;

use ploinky_queue::Cancel;

use crate::agent::Agent;

const SOON: Duration = Duration::from_millis(300);
const ANSWER: &str = r#"echo "{\"id\":\"$id\",\"response\":$$}""#;

#[test]
fn one_process_serves_many_tasks() {
    let agent = Agent::with_worker(ANSWER);
    let first = agent.call(&[]);
    for _ in 0..50 {
        assert_eq!(agent.call(&[]), first);
    }
}

#[test]
fn the_worker_gets_the_request_as_one_line() {
    let agent = Agent::with_worker(r#"echo "{\"id\":\"$id\",\"response\":$line}""#);
    let id = agent.submit(&["{\"a\":\n1}"]);
    let outcome = agent.outcome(id);
    let head = format!(r#"{{"v":1,"id":"{id}","command":"run","params":["alice",{{"a": 1}}],"#);
    assert!(outcome.starts_with(&head), "{outcome}");
}

#[test]
fn a_long_line_goes_both_ways() {
    let agent = Agent::with_worker(r#"printf '{"id":"%s","response":%s}\n' "$id" "$line""#);
    let long = format!("\"{}\"", "x".repeat(700_000));
    assert!(agent.call(&[&long]).len() > 700_000);
}

#[test]
fn an_error_of_the_worker_is_passed_on() {
    let agent = Agent::with_worker(
        r#"echo "{\"id\":\"$id\",\"error\":{\"message\":\"m\",\"code\":\"NOT_FOUND\",\"details\":[1]}}""#,
    );
    assert_eq!(agent.call(&[]), "NOT_FOUND: m\n[1]");
    assert_eq!(agent.call(&[]), "NOT_FOUND: m\n[1]");
}

#[test]
fn what_is_no_answer_costs_the_worker_its_life() {
    for (fault, expected) in [
        (r#"echo "{\"id\":\"00000000000000000000000000000000\",\"response\":1}""#, "another task"),
        ("echo hello", "is no answer"),
        (r#"echo "{\"id\":\"$id\"}""#, "needs one of"),
        ("head -c 9000000 /dev/zero; echo", "more than 8388608 bytes"),
    ] {
        let agent = Agent::with_worker(&format!(
            "if [ -e again ]; then {ANSWER}; else echo $$ > pid; touch again; {fault}; fi"
        ));
        let outcome = agent.call(&[]);
        assert!(outcome.starts_with("AGENT_BAD_RESULT: "), "{fault}: {outcome}");
        assert!(outcome.contains(expected), "{fault}: {outcome}");
        agent.wait_until_gone("pid");
        assert_ne!(agent.call(&[]), agent.line_of("pid"), "{fault}");
    }
}

#[test]
fn a_second_line_is_not_taken_for_the_next_answer() {
    let agent = Agent::with_worker(r#"printf '{"id":"%s","response":1}\nmore\n' "$id""#);
    for _ in 0..3 {
        assert_eq!(agent.call(&[]), "1");
    }
    assert!(agent.log().contains("more than one line"), "{}", agent.log());
}

#[test]
fn an_answer_before_the_end_of_the_request_spoils_no_other_task() {
    let mut agent = Agent::prepare(
        r#""commands":{"run":"worker"},"worker":{"command":"worker.sh","processes":1}"#,
    );
    // Reads the id and not the rest, which is more than a pipe holds.
    agent.put(
        "worker.sh",
        r#"while head=$(head -c 60) && [ -n "$head" ]; do
            id=${head#*'"id":"'}; id=${id%%'"'*}
            printf '{"id":"%s","response":1}\n' "$id"
        done"#,
    );
    agent.start();
    let long = format!("\"{}\"", "x".repeat(200_000));
    for _ in 0..3 {
        assert_eq!(agent.call(&[&long]), "1");
    }
}

#[test]
fn a_worker_that_dies_fails_its_task_only() {
    let agent =
        Agent::with_worker(&format!("[ -e again ] || {{ touch again; exit 7; }}; {ANSWER}"));
    assert_eq!(agent.call(&[]), "AGENT_CRASHED: the worker process ended during the task");
    assert!(agent.call(&[]).parse::<u32>().is_ok());
    assert!(agent.log().contains("ended: exit status: 7"), "{}", agent.log());
}

#[test]
fn a_worker_that_dies_on_a_line_longer_than_its_pipe_gets_it_once() {
    let mut agent = Agent::prepare(
        r#""commands":{"run":"worker"},"worker":{"command":"worker.sh","processes":1}"#,
    );
    agent.put("worker.sh", "head -c 1 >/dev/null; echo x >> seen; exit 7");
    agent.start();
    let long = format!("\"{}\"", "x".repeat(100_000));
    assert_eq!(agent.call(&[&long]), "AGENT_CRASHED: the worker process ended during the task");
    assert_eq!(std::fs::read_to_string(agent.code("seen")).unwrap(), "x\n");
}

#[test]
fn a_worker_that_dies_on_each_task_is_started_with_patience() {
    let met = "AGENT_CRASHED: the worker process ended during the task";
    for (fault, how) in
        [("exit 7", "exit status: 7"), ("exec >&-; sleep 60", "signal: 9 (SIGKILL)")]
    {
        let agent = Agent::with_worker(fault);
        let none = format!("AGENT_CRASHED: no worker process runs: `worker.sh` ended with {how}");
        agent.wait_for("a task is refused", || {
            let outcome = agent.call(&[]);
            assert!(outcome == met || outcome == none, "{outcome}");
            outcome == none
        });
    }
}

#[test]
fn a_worker_that_died_while_it_was_free_fails_no_task() {
    let agent = Agent::with_worker(ANSWER);
    let first: i32 = agent.call(&[]).parse().unwrap();
    let pid = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    agent.wait_for("the end is noticed", || agent.log().contains("ended: signal: 9"));
    let second: i32 = agent.call(&[]).parse().unwrap();
    assert_ne!(second, first);
}

#[test]
fn a_worker_that_is_late_is_replaced() {
    let agent = Agent::with_worker(&format!(
        "[ -e again ] || {{ touch again; echo $$ > pid; trap '' TERM; while :; do sleep 1; done; }}; {ANSWER}"
    ));
    let id = agent.submit_to("run", &[], SOON);
    assert_eq!(agent.outcome(id), "DEADLINE: the worker did not answer in time");
    agent.wait_until_gone("pid");
    assert_ne!(agent.call(&[]), agent.line_of("pid"));
}

#[test]
fn a_task_of_a_worker_can_be_cancelled_while_it_runs_and_while_it_waits() {
    let agent = Agent::with_worker(&format!(
        "echo $$ > pid; while [ -e wait ]; do sleep 0.02; done; {ANSWER}"
    ));
    agent.put("wait", "");
    let running = agent.submit(&[]);
    agent.line_of("pid");
    let waiting = agent.submit(&[]);
    agent.wait_for("it is claimed", || agent.tasks("locks").join(waiting.as_str()).exists());
    assert_eq!(agent.cancel(waiting), Cancel::Asked);
    assert_eq!(agent.outcome(waiting), "CANCELLED: the task was cancelled");
    assert_eq!(agent.cancel(running), Cancel::Asked);
    assert_eq!(agent.outcome(running), "CANCELLED: the task was cancelled");
    agent.wait_until_gone("pid");
    std::fs::remove_file(agent.code("wait")).unwrap();
    assert!(agent.call(&[]).parse::<u32>().is_ok());
}

#[test]
fn no_worker_in_time_is_a_deadline() {
    let agent = Agent::with_worker("echo $$ > pid; sleep 60");
    agent.submit(&[]);
    agent.line_of("pid");
    let id = agent.submit_to("run", &[], SOON);
    assert_eq!(agent.outcome(id), "DEADLINE: no worker process was free in time");
}

#[test]
fn a_worker_that_cannot_start_fails_tasks_at_once() {
    let mut agent =
        Agent::prepare(r#""commands":{"run":"worker"},"worker":{"command":"no-such-program"}"#);
    agent.start();
    assert_eq!(
        agent.call(&[]),
        "AGENT_CRASHED: no worker process runs: cannot start `no-such-program`: \
         No such file or directory (os error 2)"
    );
}

#[test]
fn a_worker_that_always_ends_at_once_fails_tasks_instead_of_letting_them_wait() {
    let mut agent =
        Agent::prepare(r#""commands":{"run":"worker"},"worker":{"command":"sh -c 'exit 5'"}"#);
    agent.start();
    let none = "AGENT_CRASHED: no worker process runs: `sh -c exit 5` ended with exit status: 5";
    // Between two starts a task may still meet a process that is about to end.
    let met = "AGENT_CRASHED: the worker process ended during the task";
    agent.wait_for("a task is refused", || {
        let outcome = agent.call(&[]);
        assert!(outcome == met || outcome == none, "{outcome}");
        outcome == none
    });
}

#[test]
fn what_a_worker_complains_about_is_logged() {
    let agent = Agent::with_worker(&format!("echo oops $$ >&2; {ANSWER}"));
    let pid = agent.call(&[]);
    let line = format!("[worker {pid}] oops {pid}\n");
    agent.wait_for("the line is logged", || agent.log().contains(&line));
}

#[test]
fn as_many_workers_as_the_manifest_says_work_at_once() {
    let mut agent = Agent::prepare(
        r#""commands":{"run":"worker"},"worker":{"command":"worker.sh","processes":3}"#,
    );
    agent.put_worker(&format!(
        "echo $$ > seen.$$; while [ $(ls seen.* | wc -l) -lt 3 ]; do sleep 0.02; done; {ANSWER}"
    ));
    agent.start();
    let ids = [(); 3].map(|()| agent.submit(&[]));
    let pids: std::collections::BTreeSet<String> = ids.map(|id| agent.outcome(id)).into();
    assert_eq!(pids.len(), 3);
}
