//! Asks about a task until it ends, over the restarts of an instance.

use std::time::{Duration, Instant};

use ploinky_contract::limits::PREFER_WAIT_MAX;
use ploinky_contract::{TaskDocument, TaskId};

use super::Host;
use crate::failure::Stop;
use crate::output::Output;

/// How often in a row there may be no answer.
const FAILURES_MAX: u32 = 10;
/// Shortest time between two questions.
const PACE: Duration = Duration::from_secs(1);

/// Hands each answer to `on`, the last one too, which is of a task that ended or the last one before `limit`
/// was over. An answer comes after `step` at the latest.
///
/// # Errors
/// When the task is not there, or nobody answered several times in a row.
pub(super) fn follow(
    id: TaskId,
    limit: Option<Duration>,
    step: Duration,
    host: &Host<'_>,
    output: &mut Output<'_>,
    on: &mut dyn FnMut(&TaskDocument, &mut Output<'_>) -> Result<(), Stop>,
) -> Result<TaskDocument, Stop> {
    let began = Instant::now();
    let left = || limit.map(|limit| limit.saturating_sub(began.elapsed()));
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        let wait = left().unwrap_or(step).min(step).min(PREFER_WAIT_MAX);
        // What is less than a second would be no wait at all.
        let wait = (!wait.is_zero()).then(|| wait.max(PACE));
        match host.instances.task(id, wait) {
            Ok(task) => {
                failures = 0;
                on(&task, output)?;
                if task.state.is_final() || left().is_some_and(|left| left.is_zero()) {
                    return Ok(task);
                }
            }
            Err(e) => {
                failures += 1;
                if !e.is_passing() || FAILURES_MAX <= failures {
                    return Err(e.failure_of(format!("cannot follow task {id}"), id).into());
                }
                if failures == 1 {
                    output.warning(&format!("{e}; asking again"))?;
                }
            }
        }
        let pause = PACE.saturating_sub(asked.elapsed());
        if !pause.is_zero() {
            host.machine.pause(pause);
        }
    }
}
