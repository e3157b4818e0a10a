//! What Ploinky needs of a host, as a table of small checks over [`Machine`].
//!
//! Each check looks at one thing, changes nothing, and says what to do if it is not as it should be.

mod kernel;
mod memory;
mod programs;
mod services;
mod storage;

use serde::Serialize;

use crate::machine::Machine;

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but someone should know.
    Warn,
    /// Something will not work.
    Fail,
}

/// What a check found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// The check.
    pub(crate) check: &'static str,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// One sentence.
    pub(crate) message: String,
    /// What to do; absent if nothing is to be done.
    pub(crate) fix: Option<String>,
}

/// What a check says; its name is added by the table.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Said {
    verdict: Verdict,
    message: String,
    fix: Option<String>,
}

type Check = fn(&dyn Machine) -> Said;

/// All checks, what others rest on first.
const CHECKS: [(&str, Check); 18] = [
    ("systemd", programs::systemd),
    ("podman", programs::podman),
    ("cgroups", kernel::cgroups),
    ("sysctls", kernel::sysctls),
    ("clock", kernel::clock),
    ("user", storage::user),
    ("uids", storage::uids),
    ("space", storage::space),
    ("memory", memory::lanes),
    ("config", storage::config),
    ("task.key", storage::task_key),
    ("supervisor", services::supervisor),
    ("polkit", services::polkit),
    ("target", services::target),
    ("port", services::port),
    ("admin", services::admin),
    ("podman.socket", services::podman_socket),
    ("quadlet", programs::quadlet),
];

/// Runs all checks.
pub(crate) fn examine(machine: &dyn Machine) -> Vec<Finding> {
    CHECKS
        .into_iter()
        .map(|(check, look)| {
            let Said { verdict, message, fix } = look(machine);
            Finding { check, verdict, message, fix }
        })
        .collect()
}

fn ok(message: impl Into<String>) -> Said {
    Said { verdict: Verdict::Ok, message: message.into(), fix: None }
}

fn warn(message: impl Into<String>, fix: impl Into<String>) -> Said {
    Said { verdict: Verdict::Warn, message: message.into(), fix: Some(fix.into()) }
}

fn fail(message: impl Into<String>, fix: impl Into<String>) -> Said {
    Said { verdict: Verdict::Fail, message: message.into(), fix: Some(fix.into()) }
}

/// The text of a file of the kernel or of `/etc`.
fn text(machine: &dyn Machine, path: &str) -> std::io::Result<String> {
    machine
        .read(path.as_ref(), crate::machine::FILE_MAX_BYTES)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Paths;
    use crate::machine::fake::Fake;

    /// A machine on which nothing is installed and nothing can be read.
    pub(super) fn bare() -> Fake {
        Fake::new(Paths {
            state: ploinky_contract::paths::StateDir::new("/var/lib/ploinky"),
            runtime: ploinky_contract::paths::RuntimeDir::new("/run/ploinky"),
            installed: "/nonexistent".into(),
            temporary: "/nonexistent".into(),
        })
    }

    #[test]
    fn on_a_bare_machine_every_check_has_an_answer_and_a_fix() {
        let mut machine = bare();
        machine.mood = crate::machine::fake::Mood::Absent;
        for Finding { check, verdict, message, fix } in examine(&machine) {
            let may_be_well = ["port", "config", "space", "uids"].contains(&check);
            assert!(may_be_well || verdict != Verdict::Ok, "{check} is well: {message}");
            assert!(verdict == Verdict::Ok || fix.is_some(), "{check} has no fix: {message}");
        }
    }
}
