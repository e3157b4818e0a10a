//! What was agreed on beyond a plain call: how long a task is kept, how often it is run, what belongs to it.

use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::URGENCY_DEFAULT;

/// What the promise to the caller is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mode {
    /// It ends with the connection that waits: at most one run, and nothing survives a boot.
    #[default]
    Sync,
    /// The task was accepted for good: it survives everything and gets exactly one outcome, which stays.
    Async,
}

/// What a request says beyond the call itself. The default is a plain call; only what differs from it is
/// written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// The promise.
    pub mode: Mode,
    /// 0 to 7, 0 first (RFC 9218).
    pub urgency: u8,
    /// Nanoseconds that one run may take; if absent, all the time until the deadline.
    pub run_ns: Option<u64>,
    /// The deadline as nanoseconds from submission. On another boot the deadline is that long after the boot.
    pub deadline_in_ns: Option<u64>,
    /// Runs at most. From 2 on the task is run at least once, below at most once.
    pub attempts: u16,
    /// Longest wait before the second run, in nanoseconds; each further one may be twice as long.
    pub backoff_ns: u64,
    /// Longest wait before any run, in nanoseconds.
    pub backoff_max_ns: u64,
    /// When it was submitted, in milliseconds since 1970; to show it, and for the order of tasks of earlier
    /// boots.
    pub submitted_ms: u64,
    /// Where the end is to be told.
    pub callback: Option<String>,
    /// SHA-256 of what was asked for, as hexadecimal digits: tells a repeat from another use of the same key.
    pub digest: Option<String>,
    /// `files/<id>/` belongs to the task.
    pub files: bool,
    /// The caller reads events while the task runs.
    pub stream: bool,
    /// The task that this one repeats.
    pub retry_of: Option<TaskId>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            mode: Mode::Sync,
            urgency: URGENCY_DEFAULT,
            run_ns: None,
            deadline_in_ns: None,
            attempts: 1,
            backoff_ns: 0,
            backoff_max_ns: 0,
            submitted_ms: 0,
            callback: None,
            digest: None,
            files: false,
            stream: false,
            retry_of: None,
        }
    }
}

impl Terms {
    /// Whether the promise outlives the connection.
    pub fn is_async(&self) -> bool {
        self.mode == Mode::Async
    }

    /// Whether a failed run may be followed by another one.
    pub fn is_retried(&self) -> bool {
        self.is_async() && 2 <= self.attempts
    }

    /// The wait after the failed run number `attempt`, from 1 on: a part of the longest one that `random`
    /// tells, so that tasks that failed together do not come back together.
    pub fn backoff(&self, attempt: u32, random: u64) -> Duration {
        let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let longest = self.backoff_ns.saturating_mul(doubled).min(self.backoff_max_ns);
        let drawn = (u128::from(longest) * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(drawn).unwrap_or(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit_and_are_drawn_from_nothing_on() {
        let terms = Terms { backoff_ns: 1 << 20, backoff_max_ns: 5 << 20, ..Terms::default() };
        let longest = |attempt| {
            u64::try_from(terms.backoff(attempt, u64::MAX).as_nanos()).unwrap().next_multiple_of(2)
        };
        assert_eq!([1, 2, 3, 4, 200].map(longest), [1, 2, 4, 5, 5].map(|n| n << 20));
        assert_eq!(terms.backoff(3, 0), Duration::ZERO);
        assert_eq!(terms.backoff(3, 1 << 63), Duration::from_nanos(2 << 20));
        let endless = Terms { backoff_ns: u64::MAX, backoff_max_ns: u64::MAX, ..Terms::default() };
        assert_eq!(endless.backoff(100, 0), Duration::ZERO);
    }
}
