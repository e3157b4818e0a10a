//! `ploinkyctl call`.

use clap::Args;
use ploinky_contract::limits::CONFIG_MAX_BYTES;
use ploinky_contract::{CommandName, Config, Settings, exit};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Address, Answer, Body, CallError, parameter, post};
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::words::printable;

#[derive(Args, Debug)]
#[command(after_long_help = "\
The call is a POST to the instances of this host, as any client could send it;
the caller is InternetUser. A name in the address chooses the domain and is not
looked up. Data that is a string is printed as it is, other data as JSON; --json
prints the whole answer as it came.

Examples:
  ploinkyctl call /echo echo.say 'hello world'
  ploinkyctl call example.org/shop order.add 7 '{\"note\": \"fragile\"}'
  ploinkyctl call http://127.0.0.1:8000/echo echo.say -- --json")]
pub(crate) struct Arguments {
    /// `/path`, `domain/path`, or `http://host:port/path`
    #[arg(value_name = "PATH|URL")]
    address: Address,
    /// The command
    command: CommandName,
    /// Parameters: JSON if a word is JSON, else the word as a string
    #[arg(value_name = "PARAM", allow_negative_numbers = true)]
    parameters: Vec<String>,
}

/// Calls and prints the data.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { address, command, parameters } = arguments;
    let port = address.port.unwrap_or_else(|| configured_port(machine));
    let parameters: Vec<Value> = parameters.iter().map(|word| parameter(word)).collect();
    let what = || format!("cannot call `{command}` of {address}");
    let answer = post(&address.place, port, command, &parameters)
        .map_err(|e| unanswered(Failure::new(exit::UNAVAILABLE, what()), &e))?;
    if output.json {
        output.out.bytes(answer.body.trim_ascii_end())?;
        output.out.bytes(b"\n")?;
    }
    let body = match serde_json::from_slice::<Body<'_>>(&answer.body) {
        Ok(body) => body,
        Err(_no_answer) => {
            let text = format!("status {} with a body that is not of Ploinky", answer.status);
            return Err(Failure::refused(what()).cause(text).into());
        }
    };
    if !body.success {
        return Err(refused(Failure::refused(what()), &answer, body, address).into());
    }
    if output.json { Ok(()) } else { print(body.data.map_or("null", RawValue::get), output) }
}

/// Prints data: a string as it is, anything else as JSON.
pub(crate) fn print(data: &str, output: &mut Output<'_>) -> Result<(), Stop> {
    match serde_json::from_str(data) {
        Ok(Value::String(text)) if output.out.is_terminal() => {
            // What an agent says must not command the terminal; a file or a program gets it as it is.
            for line in text.trim_end_matches('\n').split('\n') {
                output.out.line(&printable(line))?;
            }
            Ok(())
        }
        Ok(Value::String(text)) => Ok(output.out.line(text.trim_end_matches('\n'))?),
        Ok(value) => Ok(output.value(&value)?),
        // Numbers beyond what we can hold, for example.
        Err(_) => Ok(output.out.line(data)?),
    }
}

fn unanswered(failure: Failure, error: &CallError) -> Failure {
    let failure = failure.because(error);
    match error {
        CallError::Connect { .. } => {
            failure.hint("`systemctl start ploinky.target` starts the instances; `ploinkyctl doctor` checks the host")
        }
        CallError::Timeout | CallError::Protocol { .. } => {
            failure.hint("`ploinkyctl status` shows whether the instances and the agent run")
        }
    }
}

fn refused(failure: Failure, answer: &Answer, body: Body<'_>, address: &Address) -> Failure {
    let code = body.code.unwrap_or_else(|| format!("status {}", answer.status));
    let failure = failure.cause(match body.message {
        Some(message) => format!("{code}: {message}"),
        None => code,
    });
    match &answer.task {
        Some(task) if task.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            let place = &address.place;
            failure.hint(format!(
                "`ploinkyctl agent logs {place} --task {task}` shows what was logged"
            ))
        }
        Some(_) | None => failure,
    }
}

/// The port in `config.json`; the default if the file cannot be read.
fn configured_port(machine: &dyn Machine) -> u16 {
    machine
        .read(&machine.paths().state.config(), CONFIG_MAX_BYTES)
        .ok()
        .and_then(|text| Config::parse(&text).ok())
        .map_or(Settings::default().port, |config| config.settings.port)
}
