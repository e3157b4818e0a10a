//! `ploinkyctl task dead`: tasks that failed in their last retry and wait for a person.

use clap::{Args, Subcommand};
use ploinky_contract::{TaskDocument, TaskId, TaskState};
use serde::Serialize;

use super::{Host, list};
use crate::failure::{Failure, Stop};
use crate::instance::{AskError, Filter};
use crate::output::Output;
use crate::place::Place;
use crate::words::count;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the dead tasks, all of them
    #[command(after_long_help = "Example:\n  sudo ploinkyctl task dead list --agent /echo")]
    List(Listed),
    /// Submit dead tasks once more and remove the dead ones
    Redrive(Redrive),
    /// Remove dead tasks
    Purge(Purge),
}

#[derive(Args, Debug)]
pub(crate) struct Listed {
    /// Of one agent: `/path` or `domain/path`
    #[arg(long, value_name = "DOMAIN/PATH")]
    agent: Option<Place>,
    /// Show times as they are, in UTC
    #[arg(long)]
    utc: bool,
}

#[derive(Args, Debug)]
#[command(after_long_help = "\
The ids of the new tasks are printed, a line each; with --json a list of their
documents. What cannot be submitted again stays dead, and is told.

Examples:
  sudo ploinkyctl task dead redrive 0123456789abcdef0123456789abcdef
  sudo ploinkyctl task dead redrive --all --agent /echo")]
pub(crate) struct Redrive {
    /// Ids of dead tasks
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<TaskId>,
    /// All dead tasks
    #[arg(long)]
    all: bool,
    /// With --all: of one agent only, `/path` or `domain/path`
    #[arg(long, value_name = "DOMAIN/PATH", requires = "all")]
    agent: Option<Place>,
}

#[derive(Args, Debug)]
#[command(after_long_help = "\
What is removed cannot be brought back, so it is asked before.

Examples:
  sudo ploinkyctl task dead purge --agent /echo
  sudo ploinkyctl task dead purge --yes")]
pub(crate) struct Purge {
    /// Of one agent: `/path` or `domain/path`
    #[arg(long, value_name = "DOMAIN/PATH")]
    agent: Option<Place>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct Removed {
    removed: u64,
}

/// Runs one of the verbs.
pub(crate) fn run(command: &Command, host: &Host<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    match command {
        Command::List(Listed { agent, utc }) => {
            list::print(&dead(agent.as_ref()), usize::MAX, *utc, host, output)
        }
        Command::Redrive(arguments) => redrive(arguments, host, output),
        Command::Purge(arguments) => purge(arguments, host, output),
    }
}

fn dead(agent: Option<&Place>) -> Filter<'_> {
    Filter { agent, state: Some(TaskState::Dead), ..Filter::default() }
}

fn redrive(arguments: &Redrive, host: &Host<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    let Redrive { ids, all, agent } = arguments;
    let ids = if *all {
        let (tasks, _all) = host
            .instances
            .list(&dead(agent.as_ref()), usize::MAX)
            .map_err(|e| e.failure("cannot list the dead tasks"))?;
        tasks.into_iter().map(|task| task.id).collect()
    } else {
        ids.clone()
    };
    let mut fresh = Vec::new();
    let mut failures = Vec::new();
    for id in &ids {
        match again(*id, *all, host) {
            Ok(task) if output.json => fresh.push(task),
            Ok(task) => output.out.line(task.id.as_str())?,
            Err((failure, is_about_one)) => {
                failures.push(failure);
                if !is_about_one {
                    break;
                }
            }
        }
    }
    if output.json {
        output.value(&fresh)?;
    } else if ids.is_empty() {
        output.err.line("no dead tasks")?;
    }
    let number = failures.len();
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in &failures {
        failure.print(output)?;
    }
    let rest = format!("{number} of {} were not redriven", count(ids.len(), "task", "tasks"));
    Err(if ids.len() == 1 { last.into() } else { last.cause(rest).into() })
}

/// The new task; else why there is none, and whether that is about this one alone.
fn again(id: TaskId, is_dead: bool, host: &Host<'_>) -> Result<TaskDocument, (Failure, bool)> {
    let what = || format!("cannot redrive task {id}");
    let failed = |e: AskError| {
        let is_about_one = matches!(&e, AskError::Refused(refusal) if refusal.is_about_one());
        (e.failure_of(what(), id), is_about_one)
    };
    if !is_dead {
        let task = host.instances.task(id, None).map_err(failed)?;
        if task.state != TaskState::Dead {
            let failure = Failure::refused(what())
                .cause(format!("it is not dead but {}", task.state.as_str()))
                .hint(format!("`ploinkyctl task retry {id}` submits it once more if it failed"));
            return Err((failure, true));
        }
    }
    host.instances.retry(id).map_err(failed)
}

fn purge(arguments: &Purge, host: &Host<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    let Purge { agent, yes } = arguments;
    let what = "cannot remove the dead tasks";
    let of = agent.as_ref().map(|place| format!(" of {place}")).unwrap_or_default();
    if !yes {
        let (tasks, _all) =
            host.instances.list(&dead(agent.as_ref()), usize::MAX).map_err(|e| e.failure(what))?;
        if tasks.is_empty() {
            return removed(0, &of, output);
        }
        let number = count(tasks.len(), "dead task", "dead tasks");
        let question = format!("remove {number}{of} for good? [y/N] ");
        output.err.bytes(question.as_bytes())?;
        let typed = host.machine.typed().map_err(|e| Failure::refused(what).because(&e))?;
        match typed.as_deref() {
            Some("y" | "Y" | "yes") => {}
            Some(_) => {
                return Err(Failure::refused("nothing was removed").into());
            }
            None => {
                output.err.line("")?;
                return Err(Failure::usage(what)
                    .cause("nobody can be asked: standard input is no terminal")
                    .hint("`--yes` says yes before")
                    .into());
            }
        }
    }
    let number = host.instances.purge(agent.as_ref()).map_err(|e| e.failure(what))?;
    removed(number, &of, output)
}

fn removed(number: u64, of: &str, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        return Ok(output.value(&Removed { removed: number })?);
    }
    let number = count(usize::try_from(number).unwrap_or(usize::MAX), "dead task", "dead tasks");
    Ok(output.out.line(&format!("removed {number}{of}"))?)
}
