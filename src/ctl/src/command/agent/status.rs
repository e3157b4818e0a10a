//! `ploinkyctl agent status`.

use std::time::Duration;

use clap::Args;
use humantime::format_duration;
use ploinky_contract::limits::UID_RANGE_SIZE;
use ploinky_control::{AgentStatus, CommandTerms, ControlError};

use super::{find, show, uptime};
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone, WriteError};
use crate::place::AgentArgument;
use crate::report::{AgentReport, State};
use crate::table::{Row, cell};
use crate::words::{moment, size, span};

const HEADINGS: [&str; 9] =
    ["AGENT", "STATE", "HEALTH", "RESTARTS", "UPTIME", "PID", "MEMORY", "CPU", "IMAGE"];

#[derive(Args, Debug)]
#[command(after_long_help = "\
Of one agent, each command is shown with the timeout of a run and with how often
and after what wait a task that was accepted is run again.

Example:
  ploinkyctl agent status localhost/echo")]
pub(crate) struct Arguments {
    /// `/path`, `domain/path`, an agent id or a name; all agents if absent
    agent: Option<AgentArgument>,
}

/// Prints one agent as a block, or all as a table.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match &arguments.agent {
        Some(argument) => one(argument, machine, output),
        None => all(machine, output),
    }
}

fn one(
    argument: &AgentArgument,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let (supervisor, place) = find(argument, machine, "cannot show")?;
    let agent = supervisor
        .agent_status(&place)
        .map_err(|e| Failure::of_control(format!("cannot show {place}"), &e))?;
    if output.json {
        return Ok(output.value(&AgentReport::from(agent))?);
    }
    Ok(block(&agent, machine.now_usec(), output)?)
}

fn all(machine: &dyn Machine, output: &mut Output<'_>) -> Result<(), Stop> {
    let failed = |e: &ControlError| Failure::of_control("cannot show the agents", e);
    let supervisor = machine.supervisor().map_err(|e| failed(&e))?;
    let mut agents = Vec::new();
    for brief in supervisor.status().map_err(|e| failed(&e))?.agents {
        let Ok(place) = format!("{}{}", brief.domain, brief.path).parse() else {
            continue;
        };
        match supervisor.agent_status(&place) {
            Ok(agent) => agents.push(agent),
            // It was undeployed in between.
            Err(ControlError::NotFound(_)) => {}
            Err(e) => return Err(failed(&e).into()),
        }
    }
    let Some(agents) = show(agents, &HEADINGS, row, machine, output)? else { return Ok(()) };
    for agent in &agents {
        if let Some(problem) = &agent.problem {
            let label = format!("{}{}: ", agent.domain, agent.path);
            output.out.labelled(Tone::Bad, &label, problem)?;
        }
    }
    Ok(())
}

fn row(agent: &AgentStatus, now_usec: u64) -> Row {
    let state = State::of(agent);
    let cells = vec![
        format!("{}{}", agent.domain, agent.path),
        state.as_str().to_owned(),
        cell(agent.health.as_ref()),
        cell(agent.restarts),
        cell(uptime(agent, now_usec)),
        cell(agent.pid),
        cell(agent.memory_bytes.map(size)),
        cell(agent.cpu_nsec.map(cpu)),
        cell(agent.image.as_ref()),
    ];
    Row { tone: state.tone(), cells }
}

/// All that is known, a line per fact; what is not known has no line.
fn block(agent: &AgentStatus, now_usec: u64, output: &mut Output<'_>) -> Result<(), WriteError> {
    let title = format!("{}{}", agent.domain, agent.path);
    let kind = format!("  {} ({}, id {})", agent.agent, agent.kind, agent.id);
    output.out.labelled(Tone::Strong, &title, &kind)?;
    for (label, tone, value) in facts(agent, now_usec) {
        let line = format!("  {label:<10} ");
        if tone == Tone::Plain {
            output.out.labelled(Tone::Plain, &line, &value)?;
        } else {
            let (first, rest) = value.split_once(' ').unwrap_or((&value, ""));
            let painted = output.out.paint(tone, first);
            let rest = crate::words::printable(rest);
            output.out.line(format!("{line}{painted} {rest}").trim_end())?;
        }
    }
    Ok(())
}

fn facts(agent: &AgentStatus, now_usec: u64) -> Vec<(&'static str, Tone, String)> {
    let state = State::of(agent);
    let mut facts = Vec::new();
    let mut fact = |label, value: Option<String>| {
        facts.extend(value.map(|value| (label, Tone::Plain, value)));
    };
    fact("problem", agent.problem.clone());
    fact("unit", agent.unit.clone());
    fact("result", agent.result.clone().filter(|result| result != "success"));
    fact("restarts", agent.restarts.map(|n| n.to_string()));
    fact("health", agent.health.clone());
    fact("says", agent.status_text.clone());
    fact("alive", agent.last_alive_usec.and_then(moment));
    fact(
        "container",
        with_note(
            agent.container.as_deref(),
            &[agent.container_state.as_deref(), agent.container_id.as_deref().map(short)],
        ),
    );
    fact("image", with_note(agent.image.as_deref(), &[agent.image_id.as_deref().map(short)]));
    fact("pid", agent.pid.map(|pid| pid.to_string()));
    fact("memory", agent.memory_bytes.map(size));
    fact("cpu", agent.cpu_nsec.map(cpu));
    fact("processes", agent.pids.map(|pids| pids.to_string()));
    fact(
        "uids",
        agent
            .uid_first
            .map(|first| format!("{first} to {}", first.saturating_add(UID_RANGE_SIZE - 1))),
    );
    fact("release", agent.release.clone());
    match &agent.command_terms {
        Some(all) => all.iter().for_each(|one| fact("command", Some(terms(one)))),
        // A supervisor of an earlier version.
        None => fact("commands", agent.commands.as_ref().map(|names| names.join(", "))),
    }
    facts.insert(0, ("state", state.tone(), state_line(agent, state, now_usec)));
    facts
}

/// `order.add: timeout 30s, 3 attempts, backoff 1s to 5m`.
fn terms(command: &CommandTerms) -> String {
    let CommandTerms { name, timeout_ms, attempts, backoff_ms, max_backoff_ms } = command;
    let time = |ms| format_duration(Duration::from_millis(ms));
    let retry = attempts.map(|attempts| {
        let [first, last] = [backoff_ms, max_backoff_ms].map(|ms| time(ms.unwrap_or(0)));
        format!(", {attempts} attempts, backoff {first} to {last}")
    });
    format!("{name}: timeout {}{}", time(*timeout_ms), retry.unwrap_or_default())
}

/// `running (active, running) since 2026-01-02T03:04:05Z, 2h 5m`.
fn state_line(agent: &AgentStatus, state: State, now_usec: u64) -> String {
    let of_systemd: Vec<&str> =
        [&agent.active_state, &agent.sub_state].into_iter().filter_map(Option::as_deref).collect();
    let note = match of_systemd.as_slice() {
        [] => String::new(),
        words => format!(" ({})", words.join(", ")),
    };
    let since = match (agent.active_since_usec.and_then(moment), uptime(agent, now_usec)) {
        (Some(since), Some(up)) => format!(" since {since}, {up}"),
        (Some(_) | None, _) => String::new(),
    };
    format!("{}{note}{since}", state.as_str())
}

fn with_note(value: Option<&str>, notes: &[Option<&str>]) -> Option<String> {
    let notes: Vec<&str> = notes.iter().copied().flatten().collect();
    value.map(|value| match notes.as_slice() {
        [] => value.to_owned(),
        notes => format!("{value} ({})", notes.join(", ")),
    })
}

/// The twelve digits by which Podman prints ids.
fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

fn cpu(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    if milliseconds < 60_000 {
        format!("{}.{:03}s", milliseconds / 1_000, milliseconds % 1_000)
    } else {
        span(milliseconds / 1_000)
    }
}
