//! A line of a program as JSON: what is JSON already stays as it is, everything else becomes a string.

use ploinky_contract::check_depth;
use ploinky_contract::limits::JSON_DEPTH_MAX;
use serde_json::value::{RawValue, to_raw_value};

/// JSON without a line feed, as `line` has none.
pub(crate) fn json_of(line: &[u8]) -> Box<RawValue> {
    if check_depth(line, JSON_DEPTH_MAX - 1).is_ok()
        && let Ok(json) = serde_json::from_slice(line)
    {
        return json;
    }
    // A string cannot fail to serialise.
    to_raw_value(&String::from_utf8_lossy(line)).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_a_text() {
        for (line, expected) in [
            (&b"half of it"[..], r#""half of it""#),
            (b" {\"a\": 1} ", r#"{"a": 1}"#),
            (b"7", "7"),
            (b"", r#""""#),
            (b"{\"a\":", r#""{\"a\":""#),
            (b"a\x00\xff\t", r#""a\u0000�\t""#),
        ] {
            assert_eq!(json_of(line).get(), expected);
        }
        let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert_eq!(json_of(deep.as_bytes()).get(), format!("\"{deep}\""));
    }
}
