//! `ploinkyctl config`.

mod check;

use clap::Subcommand;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the configuration in force
    #[command(after_long_help = "\
The supervisor is asked, so this is what is applied, also while the file is
broken. It is JSON with and without --json.

Example:
  ploinkyctl config show | jq .settings")]
    Show,
    /// Check a configuration file and print the settings in it
    Check(check::Arguments),
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        Command::Show => show(machine, output),
        Command::Check(arguments) => check::run(arguments, machine, output),
    }
}

fn show(machine: &dyn Machine, output: &mut Output<'_>) -> Result<(), Stop> {
    let text = machine
        .supervisor()
        .and_then(|supervisor| supervisor.config())
        .map_err(|e| Failure::of_control("cannot show the configuration in force", &e))?;
    Ok(output.out.line(text.trim_end())?)
}
