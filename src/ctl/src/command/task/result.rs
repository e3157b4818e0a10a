//! `ploinkyctl task result`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use ploinky_contract::TaskId;

use super::{Host, outcome};
use crate::failure::Stop;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Data that is a string is printed as it is, other data as JSON; --json prints the
answer that a call would have got. A result that is a file goes to --output, or to
standard output if that is no terminal. The exit status is that of `task watch`.

Examples:
  ploinkyctl task result 0123456789abcdef0123456789abcdef
  ploinkyctl task result 0123456789abcdef0123456789abcdef --output report.pdf")]
pub(crate) struct Arguments {
    /// Id of the task
    id: TaskId,
    /// Write the result to this file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

/// Prints or writes the result.
pub(crate) fn run(
    arguments: &Arguments,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { id, output: to } = arguments;
    let task = host
        .instances
        .task(*id, None)
        .map_err(|e| e.failure_of(format!("cannot get the result of task {id}"), *id))?;
    outcome::deliver(&task, to.as_deref(), host, output)
}
