//! `ploinkyctl explain route`.

use std::io;
use std::path::Path;
use std::str::FromStr;

use clap::Args;
use ploinky_contract::limits::{CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES};
use ploinky_contract::{
    AgentName, CommandName, Config, DeployPath, Deployment, Domain, Limit, Manifest, Origin,
    Service, exit, route_limits,
};
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone};
use crate::place::Place;
use crate::table::{Row, table};
use crate::words::printable;

#[derive(Args, Debug)]
#[command(after_long_help = "\
The configuration and the manifest are read here, as root; no instance is asked.
The route is found as for a request: the longest deployed path that covers it.
The column FROM says who sets a limit: a key of config.json or manifest.json,
`default` with the key that would change it, or `fixed`. A key whose value is the
default counts as not set.

Example:
  sudo ploinkyctl explain route localhost/echo
  sudo ploinkyctl explain route '/echo#file.cat' --json")]
pub(crate) struct Arguments {
    /// Where a request goes: /path of localhost, or domain/path; `#command` for one command
    #[arg(value_name = "DOMAIN/PATH[#COMMAND]")]
    route: Route,
}

/// A place, and perhaps one command of what answers there.
#[derive(Clone, Debug)]
struct Route {
    place: Place,
    command: Option<CommandName>,
}

#[derive(Serialize)]
struct Report<'a> {
    /// Where the agent is deployed.
    place: String,
    agent: &'a AgentName,
    command: Option<&'a CommandName>,
    limits: &'a [Limit],
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, command) = match text.split_once('#') {
            Some((place, command)) => (place, Some(command)),
            None => (text, None),
        };
        let command = command.map(str::parse).transpose();
        let command =
            command.map_err(|error: ploinky_contract::InvalidCommandName| error.to_string())?;
        Ok(Self { place: place.parse()?, command })
    }
}

/// Prints the limits of the route.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { route: Route { place, command } } = arguments;
    let what = format!("cannot explain {place}");
    let config = config(machine, &what)?;
    let deployment = find(&config, place).ok_or_else(|| {
        Failure::refused(&what)
            .cause("nothing is deployed there")
            .hint("`ploinkyctl agent list` shows what is deployed")
    })?;
    let Deployment { domain, path, agent, .. } = deployment;
    let manifest = machine.paths().state.agent(domain, path).manifest();
    let text = read(machine, &manifest, MANIFEST_MAX_BYTES, &what)?;
    let service = Manifest::parse(&text)
        .map(|manifest| manifest.service)
        .map_err(|e| Failure::new(exit::CONFIG, &what).because(&e))?;
    let limits = route_limits(&config, domain, &service, command.as_ref())
        .map_err(|e| Failure::refused(&what).because(&e))?;
    if output.json {
        let place = format!("{domain}{path}");
        let command = command.as_ref();
        return Ok(output.value(&Report { place, agent, command, limits: &limits })?);
    }
    let kind = match service {
        Service::Static { .. } => "files of the agent",
        Service::Container(_) => "the agent",
    };
    output.out.line(&format!("{place} is answered by {kind} `{agent}` at {domain}{path}"))?;
    let rows: Vec<_> = limits.iter().map(row).collect();
    Ok(table(&["LIMIT", "VALUE", "FROM", "OF WHAT; BEYOND IT"], &rows, output)?)
}

fn row(limit: &Limit) -> Row {
    let Limit { name, amount, origin, about } = limit;
    let origin = match origin {
        Origin::Fixed => "fixed".to_owned(),
        Origin::Default(key) => format!("default ({key})"),
        Origin::Config(key) => format!("config.json {key}"),
        Origin::Manifest(key) => format!("manifest.json {key}"),
    };
    let cells = vec![(*name).to_owned(), amount.to_string(), origin, (*about).to_owned()];
    Row { tone: Tone::Plain, cells }
}

/// The deployment that a request at `place` is for.
fn find<'a>(config: &'a Config, place: &Place) -> Option<&'a Deployment> {
    let Place { domain, path } = place;
    let is_known = |domain: &Domain| config.domains.iter().any(|entry| entry.name == *domain);
    let localhost = Domain::localhost();
    let domain =
        if !is_known(domain) && domain.is_loopback_literal() { &localhost } else { domain };
    let covers = |own: &DeployPath| {
        let rest = path.as_str().strip_prefix(own.as_str());
        own.is_root() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    config
        .deployments
        .iter()
        .filter(|deployment| deployment.domain == *domain && covers(&deployment.path))
        .max_by_key(|deployment| deployment.path.as_str().len())
}

fn config(machine: &dyn Machine, what: &str) -> Result<Config, Failure> {
    let path = machine.paths().state.config();
    let text = read(machine, &path, CONFIG_MAX_BYTES, what)?;
    Config::parse(&text).map_err(|e| {
        Failure::new(exit::CONFIG, what)
            .because(&e)
            .hint("`ploinkyctl config check` names the value and the rule")
    })
}

fn read(machine: &dyn Machine, path: &Path, limit: usize, what: &str) -> Result<Vec<u8>, Failure> {
    machine.read(path, limit).map_err(|e| {
        let shown = path.display().to_string();
        let is_denied = e.kind() == io::ErrorKind::PermissionDenied;
        let code = if is_denied { exit::NOT_ALLOWED } else { exit::REFUSED };
        let failure = Failure::new(code, what)
            .cause(format!("cannot read {}", printable(&shown)))
            .because(&e);
        if is_denied { failure.hint("run it as root, for example with `sudo`") } else { failure }
    })
}
