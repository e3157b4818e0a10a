//! A program per task.

use std::time::Duration;

use ploinky_queue::Cancel;

use crate::agent::Agent;

const SOON: Duration = Duration::from_millis(300);

#[test]
fn a_command_that_the_manifest_does_not_name_is_refused() {
    let agent = Agent::with_script("echo no");
    let id = agent.submit_to("other", &[], SOON * 100);
    assert_eq!(agent.outcome(id), "UNKNOWN_COMMAND: the agent has no command `other`");
}

#[test]
fn parameters_are_words_and_never_text_of_a_shell() {
    let agent = Agent::with_script(r#"for word in "$@"; do printf '<%s>' "$word"; done"#);
    let params = [
        r#""; touch bad; $(touch bad) `touch bad`""#,
        r#""a b\tc\n*""#,
        r#""-n""#,
        r#""""#,
        "12345678901234567890.50",
        "{ \"a b\" : [ true,\n null ] }",
        r#""ä\u00e9\ud83d\ude00""#,
    ];
    let expected = "\"<alice><; touch bad; $(touch bad) `touch bad`><a b\\tc\\n*><-n><>\
                    <12345678901234567890.50><{\\\"a b\\\":[true,null]}><äé😀>\"";
    assert_eq!(agent.call(&params), expected);
    assert!(!agent.code("bad").exists());
}

#[test]
fn the_environment_names_the_task() {
    let agent =
        Agent::with_script(r#"echo "$TASK_ID $TASK_COMMAND $RUN_FOR_USER_ID $AGENT_DIR $PWD""#);
    let id = agent.submit(&[]);
    let code = agent.code("");
    let code = code.to_str().unwrap();
    let code_path = code.trim_end_matches('/');
    assert_eq!(agent.outcome(id), format!("\"{id} run alice {code_path} {code_path}\""));
}

#[test]
fn the_whole_request_is_on_stdin() {
    let agent = Agent::with_script("cat");
    let id = agent.submit(&["[1,\n2]"]);
    let outcome = agent.outcome(id);
    let head = format!(r#"{{"v":1,"id":"{id}","command":"run","params":["alice",[1, 2]],"#);
    assert!(outcome.starts_with(&head), "{outcome}");
}

#[test]
fn a_long_request_goes_through_a_handler_that_echoes_and_one_that_does_not_read() {
    let agent = Agent::with_script(r#"[ "$2" = cat ] && exec cat; exec 0<&-; echo '"deaf"'"#);
    let long = format!("\"{}\"", "x".repeat(100_000));
    let mut params = vec!["\"cat\""];
    params.extend([long.as_str(); 9]);
    let echoed = agent.call(&params);
    assert!(echoed.len() > 900_000 && echoed.ends_with("\"attempt\":1}"), "{}", echoed.len());
    params[0] = "\"deaf\"";
    assert_eq!(agent.call(&params), "\"deaf\"");
}

#[test]
fn stdout_is_the_value() {
    let agent = Agent::with_script(r#"printf '%b' "$2""#);
    assert_eq!(agent.call(&[r#""{\"a\": [1, 2]}\\n""#]), r#"{"a": [1, 2]}"#);
    assert_eq!(agent.call(&[r#""two words\\n""#]), "\"two words\"");
    assert_eq!(agent.call(&[r#""""#]), "null");
}

#[test]
fn a_failing_handler_reports_its_status_and_the_end_of_its_stderr() {
    let agent = Agent::with_script("echo first >&2; echo last >&2; echo out; exit 3");
    let id = agent.submit(&[]);
    assert_eq!(
        agent.outcome(id),
        "HANDLER_FAILED: the handler of `run` (`run.sh`) ended with exit code 3\n\
         {\"exitCode\":3,\"stderr\":\"first\\nlast\\n\"}"
    );
    let log = agent.log();
    assert!(log.contains(&format!("[{id}] first\n[{id}] last\n")), "{log}");
    assert!(log.contains(&format!("agent-core: task {id} (run) failed: HANDLER_FAILED")), "{log}");
}

#[test]
fn a_handler_that_is_killed_reports_the_signal() {
    let agent = Agent::with_script("kill -SEGV $$");
    assert_eq!(
        agent.call(&[]),
        "HANDLER_FAILED: the handler of `run` (`run.sh`) was ended by signal 11\n\
         {\"signal\":11,\"stderr\":\"\"}"
    );
}

#[test]
fn an_error_that_the_handler_reports_is_passed_on() {
    let agent = Agent::with_script(r#"echo "$3" >&"$2"; exit 1"#);
    let said = r#""{\"error\":true,\"message\":\"no such user\",\"code\":\"NOT_FOUND\",\"details\":{\"id\":7}}""#;
    for stream in ["1", "2"] {
        assert_eq!(agent.call(&[stream, said]), "NOT_FOUND: no such user\n{\"id\":7}");
    }
    let said = r#""warning\n{\"error\":{\"message\":\"m\"}}""#;
    assert_eq!(agent.call(&["2", said]), "HANDLER_FAILED: m");
}

#[test]
fn an_error_object_with_status_0_is_a_value() {
    let agent = Agent::with_script(r#"echo '{"error":true,"message":"m"}'"#);
    assert_eq!(agent.call(&[]), r#"{"error":true,"message":"m"}"#);
}

#[test]
fn a_handler_that_writes_without_end_is_ended() {
    let agent = Agent::with_script("echo $$ > pid; trap '' TERM; cat /dev/zero");
    assert_eq!(
        agent.call(&[]),
        "RESULT_TOO_LARGE: the handler of `run` wrote more than 8388608 bytes"
    );
    agent.wait_until_gone("pid");
}

#[test]
fn a_flood_on_stderr_is_not_kept_and_not_logged() {
    let agent = Agent::with_script("head -c 30000000 /dev/zero | tr '\\0' x >&2; exit 1");
    let outcome = agent.call(&[]);
    assert!(outcome.len() < 5000, "{}", outcome.len());
    let log = agent.log();
    assert!(log.len() < 100_000, "{}", log.len());
    let (logged, _) = log.split_once("(it wrote more than is logged)").expect("a note at the end");
    assert!(logged.len() < 70_000, "{}", logged.len());
}

#[test]
fn a_handler_that_ends_on_sigterm_at_its_deadline_is_late_all_the_same() {
    let agent = Agent::with_script("echo $$ > pid; trap 'echo ok; exit 0' TERM; sleep 60 & wait");
    let id = agent.submit_to("run", &[], SOON);
    assert_eq!(agent.outcome(id), "DEADLINE: the handler of `run` did not end in time");
    agent.wait_until_gone("pid");
}

#[test]
fn a_handler_that_never_ends_is_killed_with_its_children() {
    let agent = Agent::with_script(
        "trap '' TERM; (while :; do sleep 1; done) & echo $! > child; while :; do sleep 1; done",
    );
    let id = agent.submit_to("run", &[], SOON);
    assert_eq!(agent.outcome(id), "DEADLINE: the handler of `run` did not end in time");
    agent.wait_until_gone("child");
}

#[test]
fn a_task_that_waited_too_long_is_not_started() {
    let mut agent = Agent::prepare(r#""commands":{"run":"run.sh"}"#);
    agent.put("run.sh", "echo x > ran");
    let id = agent.submit_to("run", &[], Duration::ZERO);
    agent.start();
    assert_eq!(agent.outcome(id), "DEADLINE: the time of the task was over before it could run");
    assert!(!agent.code("ran").exists());
}

#[test]
fn a_cancelled_handler_is_ended() {
    let agent = Agent::with_script("echo $$ > pid; sleep 60");
    let id = agent.submit(&[]);
    agent.line_of("pid");
    assert_eq!(agent.cancel(id), Cancel::Asked);
    assert_eq!(agent.outcome(id), "CANCELLED: the task was cancelled");
    agent.wait_until_gone("pid");
}

#[test]
fn a_wish_to_cancel_ends_no_other_task() {
    let agent = Agent::with_script("echo $$ > $2; while [ ! -e go ]; do sleep 0.02; done");
    let [first, second] = ["\"a\"", "\"b\""].map(|name| agent.submit(&[name]));
    agent.line_of("a");
    agent.line_of("b");
    agent.cancel(first);
    assert_eq!(agent.outcome(first), "CANCELLED: the task was cancelled");
    agent.put("go", "");
    assert_eq!(agent.outcome(second), "null");
    assert_eq!(agent.call(&["\"c\""]), "null");
}

#[test]
fn a_child_that_keeps_the_pipes_does_not_keep_the_task() {
    let agent = Agent::with_script("sleep 60 & echo $! > child; echo done");
    assert_eq!(agent.call(&[]), "\"done\"");
    agent.wait_until_gone("child");
}

#[test]
fn a_child_in_another_session_does_not_keep_the_task() {
    let agent = Agent::with_script("setsid sleep 6 & echo done");
    assert_eq!(agent.call(&[]), "\"done\"");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut agent = Agent::prepare(
        r#""commands":{"a":"no-such-program x","b":"no-such-script.sh","c":"./plain"}"#,
    );
    agent.put("plain", "not executable");
    agent.start();
    let call = |command| agent.outcome(agent.submit_to(command, &[], SOON * 100));
    assert_eq!(
        call("a"),
        "HANDLER_FAILED: the handler of `a` does not run: cannot start `no-such-program`: \
         No such file or directory (os error 2)"
    );
    let missing =
        "HANDLER_FAILED: the handler of `b` does not run: there is no file `no-such-script.sh`";
    assert!(call("b").starts_with(missing), "{}", call("b"));
    assert_eq!(
        call("c"),
        "HANDLER_FAILED: the handler of `c` does not run: cannot start `./plain`: \
         Permission denied (os error 13)"
    );
}

#[test]
fn parameters_that_no_command_line_takes_are_refused() {
    let agent = Agent::with_script("echo no");
    let long = format!("\"{}\"", "x".repeat(200_000));
    for param in [r#""a\u0000b""#, long.as_str(), r#""\ud800""#] {
        let outcome = agent.call(&[param]);
        assert!(outcome.starts_with("INVALID_PARAMS: "), "{outcome:.300}");
    }
}

#[test]
fn tasks_run_in_their_order_and_no_more_at_once_than_allowed() {
    let mut agent = Agent::prepare(r#""concurrency":1,"commands":{"run":"run.sh"}"#);
    agent.put("run.sh", "mkdir busy || exit 1; echo $2 >> order; rmdir busy");
    let numbers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let ids: Vec<_> = numbers.iter().map(|number| agent.submit(&[number])).collect();
    agent.start();
    for id in ids {
        assert_eq!(agent.outcome(id), "null");
    }
    let order = std::fs::read_to_string(agent.code("order")).unwrap();
    assert_eq!(order.lines().collect::<Vec<_>>(), numbers);
}

#[test]
fn a_burst_is_served_by_all_threads() {
    let agent = Agent::with_script(
        "echo $$ > pid.$2; while [ ! -e pid.1 -o ! -e pid.4 ]; do sleep 0.02; done",
    );
    let ids = ["1", "2", "3", "4"].map(|number| agent.submit(&[number]));
    // Each waits for the first and the last one: with fewer than four at once none would end.
    for id in ids {
        assert_eq!(agent.outcome(id), "null");
    }
}
