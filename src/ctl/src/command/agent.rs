//! `ploinkyctl agent`: the verbs about one deployed agent, or all of them.

mod change;
mod list;
mod logs;
mod status;

use clap::Subcommand;
use ploinky_control::AgentStatus;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::place::{AgentArgument, Place, resolve};
use crate::report::{AgentReport, State};
use crate::supervisor::{Change, Supervisor};
use crate::table::{Row, table};
use crate::words;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all agents
    #[command(after_long_help = "Example:\n  ploinkyctl agent list --json | jq -r '.[].id'")]
    List,
    /// Show all that is known of one agent, or of each
    Status(status::Arguments),
    /// Let a stopped agent run again, now and after the next boot
    #[command(after_long_help = "Example:\n  sudo ploinkyctl agent start /echo")]
    Start(change::Arguments),
    /// Stop an agent, now and after the next boot; calls are answered by 503
    #[command(after_long_help = "Example:\n  sudo ploinkyctl agent stop /echo")]
    Stop(change::Arguments),
    /// Restart an agent
    #[command(after_long_help = "Example:\n  sudo ploinkyctl agent restart example.org/shop")]
    Restart(change::Arguments),
    /// Show the log of an agent, of a task, or of all agents
    Logs(logs::Arguments),
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        Command::List => list::run(machine, output),
        Command::Status(arguments) => status::run(arguments, machine, output),
        Command::Start(arguments) => change::run(arguments, Change::Start, machine, output),
        Command::Stop(arguments) => change::run(arguments, Change::Stop, machine, output),
        Command::Restart(arguments) => change::run(arguments, Change::Restart, machine, output),
        Command::Logs(arguments) => logs::run(arguments, machine, output),
    }
}

/// The supervisor, and the place that `argument` means.
fn find(
    argument: &AgentArgument,
    machine: &dyn Machine,
    what: &str,
) -> Result<(Box<dyn Supervisor>, Place), Failure> {
    let supervisor =
        machine.supervisor().map_err(|e| Failure::of_control(format!("{what} {argument}"), &e))?;
    let host =
        supervisor.status().map_err(|e| Failure::of_control(format!("{what} {argument}"), &e))?;
    let place = resolve(argument, &host.agents)?;
    Ok((supervisor, place))
}

/// How long a running agent runs.
pub(crate) fn uptime(agent: &AgentStatus, now_usec: u64) -> Option<String> {
    let since = agent.active_since_usec.filter(|usec| 0 < *usec)?;
    (State::of(agent) == State::Running)
        .then(|| words::span(now_usec.saturating_sub(since) / 1_000_000))
}

/// Prints agents in the order of their places, each by `row`; hands them back if that was a table.
fn show(
    mut agents: Vec<AgentStatus>,
    headings: &[&str],
    row: fn(&AgentStatus, u64) -> Row,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<Option<Vec<AgentStatus>>, Stop> {
    agents.sort_by(|a, b| (&a.domain, &a.path).cmp(&(&b.domain, &b.path)));
    if output.json {
        let reports: Vec<AgentReport> = agents.into_iter().map(AgentReport::from).collect();
        output.value(&reports)?;
        return Ok(None);
    }
    if agents.is_empty() {
        output.err.line("nothing is deployed")?;
        return Ok(None);
    }
    let rows: Vec<Row> = agents.iter().map(|agent| row(agent, machine.now_usec())).collect();
    table(headings, &rows, output)?;
    Ok(Some(agents))
}
