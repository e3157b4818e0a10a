//! `ploinkyctl`, the operator's command.
//!
//! ```text
//!  words ──cli──► Command ──command/<verb>──► supervisor (D-Bus) · archive · journalctl · HTTP (call,
//!                              │           instance: over the Unix socket, as `Admin`)
//!                              │
//!                              ├──► output   data to stdout, the rest to stderr
//!                              └──► Stop     what could not be done, why, what to do; exit code
//! ```
//! It decides nothing about the host: each verb parses, asks the supervisor and prints. What it needs of the
//! machine comes through the trait `machine::Machine`, so that all verbs run in tests without one.

mod cli;
mod command;

mod archive;
mod call;
mod doctor;
mod place;
mod report;
mod secret_input;
mod settings;

mod accounts;
mod failure;
mod instance;
mod machine;
mod output;
mod supervisor;
mod table;
mod task_words;
mod words;

#[cfg(test)]
mod transcript;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use ploinky_contract::exit;

use crate::failure::Stop;
use crate::machine::{Local, Machine, Paths};
use crate::output::Output;

/// The process.
pub fn main() -> ExitCode {
    let machine = Local::new(Paths::of_this_host());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    output::with_standard_streams(|output| ExitCode::from(run(&arguments, &machine, output)))
}

/// The command line as clap knows it, for completions and the manual page.
pub fn command_line() -> clap::Command {
    <cli::Cli as clap::CommandFactory>::command()
}

/// Runs one command line on `machine`; returns the exit code.
fn run(arguments: &[OsString], machine: &dyn Machine, output: &mut Output<'_>) -> u8 {
    let done = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => {
            output.json = cli.json;
            command::run(cli, machine, output)
        }
        Err(usage) => explain(&usage, output),
    };
    match done {
        // A closed pipe: the reader has what it wanted, as in `ploinkyctl agent list | head -1`.
        Ok(()) | Err(Stop::OutputClosed) => 0,
        Err(Stop::Exit(code)) => code,
        Err(Stop::Failed(failure)) => {
            let code = failure.exit();
            // Nobody is left to be told when stderr itself is gone.
            drop(failure.print(output));
            code
        }
    }
}

/// Prints what clap has to say: help and version are data, everything else is a usage error.
fn explain(usage: &clap::Error, output: &mut Output<'_>) -> Result<(), Stop> {
    let text = usage.render();
    if usage.use_stderr() {
        output.err.styled(&text)?;
        Err(Stop::Exit(exit::USAGE))
    } else {
        output.out.styled(&text)?;
        Ok(())
    }
}
