//! Tasks that are accepted for good: one outcome through every death, at most once or at least once.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use ploinky_contract::TaskState;
use ploinky_queue::{Cancel, Mode, TaskError, Terms, boottime_ns};
use rustix::process::Signal;

use crate::agent::Agent;

const ONE: &str = r#""concurrency":1,"commands":{"run":"run.sh"}"#;
const CRASHED: &str =
    "AGENT_CRASHED: the agent ended while the task ran; whether it had effects is unknown";

/// At least once, with hardly any wait.
fn retried(attempts: u16) -> Terms {
    Terms { attempts, backoff_ns: 1000, backoff_max_ns: 1000, ..Terms::default() }
}

fn prepared(script: &str) -> Agent {
    let agent = Agent::prepare(ONE);
    agent.put("run.sh", script);
    agent
}

#[test]
fn a_task_that_always_fails_has_as_many_runs_as_agreed_and_its_last_error() {
    let mut agent = prepared("echo $TASK_ATTEMPT >> runs; cat > seen; echo no >&2; exit 3");
    agent.start();
    let id = agent.keep(&[], retried(3));
    assert_eq!(
        agent.kept_outcome(id),
        "HANDLER_FAILED: the handler of `run` (`run.sh`) ended with exit code 3\n\
         {\"exitCode\":3,\"stderr\":\"no\\n\"}"
    );
    assert_eq!(fs::read_to_string(agent.code("runs")).unwrap(), "1\n2\n3\n");
    assert!(fs::read_to_string(agent.code("seen")).unwrap().contains(r#""attempt":3"#));
    let once = agent.keep(&[], Terms::default());
    assert!(agent.kept_outcome(once).starts_with("HANDLER_FAILED"));
    assert_eq!(agent.lines_of("runs"), 4);
}

#[test]
fn an_error_that_is_for_good_ends_the_task_at_once() {
    let mut agent = prepared(
        r#"echo x >> runs
        echo '{"error":true,"message":"m","code":"GONE","details":{"retryable":false}}'; exit 1"#,
    );
    agent.start();
    let id = agent.keep(&[], retried(9));
    assert_eq!(agent.kept_outcome(id), "GONE: m\n{\"retryable\":false}");
    let mut unknown = agent.request("other", &[], Duration::from_secs(60));
    unknown.terms = Terms { mode: Mode::Async, ..retried(9) };
    let unknown = agent.accept(&unknown);
    assert!(agent.kept_outcome(unknown).starts_with("UNKNOWN_COMMAND: "));
    assert_eq!(agent.lines_of("runs"), 1);
}

#[test]
fn a_task_gets_well_in_a_later_run_and_leaves_no_trace_of_the_others() {
    let mut agent = prepared("[ $TASK_ATTEMPT = 3 ] || exit 1; echo well");
    agent.start();
    let id = agent.keep(&[], retried(5));
    assert_eq!(agent.kept_outcome(id), "\"well\"");
    assert!(agent.producer.remove(id).unwrap());
    for directory in ["requests", "urgent", "responses", "errors", "locks", "outputs", "files"] {
        let names: Vec<_> = fs::read_dir(agent.tasks(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        assert!(names.is_empty(), "{directory}: {names:?}");
    }
}

#[test]
fn one_run_has_its_own_time_and_the_task_another() {
    let mut agent = prepared("echo x >> runs; sleep 60");
    agent.start();
    let terms = Terms { run_ns: Some(200_000_000), ..retried(2) };
    let id = agent.keep(&[], terms.clone());
    let late = "DEADLINE: the handler of `run` did not end in time";
    assert_eq!(agent.kept_outcome(id), late);
    assert_eq!(agent.lines_of("runs"), 2);
    // The wait for the next run would be longer than the task has time.
    let mut short = agent.request("run", &[], Duration::from_secs(10));
    // It is drawn from this range, of which the time of the task is next to nothing.
    let ages = u64::MAX;
    short.terms = Terms { mode: Mode::Async, backoff_ns: ages, backoff_max_ns: ages, ..terms };
    let short = agent.accept(&short);
    assert_eq!(agent.kept_outcome(short), late);
    assert_eq!(agent.lines_of("runs"), 3);
}

#[test]
fn a_killed_runner_counts_as_one_run_and_a_strict_task_does_not_run_again() {
    for (terms, outcome, runs) in
        [(Terms::default(), CRASHED, 1), (retried(2), CRASHED, 2), (retried(3), "\"done\"", 3)]
    {
        let mut agent = prepared(
            "echo x >> runs; [ $TASK_ATTEMPT = 3 ] || { echo $$ > pid.$TASK_ATTEMPT; sleep 60; }; echo done",
        );
        let id = agent.keep(&[], terms);
        for life in 1..=2 {
            agent.start_only();
            let died = format!("pid.{life}");
            agent.wait_for("it runs or is over", || {
                agent.code(&died).exists() || agent.producer.collect(id).unwrap().is_some()
            });
            agent.signal(Signal::KILL);
            agent.ended();
        }
        agent.start();
        assert_eq!(agent.kept_outcome(id), outcome);
        assert_eq!(agent.lines_of("runs"), runs);
    }
}

#[test]
fn through_many_crashes_every_kept_task_has_one_outcome() {
    let mut agent = Agent::prepare(r#""commands":{"run":"run.sh"}"#);
    agent.put("run.sh", "echo $TASK_ID >> runs; echo \"id $TASK_ID\"");
    let mut ids = BTreeMap::new();
    for round in 1..=8 {
        for number in 0..20 {
            let attempts = if number % 2 == 0 { 1 } else { 50 };
            ids.insert(agent.keep(&[], retried(attempts)), attempts);
        }
        agent.start_only();
        agent.wait_for("some tasks run", || round * 12 <= agent.lines_of("runs"));
        agent.signal(Signal::KILL);
        agent.ended();
    }
    agent.start();
    let outcomes: BTreeMap<_, _> = ids.keys().map(|id| (*id, agent.kept_outcome(*id))).collect();
    let runs = fs::read_to_string(agent.code("runs")).unwrap();
    for (id, attempts) in ids {
        let count = runs.lines().filter(|line| *line == id.as_str()).count();
        let done = format!("\"id {id}\"");
        let outcome = &outcomes[&id];
        if attempts == 1 {
            assert!(count <= 1, "{id} ran {count} times");
            assert!(outcome == CRASHED || (outcome == &done && count == 1), "{id}: {outcome}");
        } else {
            assert!(outcome == &done && 1 <= count, "{id}: {outcome}, {count} runs");
        }
        // Asked again, it is the same.
        assert_eq!(agent.kept_outcome(id), *outcome);
    }
}

#[test]
fn a_task_is_cancelled_while_it_waits_runs_or_waits_for_its_next_run() {
    let mut agent = prepared("echo $$ > pid; [ $2 = run ] && sleep 60; exit 1");
    agent.start();
    let cancelled = TaskError::new("CANCELLED", "by its owner");
    let cancel = |id| agent.producer.cancel_durable(id, &cancelled).unwrap();
    let running = agent.keep(&["\"run\""], retried(3));
    agent.line_of("pid");
    let waiting = agent.keep(&[], retried(3));
    assert_eq!(cancel(waiting), Cancel::NeverStarted);
    assert_eq!(agent.producer.collect(waiting).unwrap().map(|_| ()), Some(()));
    assert_eq!(cancel(running), Cancel::Asked);
    assert_eq!(agent.kept_outcome(running), "CANCELLED: the task was cancelled");
    let hour = 3_600_000_000_000;
    // Drawn from an hour, the wait is long enough.
    let terms = Terms { attempts: 3, backoff_ns: hour, backoff_max_ns: hour, ..Terms::default() };
    let mut request = agent.request("run", &["\"fail\""], Duration::from_secs(9000));
    request.terms = Terms { mode: Mode::Async, ..terms };
    let between = agent.accept(&request);
    let note = agent.tasks("locks").join(format!("{between}.note"));
    let is_between = || note.exists() && !agent.tasks("locks").join(between.as_str()).exists();
    agent.wait_for("the first run failed", is_between);
    assert_eq!(cancel(between), Cancel::NeverStarted);
    assert_eq!(agent.producer.collect(between).unwrap().map(|_| ()), Some(()));
}

#[test]
fn a_wish_that_came_between_two_runs_is_heard_by_the_next() {
    let mut agent = prepared("echo x >> runs; exit 1");
    let id = agent.keep(&[], retried(9));
    // As if it had come in the moment in which the lock was released.
    fs::File::create(agent.tasks("urgent").join(id.as_str())).unwrap();
    agent.start();
    assert_eq!(agent.kept_outcome(id), "CANCELLED: the task was cancelled");
    assert_eq!(agent.lines_of("runs"), 0);
}

#[test]
fn a_stopped_agent_does_not_use_up_a_run() {
    let mut agent = prepared("echo $TASK_ATTEMPT >> runs; [ -e go ] || sleep 60; echo done");
    agent.start();
    let id = agent.keep(&[], retried(2));
    agent.wait_for("it runs", || agent.lines_of("runs") == 1);
    agent.signal(Signal::TERM);
    agent.ended();
    assert!(agent.producer.collect(id).unwrap().is_none());
    agent.put("go", "");
    agent.start();
    assert_eq!(agent.kept_outcome(id), "\"done\"");
    assert_eq!(fs::read_to_string(agent.code("runs")).unwrap(), "1\n1\n");
}

#[test]
fn a_stopped_agent_fails_a_task_that_runs_once_and_nobody_cancelled_it() {
    let mut agent = prepared("echo $$ > pid; sleep 60");
    agent.start();
    let id = agent.keep(&[], Terms::default());
    agent.line_of("pid");
    agent.signal(Signal::TERM);
    agent.ended();
    assert_eq!(
        agent.kept_outcome(id),
        "AGENT_CRASHED: the agent was stopped while the task ran; whether it had effects is unknown"
    );
    assert_eq!(agent.producer.inspect(id).unwrap().unwrap().state, TaskState::Failed);
}

#[test]
fn progress_is_kept_seldom_and_its_end_always() {
    let mut agent = prepared(
        r#"i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo "{\"done\":$i}"; done > $TASK_PROGRESS
        head -c 100000 /dev/zero | tr '\0' x > $TASK_PROGRESS; echo > $TASK_PROGRESS
        echo "all of it" > $TASK_PROGRESS; echo $$ > pid; while [ ! -e go ]; do sleep 0.02; done"#,
    );
    agent.start();
    let id = agent.keep(&[], Terms::default());
    agent.line_of("pid");
    let path = agent.tasks("locks").join(format!("{id}.progress"));
    let read = || fs::read_to_string(&path).unwrap_or_default();
    agent.wait_for("the last note is written", || read() == "\"all of it\"");
    agent.put("go", "");
    assert_eq!(agent.kept_outcome(id), "null");
    assert!(agent.log().contains("a progress note of task"), "{}", agent.log());
    // A plain call has nobody who could look.
    agent.put("run.sh", "echo $TASK_PROGRESS; echo x > $TASK_PROGRESS");
    assert_eq!(agent.call(&[]), "\"/dev/null\"");
}

#[test]
fn a_result_may_be_a_file_and_what_is_none_is_refused() {
    let mut agent = prepared(
        r#"case $2 in
        good) echo hello > $TASK_OUTPUT; echo '{"name":"a b.txt","type":"text/plain"}';;
        plain) umask 077; echo hello > $TASK_OUTPUT;;
        link) ln -s /etc/passwd $TASK_OUTPUT;;
        name) echo x > $TASK_OUTPUT; echo '{"name":"../x"}';;
        text) echo x > $TASK_OUTPUT; echo done;;
        fail) echo x > $TASK_OUTPUT; exit 1;;
        esac"#,
    );
    agent.start();
    let outcome = |what: &str| {
        let id = agent.keep(&[&format!("\"{what}\"")], Terms::default());
        (agent.kept_outcome(id), agent.tasks("outputs").join(id.as_str()), id)
    };
    for what in ["link", "name", "text"] {
        let (outcome, path, _) = outcome(what);
        assert!(outcome.starts_with("AGENT_BAD_RESULT: "), "{what}: {outcome}");
        assert!(what == "text" || path.symlink_metadata().is_err(), "{what}");
    }
    assert!(outcome("fail").0.starts_with("HANDLER_FAILED: "));
    let (good, path, _) = outcome("good");
    let expected = "FileResult { name: \"a b.txt\", media_type: \"text/plain\", size: 6 }";
    assert_eq!((good.as_str(), fs::read_to_string(path).unwrap().as_str()), (expected, "hello\n"));
    let (plain, path, id) = outcome("plain");
    let expected = format!(
        "FileResult {{ name: \"{id}\", media_type: \"application/octet-stream\", size: 6 }}"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!((plain, mode & 0o777), (expected, 0o644));
}

#[test]
fn ten_thousand_tasks_are_taken_by_urgency_owner_and_age() {
    let mut agent = Agent::prepare(
        r#""concurrency":1,"commands":{"run":"worker"},"worker":{"command":"worker.sh","processes":1}"#,
    );
    agent.put_worker(
        r#"rest=${line#*'"params":["'}; echo "${rest%%'"'*}" >> order
        echo "{\"id\":\"$id\",\"response\":null}""#,
    );
    let start = boottime_ns();
    for number in 0..10_000_u64 {
        let (owner, urgency) = match number % 500 {
            0 | 100 | 200 | 300 | 400 => ("bob", 3),
            1 => ("carol", 0),
            _ => ("alice", 3),
        };
        let mut request = agent.request("run", &[], Duration::from_secs(600));
        request.params =
            vec![serde_json::value::RawValue::from_string(format!("\"{owner}\"")).unwrap()];
        request.owner = owner.parse().unwrap();
        request.seq = start + number;
        request.terms = Terms { mode: Mode::Async, urgency, ..Terms::default() };
        agent.producer.submit(&request).unwrap();
    }
    agent.start();
    agent.wait_for("enough of them ran", || 100 <= agent.lines_of("order"));
    agent.signal(Signal::KILL);
    agent.ended();
    let order = fs::read_to_string(agent.code("order")).unwrap();
    let head: Vec<&str> = order.lines().take(100).collect();
    let expected: Vec<&str> = std::iter::repeat_n("carol", 20)
        .chain(["alice", "bob"].into_iter().cycle().take(80))
        .collect();
    // Whose turn is first depends on nothing that anybody promised.
    let swapped: Vec<&str> = expected
        .iter()
        .enumerate()
        .map(|(at, owner)| match (at, *owner) {
            (20.., "alice") => "bob",
            (20.., "bob") => "alice",
            (_, owner) => owner,
        })
        .collect();
    assert!(head == expected || head == swapped, "{head:?}");
}

#[test]
fn fields_that_this_version_does_not_know_do_not_matter() {
    let mut agent = prepared("echo ran");
    agent.start();
    for mode in [Mode::Sync, Mode::Async] {
        let mut request = agent.request("run", &[], Duration::from_secs(60));
        request.terms = Terms { mode, ..Terms::default() };
        let text = String::from_utf8(request.encode()).unwrap();
        let text = text.replacen("{\"v\":1,", "{\"v\":1,\"later\":{\"x\":[1]},", 1);
        agent.publish(request.id, &text);
        assert_eq!(agent.kept_outcome(request.id), "\"ran\"");
    }
}

#[test]
fn a_request_of_the_version_before_is_run() {
    let mut agent = prepared("cat");
    agent.start();
    let request = agent.request("run", &["1"], Duration::from_secs(60));
    let (id, seq, deadline) = (request.id, request.seq, request.deadline_boot_ns);
    let text = format!(
        r#"{{"v":1,"id":"{id}","command":"run","params":["alice",1],"owner":"alice","mode":"sync","seq":{seq},"deadline_boot_ns":{deadline},"boot_id":"{}","submitter":{{"instance":1,"invocation":"00000000000000000000000000000000"}},"attempt":1}}"#,
        request.boot_id
    );
    assert_eq!(String::from_utf8(request.encode()).unwrap(), text);
    agent.publish(id, &text);
    assert_eq!(agent.outcome(id), text);
}
