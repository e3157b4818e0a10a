//! JSON text from a stranger: checks that a parser alone does not make.

use serde::de::DeserializeOwned;

use crate::limits::JSON_DEPTH_MAX;

/// Where in a text the parser stopped, and why.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) at: String,
    pub(crate) reason: String,
}

/// The text nests deeper than allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("JSON nests deeper than {limit} levels")]
pub struct TooDeep {
    limit: usize,
}

/// Checks how deep arrays and objects nest in `json`, which a parser has to find valid besides.
///
/// # Errors
/// When a value lies in more than `limit` arrays and objects.
pub fn check_depth(json: &[u8], limit: usize) -> Result<(), TooDeep> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                if limit < depth {
                    return Err(TooDeep { limit });
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (true | false, _) => {}
        }
    }
    Ok(())
}

/// Whether the first thing in `json` is an object; serde would take an array for a struct, too.
pub fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}

/// Parses a text that has to be one object and nothing else, with bounded nesting.
pub(crate) fn object<T: DeserializeOwned>(text: &[u8]) -> Result<T, Located> {
    let whole = |reason: String| Located { at: ".".to_owned(), reason };
    check_depth(text, JSON_DEPTH_MAX).map_err(|e| whole(e.to_string()))?;
    if !is_object(text) {
        return Err(whole("is not a JSON object".to_owned()));
    }
    let mut parser = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|e| {
        match e.path().to_string().as_str() {
            "?" => whole(e.inner().to_string()),
            path => Located { at: path.to_owned(), reason: e.inner().to_string() },
        }
    })?;
    parser.end().map_err(|e| whole(e.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_levels_and_not_brackets_in_strings() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check_depth(nested(64).as_bytes(), 64), Ok(()));
        assert_eq!(check_depth(nested(65).as_bytes(), 64), Err(TooDeep { limit: 64 }));
        assert_eq!(check_depth(br#"{"a":"[[[[\"[[[","b":[{}]}"#, 3), Ok(()));
    }
}
