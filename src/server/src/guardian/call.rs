//! What a body asks for, parsed without tolerance.

use ploinky_contract::limits::{JSON_DEPTH_MAX, PARAMS_MAX};
use ploinky_contract::{CommandName, InvalidCommandName, TooDeep, check_depth, is_object};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Characters of a parser's sentence that are handed on: it may quote what the client sent.
const REASON_MAX_CHARS: usize = 240;

/// Why a body is no call.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum CallError {
    /// Not UTF-8.
    #[error("the body is not UTF-8 text")]
    NotUtf8,
    /// Too deep.
    #[error("the body is refused: {0}")]
    TooDeep(TooDeep),
    /// Not an object.
    #[error("the body is not a JSON object such as {{\"command\":\"name\",\"params\":[]}}")]
    NotAnObject,
    /// Not an array.
    #[error("is no JSON array")]
    NotAnArray,
    /// The identity is not the client's to give.
    #[error("`runForUserId` is set by the server; leave it out")]
    Identity,
    /// Broken JSON, an unknown or doubled member, a wrong type.
    #[error("the body is refused: {0}")]
    Json(String),
    /// A string holds half of a surrogate pair, which is no text.
    #[error("the body is refused: a string holds half of a surrogate pair")]
    LoneSurrogate,
    /// The command is none.
    #[error("`command`: {0}")]
    Command(InvalidCommandName),
    /// Too many parameters.
    #[error("`params` has {found} entries; {PARAMS_MAX} are allowed")]
    Params {
        /// Entries found.
        found: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    command: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Parses `{"command":…,"params":…}` and nothing else.
pub(super) fn parse(bytes: &[u8]) -> Result<(CommandName, Vec<Box<RawValue>>), CallError> {
    let text = std::str::from_utf8(bytes).map_err(|_invalid| CallError::NotUtf8)?;
    check_depth(bytes, JSON_DEPTH_MAX).map_err(CallError::TooDeep)?;
    if !is_object(bytes) {
        return Err(CallError::NotAnObject);
    }
    let Raw { command, params } = serde_json::from_str(text).map_err(|e| refused(&e))?;
    let command = command.parse().map_err(CallError::Command)?;
    let params = match params {
        None => Vec::new(),
        Some(list) if list.get().starts_with('[') => {
            serde_json::from_str(list.get()).map_err(|e| refused(&e))?
        }
        Some(single) => {
            // It becomes an entry of a list, as deep as a list's entry may be.
            check_depth(single.get().as_bytes(), JSON_DEPTH_MAX - 2).map_err(CallError::TooDeep)?;
            vec![single.to_owned()]
        }
    };
    if PARAMS_MAX < params.len() {
        return Err(CallError::Params { found: params.len() });
    }
    if has_lone_surrogate(bytes) {
        return Err(CallError::LoneSurrogate);
    }
    Ok((command, params))
}

/// Parses a JSON array of parameters that stands alone.
pub(super) fn list(text: &str) -> Result<Vec<Box<RawValue>>, CallError> {
    // The array is an entry of the body of an ordinary call.
    check_depth(text.as_bytes(), JSON_DEPTH_MAX - 1).map_err(CallError::TooDeep)?;
    if !text.trim_start().starts_with('[') {
        return Err(CallError::NotAnArray);
    }
    let params: Vec<_> = serde_json::from_str(text).map_err(|e| refused(&e))?;
    if PARAMS_MAX < params.len() {
        return Err(CallError::Params { found: params.len() });
    }
    if has_lone_surrogate(text.as_bytes()) {
        return Err(CallError::LoneSurrogate);
    }
    Ok(params)
}

fn refused(error: &serde_json::Error) -> CallError {
    let reason = error.to_string();
    if reason.starts_with("unknown field `runForUserId`") {
        return CallError::Identity;
    }
    CallError::Json(if reason.chars().nth(REASON_MAX_CHARS).is_some() {
        reason.chars().take(REASON_MAX_CHARS).chain(['…']).collect()
    } else {
        reason
    })
}

/// Looks for `\uD800` to `\uDFFF` outside of a pair. Values that are only handed on are not decoded, so the
/// parser does not look. `json` is known to be valid.
pub(crate) fn has_lone_surrogate(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(position) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(position..).unwrap_or_default();
        let (unit, length) = match code_unit(escape) {
            None => (0, 2),
            Some(unit) => (unit, 6),
        };
        rest = escape.get(length..).unwrap_or_default();
        match unit {
            0xD800..=0xDBFF => match code_unit(rest) {
                Some(0xDC00..=0xDFFF) => rest = rest.get(6..).unwrap_or_default(),
                Some(_) | None => return true,
            },
            0xDC00..=0xDFFF => return true,
            _ => {}
        }
    }
    false
}

/// The value of the `\uXXXX` at the start.
fn code_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, Vec<String>), CallError> {
        let (command, params) = parse(text.as_bytes())?;
        Ok((
            command.as_str().to_owned(),
            params.iter().map(|param| param.get().to_owned()).collect(),
        ))
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        assert!(matches!(parse(b"\xff"), Err(CallError::NotUtf8)));
        assert!(matches!(
            parse(b"{\"command\":\"a\",\"params\":[\"\xc0\xaf\"]}"),
            Err(CallError::NotUtf8)
        ));
        for text in ["", " ", "null", "1", "\"x\"", "[]", "[\"a\",[]]", "\u{feff}{}", "command"] {
            assert_eq!(parsed(text), Err(CallError::NotAnObject), "{text:?}");
        }
        for text in [
            "{",
            "{}",
            r#"{"command":"a"}x"#,
            r#"{"command":"a"}{}"#,
            r#"{"command":"a",}"#,
            r"{'command':'a'}",
            r#"{"command":"a"/**/}"#,
            r#"{"command":1}"#,
            r#"{"command":null}"#,
            r#"{"command":"a","params":[1,]}"#,
            r#"{"command":"a","params":[01]}"#,
            r#"{"command":"a","params":[NaN]}"#,
            r#"{"command":"a","params":[tru]}"#,
            r#"{"command":"a","params":["\x"]}"#,
            "{\"command\":\"a\",\"params\":[\"\n\"]}",
            "{\"command\":\"a\",\"params\":[\"\0\"]}",
        ] {
            assert!(matches!(parsed(text), Err(CallError::Json(_))), "{text:?}");
        }
    }

    #[test]
    fn unknown_and_doubled_members_are_refused_by_name() {
        for (text, name) in [
            (r#"{"command":"a","x":1}"#, "unknown field `x`"),
            (r#"{"command":"a","__proto__":{}}"#, "unknown field `__proto__`"),
            (r#"{"command":"a","user":"admin"}"#, "unknown field `user`"),
            (r#"{"command":"a","command":"b"}"#, "duplicate field `command`"),
            (r#"{"command":"a","\u0063ommand":"b"}"#, "duplicate field `command`"),
            (r#"{"command":"a","params":[],"params":[]}"#, "duplicate field `params`"),
            (r#"{"command":"a","params":null,"params":[]}"#, "duplicate field `params`"),
            (r#"{"params":[]}"#, "missing field `command`"),
        ] {
            match parsed(text) {
                Err(CallError::Json(reason)) => assert!(reason.starts_with(name), "{reason}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in
            [r#"{"command":"a","runForUserId":"Admin"}"#, r#"{"runForUserId":1,"command":"a"}"#]
        {
            assert_eq!(parsed(text), Err(CallError::Identity), "{text}");
        }
    }

    #[test]
    fn a_quoted_name_does_not_make_the_answer_long() {
        let text = format!(r#"{{"{}":1}}"#, "ä".repeat(100_000));
        let Err(CallError::Json(reason)) = parsed(&text) else { panic!("accepted") };
        assert_eq!(reason.chars().count(), REASON_MAX_CHARS + 1);
    }

    #[test]
    fn commands_that_are_paths_or_patterns_are_refused() {
        for command in ["", "../x", "a/b", "*", "a.*", "-x", "a b", "a\\u0000", "a\\n"] {
            let text = format!(r#"{{"command":"{command}"}}"#);
            assert!(matches!(parsed(&text), Err(CallError::Command(_))), "{text}");
        }
    }

    #[test]
    fn depth_and_number_of_params_are_bounded() {
        let nested = |levels: usize| {
            format!(r#"{{"command":"a","params":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        assert!(parsed(&nested(63)).is_ok());
        assert!(matches!(parsed(&nested(64)), Err(CallError::TooDeep(_))));
        assert!(matches!(parsed(&nested(100_000)), Err(CallError::TooDeep(_))));
        let nested = |levels: usize| {
            let value = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
            format!(r#"{{"command":"a","params":{value}}}"#)
        };
        assert!(matches!(parsed(&nested(63)), Err(CallError::TooDeep(_))));
        assert!(parsed(&nested(62)).is_ok());
        let many = |count: usize| {
            format!(r#"{{"command":"a","params":[{}]}}"#, vec!["1"; count].join(","))
        };
        assert_eq!(parsed(&many(PARAMS_MAX)).unwrap().1.len(), PARAMS_MAX);
        assert_eq!(parsed(&many(PARAMS_MAX + 1)), Err(CallError::Params { found: PARAMS_MAX + 1 }));
    }

    #[test]
    fn half_of_a_surrogate_pair_is_no_text() {
        for text in [r"\ud800", r"\uDFFF", r"\ud83dx", r"\ud83d\n", r"\ude00\ud83d", r"\\\ud800"] {
            let text = format!(r#"{{"command":"a","params":["{text}"]}}"#);
            assert_eq!(parsed(&text), Err(CallError::LoneSurrogate), "{text}");
        }
        for text in [r"\ud83d\ude00", r"\\ud800", r"\u0000", r"\n\\", r"\uD83D\uDE00\ud83d\ude00"] {
            let text = format!(r#"{{"command":"a","params":["{text}"]}}"#);
            assert!(parsed(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn params_are_kept_as_they_are_written() {
        for (params, expected) in [
            ("", vec![]),
            (r#","params":null"#, vec![]),
            (r#","params":[]"#, vec![]),
            (r#","params":"x""#, vec![r#""x""#]),
            (r#","params":1e400"#, vec!["1e400"]),
            (r#","params":{"a":1, "a":2}"#, vec![r#"{"a":1, "a":2}"#]),
            (r#","params": [1, "ä", [true ], null]"#, vec!["1", r#""ä""#, "[true ]", "null"]),
        ] {
            let text = format!(r#"{{"command":"ns.a"{params}}}"#);
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(parsed(&text), Ok(("ns.a".to_owned(), expected)), "{text}");
        }
    }
}
