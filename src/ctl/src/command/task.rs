//! `ploinkyctl task`: tasks that are accepted and run by themselves.

mod callback_key;
mod change;
mod dead;
mod follow;
mod list;
mod outcome;
mod result;
mod show;
mod submit;
mod watch;

use std::path::Path;

use clap::{Args, Subcommand};
use ploinky_contract::TaskId;

use crate::failure::{Failure, Stop};
use crate::instance::Instances;
use crate::machine::Machine;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Have a task accepted, and print its id or wait for its result
    Submit(submit::Arguments),
    /// List tasks, the newest first
    List(list::Arguments),
    /// Show all that is known of a task
    Show(show::Arguments),
    /// Print the result of a task that is done
    Result(result::Arguments),
    /// End a task that has not ended
    #[command(after_long_help = "\
A task that has ended keeps its outcome, also one that ends at this moment. To
cancel one that is cancelled already is no error.

Example:
  sudo ploinkyctl task cancel 0123456789abcdef0123456789abcdef")]
    Cancel(One),
    /// Remove a task that has ended, with its result and its files
    #[command(after_long_help = "\
Without it, an outcome goes away after `settings.taskRetention` seconds. A task
that has not ended is left as it is.

Example:
  sudo ploinkyctl task remove 0123456789abcdef0123456789abcdef")]
    Remove(One),
    /// Submit the request of a task that failed or was cancelled once more
    #[command(after_long_help = "\
The id of the new task is printed. A dead task is removed.

Example:
  sudo ploinkyctl task retry 0123456789abcdef0123456789abcdef")]
    Retry(One),
    /// Print what becomes of a task until it ends; the exit status tells how
    Watch(watch::Arguments),
    /// Look after the tasks that failed in their last retry
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Example:
  sudo ploinkyctl task dead list --agent /echo"
    )]
    Dead(dead::Command),
    /// Print the key with which the callbacks of an agent are signed
    CallbackKey(callback_key::Arguments),
}

/// One task.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Id of the task
    id: TaskId,
}

/// What the verbs need.
pub(crate) struct Host<'a> {
    pub(crate) machine: &'a dyn Machine,
    pub(crate) instances: Instances,
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    socket: Option<&Path>,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let host = Host { machine, instances: Instances::new(&machine.paths().runtime, socket) };
    match command {
        Command::Submit(arguments) => submit::run(arguments, &host, output),
        Command::List(arguments) => list::run(arguments, &host, output),
        Command::Show(arguments) => show::run(arguments, &host, output),
        Command::Result(arguments) => result::run(arguments, &host, output),
        Command::Cancel(One { id }) => change::cancel(*id, &host, output),
        Command::Remove(One { id }) => change::remove(*id, &host, output),
        Command::Retry(One { id }) => change::retry(*id, &host, output),
        Command::Watch(arguments) => watch::run(arguments, &host, output),
        Command::CallbackKey(arguments) => callback_key::run(arguments, &host, output),
        Command::Dead(command) => dead::run(command, &host, output),
    }
}

/// Prints the id of a new task, or its document.
fn print_new(task: &ploinky_contract::TaskDocument, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        return Ok(output.value(task)?);
    }
    Ok(output.out.line(task.id.as_str())?)
}

/// A failure that says that a task is not as it must be for the act.
fn not_so(what: String, task: &ploinky_contract::TaskDocument, hint: &str) -> Failure {
    let verb = if task.state.is_final() { "has ended" } else { "has not ended" };
    Failure::refused(what).cause(format!("it {verb}: it is {}", task.state.as_str())).hint(hint)
}
