//! What wrong passwords cost: after some the next try has to wait, twice as long each time, and at last for an
//! admin.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wrong passwords in a row that cost nothing.
const FREE: u32 = 5;
/// What the first one after that waits.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// What one waits at most.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Wrong passwords in a row after which only an admin helps (NIST SP 800-63B-4, 3.2.2).
pub const LOCKED_AT: u32 = 100;

/// Wrong passwords of one account since the last right one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Failures {
    count: u32,
    /// When the last one came, milliseconds since 1970.
    last_ms: u64,
}

/// Whether a password is looked at now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It is.
    Now,
    /// Not before this time is over, however right it is.
    After(Duration),
    /// Not before an admin has set a new one.
    Never,
}

impl Failures {
    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// With one more, at `now_ms`.
    #[must_use]
    pub fn and_another(self, now_ms: u64) -> Self {
        Self { count: self.count.saturating_add(1), last_ms: now_ms }
    }

    /// Whether a password is looked at, at `now_ms`. A clock that went back makes nobody wait longer than the
    /// whole time.
    pub fn turn(self, now_ms: u64) -> Turn {
        let Self { count, last_ms } = self;
        if LOCKED_AT <= count {
            return Turn::Never;
        }
        let Some(doublings) = count.checked_sub(FREE) else { return Turn::Now };
        let factor = 1_u32.checked_shl(doublings).filter(|factor| 0 < *factor).unwrap_or(u32::MAX);
        let whole = FIRST_WAIT.saturating_mul(factor).min(WAIT_MAX);
        let passed = Duration::from_millis(now_ms.saturating_sub(last_ms));
        match whole.saturating_sub(passed) {
            Duration::ZERO => Turn::Now,
            left => Turn::After(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(count: u32) -> Failures {
        (0..count).fold(Failures::default(), |failures, _| failures.and_another(1_000_000))
    }

    #[test]
    fn s9_the_wait_doubles_up_to_a_quarter_of_an_hour() {
        let wait = |count| after(count).turn(1_000_000);
        let seconds = |s| Turn::After(Duration::from_secs(s));
        assert_eq!([5, 6, 7, 14].map(wait), [seconds(1), seconds(2), seconds(4), seconds(512)]);
        assert_eq!([15, 36, 37, 38, 99].map(wait), [seconds(900); 5]);
        assert_eq!([0, 1, 4].map(wait), [Turn::Now; 3]);
    }

    #[test]
    fn s9_after_a_hundred_only_an_admin_helps() {
        assert_eq!([100, 101].map(|count| after(count).turn(u64::MAX)), [Turn::Never; 2]);
        assert_eq!(Failures { count: u32::MAX, last_ms: 0 }.and_another(1).count(), u32::MAX);
    }

    #[test]
    fn s9_the_wait_ends_and_a_clock_that_went_back_does_not_make_it_longer() {
        let failures = after(6);
        assert_eq!(failures.turn(1_001_999), Turn::After(Duration::from_millis(1)));
        assert_eq!(failures.turn(1_002_000), Turn::Now);
        assert_eq!(failures.turn(0), Turn::After(Duration::from_secs(2)));
    }
}
