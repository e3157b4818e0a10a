//! `ploinkyctl explain`.

mod route;

use clap::Subcommand;

use crate::failure::Stop;
use crate::machine::Machine;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print every limit and timeout of a route, and who sets it
    Route(route::Arguments),
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        Command::Route(arguments) => route::run(arguments, machine, output),
    }
}
