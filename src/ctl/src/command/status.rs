//! `ploinkyctl status`.

use clap::Args;
use ploinky_control::{AgentStatus, HostStatus};

use crate::command::agent::uptime;
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone, WriteError};
use crate::report::{HostReport, InstanceReport, State};
use crate::words::printable;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Example:
  ploinkyctl status --json | jq '.agents[] | select(.state == \"failed\") | .id'")]
pub(crate) struct Arguments {}

/// Prints the host on one screen.
pub(crate) fn run(
    _arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let mut host = machine
        .supervisor()
        .and_then(|supervisor| supervisor.status())
        .map_err(|e| Failure::of_control("cannot show the status of this host", &e))?;
    host.agents.sort_by(|a, b| (&a.domain, &a.path).cmp(&(&b.domain, &b.path)));
    if output.json {
        return Ok(output.value(&HostReport::from(host))?);
    }
    summary(&host, output)?;
    Ok(tree(&host.agents, machine.now_usec(), output)?)
}

fn summary(host: &HostStatus, output: &mut Output<'_>) -> Result<(), WriteError> {
    let out = &mut output.out;
    let title = out.paint(Tone::Strong, &format!("Ploinky {}", printable(&host.version)));
    out.line(&format!("{title} on port {}", host.port))?;
    match &host.config_error {
        None => {
            let ok = out.paint(Tone::Good, "ok");
            out.line(&format!("config     {ok}"))?;
        }
        Some(error) => {
            out.labelled(Tone::Bad, "config     ", &format!("not applied: {error}"))?;
        }
    }
    let instances: Vec<String> = InstanceReport::all(host)
        .into_iter()
        .map(|instance| {
            let (word, tone) = instance.word();
            format!("ploinky@{} {}", instance.number, out.paint(tone, word))
        })
        .collect();
    let none = out.paint(Tone::Bad, "none; start them with `systemctl start ploinky.target`");
    out.line(&format!(
        "instances  {}",
        if instances.is_empty() { none } else { instances.join(", ") }
    ))?;
    out.line(&format!("agents     {}", census(&host.agents)))
}

/// `3: 2 running, 1 failed`.
fn census(agents: &[AgentStatus]) -> String {
    let mut words: Vec<&str> = agents.iter().map(|agent| State::of(agent).as_str()).collect();
    words.sort_unstable();
    let counts: Vec<String> = words
        .chunk_by(|a, b| a == b)
        .filter_map(|same| Some(format!("{} {}", same.len(), same.first()?)))
        .collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// Agents, in order, below their domains.
fn tree(agents: &[AgentStatus], now: u64, output: &mut Output<'_>) -> Result<(), WriteError> {
    for there in agents.chunk_by(|a, b| a.domain == b.domain) {
        let width = |field: &dyn Fn(&AgentStatus) -> usize| {
            there.iter().map(field).max().unwrap_or_default()
        };
        let path_width = width(&|agent| agent.path.chars().count());
        let name_width = width(&|agent| agent.agent.chars().count());
        output.out.line("")?;
        let domain = there.first().map(|agent| printable(&agent.domain)).unwrap_or_default();
        let domain = output.out.paint(Tone::Strong, &domain);
        output.out.line(&domain)?;
        let last = there.len();
        for (index, agent) in (1..).zip(there) {
            let (corner, bar) = if index == last { ("└─", "  ") } else { ("├─", "│ ") };
            let state = State::of(agent);
            let mut words = vec![output.out.paint(state.tone(), state.as_str())];
            words.extend(agent.health.as_deref().map(printable));
            words.extend(uptime(agent, now));
            output.out.line(&format!(
                "{corner} {:path_width$}  {:name_width$}  {}",
                printable(&agent.path),
                printable(&agent.agent),
                words.join(", ")
            ))?;
            if let Some(problem) = &agent.problem {
                output.out.labelled(Tone::Plain, &format!("{bar}    "), problem)?;
            }
        }
    }
    Ok(())
}
