//! The line of a worker: `{"id":…,"response":…}` or `{"id":…,"error":{…}}`.

use ploinky_contract::limits::JSON_DEPTH_MAX;
use ploinky_contract::{TaskId, check_depth};
use ploinky_queue::TaskError;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::spoken_error;

/// What a worker says about a task.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    Value(&'a RawValue),
    Error(TaskError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    id: &'a str,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// `null` is a value, too.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// The answer to task `id` in `line`, or why it is none.
pub(super) fn say(line: &[u8], id: TaskId) -> Result<Said<'_>, String> {
    check_depth(line, JSON_DEPTH_MAX).map_err(|e| format!("the worker's line: {e}"))?;
    let Line { id: found, response, error } =
        serde_json::from_slice(line).map_err(|e| format!("the worker's line is no answer: {e}"))?;
    if found != id.as_str() {
        return Err("the worker answered another task than it was asked".to_owned());
    }
    match (response, error) {
        (Some(value), None) => Ok(Said::Value(value)),
        (None, Some(error)) => spoken_error::inner(error.get().as_bytes())
            .map(Said::Error)
            .ok_or_else(|| "the worker's error has no message".to_owned()),
        (Some(_), Some(_)) | (None, None) => {
            Err("the worker's line needs one of `response` and `error`".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_answer_are_refused_by_reason() {
        let id = TaskId::from_random([1; 16]);
        for (rest, expected) in [
            ("", "needs one of"),
            (r#","error":null"#, "needs one of"),
            (r#","response":1,"error":{"message":"m"}"#, "needs one of"),
            (r#","response":1,"response":2"#, "duplicate field"),
            (r#","response":1,"x":2"#, "unknown field"),
            (r#","error":"m""#, "no message"),
            (r#","error":{"code":"X"}"#, "no message"),
            (&format!(r#","response":{}1{}"#, "[".repeat(64), "]".repeat(64)), "deeper than 64"),
        ] {
            let line = format!(r#"{{"id":"{id}"{rest}}}"#);
            let found = say(line.as_bytes(), id).unwrap_err();
            assert!(found.contains(expected), "{line}\n gave: {found}\n want: {expected}");
        }
        let other = format!(r#"{{"id":"{}","response":1}}"#, "0".repeat(32));
        assert!(say(other.as_bytes(), id).unwrap_err().contains("another task"));
        assert!(say(b"hello", id).unwrap_err().contains("no answer"));
    }

    #[test]
    fn null_is_a_value() {
        let id = TaskId::from_random([1; 16]);
        let line = format!(r#"{{"id":"{id}","response":null}}"#);
        assert!(
            matches!(say(line.as_bytes(), id), Ok(Said::Value(value)) if value.get() == "null")
        );
    }
}
