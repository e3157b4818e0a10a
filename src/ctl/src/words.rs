//! Numbers and foreign text as people read them. Pure.

use std::time::{Duration, UNIX_EPOCH};

/// Seconds from 1970 to the end of the year 9999, where the textual form ends.
const LAST_SECOND: u64 = 253_402_300_799;

/// `text` with everything that a terminal could obey or hide written as `\u{…}`.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let hides = matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if hides || (character.is_control() && character != '\t') {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Microseconds since 1970 as RFC 3339 in UTC; nothing for times that are not set.
pub(crate) fn moment(usec: u64) -> Option<String> {
    let seconds = usec / 1_000_000;
    (0 < seconds && seconds <= LAST_SECOND).then(|| {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    })
}

/// The two largest units of a span.
pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, name) in units {
        if size <= rest || (name == "s" && parts.is_empty()) {
            parts.push(format!("{}{name}", rest / size));
        } else if !parts.is_empty() {
            break;
        }
        rest %= size;
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// Bytes in the unit that leaves one to four digits before the point.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _name)| *unit <= bytes) {
        None => format!("{bytes} B"),
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (3_659, "1h"),
            (7_500, "2h 5m"),
            (86_400 * 3 + 3_600 * 4 + 59, "3d 4h"),
            (86_400 + 59, "1d"),
        ] {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_897_485, "12.3 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn moments_outside_of_the_calendar_are_nothing() {
        assert_eq!(moment(0), None);
        assert_eq!(moment(u64::MAX), None);
        assert_eq!(moment(1_767_323_045_000_000).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(moment(LAST_SECOND * 1_000_000).as_deref(), Some("9999-12-31T23:59:59Z"));
    }
}
