//! `ploinkyctl subscribe`.

use std::path::Path;

use clap::Args;
use ploinky_contract::exit;
use serde_json::Value;
use serde_json::value::RawValue;

use super::called::Called;
use crate::call::Body;
use crate::command::call::print;
use crate::failure::{Failure, Stop};
use crate::instance::{Event, Events, Instances};
use crate::machine::Machine;
use crate::output::Output;
use crate::words::count;

#[derive(Args, Debug)]
#[command(after_long_help = "\
What the handler says is printed as it comes: a string as it is, other data as
JSON in one line; then the result, unless it is null. With --json each line is an
object: {\"event\": ...} for what comes, and the whole answer at the end. When the
command ends early, with Ctrl-C, so does the handler.

Example:
  sudo ploinkyctl subscribe localhost /echo echo.count 10")]
pub(crate) struct Arguments {
    #[command(flatten)]
    called: Called,
}

/// Prints what comes until the end.
pub(crate) fn run(
    arguments: &Arguments,
    socket: Option<&Path>,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { called } = arguments;
    let (place, command) = (called.place(), &called.command);
    let what = || format!("cannot subscribe to `{command}` of {place}");
    let instances = Instances::new(&machine.paths().runtime, socket);
    let stream =
        instances.subscribe(&place, command, &called.values()).map_err(|e| e.failure(what()))?;
    let mut events = Events::new(stream);
    let mut lines = 0;
    loop {
        let cut = |failure: Failure| {
            let text = format!(
                "the stream ended without an outcome, after {}",
                count(lines, "event", "events")
            );
            failure.cause(text).hint(
                "the command may have had an effect; `journalctl -u 'ploinky@*' -n 20` shows why it ended",
            )
        };
        let Event { kind, data } = match events.next() {
            Ok(Some(event)) => event,
            Ok(None) => return Err(cut(Failure::new(exit::UNAVAILABLE, what())).into()),
            Err(e) => {
                return Err(cut(Failure::new(exit::UNAVAILABLE, what())).because(&e).into());
            }
        };
        match kind.as_str() {
            "" | "message" => {
                lines += 1;
                line(&data, output)?;
            }
            "end" | "error" => return end(&data, &what(), output),
            _ => {}
        }
    }
}

/// Prints one event.
fn line(data: &str, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        let event = serde_json::from_str::<&RawValue>(data)
            .map_or_else(|_no_json| Value::from(data).to_string(), |event| event.get().to_owned());
        return Ok(output.out.line(&format!("{{\"event\":{event}}}"))?);
    }
    match serde_json::from_str(data) {
        Ok(Value::String(_)) => print(data, output),
        Ok(_) | Err(_) => Ok(output.out.line(&crate::words::printable(data))?),
    }
}

/// Prints the outcome.
fn end(data: &str, what: &str, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        output.out.line(data)?;
    }
    let Ok(body) = serde_json::from_str::<Body<'_>>(data) else {
        let text = "the outcome cannot be understood";
        return Err(Failure::new(exit::UNAVAILABLE, what).cause(text).into());
    };
    if !body.success {
        let [code, message] = [body.code, body.message].map(Option::unwrap_or_default);
        return Err(Failure::refused(what).cause(format!("{code}: {message}")).into());
    }
    match body.data.map_or("null", RawValue::get) {
        "null" => Ok(()),
        data if !output.json => print(data, output),
        _ => Ok(()),
    }
}
