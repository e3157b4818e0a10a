//! `ploinkyctl admin`: the accounts of admins.

mod change;
mod list;

use clap::Subcommand;

use crate::failure::Stop;
use crate::machine::Machine;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the first account, an owner
    #[command(after_long_help = "\
The password is asked for, or the first line of stdin if that is no terminal. It
has at least 15 characters; a sentence is good.

Example:
  sudo ploinkyctl admin init --username ada")]
    Init(change::InitArguments),
    /// Make an account
    #[command(after_long_help = "\
A viewer sees everything that is no secret; a deployer deploys, stops and starts
agents, and looks after tasks and sessions; an owner does everything.

Example:
  sudo ploinkyctl admin add grace --role deployer")]
    Add(change::AddArguments),
    /// List all accounts
    #[command(after_long_help = "Example:\n  sudo ploinkyctl admin list")]
    List,
    /// Give an account another password; its sessions end
    #[command(after_long_help = "\
Example:
  pwgen -s 32 1 | sudo ploinkyctl admin password grace")]
    Password(change::Arguments),
    /// Give an account another role; its sessions end
    #[command(after_long_help = "Example:\n  sudo ploinkyctl admin role grace owner")]
    Role(change::RoleArguments),
    /// Let nobody log in by an account; its sessions end
    #[command(after_long_help = "Example:\n  sudo ploinkyctl admin disable grace")]
    Disable(change::Arguments),
    /// Let them log in again
    #[command(after_long_help = "Example:\n  sudo ploinkyctl admin enable grace")]
    Enable(change::Arguments),
    /// Open an account that wrong passwords have closed
    #[command(after_long_help = "Example:\n  sudo ploinkyctl admin unlock ada")]
    Unlock(change::Arguments),
    /// Remove an account with its sessions
    #[command(after_long_help = "\
The last owner who can log in stays.

Example:
  sudo ploinkyctl admin remove grace")]
    Remove(change::Arguments),
}

/// Runs one of the verbs; all but `list` change one account.
pub(crate) fn run(
    command: &Command,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    change::run(command, machine, output)
}
