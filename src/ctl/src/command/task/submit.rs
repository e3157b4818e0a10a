//! `ploinkyctl task submit`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueHint};
use ploinky_contract::TaskDocument;
use ploinky_contract::limits::{
    CALLBACK_URL_MAX_BYTES, IDEMPOTENCY_KEY_MAX_BYTES, PREFER_WAIT_MAX, TASK_DEADLINE_MAX,
    UPLOAD_FILES_MAX, URGENCY_MAX,
};

use super::{Host, follow, outcome, print_new};
use crate::command::called::Called;
use crate::failure::{Failure, Stop};
use crate::instance::{AskError, Submission, Upload};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_long_help = "\
The id of the task is printed as soon as it is on disk; from then on it runs, once
or as often as the command's `retry` says, whatever restarts. With --wait the
result is printed as `task result` does, if the task ends in time.

With --file the words behind COMMAND are fields, NAME=VALUE; the agent gets the
files first and the fields second.

Examples:
  sudo ploinkyctl task submit localhost /echo echo.say 'hello world'
  sudo ploinkyctl task submit localhost /shop order.add 7 --wait 30 --key order-7
  sudo ploinkyctl task submit localhost /scan scan.read lang=en --file page=p1.png")]
pub(crate) struct Arguments {
    #[command(flatten)]
    called: Called,
    /// Wait so long for the result; the exit status is that of `task watch`
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    wait: Option<u32>,
    /// Idempotency key: the same key with the same request is the same task
    #[arg(long, value_parser = key)]
    key: Option<String>,
    /// 0 to 7, 0 first; 3 if nothing is said
    #[arg(long, value_name = "0..7", value_parser = clap::value_parser!(u8).range(..=i64::from(URGENCY_MAX)))]
    urgency: Option<u8>,
    /// Time from now after which the task is given up, at most 7 days
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TASK_DEADLINE_MAX.as_secs()))]
    deadline: Option<u64>,
    /// Where the outcome is posted; `settings.callbackOrigins` must allow it
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_parser = callback)]
    callback: Option<String>,
    /// Send a file as the field FIELD; may be given several times
    #[arg(long = "file", value_name = "FIELD=PATH", value_hint = ValueHint::FilePath)]
    files: Vec<Field>,
}

/// A file and the field it is sent as.
#[derive(Clone, Debug)]
struct Field {
    name: String,
    path: PathBuf,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            Some(_) | None => Err("write FIELD=PATH, as in `page=p1.png`".to_owned()),
        }
    }
}

fn key(text: &str) -> Result<String, String> {
    visible(text, IDEMPOTENCY_KEY_MAX_BYTES)
}

fn callback(text: &str) -> Result<String, String> {
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return Err("it begins with neither `https://` nor `http://`".to_owned());
    }
    visible(text, CALLBACK_URL_MAX_BYTES)
}

fn visible(text: &str, most: usize) -> Result<String, String> {
    if (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("use 1 to {most} visible ASCII characters"))
    }
}

/// Submits, and waits if that is wanted.
pub(crate) fn run(
    arguments: &Arguments,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let task = submit(arguments, host)?;
    let Some(wait) = arguments.wait else {
        return print_new(&task, output);
    };
    output.progress(&format!("task {} is accepted", task.id))?;
    let limit = Duration::from_secs(wait.into());
    let task = if task.state.is_final() {
        task
    } else {
        follow::follow(task.id, Some(limit), PREFER_WAIT_MAX, host, output, &mut |_, _| Ok(()))?
    };
    outcome::deliver(&task, None, host, output)
}

fn submit(arguments: &Arguments, host: &Host<'_>) -> Result<TaskDocument, Failure> {
    let Arguments { called, key, urgency, deadline, callback, .. } = arguments;
    let (place, command) = (called.place(), &called.command);
    let submission = Submission {
        place: &place,
        command,
        key: key.as_deref(),
        urgency: *urgency,
        deadline: *deadline,
        callback: callback.as_deref(),
    };
    let what = || format!("cannot submit `{command}` to {place}");
    let accepted = if arguments.files.is_empty() {
        host.instances.submit(&submission, &called.values())
    } else {
        let upload =
            upload(arguments).map_err(|e| e.map_or_else(|words| words, |e| e.failure(what())))?;
        host.instances.upload(&submission, upload)
    };
    accepted.map_err(|e| {
        let failure = e.failure(what());
        match (&e, key) {
            (AskError::Lost { .. } | AskError::Timeout, None) => failure.hint(
                "the task may be accepted: look with `ploinkyctl task list` before you submit it \
                 again; with `--key` the same request is the same task",
            ),
            (AskError::Lost { .. } | AskError::Timeout, Some(_)) => {
                failure.hint("submit it again with the same key: it is the same task")
            }
            (AskError::Refused(refusal), _) if refusal.status == 404 => failure.hint(format!(
                "`ploinkyctl agent status {place}` shows whether the agent is there, and its commands"
            )),
            _ => failure,
        }
    })
}

/// The files and fields, opened.
fn upload(arguments: &Arguments) -> Result<Upload, Result<AskError, Failure>> {
    let Arguments { called, files, .. } = arguments;
    if UPLOAD_FILES_MAX < files.len() {
        let text = format!("{} files are too many: {UPLOAD_FILES_MAX} are allowed", files.len());
        return Err(Err(Failure::usage(text)));
    }
    let mut fields = Vec::new();
    for word in &called.parameters {
        match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => fields.push((name, value)),
            Some(_) | None => {
                return Err(Err(Failure::usage(format!("`{word}` is no field"))
                    .hint("with `--file` the words behind COMMAND are NAME=VALUE")));
            }
        }
    }
    let files: Vec<(&str, PathBuf)> =
        files.iter().map(|Field { name, path }| (name.as_str(), path.clone())).collect();
    Upload::open(&fields, &files).map_err(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_header_can_carry_is_refused() {
        for text in ["", "a b", "a\n", "ä", &"k".repeat(256)] {
            assert!(key(text).is_err(), "{text:?} was accepted");
        }
        for text in ["ftp://x", "x.org/a", "https://x/ä", "https://x y"] {
            assert!(callback(text).is_err(), "{text:?} was accepted");
        }
        assert_eq!(key("order-7"), Ok("order-7".to_owned()));
        assert!(callback("https://x.org/done?a=1").is_ok());
    }

    #[test]
    fn a_file_has_a_field_and_a_path() {
        for text in ["", "a", "=a", "a="] {
            assert!(text.parse::<Field>().is_err(), "{text:?} was accepted");
        }
        let field: Field = "a=b=c".parse().unwrap();
        assert_eq!((field.name.as_str(), field.path.to_str()), ("a", Some("b=c")));
    }
}
