//! `ploinkyctl agent list`.

use ploinky_control::AgentStatus;

use super::{show, uptime};
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::report::State;
use crate::table::{Row, cell};

const HEADINGS: [&str; 7] = ["DOMAIN", "PATH", "AGENT", "STATE", "HEALTH", "RESTARTS", "UPTIME"];

/// Prints all agents, a line each.
pub(crate) fn run(machine: &dyn Machine, output: &mut Output<'_>) -> Result<(), Stop> {
    let host = machine
        .supervisor()
        .and_then(|supervisor| supervisor.status())
        .map_err(|e| Failure::of_control("cannot list the agents", &e))?;
    show(host.agents, &HEADINGS, row, machine, output).map(drop)
}

fn row(agent: &AgentStatus, now_usec: u64) -> Row {
    let state = State::of(agent);
    let cells = vec![
        agent.domain.clone(),
        agent.path.clone(),
        agent.agent.clone(),
        state.as_str().to_owned(),
        cell(agent.health.as_ref()),
        cell(agent.restarts),
        cell(uptime(agent, now_usec)),
    ];
    Row { tone: state.tone(), cells }
}
