//! How large a bound is, with its unit.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// How large a bound is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "unit", content = "value")]
pub enum Amount {
    /// Whole seconds.
    Seconds(u64),
    /// Bytes.
    Bytes(u64),
    /// So many.
    Count(u64),
    /// So many a second.
    PerSecond(u64),
    /// Bytes a second.
    BytesPerSecond(u64),
    /// Any number.
    Unlimited,
}

impl Amount {
    pub(super) fn time(span: Duration) -> Self {
        Self::Seconds(span.as_secs())
    }

    pub(super) fn bytes(bytes: usize) -> Self {
        Self::Bytes(bytes as u64)
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seconds(seconds) => write!(f, "{seconds} s"),
            Self::Bytes(bytes) => size(bytes, f),
            Self::Count(count) => write!(f, "{count}"),
            Self::PerSecond(count) => write!(f, "{count}/s"),
            Self::BytesPerSecond(bytes) => {
                size(bytes, f)?;
                f.write_str("/s")
            }
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// Exact: in the largest unit of which it is a multiple.
fn size(bytes: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| 0 < bytes && bytes.is_multiple_of(*unit))
        .unwrap_or((1, "B"));
    write!(f, "{} {name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (bytes, text) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (1 << 10, "1 KiB"),
            (1536 << 10, "1536 KiB"),
            (100 << 20, "100 MiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(Amount::Bytes(bytes).to_string(), text);
        }
    }
}
