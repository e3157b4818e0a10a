//! The lines of a worker: `{"id":…,"response":…}`, `{"id":…,"error":{…}}` or `{"id":…,"file":{…}}` answer a
//! task; before that, `{"id":…,"progress":…}` and `{"id":…,"event":…}` may come as often as it likes.

use ploinky_contract::limits::JSON_DEPTH_MAX;
use ploinky_contract::{TaskId, check_depth};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::file_result::FileName;
use crate::run::Ending;
use crate::spoken_error;

/// What a worker says about a task.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// The answer: nothing follows.
    Answer(Ending),
    /// How far it is.
    Progress(&'a RawValue),
    /// A part of a stream.
    Event(&'a RawValue),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    id: &'a str,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    progress: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    event: Option<&'a RawValue>,
}

/// `null` is a value, too.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// What `line` says of task `id`, or why it says nothing.
pub(super) fn say(line: &[u8], id: TaskId) -> Result<Said<'_>, String> {
    check_depth(line, JSON_DEPTH_MAX).map_err(|e| format!("the worker's line: {e}"))?;
    let Line { id: found, response, error, file, progress, event } =
        serde_json::from_slice(line).map_err(|e| format!("the worker's line is no answer: {e}"))?;
    if found != id.as_str() {
        return Err("the worker answered another task than it was asked".to_owned());
    }
    match (response, error, file, progress, event) {
        (Some(value), None, None, None, None) => Ok(Said::Answer(Ending::Value(value.to_owned()))),
        (None, Some(error), None, None, None) => spoken_error::inner(error.get().as_bytes())
            .map(|error| Said::Answer(Ending::Failed(error)))
            .ok_or_else(|| "the worker's error has no message".to_owned()),
        (None, None, Some(file), None, None) => serde_json::from_str::<FileName>(file.get())
            .map(|name| Said::Answer(Ending::File(name)))
            .map_err(|e| format!("the worker's `file` names no file: {e}")),
        (None, None, None, Some(progress), None) => Ok(Said::Progress(progress)),
        (None, None, None, None, Some(event)) => Ok(Said::Event(event)),
        _ => Err(
            "the worker's line needs one of `response`, `error`, `file`, `progress` and `event`"
                .to_owned(),
        ),
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
            (r#","response":1,"progress":1"#, "needs one of"),
            (r#","event":1,"progress":1"#, "needs one of"),
            (r#","response":1,"file":{}"#, "needs one of"),
            (r#","response":1,"response":2"#, "duplicate field"),
            (r#","response":1,"x":2"#, "unknown field"),
            (r#","error":"m""#, "no message"),
            (r#","error":{"code":"X"}"#, "no message"),
            (r#","file":"a.txt""#, "names no file"),
            (r#","file":{"name":7}"#, "names no file"),
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
        let line = |kind: &str| format!(r#"{{"id":"{id}","{kind}":null}}"#);
        assert!(
            matches!(say(line("response").as_bytes(), id), Ok(Said::Answer(Ending::Value(value))) if value.get() == "null")
        );
        assert!(
            matches!(say(line("event").as_bytes(), id), Ok(Said::Event(value)) if value.get() == "null")
        );
        assert!(
            matches!(say(line("progress").as_bytes(), id), Ok(Said::Progress(value)) if value.get() == "null")
        );
    }
}
