//! The verbs that change one account.

use clap::Args;
use ploinky_contract::{Role, UserId};
use ploinky_control::ControlError;
use serde::Serialize;

use super::Command;
use crate::accounts::AccountChange;
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::secret_input::new_password;

#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    /// Name of the account
    #[arg(long, value_name = "NAME", default_value = "admin")]
    username: UserId,
}

#[derive(Args, Debug)]
pub(crate) struct AddArguments {
    /// Name of the account
    #[arg(value_name = "NAME")]
    username: UserId,
    /// What they may: owner, deployer or viewer
    #[arg(long, default_value = "viewer")]
    role: Role,
}

#[derive(Args, Debug)]
pub(crate) struct RoleArguments {
    /// Name of the account
    #[arg(value_name = "NAME")]
    username: UserId,
    /// What they may: owner, deployer or viewer
    role: Role,
}

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Name of the account
    #[arg(value_name = "NAME")]
    username: UserId,
}

#[derive(Serialize)]
struct Changed<'a> {
    username: &'a UserId,
    change: &'a str,
}

/// Asks the supervisor and says what is true now.
pub(super) fn run(
    command: &Command,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let ask = |name: &UserId| {
        new_password(machine, name.as_str(), &format!("cannot set the password of {name}"))
    };
    let password;
    let (change, name, verb, done) = match command {
        Command::Init(InitArguments { username }) => {
            password = ask(username)?;
            (AccountChange::Init(password.reveal()), username, "make", "made an owner")
        }
        Command::Add(AddArguments { username, role }) => {
            password = ask(username)?;
            (AccountChange::Add(*role, password.reveal()), username, "make", "made")
        }
        Command::Password(Arguments { username }) => {
            password = ask(username)?;
            let change = AccountChange::Password(password.reveal());
            (change, username, "set the password of", "has another password")
        }
        Command::Role(RoleArguments { username, role }) => {
            (AccountChange::Role(*role), username, "set the role of", role.as_str())
        }
        Command::Disable(Arguments { username }) => {
            (AccountChange::Disable, username, "disable", "disabled")
        }
        Command::Enable(Arguments { username }) => {
            (AccountChange::Enable, username, "enable", "enabled")
        }
        Command::Unlock(Arguments { username }) => {
            (AccountChange::Unlock, username, "unlock", "open")
        }
        Command::Remove(Arguments { username }) => {
            (AccountChange::Remove, username, "remove", "removed")
        }
        Command::List => return super::list::run(machine, output),
    };
    let what = || format!("cannot {verb} admin {name}");
    let failed = |e: &ControlError| Failure::of_accounts(what(), e, "ploinkyctl admin list");
    let accounts = machine.accounts().map_err(|e| failed(&e))?;
    accounts.change(change, name).map_err(|e| failed(&e))?;
    if output.json {
        return Ok(output.value(&Changed { username: name, change: done })?);
    }
    Ok(output.out.line(&format!("{name}: {done}"))?)
}
