//! Programs that are run to their end, processes that are found by their parents, and waiting.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A command whose program must be installed.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs a program to its end and gives what it printed; it has to succeed.
pub(crate) fn run(program: &str, words: &[&OsStr]) -> String {
    let output = command(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("cannot run {program}, which this test needs: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?} ended with {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// All processes below `root`, which is not among them.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if let (Some(pid), Some(parent)) =
            (Pid::from_raw(pid), parent.and_then(|p| p.parse::<i32>().ok()))
        {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(of) = found.get(next).copied() {
        next += 1;
        found.extend(
            parents.iter().filter(|(_, p)| *p == of.as_raw_nonzero().get()).map(|(c, _)| *c),
        );
    }
    found.split_off(1)
}

/// Whether no thread of the process runs: SIGSTOP is on its way for a moment, in which one may begin something.
pub(crate) fn stands_still(pid: Pid) -> bool {
    let threads = format!("/proc/{}/task", pid.as_raw_nonzero());
    // Who is gone does nothing either.
    let Ok(threads) = std::fs::read_dir(threads) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
    })
}

/// Sends a signal to a process that may be gone.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).ok();
}

/// Does nothing for a while.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    {
        std::thread::park_timeout(rest);
    }
}

/// Waits until `condition` holds, and gives how long that took; panics with `what` after `limit`.
pub fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        pause(Duration::from_millis(10));
    }
    start.elapsed()
}
