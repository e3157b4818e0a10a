//! An error that a program reports itself, as JSON.

use std::collections::BTreeMap;

use ploinky_contract::check_depth;
use ploinky_contract::limits::JSON_DEPTH_MAX;
use ploinky_queue::{TaskError, code};
use serde_json::value::RawValue;

/// The error in `{"error":true,"message","code","details"}` or `{"error":{"message","code","details"}}`.
pub(crate) fn outer(json: &[u8]) -> Option<TaskError> {
    let fields = fields(json)?;
    match fields.get("error")?.get() {
        "true" => read(&fields),
        inner => read(&self::fields(inner.as_bytes())?),
    }
}

/// The error in `{"message","code","details"}`.
pub(crate) fn inner(json: &[u8]) -> Option<TaskError> {
    read(&fields(json)?)
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn fields(json: &[u8]) -> Option<Fields<'_>> {
    // Two levels stay free for the record around the details.
    check_depth(json, JSON_DEPTH_MAX - 2).ok()?;
    serde_json::from_slice(json).ok()
}

fn read(fields: &Fields<'_>) -> Option<TaskError> {
    let text = |name: &str| serde_json::from_str::<String>(fields.get(name)?.get()).ok();
    let code = text("code").filter(|text| TaskError::is_code(text) && !is_reserved(text));
    Some(TaskError {
        message: text("message")?,
        code: code.unwrap_or_else(|| code::HANDLER_FAILED.to_owned()),
        details: fields
            .get("details")
            .filter(|details| details.get() != "null")
            .map(|details| (*details).to_owned()),
    })
}

/// Whether a code is a word of the platform: callers and the server take it for what the platform found
/// out itself.
fn is_reserved(code: &str) -> bool {
    const RESERVED: [&str; 5] = [
        code::UNKNOWN_COMMAND,
        code::INVALID_PARAMS,
        code::CANCELLED,
        code::DEADLINE,
        code::RESULT_TOO_LARGE,
    ];
    code.starts_with("AGENT_") || RESERVED.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(error: Option<TaskError>) -> Option<(String, String, Option<String>)> {
        error.map(|TaskError { message, code, details }| {
            (message, code, details.map(|details| details.get().to_owned()))
        })
    }

    #[test]
    fn other_json_is_no_error() {
        for json in [
            "",
            "1",
            "[]",
            "{}",
            r#"{"error":false,"message":"m"}"#,
            r#"{"error":true}"#,
            r#"{"error":true,"message":1}"#,
            r#"{"error":"text"}"#,
            &format!(
                r#"{{"error":true,"message":"m","details":{}1{}}}"#,
                "[".repeat(64),
                "]".repeat(64)
            ),
        ] {
            assert_eq!(words(outer(json.as_bytes())), None, "{json}");
        }
    }

    #[test]
    fn both_shapes_are_read_and_an_odd_code_is_replaced() {
        let expected = |code: &str| Some(("m".to_owned(), code.to_owned(), Some("[1]".to_owned())));
        for (json, code) in [
            (r#"{"error":true,"message":"m","code":"NOT_FOUND","details":[1]}"#, "NOT_FOUND"),
            (r#"{"error":{"message":"m","code":"X","details":[1]}}"#, "X"),
            (r#"{"error":{"message":"m","code":404,"details":[1]}}"#, "HANDLER_FAILED"),
            (r#"{"error":{"message":"m","code":"a b","details":[1]},"x":1}"#, "HANDLER_FAILED"),
        ] {
            assert_eq!(words(outer(json.as_bytes())), expected(code), "{json}");
        }
    }

    #[test]
    fn words_of_the_platform_are_not_taken_from_a_program() {
        for reserved in [
            "UNKNOWN_COMMAND",
            "INVALID_PARAMS",
            "CANCELLED",
            "DEADLINE",
            "RESULT_TOO_LARGE",
            "AGENT_BAD_RESULT",
            "AGENT_CRASHED",
            "AGENT_DOWN",
            "AGENT_ANYTHING",
        ] {
            let json = format!(r#"{{"message":"m","code":"{reserved}","details":[1]}}"#);
            let expected = ("m".to_owned(), "HANDLER_FAILED".to_owned(), Some("[1]".to_owned()));
            assert_eq!(words(inner(json.as_bytes())), Some(expected), "{reserved}");
        }
        for own in ["NOT_FOUND", "AGENT", "AGENTS_FULL", "DEADLINE_MISSED", "deadline"] {
            let json = format!(r#"{{"message":"m","code":"{own}"}}"#);
            let expected = ("m".to_owned(), own.to_owned(), None);
            assert_eq!(words(inner(json.as_bytes())), Some(expected));
        }
    }
}
