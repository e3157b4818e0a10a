//! `ploinkyctl agent start`, `stop` and `restart`.

use clap::Args;

use super::find;
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::place::AgentArgument;
use crate::report::AgentReport;
use crate::supervisor::Change;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// `/path`, `domain/path`, an agent id or a name
    agent: AgentArgument,
}

/// Asks for the change and says what is true afterwards.
pub(crate) fn run(
    arguments: &Arguments,
    change: Change,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let (verb, done) = match change {
        Change::Start => ("start", "started"),
        Change::Stop => ("stop", "stopped"),
        Change::Restart => ("restart", "restarted"),
    };
    let (supervisor, place) = find(&arguments.agent, machine, &format!("cannot {verb}"))?;
    let agent = supervisor
        .change(change, &place)
        .map_err(|e| Failure::of_control(format!("cannot {verb} {place}"), &e))?;
    if let Some(problem) = &agent.problem {
        output.warning(problem)?;
    }
    if output.json {
        return Ok(output.value(&AgentReport::from(agent))?);
    }
    Ok(output.out.line(&format!("{done} {place}"))?)
}
