//! The `Prefer` header (RFC 7240): what of it means something here. Other preferences are nobody's mistake.

use std::time::Duration;

use http::HeaderMap;
use ploinky_contract::limits::PREFER_WAIT_MAX;

use super::header_value::HeaderError;
use super::wishes::seconds;

const PREFER: &str = "prefer";

/// Preferences that are carried out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Prefer {
    /// `respond-async`.
    pub(crate) respond_async: bool,
    /// `wait=N`.
    pub(crate) wait: Option<Duration>,
}

/// The preferences in `headers`; of one that is there more than once the first counts.
pub(super) fn of(headers: &HeaderMap) -> Result<Prefer, HeaderError> {
    let mut prefer = Prefer::default();
    let mut has_wait = false;
    for line in headers.get_all(PREFER) {
        let line = line.as_bytes();
        let refused = |rule: String| HeaderError::new(PREFER, line, rule);
        for preference in split(line, b',').ok_or_else(|| refused(unclosed()))? {
            // Behind the first semicolon are parameters, of which these two have none.
            let whole = split(preference, b';').ok_or_else(|| refused(unclosed()))?;
            let whole = whole.first().copied().unwrap_or_default();
            let (name, value) = match whole.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    let (name, value) = whole.split_at(at);
                    (name.trim_ascii(), unquoted(value.get(1..).unwrap_or_default()))
                }
                None => (whole.trim_ascii(), &b""[..]),
            };
            if name.eq_ignore_ascii_case(b"respond-async") {
                if !value.is_empty() {
                    return Err(refused("`respond-async` has no value".to_owned()));
                }
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case(b"wait") && !has_wait {
                has_wait = true;
                let wait = seconds(value, PREFER_WAIT_MAX).filter(|_| !value.is_empty());
                prefer.wait = Some(wait.ok_or_else(|| refused(wait_rule()))?);
            }
        }
    }
    Ok(prefer)
}

fn unclosed() -> String {
    "a quote is not closed".to_owned()
}

fn wait_rule() -> String {
    format!("`wait` is 0 to {} whole seconds", PREFER_WAIT_MAX.as_secs())
}

/// The parts between separators that are not quoted; `None` if a quote does not end.
fn split(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte if *byte == separator && !is_quoted => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    (!is_quoted).then_some(parts)
}

fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn prefer(lines: &[&str]) -> Result<(bool, Option<u64>), String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_str(line).unwrap());
        }
        of(&headers)
            .map(|found| (found.respond_async, found.wait.map(|wait| wait.as_secs())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_preferences_are_refused_by_name_value_and_rule() {
        for (line, rule) in [
            ("wait", "`wait` is 0 to 60 whole seconds"),
            ("wait=", "`wait` is 0 to 60 whole seconds"),
            ("wait=61", "`wait` is 0 to 60 whole seconds"),
            ("wait=-1", "`wait` is 0 to 60 whole seconds"),
            ("wait=1.5", "`wait` is 0 to 60 whole seconds"),
            ("wait=soon", "`wait` is 0 to 60 whole seconds"),
            ("respond-async, wait=1000", "`wait` is 0 to 60 whole seconds"),
            ("respond-async=yes", "`respond-async` has no value"),
            ("handling=\"strict", "a quote is not closed"),
        ] {
            let said = prefer(&[line]).expect_err(line);
            let shown = line.escape_debug();
            assert_eq!(said, format!("the header prefer has the value `{shown}`: {rule}"));
        }
    }

    #[test]
    fn preferences_are_understood_in_every_form_of_the_rfc() {
        for (lines, expected) in [
            (&[][..], (false, None)),
            (&[""], (false, None)),
            (&["return=minimal, x, ;y"], (false, None)),
            (&["respond-async"], (true, None)),
            (&["Respond-Async , WAIT = 10"], (true, Some(10))),
            (&["respond-async;foo=\"a,b;c\", wait=\"5\";bar"], (true, Some(5))),
            (&["respond-async=\"\""], (true, None)),
            (&["wait=0", "respond-async, wait=7"], (true, Some(0))),
            (&["x=\"respond-async, wait=61\\\", \""], (false, None)),
        ] {
            assert_eq!(prefer(lines), Ok(expected), "{lines:?}");
        }
    }
}
