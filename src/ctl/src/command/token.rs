//! `ploinkyctl token`: tokens of programs.

mod create;
mod list;
mod revoke;

use clap::Subcommand;

use crate::failure::Stop;
use crate::machine::Machine;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token and print it, this once
    Create(create::Arguments),
    /// List all tokens
    #[command(after_long_help = "Example:\n  sudo ploinkyctl token list --json | jq -r '.[].name'")]
    List,
    /// End a token
    Revoke(revoke::Arguments),
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        Command::Create(arguments) => create::run(arguments, machine, output),
        Command::List => list::run(machine, output),
        Command::Revoke(arguments) => revoke::run(arguments, machine, output),
    }
}
