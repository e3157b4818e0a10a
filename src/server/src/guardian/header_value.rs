//! One header of a request: there once or not at all, and refused by name, value and rule.

use http::HeaderMap;

/// Characters of a value that a refusal repeats.
const SHOWN_MAX_CHARS: usize = 100;

/// A header has a value that is not allowed.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the header {name} has the value `{value}`: {rule}")]
pub(crate) struct HeaderError {
    name: &'static str,
    value: String,
    rule: String,
}

impl HeaderError {
    /// The value `value` of `name` breaks `rule`.
    pub(super) fn new(name: &'static str, value: &[u8], rule: impl Into<String>) -> Self {
        let text = String::from_utf8_lossy(value);
        let mut shown: String = text.chars().take(SHOWN_MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self { name, value: shown.escape_debug().to_string(), rule: rule.into() }
    }
}

/// The value of a header that may be there once.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a [u8]>, HeaderError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    match values.next() {
        None => Ok(Some(first.as_bytes())),
        Some(second) => {
            Err(HeaderError::new(name, second.as_bytes(), "the header must be there once"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_refusal_repeats_only_the_start_of_a_value_and_nothing_that_breaks_a_line() {
        let error = HeaderError::new("x", "ä\r\n".repeat(1000).as_bytes(), "is wrong");
        let text = error.to_string();
        assert!(text.starts_with("the header x has the value `ä\\r\\nä"), "{text}");
        assert!(text.ends_with("…`: is wrong") && text.len() < 400, "{text}");
        HeaderError::new("x", b"\xff\0", "r");
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, "x"), Ok(None));
        headers.append("x", HeaderValue::from_static("1"));
        assert_eq!(single(&headers, "x"), Ok(Some(b"1".as_slice())));
        headers.append("x", HeaderValue::from_static("1"));
        assert!(single(&headers, "x").is_err());
    }
}
