//! A program per task: its arguments, what it says, and what that means.

mod exchange;
mod verdict;

use ploinky_contract::limits::RESULT_MAX_BYTES;
use ploinky_queue::{Claim, Outcome, Request, TaskError, code};
use serde_json::value::RawValue;

use crate::boot_time::BootTime;
use crate::compact_json::compact;
use crate::handler::exchange::Exchange;
use crate::interrupt::Interrupt;
use crate::log::Forward;
use crate::program::{self, StartError};
use ploinky_contract::chain;

/// Bytes of stderr that are logged for one task.
const LOGGED_MAX_BYTES: usize = 64 * 1024;

/// Runs the program of a command for one task, to its end.
pub(crate) fn run(
    words: &[String],
    claim: &Claim,
    code_path: &str,
    interrupt: &Interrupt,
) -> Outcome {
    carry_out(words, claim, code_path, interrupt).unwrap_or_else(Outcome::Failed)
}

fn carry_out(
    words: &[String],
    claim: &Claim,
    code_path: &str,
    interrupt: &Interrupt,
) -> Result<Outcome, TaskError> {
    let request = claim.request().map_err(|e| invalid(chain(&e)))?;
    let arguments = arguments(&request)?;
    let id = claim.id();
    let variables = [
        ("TASK_ID", id.as_str()),
        ("TASK_COMMAND", request.command.as_str()),
        ("RUN_FOR_USER_ID", arguments.first().map(String::as_str).unwrap_or_default()),
        ("AGENT_DIR", code_path),
    ];
    let started =
        program::start(words, &arguments, &variables).map_err(|e| start_error(&e, &request))?;
    let exchange = Exchange::new(
        started,
        claim.bytes(),
        BootTime::from_ns(claim.deadline_boot_ns()),
        interrupt,
        RESULT_MAX_BYTES,
        Forward::new(format!("[{id}]"), Some(LOGGED_MAX_BYTES)),
    );
    let ended = exchange.run().map_err(|e| {
        TaskError::new(code::HANDLER_FAILED, format!("cannot follow the handler: {e}"))
    })?;
    verdict::verdict(ended, words, request.command.as_str())
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
