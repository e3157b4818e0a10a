//! The host under test: a testbed that `tests/testbed/run` booted, named by `PLOINKY_TESTBED`.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a condition.
const LIMIT: Duration = Duration::from_secs(60);

fn name() -> String {
    std::env::var("PLOINKY_TESTBED").expect(
        "PLOINKY_TESTBED is not set: these tests run in the network namespace of a testbed; start them with tests/check",
    )
}

fn tool(verb: &str, words: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/run"));
    command.args([verb, "--name", &name()]).args(words).stdin(Stdio::null());
    command
}

/// Runs a command inside.
pub(crate) fn run(words: &[&str]) -> Output {
    tool("exec", &[&["--"], words].concat()).output().expect("the testbed tool runs")
}

/// Runs a command inside that has to succeed; its output.
pub(crate) fn ok(words: &[&str]) -> String {
    let output = run(words);
    assert!(
        output.status.success(),
        "{words:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a shell script inside that has to succeed.
pub(crate) fn sh(script: &str) -> String {
    ok(&["/bin/sh", "-euc", script])
}

/// Runs a command inside that has to fail; exit status and both outputs.
pub(crate) fn refused(words: &[&str]) -> (i32, String) {
    let output = run(words);
    assert!(
        !output.status.success(),
        "{words:?} succeeded: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Copies a file or directory of the source tree into the testbed.
pub(crate) fn copy(source: &str, target: &str) {
    let output = tool("cp", &[source, target]).output().expect("the testbed tool runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Cuts the power and boots again.
pub(crate) fn power_cycle() {
    for verb in ["kill", "boot"] {
        let output = tool(verb, &[]).output().expect("the testbed tool runs");
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A number that the environment may change, for longer runs.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect(name))
}

/// Starts four instances, and the supervisor if it does not run.
pub(crate) fn start_four() {
    sh("systemctl start ploinky-supervisor ploinky@1 ploinky@2 ploinky@3 ploinky@4");
}

/// A property of a unit.
pub(crate) fn property(unit: &str, property: &str) -> String {
    ok(&["systemctl", "show", "--value", "-p", property, unit]).trim().to_owned()
}

/// JSON that a command prints.
pub(crate) fn json(words: &[&str]) -> serde_json::Value {
    let text = ok(words);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}: {text}"))
}

/// Waits until `condition` gives something, with a limit; how long it took.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return (value, start.elapsed());
        }
        assert!(start.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
