//! `ploinkyctl task watch`.

use std::time::Duration;

use clap::Args;
use ploinky_contract::{TaskDocument, TaskId};

use super::{Host, follow, outcome};
use crate::failure::Stop;
use crate::output::{Output, WriteError};
use crate::task_words::{progress, standing, tone};
use crate::words::printable;

/// Time after which progress is looked at again.
const STEP: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[command(after_long_help = "\
A line is printed when the state changes, and when the handler says how far it is.
The exit status is 0 for done, 10 for failed, 11 for cancelled, 12 for dead, and
75 if the task has not ended in time. With --json each change is a line with the
whole document.

Example:
  ploinkyctl task watch 0123456789abcdef0123456789abcdef --timeout 600")]
pub(crate) struct Arguments {
    /// Id of the task
    id: TaskId,
    /// Give up after this time; the task goes on
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

/// Follows one task.
pub(crate) fn run(
    arguments: &Arguments,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { id, timeout } = arguments;
    let limit = timeout.map(|seconds| Duration::from_secs(seconds.into()));
    let mut last = None;
    let task = follow::follow(*id, limit, STEP, host, output, &mut |task, output| {
        Ok(report(task, &mut last, output)?)
    })?;
    match outcome::failure(&task) {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

/// Prints what is new.
fn report(
    task: &TaskDocument,
    last: &mut Option<(String, Option<String>)>,
    output: &mut Output<'_>,
) -> Result<(), WriteError> {
    let now = (standing(task), task.progress.as_deref().map(progress));
    if last.as_ref() == Some(&now) {
        return Ok(());
    }
    if output.json {
        let line = serde_json::to_string(task).map_err(|e| WriteError(e.into()))?;
        output.out.line(&line)?;
    } else {
        if last.as_ref().is_none_or(|(state, _)| *state != now.0) {
            let line = output.out.paint(tone(task.state), &now.0);
            output.out.line(&line)?;
        }
        let before = last.as_ref().and_then(|(_, note)| note.as_ref());
        if let Some(note) = now.1.as_ref().filter(|note| before != Some(note)) {
            output.out.line(&format!("  {}", printable(note)))?;
        }
    }
    *last = Some(now);
    Ok(())
}
