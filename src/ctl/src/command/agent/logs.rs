//! `ploinkyctl agent logs`: the journal, through `journalctl`.

mod task;

use std::str::FromStr;

use clap::Args;
use ploinky_contract::{AgentId, TaskId, exit};

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::place::{AgentArgument, Place, resolve};

/// Lines that are shown if nothing says how many.
const LINES_DEFAULT: u32 = 100;
/// The units of all agents.
const ALL_UNITS: &str = "ploinky-agent-*.service";

#[derive(Args, Debug)]
#[command(after_long_help = "\
The log is read with journalctl(1). Without -n and --since the last 100 lines are
shown. With --task, the lines are those of Ploinky about the task, and those of
the agent that begin with the task's id in brackets.

Examples:
  ploinkyctl agent logs /echo -f
  ploinkyctl agent logs /echo --task 0123456789abcdef0123456789abcdef")]
pub(crate) struct Arguments {
    /// `/path`, `domain/path`, an agent id or a name; all agents if absent
    agent: Option<AgentArgument>,
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Show the last N lines, or `all`
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<Lines>,
    /// Show lines from this time on, as journalctl(1) takes it: `-1h`, `today`, `2026-01-02 03:04`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Show the lines about one task only
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
}

/// How many lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lines {
    /// So many, the last ones.
    Last(u32),
    /// Every line.
    All,
}

impl FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            text => text.parse().map(Self::Last).map_err(|_e: std::num::ParseIntError| {
                format!("`{}` is neither a number of lines nor `all`", text.escape_debug())
            }),
        }
    }
}

/// Shows the log.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { agent, follow, lines, since, task } = arguments;
    let unit = match agent {
        Some(argument) => Some(unit(argument, machine, output)?),
        None => None,
    };
    let mut words = vec!["journalctl".to_owned(), "--no-pager".to_owned()];
    words.extend(since.iter().map(|since| format!("--since={since}")));
    if *follow {
        words.push("--follow".to_owned());
    }
    if let (Some(unit), Some(task)) = (&unit, task) {
        if *follow && lines.is_some() {
            return Err(Failure::usage("-n does not go with --follow and --task together")
                .hint("the lines of a task are few; leave out -n")
                .into());
        }
        let last = match lines {
            Some(Lines::Last(last)) => Some(*last),
            Some(Lines::All) | None => None,
        };
        return task::run(*task, unit, words, last, machine, output);
    }
    let is_narrowed = since.is_some() || task.is_some();
    words.push(match lines {
        Some(Lines::Last(last)) => format!("--lines={last}"),
        None if !is_narrowed => format!("--lines={LINES_DEFAULT}"),
        // Said in words, as `--follow` alone would show the last ten.
        Some(Lines::All) | None => "--lines=all".to_owned(),
    });
    if output.json {
        words.push("--output=json".to_owned());
    }
    words.push(match (task, unit) {
        (Some(task), _) => format!("TASK_ID={task}"),
        (None, Some(unit)) => format!("--unit={unit}"),
        (None, None) => format!("--unit={ALL_UNITS}"),
    });
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Err(not_started(&machine.become_program(&words)).into())
}

/// The unit whose log is meant. A place needs no supervisor, so that the log of a host in trouble, and that
/// of an agent that is gone, can be read.
fn unit(
    argument: &AgentArgument,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<String, Stop> {
    let what = || format!("cannot show the log of {argument}");
    let host = machine.supervisor().and_then(|supervisor| supervisor.status());
    let place = match (host, argument) {
        (Ok(host), argument) => match (resolve(argument, &host.agents), argument) {
            (Ok(place), _) => {
                refuse_static(&place, &host.agents, what())?;
                place
            }
            (Err(_unknown), AgentArgument::Place(place)) => {
                let text =
                    format!("no agent is deployed at {place} now; this is what the journal has");
                output.warning(&text)?;
                place.clone()
            }
            (Err(unknown), AgentArgument::Word(_)) => return Err(unknown.into()),
        },
        (Err(_unreachable), AgentArgument::Place(place)) => place.clone(),
        (Err(_unreachable), AgentArgument::Word(id)) => return Ok(AgentId::service(id)),
    };
    Ok(place.service().map_err(|e| Failure::refused(what()).because(&e))?)
}

fn refuse_static(
    place: &Place,
    agents: &[ploinky_control::AgentStatus],
    what: String,
) -> Result<(), Failure> {
    let is_static = agents.iter().any(|agent| {
        agent.domain == place.domain.as_str()
            && agent.path == place.path.as_str()
            && agent.kind == "static"
    });
    if is_static {
        Err(Failure::refused(what)
            .cause("it serves files and runs nothing that could log")
            .hint("`journalctl -u 'ploinky@*'` shows the log of the instances"))
    } else {
        Ok(())
    }
}

fn not_started(error: &std::io::Error) -> Failure {
    Failure::new(exit::UNAVAILABLE, "cannot run journalctl").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_a_number_or_all() {
        for text in ["", "-1", "x", "ALL", "1.5", "99999999999"] {
            assert!(text.parse::<Lines>().is_err(), "{text:?} was accepted");
        }
        assert_eq!("0".parse(), Ok(Lines::Last(0)));
        assert_eq!("all".parse(), Ok(Lines::All));
    }
}
