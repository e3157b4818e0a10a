//! Signs of life, and when they stop.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{Agent, LIMIT, arrives};

/// `WATCHDOG_USEC` of these tests, and the time between two signs that follows.
const WATCHDOG: Duration = Duration::from_millis(600);
const BEAT: Duration = Duration::from_millis(200);
const SIGN: &str = "WATCHDOG=1\n";
const READY: &str = "READY=1\nSTATUS=serving 1 command\n";

/// The service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    /// Listens to an agent that was prepared.
    fn of(agent: &mut Agent) -> Self {
        let socket = UnixDatagram::bind(agent.code("notify")).unwrap();
        agent.notify_at(agent.code("notify"));
        agent.watch_after(WATCHDOG);
        Self(socket)
    }

    fn hear(&self) -> String {
        assert!(arrives(&self.0, LIMIT), "nothing is told any more");
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The first message that is no mere sign of life, and how many signs came before.
    fn hear_news(&self) -> (usize, String) {
        let mut signs = 0;
        loop {
            let message = self.hear();
            if message != SIGN {
                return (signs, message);
            }
            signs += 1;
        }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn signs_come_while_threads_wait_and_while_all_are_busy() {
    let mut agent = Agent::prepare(r#""concurrency":1,"commands":{"run":"run.sh"}"#);
    agent.put("run.sh", "echo x > runs; while [ ! -e go ]; do sleep 0.02; done");
    let manager = Manager::of(&mut agent);
    agent.start();
    assert_eq!(manager.hear(), READY);
    for _ in 0..3 {
        assert_eq!(manager.hear(), SIGN);
    }
    let id = agent.submit(&[]);
    agent.line_of("runs");
    for _ in 0..5 {
        assert_eq!(manager.hear(), SIGN);
    }
    agent.put("go", "");
    assert_eq!(agent.outcome(id), "null");
    agent.signal(Signal::TERM);
    assert_eq!(manager.hear_news().1, "STOPPING=1\n");
    assert_eq!(agent.ended().code(), Some(0));
}

#[test]
fn a_queue_that_was_named_from_another_directory_is_still_in_place() {
    let mut agent = Agent::prepare(r#""commands":{"run":"true"}"#);
    let manager = Manager::of(&mut agent);
    let mut command = agent.command(&[]);
    command.current_dir(agent.tasks("..")).args(["--tasks", "tasks"]);
    let _child = Running(command.spawn().unwrap());
    assert_eq!(manager.hear(), READY);
    for _ in 0..3 {
        assert_eq!(manager.hear(), SIGN);
    }
}

#[test]
fn no_sign_comes_while_threads_hang_and_signs_come_again_when_they_go_on() {
    let mut agent = Agent::prepare(r#""commands":{"run":"run.sh"}"#);
    // More than a pipe holds that nobody reads.
    agent.put("run.sh", "yes $(head -c 1000 /dev/zero | tr '\\0' x) | head -n 60 >&2; echo x");
    let manager = Manager::of(&mut agent);
    let mut command = agent.command(&[]);
    let mut child = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(manager.hear(), READY);
    for _ in 0..4 {
        agent.submit_to("run", &[], Duration::from_millis(500));
    }
    let (_, news) = manager.hear_news();
    assert!(news.starts_with("STATUS=unhealthy: ") && news.contains("of 4 threads"), "{news}");
    assert!(!arrives(&manager.0, 4 * BEAT), "a sign of life while threads hang");
    let mut stderr = child.0.stderr.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).map(|_| log)
    });
    // Fewer hang first, then none.
    while manager.hear_news().1 != "WATCHDOG=1\nSTATUS=serving 1 command\n" {}
    assert_eq!(manager.hear(), SIGN);
    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let log = reader.join().unwrap().unwrap();
    assert!(log.contains("hang; no sign of life goes to systemd"), "{log}");
}

#[test]
fn a_queue_that_was_replaced_ends_the_agent() {
    let mut agent = Agent::prepare(r#""commands":{"run":"true"}"#);
    let manager = Manager::of(&mut agent);
    agent.start();
    assert_eq!(manager.hear(), READY);
    std::fs::remove_dir(agent.tasks("locks").join(".runner")).unwrap();
    let (_, news) = manager.hear_news();
    let lost = "was removed or replaced while it was served";
    assert!(news.starts_with("STATUS=unhealthy: ") && news.contains(lost), "{news}");
    assert_eq!(agent.ended().code(), Some(1));
    assert!(agent.log().contains(lost), "{}", agent.log());
    assert_eq!(manager.hear(), "STOPPING=1\n");
}

#[test]
fn a_liveness_command_that_fails_three_times_in_a_row_ends_the_agent_and_the_next_start_says_so() {
    let mut agent =
        Agent::prepare(r#""commands":{"run":"run.sh"},"health":{"liveness":"probe.sh"}"#);
    agent.put("run.sh", "echo x");
    agent.put("probe.sh", "echo x >> probes; test ! -e sick");
    let manager = Manager::of(&mut agent);
    agent.start();
    assert_eq!(manager.hear(), READY);
    agent.wait_for("two probes", || 2 <= agent.lines_of("probes"));
    assert_eq!(manager.hear(), SIGN);
    agent.put("sick", "");
    let because = "the probe `probe.sh` ended with exit status: 1";
    let (_, first) = manager.hear_news();
    assert_eq!(first, format!("STATUS=unhealthy: {because} (1 of 3)\n"));
    let (signs, second) = manager.hear_news();
    assert_eq!(second, format!("STATUS=unhealthy: {because} (2 of 3)\n"));
    assert_ne!(signs, 0, "it may still become well");
    let failed = format!("the liveness command failed 3 times in a row: {because}");
    assert_eq!(manager.hear_news().1, format!("STATUS=unhealthy: {failed}\n"));
    assert_eq!(manager.hear(), "STOPPING=1\n");
    assert_eq!(agent.ended().code(), Some(1));
    assert!(agent.log().contains(&format!("agent-core: {failed}\n")), "{}", agent.log());
    std::fs::remove_file(agent.code("sick")).unwrap();
    for expected in [
        format!("READY=1\nSTATUS=serving 1 command; started anew because {failed}\n"),
        READY.to_owned(),
    ] {
        agent.start_only();
        assert_eq!(manager.hear(), expected);
        assert_eq!(agent.call(&[]), "\"x\"");
        agent.signal(Signal::TERM);
        assert_eq!(agent.ended().code(), Some(0));
        assert_eq!(manager.hear_news().1, "STOPPING=1\n");
    }
}

#[test]
fn a_liveness_command_that_succeeds_in_between_ends_nothing() {
    let mut agent = Agent::prepare(r#""commands":{"run":"true"},"health":{"liveness":"probe.sh"}"#);
    agent.put("probe.sh", "echo x >> probes; test $(($(wc -l < probes) % 3)) = 0");
    let manager = Manager::of(&mut agent);
    agent.start();
    agent.wait_for("nine probes", || 9 <= agent.lines_of("probes"));
    assert_eq!(manager.hear(), READY);
    let news: Vec<String> = (0..3).map(|_| manager.hear_news().1).collect();
    assert!(news[1].ends_with("(2 of 3)\n"), "{news:?}");
    assert_eq!(news[2], "STATUS=serving 1 command\n");
}

#[test]
fn a_liveness_command_that_hangs_is_killed_and_counts_as_failed() {
    let mut agent = Agent::prepare(r#""commands":{"run":"true"},"health":{"liveness":"probe.sh"}"#);
    agent.put("probe.sh", "echo $$ > pid; exec sleep 60");
    let manager = Manager::of(&mut agent);
    agent.start();
    assert_eq!(agent.ended().code(), Some(1));
    agent.wait_until_gone("pid");
    let late = format!("the probe `probe.sh` did not end within {BEAT:?}");
    assert!(agent.log().contains(&format!("3 times in a row: {late}\n")), "{}", agent.log());
    drop(manager);
}

#[test]
fn a_program_of_the_image_is_ended_when_its_liveness_command_fails() {
    let mut agent = Agent::prepare(r#""run":"serve","health":{"liveness":"test ! -e sick"}"#);
    let manager = Manager::of(&mut agent);
    let script = "trap 'echo term > ended; exit 0' TERM; while :; do sleep 0.02; done";
    let mut host = Running(agent.host(&["sh", "-c", script]).spawn().unwrap());
    let ready = manager.hear();
    assert!(ready.starts_with("READY=1\nSTATUS=`sh -c "), "{ready}");
    assert_eq!(manager.hear(), SIGN);
    agent.put("sick", "");
    while manager.hear() != "STOPPING=1\n" {}
    assert_eq!(host.0.wait().unwrap().code(), Some(1));
    assert_eq!(agent.line_of("ended"), "term");
    std::fs::remove_file(agent.code("sick")).unwrap();
    let _host = Running(agent.host(&["sh", "-c", script]).spawn().unwrap());
    let ready = manager.hear();
    assert!(
        ready.contains("; started anew because the liveness command failed 3 times"),
        "{ready}"
    );
}
