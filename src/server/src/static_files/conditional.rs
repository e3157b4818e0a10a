//! Which part of a file the client needs: `If-None-Match`, `If-Modified-Since`, `If-Range`, `Range` (RFC 9110).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, header};

/// What identifies one state of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Version {
    /// A strong entity tag, in quotes.
    pub(crate) etag: String,
    /// Time of the last change, in whole seconds.
    pub(crate) modified: SystemTime,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// All bytes.
    Whole,
    /// Bytes `first..=last`.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// The client has this state already.
    Nothing,
    /// The range lies beyond the end.
    Unsatisfiable,
}

/// Decides what a client that sent `headers` needs of a file of `length` bytes.
pub(super) fn need(headers: &HeaderMap, version: &Version, length: u64) -> Need {
    if has_already(headers, version) {
        return Need::Nothing;
    }
    match text(headers, &header::RANGE) {
        Some(range) if may_be_part(headers, version) => part(range, length),
        Some(_) | None => Need::Whole,
    }
}

fn has_already(headers: &HeaderMap, version: &Version) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == version.etag);
    }
    text(headers, &header::IF_MODIFIED_SINCE)
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .is_some_and(|date| version.modified <= date)
}

/// `If-Range`: a part is of use only if the client's other parts are of the same state.
fn may_be_part(headers: &HeaderMap, version: &Version) -> bool {
    match headers.get(header::IF_RANGE).map(|value| value.to_str().unwrap_or_default()) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag == version.etag,
        Some(date) => httpdate::parse_http_date(date).is_ok_and(|date| date == version.modified),
    }
}

/// One range. Several, or what is no range at all, are ignored, as RFC 9110, 14.2 allows.
fn part(range: &str, length: u64) -> Need {
    let Some((unit, spec)) = range.split_once('=') else { return Need::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Need::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Need::Whole;
    }
    match (offset(first), offset(last)) {
        (Some(Some(first)), Some(last)) => {
            let last = last.unwrap_or(u64::MAX);
            if last < first {
                Need::Whole
            } else if length <= first {
                Need::Unsatisfiable
            } else {
                Need::Part { first, last: last.min(length - 1) }
            }
        }
        (Some(None), Some(Some(suffix))) => match (suffix, length) {
            (0, _) => Need::Unsatisfiable,
            (_, 0) => Need::Whole,
            (suffix, length) => {
                Need::Part { first: length.saturating_sub(suffix), last: length - 1 }
            }
        },
        _ => Need::Whole,
    }
}

/// Digits, or nothing at all. A number beyond 64 bits is beyond every file.
#[expect(clippy::option_option, reason = "absent, present and broken are three things")]
fn offset(digits: &str) -> Option<Option<u64>> {
    match digits {
        "" => Some(None),
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}

/// The value of a header that may be there once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(length: u64, lines: &[(HeaderName, &str)]) -> Need {
        let version = Version {
            etag: "\"tag\"".to_owned(),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
        };
        let headers =
            lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        need(&headers, &version, length)
    }

    #[test]
    fn a_range_is_taken_only_as_one_plain_range() {
        let part = |first, last| Need::Part { first, last };
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-4", part(2, 4)),
            ("Bytes=2-", part(2, 9)),
            ("bytes=2-99999999999999999999999", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-11", part(0, 9)),
            ("bytes=10-", Need::Unsatisfiable),
            ("bytes=99999999999999999999999-", Need::Unsatisfiable),
            ("bytes=-0", Need::Unsatisfiable),
            ("bytes=4-2", Need::Whole),
            ("bytes=0-1,3-4", Need::Whole),
            ("bytes=--1", Need::Whole),
            ("bytes=-1-2", Need::Whole),
            ("bytes=+1-2", Need::Whole),
            ("bytes=-", Need::Whole),
            ("bytes=", Need::Whole),
            ("bytes", Need::Whole),
            ("lines=1-2", Need::Whole),
            ("", Need::Whole),
        ] {
            assert_eq!(of(10, &[(header::RANGE, range)]), expected, "{range}");
        }
        let thousand = format!("bytes={}", vec!["0-1"; 1000].join(","));
        assert_eq!(of(10, &[(header::RANGE, &thousand)]), Need::Whole);
        assert_eq!(
            of(10, &[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=3-4")]),
            Need::Whole
        );
        assert_eq!(of(0, &[(header::RANGE, "bytes=0-0")]), Need::Unsatisfiable);
        assert_eq!(of(0, &[(header::RANGE, "bytes=-1")]), Need::Whole);
    }

    #[test]
    fn a_client_that_has_the_file_gets_nothing() {
        let same = "Sun, 06 Nov 1994 08:49:37 GMT";
        let before = "Sun, 06 Nov 1994 08:49:36 GMT";
        for (lines, expected) in [
            (vec![(header::IF_NONE_MATCH, "\"other\"")], Need::Whole),
            (vec![(header::IF_NONE_MATCH, "tag")], Need::Whole),
            (vec![(header::IF_NONE_MATCH, "\"tag\"")], Need::Nothing),
            (vec![(header::IF_NONE_MATCH, "W/\"tag\"")], Need::Nothing),
            (vec![(header::IF_NONE_MATCH, "\"a\", \"tag\"")], Need::Nothing),
            (vec![(header::IF_NONE_MATCH, "*")], Need::Nothing),
            (vec![(header::IF_MODIFIED_SINCE, same)], Need::Nothing),
            (vec![(header::IF_MODIFIED_SINCE, before)], Need::Whole),
            (vec![(header::IF_MODIFIED_SINCE, "yesterday")], Need::Whole),
            (
                vec![(header::IF_NONE_MATCH, "\"other\""), (header::IF_MODIFIED_SINCE, same)],
                Need::Whole,
            ),
        ] {
            assert_eq!(of(10, &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_part_of_another_state_is_not_given() {
        let range = (header::RANGE, "bytes=1-2");
        let part = Need::Part { first: 1, last: 2 };
        for (condition, expected) in [
            ("\"tag\"", part),
            ("Sun, 06 Nov 1994 08:49:37 GMT", part),
            ("\"other\"", Need::Whole),
            ("W/\"tag\"", Need::Whole),
            ("Sun, 06 Nov 1994 08:49:38 GMT", Need::Whole),
            ("", Need::Whole),
        ] {
            assert_eq!(
                of(10, &[range.clone(), (header::IF_RANGE, condition)]),
                expected,
                "{condition}"
            );
        }
    }
}
