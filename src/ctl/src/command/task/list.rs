//! `ploinkyctl task list`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ploinky_contract::{CommandName, TaskDocument, TaskState, UserId};

use super::Host;
use crate::failure::Stop;
use crate::instance::Filter;
use crate::output::Output;
use crate::place::Place;
use crate::table::{Row, table};
use crate::task_words::{age, progress, short, tone};

/// Tasks that are shown if nothing says how many.
const LIMIT_DEFAULT: usize = 100;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Tasks that were accepted are listed until they are removed, by `task remove` or
when `settings.taskRetention` is over; calls that were waited for are not.

Examples:
  sudo ploinkyctl task list --agent /echo --state failed
  sudo ploinkyctl task list --all --json | jq -r '.[] | select(.attempt > 1) | .id'")]
pub(crate) struct Arguments {
    /// Of one agent: `/path` or `domain/path`
    #[arg(long, value_name = "DOMAIN/PATH")]
    agent: Option<Place>,
    /// In one state
    #[arg(long, value_parser = PossibleValuesParser::new(TaskState::ALL.map(TaskState::as_str)).map(state))]
    state: Option<TaskState>,
    /// Of one command
    #[arg(long)]
    command: Option<CommandName>,
    /// Of one user
    #[arg(long, value_name = "USER")]
    owner: Option<UserId>,
    /// At most N tasks; 100 if nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Show times as they are, in UTC
    #[arg(long)]
    utc: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "clap hands it over")]
fn state(word: String) -> TaskState {
    TaskState::from_word(&word).unwrap_or(TaskState::Queued)
}

/// Prints tasks, a line each.
pub(crate) fn run(
    arguments: &Arguments,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { agent, state, command, owner, limit, all, utc } = arguments;
    let filter = Filter {
        agent: agent.as_ref(),
        state: *state,
        command: command.as_ref(),
        owner: owner.as_ref(),
    };
    let most = match limit {
        _ if *all => usize::MAX,
        Some(limit) => usize::try_from(*limit).unwrap_or(usize::MAX),
        None => LIMIT_DEFAULT,
    };
    print(&filter, most, *utc, host, output)
}

/// Prints the tasks that `filter` means, at most `most`.
pub(super) fn print(
    filter: &Filter<'_>,
    most: usize,
    utc: bool,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let (tasks, is_cut) =
        host.instances.list(filter, most).map_err(|e| e.failure("cannot list the tasks"))?;
    if output.json {
        output.value(&tasks)?;
    } else if tasks.is_empty() {
        output.err.line("no tasks")?;
    } else {
        let now = host.machine.now_usec();
        let time = if utc { "SUBMITTED" } else { "AGE" };
        let headings = ["ID", "STATE", "AGENT", "COMMAND", "OWNER", "RUN", time, "NOTE"];
        let rows: Vec<Row> = tasks.iter().map(|task| row(task, now, utc)).collect();
        table(&headings, &rows, output)?;
    }
    if is_cut {
        output.warning("there are more tasks; `--all` shows them all")?;
    }
    Ok(())
}

fn row(task: &TaskDocument, now_usec: u64, utc: bool) -> Row {
    let note = task.progress.as_deref().map(|note| short(&progress(note)));
    let error = || task.error.as_ref().map(|error| error.code.clone());
    let cells = vec![
        task.id.to_string(),
        task.state.as_str().to_owned(),
        task.agent.clone(),
        task.command.to_string(),
        task.owner.to_string(),
        format!("{}/{}", task.attempt, task.attempts),
        if utc { task.submitted_at.clone() } else { age(&task.submitted_at, now_usec) },
        crate::table::cell(error().or(note)),
    ];
    Row { tone: tone(task.state), cells }
}
