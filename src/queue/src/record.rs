//! What all records have in common: bounds that are checked before a parser sees the bytes.

use ploinky_contract::limits::JSON_DEPTH_MAX;
use ploinky_contract::{TooDeep, check_depth, is_object};
use serde::Deserialize;

/// The only version of records.
pub(crate) const VERSION: u8 = 1;

/// Why bytes are not the record that they should be.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// More bytes than the record may have.
    #[error("the record has {length} bytes; {limit} are allowed")]
    TooLong {
        /// Bytes found, or announced by the file's size.
        length: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// Arrays and objects nest too deeply.
    #[error("the record nests too deeply")]
    TooDeep(#[source] TooDeep),
    /// It does not start and end like an object.
    #[error("the record is not one JSON object")]
    NotAnObject,
    /// It is not JSON, or has other fields.
    #[error("the record has not the shape of {shape}")]
    Shape {
        /// What it should have been.
        shape: &'static str,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// A field breaks a rule.
    #[error("the field `{field}` of the record has a value that is not allowed")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// It says that the task ended in two ways.
    #[error("the record says that the task ended in more than one way")]
    Contradiction,
}

/// Parses a record after its bounds were checked.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    limit: usize,
    shape: &'static str,
) -> Result<T, RecordError> {
    if limit < bytes.len() {
        return Err(RecordError::TooLong { length: bytes.len() as u64, limit });
    }
    check_depth(bytes, JSON_DEPTH_MAX).map_err(RecordError::TooDeep)?;
    if !is_object(bytes) || !bytes.trim_ascii_end().ends_with(b"}") {
        return Err(RecordError::NotAnObject);
    }
    serde_json::from_slice(bytes).map_err(|source| RecordError::Shape { shape, source })
}

/// Accepts the only version.
pub(crate) fn check_version(found: u8) -> Result<(), RecordError> {
    if found == VERSION { Ok(()) } else { Err(RecordError::Field { field: "v" }) }
}

#[cfg(test)]
mod tests {
    use ploinky_contract::limits::PARAMS_MAX;

    use crate::scratch::{id, raw, request};
    use crate::{Mode, Outcome, RecordError, Request, TaskError, Terms};

    fn reasons(error: &RecordError) -> String {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }

    #[test]
    fn bytes_that_are_no_request_are_refused_by_name() {
        let good = String::from_utf8(request(1).encode()).unwrap();
        let with = |from: &str, to: &str| {
            assert!(good.contains(from), "{good}");
            good.replacen(from, to, 1)
        };
        let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
        for (text, expected) in [
            (String::new(), "not one JSON object"),
            ("{}".to_owned(), "missing field"),
            ("[]".to_owned(), "not one JSON object"),
            (format!("{good}{good}"), "trailing characters"),
            (format!("{good} x"), "not one JSON object"),
            (with(r#""v":1"#, r#""v":2"#), "field `v`"),
            (with(r#""v":1"#, r#""v":1,"v":1"#), "duplicate field `v`"),
            (with(r#""v":1"#, r#""v":1,"owner":"root""#), "duplicate field `owner`"),
            (with(r#""v":1,"#, ""), "missing field `v`"),
            (with("0101", "010G"), "field `id`"),
            (with("ns.echo", "../echo"), "field `command`"),
            (with(r#"["alice","#, "[1,"), "field `params`"),
            (with("[1, 2]", &deep), "nests deeper than 64"),
            (with(r#""mode":"sync""#, r#""mode":"fast""#), "field `mode`"),
            (with(r#""boot_id":""#, r#""boot_id":"x"#), "field `boot_id`"),
            (with(r#""attempt":1"#, r#""attempt":-1"#), "invalid value"),
            ("{".to_owned() + &" ".repeat(2 << 20) + "}", "are allowed"),
        ] {
            let found = Request::decode(text.as_bytes()).expect_err(&text);
            let found = reasons(&found);
            assert!(found.contains(expected), "{text:.300}\n gave: {found}\n want: {expected}");
        }
        assert!(Request::decode(b"{\"v\":1,\"id\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_request_is_one_line_and_survives_being_written_and_read() {
        let bytes = request(7).encode();
        assert!(!bytes.contains(&b'\n'));
        let read = Request::decode(&bytes).unwrap();
        assert_eq!(read.encode(), bytes);
        assert_eq!(read.params.len(), 2);
    }

    #[test]
    fn a_plain_call_has_the_bytes_of_the_first_version() {
        let mut plain = request(1);
        (plain.seq, plain.deadline_boot_ns) = (5, 7);
        plain.boot_id = "0".repeat(32);
        let expected = format!(
            r#"{{"v":1,"id":"{id}","command":"ns.echo","params":["alice",{{ "a" :  [1, 2] }}],"owner":"alice","mode":"sync","seq":5,"deadline_boot_ns":7,"boot_id":"{zeros}","submitter":{{"instance":1,"invocation":"{zeros}"}},"attempt":1}}"#,
            id = id(1),
            zeros = "0".repeat(32),
        );
        assert_eq!(String::from_utf8(plain.encode()).unwrap(), expected);
        let newer = expected.replace("\"attempt\"", "\"colour\":{\"red\":1},\"attempt\"");
        assert_eq!(Request::decode(newer.as_bytes()).unwrap().encode(), plain.encode());
    }

    #[test]
    fn all_terms_survive_being_written_and_read() {
        let terms = Terms {
            mode: Mode::Async,
            urgency: 0,
            run_ns: Some(1),
            deadline_in_ns: Some(2),
            attempts: 3,
            backoff_ns: 4,
            backoff_max_ns: 5,
            submitted_ms: 6,
            callback: Some("https://example.org/?a=\"b\"".to_owned()),
            digest: Some("0".repeat(64)),
            files: true,
            stream: true,
            retry_of: Some(id(9)),
        };
        for mode in [Mode::Sync, Mode::Async] {
            let mut whole = request(1);
            whole.terms = Terms { mode, ..terms.clone() };
            let bytes = whole.encode();
            let read = Request::decode(&bytes).unwrap();
            assert_eq!((read.terms.clone(), read.encode()), (whole.terms, bytes));
            assert_eq!(read.head().terms, read.terms);
        }
    }

    #[test]
    fn the_user_is_not_counted_among_the_params() {
        let with = |count: usize| {
            let mut request = request(1);
            request.params.truncate(1);
            request.params.extend(std::iter::repeat_n(raw("1"), count));
            request.encode()
        };
        assert!(Request::decode(&with(PARAMS_MAX + 1)).is_err());
        assert_eq!(Request::decode(&with(PARAMS_MAX)).unwrap().params.len(), PARAMS_MAX + 1);
    }

    #[test]
    fn bytes_that_are_no_outcome_are_refused_by_name() {
        let good = String::from_utf8(Outcome::encode_response(id(1), &raw("[1]"))).unwrap();
        for (text, expected) in [
            (good.replace("0101", "0202"), "field `id`"),
            (good.replace(r#","response":[1]"#, ""), "field `response`"),
            (good.replace("[1]", "[1],\"error\":true"), "more than one way"),
            (good.replace("[1]", "[1"), "not the shape"),
            (good.replace("[1]", "1,\"response\":2"), "duplicate field"),
            (good.replace("\"v\":1", "\"v\":300"), "invalid value"),
        ] {
            let found = reasons(&Outcome::decode(id(1), text.as_bytes()).unwrap_err());
            assert!(found.contains(expected), "{text}\n gave: {found}\n want: {expected}");
        }
        let good = String::from_utf8(TaskError::new("X", "y").encode(id(1))).unwrap();
        for (text, expected) in [
            (good.replace("true", "false"), "field `error`"),
            (good.replace("\"X\"", "\"\""), "field `code`"),
            (good.replace("\"X\"", "\"X\\r\\nSet-Cookie: a\""), "field `code`"),
            (good.replace("\"y\"", "7"), "invalid type"),
        ] {
            let found = reasons(&Outcome::decode(id(1), text.as_bytes()).unwrap_err());
            assert!(found.contains(expected), "{text}\n gave: {found}\n want: {expected}");
        }
    }

    #[test]
    fn outcomes_survive_being_written_and_read() {
        for json in ["null", "\"\\u0000ä\"", "{\"a\":[]}"] {
            let bytes = Outcome::encode_response(id(1), &raw(json));
            let Ok(Outcome::Done(value)) = Outcome::decode(id(1), &bytes) else { panic!("{json}") };
            assert_eq!(value.get(), json);
        }
        for details in [None, Some("{\"a\":1}"), Some("[]")] {
            let error = TaskError {
                message: "a \"b\"\n".to_owned(),
                code: "NOT_FOUND".to_owned(),
                details: details.map(raw),
            };
            let bytes = error.encode(id(1));
            let Ok(Outcome::Failed(read)) = Outcome::decode(id(1), &bytes) else {
                panic!("{details:?}")
            };
            assert_eq!(read.encode(id(1)), bytes);
            assert_eq!(read.details.as_deref().map(serde_json::value::RawValue::get), details);
        }
    }
}
