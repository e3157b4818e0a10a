//! Tasks whose caller reads events while they run.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::os::fd::OwnedFd;
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_queue::{SyncProducer, Terms};

use crate::agent::Agent;

const WORKER: &str =
    r#""commands":{"run":"worker"},"worker":{"command":"worker.sh","processes":1}"#;

fn agent(script: &str, is_worker: bool) -> (Agent, SyncProducer) {
    let mut agent =
        Agent::prepare(if is_worker { WORKER } else { r#""commands":{"run":"run.sh"}"# });
    let lane = agent.sync_lane();
    if is_worker {
        agent.put_worker(script);
    } else {
        agent.put("run.sh", script);
    }
    agent.start();
    (agent, lane)
}

fn subscribe(agent: &Agent, lane: &SyncProducer, seconds: u64) -> (TaskId, OwnedFd) {
    let mut request = agent.request("run", &[], Duration::from_secs(seconds));
    request.terms = Terms { stream: true, ..Terms::default() };
    let reader = lane.make_stream(request.id).unwrap();
    lane.submit(&request).unwrap();
    (request.id, reader)
}

/// Everything that comes until the task has its outcome, which follows.
fn all(agent: &Agent, lane: &SyncProducer, id: TaskId, reader: OwnedFd) -> (String, String) {
    let mut reader = std::fs::File::from(reader);
    let mut said = Vec::new();
    agent.wait_for("the task has an outcome", || {
        let is_over = lane.collect(id).unwrap().is_some();
        // It fails when the pipe is empty; what came before that is kept.
        std::io::copy(&mut reader, &mut said).ok();
        is_over
    });
    (String::from_utf8(said).unwrap(), agent.outcome_of_call(lane, id))
}

#[test]
fn a_reader_that_goes_away_ends_the_handler() {
    for is_worker in [false, true] {
        let (agent, lane) = if is_worker {
            agent(
                r#"echo $$ > pid; while :; do echo "{\"id\":\"$id\",\"event\":1}"; sleep 0.05; done"#,
                true,
            )
        } else {
            agent("echo $$ > pid; while :; do echo 1; sleep 0.05; done", false)
        };
        let (id, reader) = subscribe(&agent, &lane, 60);
        agent.line_of("pid");
        drop(reader);
        let gone = "CANCELLED: nobody reads the stream any more";
        assert_eq!(agent.outcome_of_call(&lane, id), gone);
        agent.wait_until_gone("pid");
    }
}

#[test]
fn a_silent_handler_is_ended_when_its_reader_goes_away() {
    let (agent, lane) = agent("echo $$ > pid; sleep 60", false);
    let (id, reader) = subscribe(&agent, &lane, 60);
    agent.line_of("pid");
    drop(reader);
    let gone = "CANCELLED: nobody reads the stream any more";
    assert_eq!(agent.outcome_of_call(&lane, id), gone);
}

#[test]
fn lines_are_events_and_text_becomes_json() {
    let (first, lane) = agent(r#"echo '{"n":1}'; echo two words; echo; printf '[3]'"#, false);
    let (id, reader) = subscribe(&first, &lane, 60);
    let (said, outcome) = all(&first, &lane, id, reader);
    assert_eq!(said, "{\"n\":1}\n\"two words\"\n\"\"\n[3]\n");
    assert_eq!(outcome, "null");
    let (worker, lane) = agent(
        r#"for n in 1 2; do echo "{\"id\":\"$id\",\"event\":{\"n\":$n}}"; done
        echo "{\"id\":\"$id\",\"progress\":0.5}"; echo "{\"id\":\"$id\",\"response\":\"end\"}""#,
        true,
    );
    for _ in 0..2 {
        let (id, reader) = subscribe(&worker, &lane, 60);
        let (said, outcome) = all(&worker, &lane, id, reader);
        assert_eq!((said.as_str(), outcome.as_str()), ("{\"n\":1}\n{\"n\":2}\n", "\"end\""));
    }
}

#[test]
fn an_event_of_a_task_that_does_not_stream_costs_the_worker_its_life() {
    let (agent, lane) = agent(
        r#"echo "{\"id\":\"$id\",\"event\":1}"; echo "{\"id\":\"$id\",\"response\":1}""#,
        true,
    );
    let outcome = agent.outcome_of_call(&lane, agent.call_over(&lane, &[]));
    let expected = "AGENT_BAD_RESULT: the worker sent an event for a task that does not stream";
    assert_eq!(outcome, expected);
}

#[test]
fn a_slow_reader_holds_the_handler_back_and_loses_nothing() {
    let (agent, lane) = agent(
        "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo $i; done; echo done > written",
        false,
    );
    let (id, reader) = subscribe(&agent, &lane, 60);
    agent.wait_for("the stream is full", || {
        let room = rustix::event::PollFlags::IN;
        let mut fds = [rustix::event::PollFd::new(&reader, room)];
        rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
    });
    assert!(!agent.code("written").exists());
    let (said, outcome) = all(&agent, &lane, id, reader);
    let numbers: Vec<u32> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert!((1..=30_000).eq(numbers), "{} bytes", said.len());
    assert_eq!(outcome, "null");
}

#[test]
fn a_worker_that_dies_while_it_streams_fails_its_task_only() {
    let (agent, lane) = agent(
        r#"echo "{\"id\":\"$id\",\"event\":1}"; [ -e again ] || { touch again; exit 7; }
        echo "{\"id\":\"$id\",\"response\":2}""#,
        true,
    );
    let (id, reader) = subscribe(&agent, &lane, 60);
    let (said, outcome) = all(&agent, &lane, id, reader);
    let crashed = "AGENT_CRASHED: the worker process ended during the task";
    assert_eq!((said.as_str(), outcome.as_str()), ("1\n", crashed));
    let (id, reader) = subscribe(&agent, &lane, 60);
    assert_eq!(all(&agent, &lane, id, reader), ("1\n".to_owned(), "2".to_owned()));
}

#[test]
fn a_line_that_is_too_long_and_a_stream_that_takes_too_long_end_the_task() {
    let (first, lane) = agent("head -c 70000 /dev/zero | tr '\\0' x; echo", false);
    let (id, reader) = subscribe(&first, &lane, 60);
    let (_, outcome) = all(&first, &lane, id, reader);
    let expected = "RESULT_TOO_LARGE: the handler of `run` wrote a line with more than 65536 bytes";
    assert_eq!(outcome, expected);
    let (second, lane) = agent("while :; do echo x; sleep 0.02; done", false);
    let (id, reader) = subscribe(&second, &lane, 1);
    let (said, outcome) = all(&second, &lane, id, reader);
    assert!(said.starts_with("\"x\"\n"), "{said}");
    assert_eq!(outcome, "DEADLINE: the handler of `run` did not end in time");
}
