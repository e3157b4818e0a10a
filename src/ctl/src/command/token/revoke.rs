//! `ploinkyctl token revoke`.

use clap::Args;
use ploinky_control::ControlError;
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::words::printable;

#[derive(Args, Debug)]
#[command(after_long_help = "\
All instances know within a second.

Example:
  sudo ploinkyctl token revoke ci")]
pub(crate) struct Arguments {
    /// Its name, or the first digits of its digest, at least eight
    #[arg(value_name = "NAME|DIGEST")]
    token: String,
}

#[derive(Serialize)]
struct Revoked<'a> {
    name: &'a str,
}

/// Asks the supervisor and says which one it was.
pub(super) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { token } = arguments;
    let what = || format!("cannot revoke token {}", printable(token));
    let failed = |e: &ControlError| Failure::of_accounts(what(), e, "ploinkyctl token list");
    let accounts = machine.accounts().map_err(|e| failed(&e))?;
    let name = accounts.revoke_token(token).map_err(|e| failed(&e))?;
    if output.json {
        return Ok(output.value(&Revoked { name: &name })?);
    }
    Ok(output.out.line(&format!("revoked {}", printable(&name)))?)
}
