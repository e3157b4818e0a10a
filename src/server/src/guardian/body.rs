//! What a request asks for: its body, read within bounds and parsed without tolerance.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use ploinky_contract::limits::{JSON_DEPTH_MAX, PARAMS_MAX};
use ploinky_contract::{CommandName, InvalidCommandName, TooDeep, check_depth, is_object};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Media types of a body; a form is refused, so that no page of another site can post one.
const MEDIA_TYPES: [&str; 2] = ["application/json", "text/plain"];
/// Characters of a parser's sentence that are handed on: it may quote what the client sent.
const REASON_MAX_CHARS: usize = 240;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// More bytes than allowed.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The client took too long.
    #[error("the body did not arrive within {} s", .limit.as_secs())]
    TooSlow {
        /// Time allowed.
        limit: Duration,
    },
    /// The connection or the framing broke.
    #[error("the body is broken")]
    Broken(#[source] axum::Error),
}

/// Why a body is no request.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Not UTF-8.
    #[error("the body is not UTF-8 text")]
    NotUtf8,
    /// Too deep.
    #[error("the body is refused: {0}")]
    TooDeep(TooDeep),
    /// Not an object.
    #[error("the body is not a JSON object such as {{\"command\":\"name\",\"params\":[]}}")]
    NotAnObject,
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

/// Whether the media type of the body is one that may hold a request; its absence is.
pub(super) fn has_media_type(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => {
            value.to_str().ok().and_then(|value| value.split(';').next()).is_some_and(|essence| {
                MEDIA_TYPES.iter().any(|known| essence.trim().eq_ignore_ascii_case(known))
            })
        }
        (Some(_), Some(_)) => false,
    }
}

/// Reads the body whole, within `limit` bytes and `time`.
pub(super) async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, ReadError> {
    match tokio::time::timeout(time, collect(body, limit)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(ReadError::TooSlow { limit: time }),
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ReadError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else { continue };
        if limit < first.len() + rest.len() + data.len() {
            return Err(ReadError::TooLarge { limit });
        }
        // Nearly every body comes in one piece, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// Parses `{"command":…,"params":…}` and nothing else.
pub(super) fn parse(bytes: &[u8]) -> Result<(CommandName, Vec<Box<RawValue>>), BodyError> {
    let text = std::str::from_utf8(bytes).map_err(|_invalid| BodyError::NotUtf8)?;
    check_depth(bytes, JSON_DEPTH_MAX).map_err(BodyError::TooDeep)?;
    if !is_object(bytes) {
        return Err(BodyError::NotAnObject);
    }
    let Raw { command, params } = serde_json::from_str(text).map_err(|e| refused(&e))?;
    let command = command.parse().map_err(BodyError::Command)?;
    let params = match params {
        None => Vec::new(),
        Some(list) if list.get().starts_with('[') => {
            serde_json::from_str(list.get()).map_err(|e| refused(&e))?
        }
        Some(single) => vec![single.to_owned()],
    };
    if PARAMS_MAX < params.len() {
        return Err(BodyError::Params { found: params.len() });
    }
    if has_lone_surrogate(bytes) {
        return Err(BodyError::LoneSurrogate);
    }
    Ok((command, params))
}

fn refused(error: &serde_json::Error) -> BodyError {
    let reason = error.to_string();
    if reason.starts_with("unknown field `runForUserId`") {
        return BodyError::Identity;
    }
    BodyError::Json(if reason.chars().nth(REASON_MAX_CHARS).is_some() {
        reason.chars().take(REASON_MAX_CHARS).chain(['…']).collect()
    } else {
        reason
    })
}

/// Looks for `\uD800` to `\uDFFF` outside of a pair. Values that are only handed on are not decoded, so the
/// parser does not look. `json` is known to be valid.
fn has_lone_surrogate(json: &[u8]) -> bool {
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
    use http::HeaderValue;

    use super::*;

    fn parsed(text: &str) -> Result<(String, Vec<String>), BodyError> {
        let (command, params) = parse(text.as_bytes())?;
        Ok((
            command.as_str().to_owned(),
            params.iter().map(|param| param.get().to_owned()).collect(),
        ))
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        assert!(matches!(parse(b"\xff"), Err(BodyError::NotUtf8)));
        assert!(matches!(
            parse(b"{\"command\":\"a\",\"params\":[\"\xc0\xaf\"]}"),
            Err(BodyError::NotUtf8)
        ));
        for text in ["", " ", "null", "1", "\"x\"", "[]", "[\"a\",[]]", "\u{feff}{}", "command"] {
            assert_eq!(parsed(text), Err(BodyError::NotAnObject), "{text:?}");
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
            assert!(matches!(parsed(text), Err(BodyError::Json(_))), "{text:?}");
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
                Err(BodyError::Json(reason)) => assert!(reason.starts_with(name), "{reason}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in
            [r#"{"command":"a","runForUserId":"Admin"}"#, r#"{"runForUserId":1,"command":"a"}"#]
        {
            assert_eq!(parsed(text), Err(BodyError::Identity), "{text}");
        }
    }

    #[test]
    fn a_quoted_name_does_not_make_the_answer_long() {
        let text = format!(r#"{{"{}":1}}"#, "ä".repeat(100_000));
        let Err(BodyError::Json(reason)) = parsed(&text) else { panic!("accepted") };
        assert_eq!(reason.chars().count(), REASON_MAX_CHARS + 1);
    }

    #[test]
    fn commands_that_are_paths_or_patterns_are_refused() {
        for command in ["", "../x", "a/b", "*", "a.*", "-x", "a b", "a\\u0000", "a\\n"] {
            let text = format!(r#"{{"command":"{command}"}}"#);
            assert!(matches!(parsed(&text), Err(BodyError::Command(_))), "{text}");
        }
    }

    #[test]
    fn depth_and_number_of_params_are_bounded() {
        let nested = |levels: usize| {
            format!(r#"{{"command":"a","params":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        assert!(parsed(&nested(63)).is_ok());
        assert!(matches!(parsed(&nested(64)), Err(BodyError::TooDeep(_))));
        assert!(matches!(parsed(&nested(100_000)), Err(BodyError::TooDeep(_))));
        let many = |count: usize| {
            format!(r#"{{"command":"a","params":[{}]}}"#, vec!["1"; count].join(","))
        };
        assert_eq!(parsed(&many(PARAMS_MAX)).unwrap().1.len(), PARAMS_MAX);
        assert_eq!(parsed(&many(PARAMS_MAX + 1)), Err(BodyError::Params { found: PARAMS_MAX + 1 }));
    }

    #[test]
    fn half_of_a_surrogate_pair_is_no_text() {
        for text in [r"\ud800", r"\uDFFF", r"\ud83dx", r"\ud83d\n", r"\ude00\ud83d", r"\\\ud800"] {
            let text = format!(r#"{{"command":"a","params":["{text}"]}}"#);
            assert_eq!(parsed(&text), Err(BodyError::LoneSurrogate), "{text}");
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

    #[test]
    fn forms_are_no_requests() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            }
            has_media_type(&headers)
        };
        for values in [
            &["application/x-www-form-urlencoded"][..],
            &["multipart/form-data; boundary=application/json"],
            &["application/jsonx"],
            &["application/json, text/html"],
            &[""],
            &["application/json", "application/json"],
        ] {
            assert!(!of(values), "{values:?}");
        }
        for values in [
            &[][..],
            &["application/json"],
            &["Application/JSON; charset=utf-8"],
            &["text/plain;charset=UTF-8"],
        ] {
            assert!(of(values), "{values:?}");
        }
    }

    /// A body of which nothing ever comes.
    struct Silent;

    impl hyper::body::Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let limit = Duration::from_millis(10);
        let read = read(Body::new(Silent), 1, limit).await;
        assert!(matches!(read, Err(ReadError::TooSlow { .. })));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_kept() {
        let full = || Body::from("12345");
        let second = Duration::from_secs(1);
        assert!(matches!(read(full(), 4, second).await, Err(ReadError::TooLarge { limit: 4 })));
        assert_eq!(read(full(), 5, second).await.unwrap(), "12345");
    }
}
