//! Whether a program of the manifest says that the agent is well: before it counts as started, and whenever
//! somebody asks with `agent-core health`, as units of earlier versions do.

use std::process::ExitStatus;
use std::time::Duration;

use ploinky_contract::Health;
use ploinky_queue::runner_is_alive;
use rustix::process::Signal;

use crate::arguments::Arguments;
use crate::boot_time::BootTime;
use crate::manifest_file::{self, ManifestFileError};
use crate::program::{StartError, start_probe};
use crate::stop::Stop;

/// Time that one probe has.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which the readiness probe has to succeed once; below the start timeout of the unit.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two readiness probes.
const READY_INTERVAL: Duration = Duration::from_millis(250);

/// Why the agent is not well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    #[error("nobody serves the queue in {0}")]
    NoRunner(String),
    #[error("cannot read what to probe")]
    Manifest(#[source] ManifestFileError),
    #[error("cannot enter the code directory")]
    Code(#[source] std::io::Error),
    #[error("the probe does not run")]
    Start(#[source] StartError),
    #[error("the probe `{program}` ended with {status}")]
    Unwell { program: String, status: ExitStatus },
    #[error("the probe `{program}` did not end within {limit:?}")]
    Late { program: String, limit: Duration },
    #[error("the probe `{program}` did not succeed within 60 s")]
    NeverReady { program: String, source: Box<HealthError> },
}

/// Whether a runner serves the queue and the liveness probe, if there is one, succeeds.
pub(crate) fn check(arguments: &Arguments) -> Result<(), HealthError> {
    if !runner_is_alive(&arguments.tasks) {
        return Err(HealthError::NoRunner(arguments.tasks.display().to_string()));
    }
    let container = manifest_file::read(&arguments.manifest).map_err(HealthError::Manifest)?;
    let Health { liveness, readiness: _ } = &container.health;
    match liveness {
        Some(words) => {
            std::env::set_current_dir(&arguments.code).map_err(HealthError::Code)?;
            probe(words)
        }
        None => Ok(()),
    }
}

/// Probes until it succeeds once; `false` if a signal came first.
pub(crate) fn wait_until_ready(words: &[String], stop: &Stop) -> Result<bool, HealthError> {
    let end = BootTime::after(READY_TIMEOUT);
    loop {
        let Err(e) = probe(words) else { return Ok(true) };
        if end.is_past() {
            let program = words.join(" ");
            return Err(HealthError::NeverReady { program, source: Box::new(e) });
        }
        // A signal that cannot be waited for is one that came.
        if stop.wait(Some(BootTime::after(READY_INTERVAL))).unwrap_or(true) {
            return Ok(false);
        }
    }
}

fn probe(words: &[String]) -> Result<(), HealthError> {
    let mut program = start_probe(words).map_err(HealthError::Start)?;
    if let Some(status) = program.wait(BootTime::after(PROBE_TIMEOUT)) {
        return ended(words, status);
    }
    program.signal(Signal::KILL);
    Err(late(words, PROBE_TIMEOUT))
}

/// What a probe says by its end.
pub(crate) fn ended(words: &[String], status: ExitStatus) -> Result<(), HealthError> {
    if status.success() {
        return Ok(());
    }
    Err(HealthError::Unwell { program: words.join(" "), status })
}

/// What is said of a probe that had its time.
pub(crate) fn late(words: &[String], limit: Duration) -> HealthError {
    HealthError::Late { program: words.join(" "), limit }
}
