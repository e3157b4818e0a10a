//! A program of the image that serves the queue itself.

#![expect(clippy::expect_used, reason = "test support")]

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{Agent, LIMIT, arrives, pause};

/// The queue as a program of its own serves it: claims by a directory, publishes by a rename.
const SERVE: &str = r#"
trap 'echo term >> ../code/signals; exit 7' TERM; trap 'echo int >> ../code/signals; exit 8' INT
echo $$ > pid; cd ../tasks
while :; do
    for request in requests/*; do
        id=${request#requests/}
        [ -e requests/$id ] && [ ! -e responses/$id ] || continue
        mkdir locks/$id 2>/dev/null || continue
        [ -e ../code/hang ] && { echo x > ../code/hangs; sleep 60; }
        echo "{\"v\":1,\"id\":\"$id\",\"response\":\"own\"}" > responses/.tmp-$id
        mv responses/.tmp-$id responses/$id; rmdir locks/$id
    done
    sleep 0.02
done"#;

/// A host that does not outlive its test, and neither does its program.
struct Hosted(Child);

impl Drop for Hosted {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            kill_process(Pid::from_child(&self.0), Signal::TERM).ok();
            let start = Instant::now();
            while matches!(self.0.try_wait(), Ok(None)) && start.elapsed() < LIMIT {
                pause();
            }
            self.0.kill().ok();
        }
    }
}

fn run(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it runs")
}

#[test]
fn a_program_that_cannot_run_is_a_failure() {
    let agent = Agent::prepare(r#""run":"serve""#);
    let output = agent.command(&["host"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let output = run(agent.host(&["no-such-program"]));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "agent-core: the program of the image does not run: cannot start `no-such-program`: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn the_status_of_the_program_is_that_of_its_host() {
    let agent = Agent::prepare(r#""run":"serve""#);
    for (script, expected) in [("exit 0", 0), ("exit 9", 9), ("kill -SEGV $$", 139)] {
        let output = run(agent.host(&["sh", "-c", script]));
        assert_eq!(output.status.code(), Some(expected), "{script}");
    }
    let script = "cat; echo out; echo \"$1/$NOTIFY_SOCKET\" >&2";
    let output = run(agent.host(&["sh", "-c", script, "x", "$a *"]));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "out\n");
    let said = String::from_utf8(output.stderr).unwrap();
    // It may speak before its host does.
    assert!(said.lines().any(|line| line == "$a */"), "{said}");
}

#[test]
fn signals_reach_the_program() {
    for (signal, code, word) in [(Signal::TERM, 7, "term\n"), (Signal::INT, 8, "int\n")] {
        let agent = Agent::prepare(r#""run":"serve""#);
        agent.put("serve", SERVE);
        let mut host = Hosted(agent.host(&["sh", "serve"]).spawn().unwrap());
        agent.line_of("pid");
        kill_process(Pid::from_child(&host.0), signal).unwrap();
        assert_eq!(host.0.wait().unwrap().code(), Some(code));
        assert_eq!(std::fs::read_to_string(agent.code("signals")).unwrap(), word);
    }
}

#[test]
fn what_a_killed_program_left_has_crashed_and_the_queue_counts_as_served() {
    let mut agent = Agent::prepare(r#""run":"serve","health":{"readiness":"test -e pid"}"#);
    let socket = UnixDatagram::bind(agent.code("notify")).unwrap();
    agent.notify_at(agent.code("notify"));
    agent.put("serve", SERVE);
    agent.put("hang", "");
    let start = || Hosted(agent.host(&["sh", "serve"]).spawn().unwrap());
    let mut host = start();
    assert!(arrives(&socket, LIMIT));
    assert!(agent.producer.runner_is_alive());
    let health = agent.command(&["health"]).output().unwrap();
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    let second = run(agent.host(&["sh", "serve"]));
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(said, "agent-core: another agent-core serves this queue\n");
    let id = agent.submit(&[]);
    agent.line_of("hangs");
    let program: i32 = agent.line_of("pid").parse().unwrap();
    host.0.kill().unwrap();
    host.0.wait().unwrap();
    // In a container it would have gone with its host.
    let program = Pid::from_raw(program).unwrap();
    rustix::process::kill_process_group(program, Signal::KILL).unwrap();
    assert!(!agent.producer.runner_is_alive());
    std::fs::remove_file(agent.code("hang")).unwrap();
    let mut host = start();
    let crashed =
        "AGENT_CRASHED: the agent ended while the task ran; whether it had effects is unknown";
    assert_eq!(agent.outcome(id), crashed);
    assert_eq!(agent.call(&[]), "\"own\"");
    kill_process(Pid::from_child(&host.0), Signal::TERM).unwrap();
    assert_eq!(host.0.wait().unwrap().code(), Some(7));
}
