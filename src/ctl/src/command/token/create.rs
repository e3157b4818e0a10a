//! `ploinkyctl token create`.

use clap::Args;
use ploinky_contract::{CommandPattern, DeployPath, Domain, Role, UserId};
use ploinky_control::{ControlError, NewToken, TokenOrder};
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_long_help = "\
A program shows the token as `Authorization: Bearer ploinky_…`. It is printed once
and kept nowhere; whoever has it may do what it allows until it is revoked or its
time is over.

Example:
  token=$(sudo ploinkyctl token create ci --allow 'build.*' --expires 90d)
  curl --oauth2-bearer \"$token\" --json '{\"command\":\"build.run\"}' localhost:8000/ci")]
pub(crate) struct Arguments {
    /// By which people know it: letters, digits, -, _ and .
    name: String,
    /// For whom calls run; the name of the token if it is not given
    #[arg(long, value_name = "USER")]
    user: Option<UserId>,
    /// Which commands: a name, `namespace.*` or `*`; may be given several times
    #[arg(long, value_name = "PATTERN", required_unless_present = "role")]
    allow: Vec<CommandPattern>,
    /// Where it counts; on all domains if it is not given
    #[arg(long)]
    domain: Option<Domain>,
    /// With which agent; may be given several times; with all if it is not given
    #[arg(long)]
    path: Vec<DeployPath>,
    /// When it ends, from now: 90d, 12h
    #[arg(long, value_name = "TIME")]
    expires: Option<humantime::Duration>,
    /// What of the management it may: owner, deployer or viewer; nothing if it is not given
    #[arg(long)]
    role: Option<Role>,
}

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    token: &'a str,
    digest: &'a str,
}

/// Asks the supervisor and prints the secret.
pub(super) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { name, user, allow, domain, path, expires, role } = arguments;
    let now = machine.now_usec() / 1_000_000;
    let order = TokenOrder {
        name: name.clone(),
        user: user.as_ref().map_or_else(|| name.clone(), ToString::to_string),
        commands: allow.iter().map(ToString::to_string).collect(),
        domain: domain.as_ref().map(ToString::to_string),
        paths: (!path.is_empty()).then(|| path.iter().map(ToString::to_string).collect()),
        role: role.map(|role| role.to_string()),
        expires_at: expires.map(|time| now.saturating_add(time.as_secs())),
    };
    let failed = |e: &ControlError| Failure::of_control(format!("cannot make token {name}"), e);
    let accounts = machine.accounts().map_err(|e| failed(&e))?;
    let NewToken { token, digest } = accounts.create_token(&order).map_err(|e| failed(&e))?;
    if output.json {
        return Ok(output.value(&Created { name, token: &token, digest: &digest })?);
    }
    Ok(output.out.line(&token)?)
}
