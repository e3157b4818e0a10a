//! `ploinkyctl task show`.

use clap::Args;
use ploinky_contract::{TaskDocument, TaskId};

use super::Host;
use crate::failure::Stop;
use crate::output::{Output, Tone, WriteError};
use crate::task_words::{moment, progress, standing, tone, took};
use crate::words::size;

/// Bytes of a result that are shown; `task result` prints all.
const DATA_SHOWN: usize = 2000;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Example:
  ploinkyctl task show 0123456789abcdef0123456789abcdef --utc")]
pub(crate) struct Arguments {
    /// Id of the task
    id: TaskId,
    /// Show times as they are, in UTC
    #[arg(long)]
    utc: bool,
}

/// Prints one task as a block.
pub(crate) fn run(
    arguments: &Arguments,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { id, utc } = arguments;
    let task = host
        .instances
        .task(*id, None)
        .map_err(|e| e.failure_of(format!("cannot show task {id}"), *id))?;
    if output.json {
        return Ok(output.value(&task)?);
    }
    Ok(block(&task, host.machine.now_usec(), *utc, output)?)
}

/// All that is known, a line per fact; what is not known has no line.
fn block(
    task: &TaskDocument,
    now_usec: u64,
    utc: bool,
    output: &mut Output<'_>,
) -> Result<(), WriteError> {
    let title = format!("  {} {}", task.agent, task.command);
    output.out.labelled(Tone::Strong, task.id.as_str(), &title)?;
    let state = output.out.paint(tone(task.state), &standing(task));
    output.out.line(&format!("  {:<10} {state}", "state"))?;
    for (label, value) in facts(task, now_usec, utc) {
        output.out.labelled(Tone::Plain, &format!("  {label:<10} "), &value)?;
    }
    Ok(())
}

fn facts(task: &TaskDocument, now_usec: u64, utc: bool) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("owner", task.owner.to_string()),
        ("urgency", task.urgency.to_string()),
        ("submitted", moment(&task.submitted_at, now_usec, utc)),
    ];
    let mut fact = |label, value: Option<String>| facts.extend(value.map(|value| (label, value)));
    let at = |time: &Option<String>| time.as_deref().map(|time| moment(time, now_usec, utc));
    fact("started", at(&task.started_at));
    fact("ended", at(&task.ended_at));
    fact("took", took(task));
    fact("progress", task.progress.as_deref().map(progress));
    if let Some(error) = &task.error {
        fact("error", Some(format!("{}: {}", error.code, error.message)));
        fact("details", error.details.as_ref().map(|details| details.get().to_owned()));
    }
    if let Some(file) = &task.file {
        fact("file", Some(format!("{} ({}, {})", file.name, file.media_type, size(file.size))));
    }
    fact("data", task.data.as_deref().map(|data| shown(data.get())));
    facts
}

fn shown(data: &str) -> String {
    match data.char_indices().map(|(at, _)| at).find(|at| DATA_SHOWN < *at) {
        None => data.to_owned(),
        Some(_) => {
            format!("{} of JSON; `ploinkyctl task result` prints it", size(data.len() as u64))
        }
    }
}
