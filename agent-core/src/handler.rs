//! A program per task: its arguments, what it says, and what that means.

mod exchange;
mod notes;
mod output;
mod verdict;

use std::mem;
use std::path::Path;

use ploinky_contract::chain;
use ploinky_contract::limits::RESULT_MAX_BYTES;
use ploinky_queue::{Request, TaskError, code};
use serde_json::value::RawValue;

use crate::compact_json::compact;
use crate::handler::exchange::Exchange;
use crate::handler::notes::Notes;
use crate::handler::output::Output;
use crate::log::Forward;
use crate::program::{self, StartError};
use crate::run::{Ending, Run};

/// Bytes of stderr that are logged for one task.
const LOGGED_MAX_BYTES: usize = 64 * 1024;

/// Runs the program of a command for one task, to its end.
pub(crate) fn run(words: &[String], request: &Request, run: &mut Run<'_>) -> Ending {
    carry_out(words, request, run).unwrap_or_else(Ending::Failed)
}

fn carry_out(words: &[String], request: &Request, run: &mut Run<'_>) -> Result<Ending, TaskError> {
    let arguments = arguments(request)?;
    let Run { id, json, attempt, deadline, interrupt, progress, stream, code_path, output } = run;
    let notes = Notes::open(progress).map_err(|e| {
        TaskError::new(code::HANDLER_FAILED, format!("cannot make a pipe for progress: {e}"))
    })?;
    let variables = [
        ("TASK_ID", id.as_str()),
        ("TASK_COMMAND", request.command.as_str()),
        ("RUN_FOR_USER_ID", arguments.first().map(String::as_str).unwrap_or_default()),
        ("AGENT_DIR", *code_path),
        ("TASK_ATTEMPT", &attempt.to_string()),
        ("TASK_OUTPUT", output),
        ("TASK_PROGRESS", &notes.path()),
    ];
    let started =
        program::start(words, &arguments, &variables).map_err(|e| start_error(&e, request))?;
    let heard = match mem::take(stream) {
        Some(stream) => Output::events(stream),
        None => Output::value(RESULT_MAX_BYTES),
    };
    let complaints = Forward::new(format!("[{id}]"), Some(LOGGED_MAX_BYTES));
    let exchange = Exchange::new(started, json, *deadline, interrupt, heard, notes, complaints);
    let ended = exchange.run().map_err(|e| {
        TaskError::new(code::HANDLER_FAILED, format!("cannot follow the handler: {e}"))
    })?;
    let has_file = || Path::new(output).symlink_metadata().is_ok();
    Ok(verdict::verdict(ended, words, request.command.as_str(), has_file))
}

/// The parameters as words: strings as they are, other values as JSON text.
fn arguments(request: &Request) -> Result<Vec<String>, TaskError> {
    let word = |(index, param): (usize, &RawValue)| {
        let json = param.get();
        if json.starts_with('"') {
            serde_json::from_str(json)
                .map_err(|e| invalid(format!("parameter {index} is no text: {e}")))
        } else {
            Ok(compact(json))
        }
    };
    request.params.iter().map(AsRef::as_ref).enumerate().map(word).collect()
}

fn invalid(why: String) -> TaskError {
    TaskError::new(code::INVALID_PARAMS, why)
}

fn start_error(error: &StartError, request: &Request) -> TaskError {
    if error.is_about_arguments() {
        invalid(format!(
            "the parameters do not fit on a command line: they are too long or hold a NUL; {}",
            chain(error)
        ))
    } else {
        TaskError::new(
            code::HANDLER_FAILED,
            format!("the handler of `{}` does not run: {}", request.command, chain(error)),
        )
    }
}
