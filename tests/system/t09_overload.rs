//! More than a host can do: what is too much is refused at once, the rest is done, and nobody else suffers.
//!
//! No time is compared with a number: machines of tests are shared and slow. What is compared are figures of one
//! run, taken in turns; the bounds are far from what is usual, and each test prints what it saw.

mod capacity;
mod flood;
mod hostile;
mod hung;
mod killed;

use std::time::Duration;

use serde_json::json;

use crate::answers::{Answers, End};
use crate::flow::Pace;
use crate::host::{copy, ok, property, sh, wait_for};
use crate::http::{call, call_bytes};

/// The instances that all these tests run with.
const INSTANCES: [&str; 4] =
    ["ploinky@1.service", "ploinky@2.service", "ploinky@3.service", "ploinky@4.service"];
/// Calls that one instance has in flight with one agent (`IN_FLIGHT_PER_AGENT`).
const IN_FLIGHT: usize = 128;

/// How another agent is called while one misbehaves.
const NEIGHBOUR: Pace = Pace::Rate(200.0, 256);

/// A call of the other agent.
fn neighbour() -> Vec<u8> {
    call_bytes("/echo", "echo.ping", &json!(["x"]))
}

/// An agent of `tests/system/agents`, as long as this value lives.
struct Agent {
    path: String,
}

impl Agent {
    /// Deploys it at `/NAME` and waits until `command` answers with 200.
    fn deploy(name: &str, command: &str) -> Self {
        let agent = Self::deploy_silent(name);
        wait_for(&format!("an answer of {name}"), || {
            (call(&agent.path, command, &json!([])).ok()?.status == 200).then_some(())
        });
        agent
    }

    /// The same for one that need not answer.
    fn deploy_silent(name: &str) -> Self {
        let source = format!("{}/tests/system/agents/{name}", env!("CARGO_MANIFEST_DIR"));
        sh(&format!("rm -rf /tmp/{name}"));
        copy(&source, &format!("/tmp/{name}"));
        let path = format!("/{name}");
        ok(&["ploinkyctl", "deploy", "localhost", &path, &format!("/tmp/{name}")]);
        Self { path }
    }

    /// The bytes of a call.
    fn request(&self, command: &str, params: &serde_json::Value) -> Vec<u8> {
        call_bytes(&self.path, command, params)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        ok(&["ploinkyctl", "undeploy", "localhost", &self.path]);
    }
}

/// What the processes of the four instances are.
fn main_pids() -> Vec<String> {
    INSTANCES.iter().map(|unit| property(unit, "MainPID")).collect()
}

/// Processor time of the four instances since their start.
fn processor_time() -> Duration {
    let units = INSTANCES.join(" ");
    let text = sh(&format!("systemctl show --value -p CPUUsageNSec {units}"));
    Duration::from_nanos(text.split_whitespace().map(|ns| ns.parse::<u64>().unwrap()).sum())
}

/// The most memory that each process had since it started, in bytes.
fn peak_memory(pids: &[String]) -> Vec<u64> {
    let peak = |pid: &String| {
        let kib = sh(&format!("sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status"));
        kib.trim().parse::<u64>().unwrap() * 1024
    };
    pids.iter().map(peak).collect()
}

/// The calls that were refused because there were too many; each was told when to come back.
fn refusals(answers: &Answers) -> Answers {
    let refused = answers.filter(|answer| matches!(answer.end, End::Status(429 | 503, _)));
    let silent = refused.filter(|answer| matches!(answer.end, End::Status(_, false)));
    assert_eq!(silent.len(), 0, "{}", answers.ends());
    refused
}
