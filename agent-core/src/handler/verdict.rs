//! What the end of a program means for its task.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use ploinky_contract::check_depth;
use ploinky_contract::limits::{JSON_DEPTH_MAX, RESULT_MAX_BYTES, STREAM_LINE_MAX_BYTES};
use ploinky_queue::{TaskError, code};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};

use super::exchange::{Ended, How};
use super::output::Trouble;
use crate::file_result::FileName;
use crate::interrupt::Why;
use crate::program::missing_script;
use crate::run::Ending;
use crate::spoken_error;

#[derive(Serialize)]
struct Details<'a> {
    #[serde(rename = "exitCode", skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    stderr: &'a str,
}

/// `has_file` tells whether the program left a file as its result.
pub(super) fn verdict(
    mut ended: Ended,
    words: &[String],
    command: &str,
    has_file: impl FnOnce() -> bool,
) -> Ending {
    match ended.how {
        How::Exited(status) if status.success() && has_file() => file(&ended.stdout, command),
        How::Exited(status) if status.success() => {
            value(&ended.stdout).map_or_else(Ending::Failed, Ending::Value)
        }
        How::Exited(status) => {
            let tail = ended.stderr.finish();
            Ending::Failed(
                spoken(&ended.stdout, tail).unwrap_or_else(|| failed(status, tail, words, command)),
            )
        }
        How::Late => Ending::failed(
            code::DEADLINE,
            format!("the handler of `{command}` did not end in time"),
        ),
        How::Asked(why) => Ending::Asked(why),
        How::Refused(Trouble::TooLong) => Ending::failed(
            code::RESULT_TOO_LARGE,
            format!("the handler of `{command}` wrote more than {RESULT_MAX_BYTES} bytes"),
        ),
        How::Refused(Trouble::LineTooLong) => Ending::failed(
            code::RESULT_TOO_LARGE,
            format!(
                "the handler of `{command}` wrote a line with more than {STREAM_LINE_MAX_BYTES} bytes"
            ),
        ),
        How::Refused(Trouble::ReaderGone) => Ending::Asked(Why::ReaderGone),
        How::Stuck => Ending::failed(
            code::HANDLER_FAILED,
            format!("the handler of `{command}` cannot be ended"),
        ),
    }
}

fn file(stdout: &[u8], command: &str) -> Ending {
    FileName::parse(stdout).map_or_else(
        |e| {
            let message = format!(
                "the handler of `{command}` left a file and its stdout does not name it: {e}"
            );
            Ending::failed(code::AGENT_BAD_RESULT, message)
        },
        Ending::File,
    )
}

/// What stdout says: JSON if it is, else a text without its last line feed.
fn value(stdout: &[u8]) -> Result<Box<RawValue>, TaskError> {
    if stdout.is_empty() {
        return Ok(RawValue::NULL.to_owned());
    }
    // The record is one level more.
    if check_depth(stdout, JSON_DEPTH_MAX - 1).is_ok() {
        if let Ok(json) = serde_json::from_slice::<Box<RawValue>>(stdout) {
            return Ok(json);
        }
    } else if serde_json::from_slice::<IgnoredAny>(stdout).is_ok() {
        return Err(TaskError::new(
            code::AGENT_BAD_RESULT,
            format!("the JSON of the handler nests deeper than {} levels", JSON_DEPTH_MAX - 1),
        ));
    }
    let text = String::from_utf8_lossy(stdout);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    to_raw_value(text).map_err(|e| TaskError::new(code::AGENT_BAD_RESULT, e.to_string()))
}

/// The error that the program reports itself: all of stdout, all of stderr, or the last line of stderr.
fn spoken(stdout: &[u8], stderr: &[u8]) -> Option<TaskError> {
    let last = stderr.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    [stdout, stderr, last].into_iter().find_map(spoken_error::outer)
}

fn failed(status: ExitStatus, stderr: &[u8], words: &[String], command: &str) -> TaskError {
    let handler = words.join(" ");
    let message = match (missing_script(words), status.code(), status.signal()) {
        (Some(script), ..) => {
            format!("the handler of `{command}` does not run: there is no file `{script}`")
        }
        (None, Some(exit_code), _) => {
            format!("the handler of `{command}` (`{handler}`) ended with exit code {exit_code}")
        }
        (None, None, Some(signal)) => {
            format!("the handler of `{command}` (`{handler}`) was ended by signal {signal}")
        }
        (None, None, None) => format!("the handler of `{command}` (`{handler}`) ended: {status}"),
    };
    let details = Details {
        exit_code: status.code(),
        signal: status.signal(),
        stderr: &String::from_utf8_lossy(stderr),
    };
    TaskError {
        message,
        code: code::HANDLER_FAILED.to_owned(),
        details: to_raw_value(&details).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(stdout: &[u8]) -> Result<String, String> {
        value(stdout).map(|value| value.get().to_owned()).map_err(|error| error.code)
    }

    #[test]
    fn json_that_nests_too_deeply_is_refused_and_other_brackets_are_text() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(text(nested(64).as_bytes()), Err("AGENT_BAD_RESULT".to_owned()));
        assert_eq!(text(nested(63).as_bytes()), Ok(nested(63)));
        assert_eq!(text("[".repeat(100).as_bytes()), Ok(format!("\"{}\"", "[".repeat(100))));
    }

    #[test]
    fn stdout_is_json_or_text() {
        for (stdout, expected) in [
            (&b""[..], "null"),
            (b"null\n", "null"),
            (b" {\"a\": 1} \n", "{\"a\": 1}"),
            (b"\"x\"", "\"x\""),
            (b"1 2\n", "\"1 2\""),
            (b"hello\r\n", "\"hello\""),
            (b"a\n\n", "\"a\\n\""),
            (b"\n", "\"\""),
            (b"\xff", "\"\u{fffd}\""),
        ] {
            assert_eq!(text(stdout).as_deref(), Ok(expected), "{stdout:?}");
        }
    }
}
