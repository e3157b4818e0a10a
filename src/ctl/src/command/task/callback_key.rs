//! `ploinkyctl task callback-key`.

use clap::Args;
use ploinky_contract::{DeployPath, Domain};
use serde::Serialize;

use super::Host;
use crate::failure::Stop;
use crate::output::Output;
use crate::place::Place;
use crate::words::printable;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Outcomes that are posted to a --callback have the headers webhook-id,
webhook-timestamp and webhook-signature of the Standard Webhooks specification;
whoever receives them checks the signature with this key. It is a secret. Each
agent has its own, which stays the same.

Example:
  sudo ploinkyctl task callback-key localhost /echo")]
pub(crate) struct Arguments {
    /// Host name of the agent
    domain: Domain,
    /// Path of the agent
    path: DeployPath,
}

#[derive(Serialize)]
struct Report<'a> {
    agent: &'a str,
    key: &'a str,
}

/// Prints the key.
pub(crate) fn run(
    arguments: &Arguments,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { domain, path } = arguments;
    let place = Place { domain: domain.clone(), path: path.clone() };
    let key = host
        .instances
        .callback_key(&place)
        .map_err(|e| e.failure(format!("cannot get the key of the callbacks of {place}")))?;
    if output.json {
        return Ok(output.value(&Report { agent: &place.to_string(), key: &key })?);
    }
    Ok(output.out.line(&printable(&key))?)
}
