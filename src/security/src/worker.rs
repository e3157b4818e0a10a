//! Tasks as lines, answers as lines: the protocol of a persistent worker.

use std::io::{self, BufRead, Write};

use ploinky_contract::{CommandName, UserId, chain};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::desk::Desk;
use crate::order::Order;
use crate::refused::Refused;

/// What of a task matters here.
#[derive(Deserialize)]
struct Task {
    id: String,
    command: CommandName,
    params: Vec<Value>,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Response(Value),
    Error { message: String, code: &'static str, details: Value },
}

/// Answers every line of `tasks` until there are no more.
///
/// # Errors
/// When a line is no task, or an answer cannot be written: whoever speaks to us does not follow the protocol.
pub(crate) fn serve(
    desk: &Desk,
    mut tasks: impl BufRead,
    mut answers: impl Write,
) -> io::Result<()> {
    loop {
        // It may hold a password.
        let mut line = Zeroizing::new(String::new());
        if tasks.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Task { id, command, params } = serde_json::from_str(&line)?;
        let what = match carry_out(desk, &command, params) {
            Ok(value) => What::Response(value),
            Err(refused) => What::of(&command, &refused),
        };
        let mut bytes = serde_json::to_vec(&Answer { id: &id, what })?;
        bytes.push(b'\n');
        answers.write_all(&bytes)?;
        answers.flush()?;
    }
}

/// The first parameter is who calls; the server puts it there.
fn carry_out(desk: &Desk, command: &CommandName, params: Vec<Value>) -> Result<Value, Refused> {
    let mut params = params.into_iter();
    let Some(Value::String(caller)) = params.next() else {
        return Err(Refused::Parameters("the caller is missing"));
    };
    let caller: UserId = caller.parse()?;
    let order = Order::parse(command.as_str(), params.collect())?;
    desk.carry_out(&caller, command, order)
}

impl What {
    fn of(command: &CommandName, refused: &Refused) -> Self {
        if let Refused::Book(error) = refused {
            // For the admin alone: callers learn nothing of files.
            writeln!(io::stderr(), "{command}: {}", chain(error)).ok();
        }
        let details = serde_json::json!({ "retryable": matches!(refused, Refused::Busy) });
        Self::Error { message: refused.to_string(), code: refused.code(), details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(desk: &Desk, tasks: &str) -> Vec<Value> {
        let mut out = Vec::new();
        serve(desk, tasks.as_bytes(), &mut out).unwrap();
        out.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn every_task_has_one_answer_in_order() {
        let root = tempfile::tempdir().unwrap();
        let desk = Desk::open(root.path()).unwrap();
        let found = answers(
            &desk,
            "{\"v\":1,\"id\":\"1\",\"command\":\"user.list\",\"params\":[\"InternetUser\"],\"more\":{}}\n\
             {\"v\":1,\"id\":\"2\",\"command\":\"user.list\",\"params\":[]}\n\
             {\"v\":1,\"id\":\"3\",\"command\":\"nothing\",\"params\":[\"Admin\"]}\n\
             {\"v\":1,\"id\":\"4\",\"command\":\"logout\",\"params\":[\"alice\"]}\n\
             {\"v\":1,\"id\":\"5\",\"command\":\"user.list\",\"params\":[\"Admin\"]}\n",
        );
        let short: Vec<_> = found
            .iter()
            .map(|answer| (answer["id"].as_str().unwrap(), answer["error"]["code"].as_str()))
            .collect();
        assert_eq!(
            short,
            [
                ("1", Some("FORBIDDEN")),
                ("2", Some("BAD_REQUEST")),
                ("3", Some("NOT_FOUND")),
                ("4", None),
                ("5", None)
            ]
        );
        assert_eq!(found[4]["response"], serde_json::json!({"users": []}));
        assert!(serve(&desk, &b"no task\n"[..], Vec::new()).is_err());
    }
}
