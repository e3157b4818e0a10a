//! Whether a failed run is followed by another one, and when.

use std::time::Duration;

use ploinky_queue::{TaskError, Terms, code};
use serde::Deserialize;

use crate::boot_time::BootTime;

/// What follows a failed run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// Nothing: the error is the outcome.
    End,
    /// Another run after this wait.
    Again(Duration),
}

#[derive(Deserialize)]
struct Details {
    retryable: Option<bool>,
}

/// What follows run number `attempt`, which failed with `error`. `random` decides about the wait.
pub(crate) fn after(
    terms: &Terms,
    attempt: u32,
    deadline: BootTime,
    error: &TaskError,
    now: BootTime,
    random: u64,
) -> Then {
    if !terms.is_retried() || u32::from(terms.attempts) <= attempt || !is_retryable(error) {
        return Then::End;
    }
    let wait = terms.backoff(attempt, random);
    // A run that could not begin in time is none: better to tell now why the last one failed.
    if deadline <= now.plus(wait) { Then::End } else { Then::Again(wait) }
}

/// Whether another run may end better: some errors are for good, and a handler may say so of its own.
fn is_retryable(error: &TaskError) -> bool {
    const FOR_GOOD: [&str; 3] = [code::UNKNOWN_COMMAND, code::INVALID_PARAMS, code::CANCELLED];
    // A list would also be taken for the fields in their order.
    let details =
        error.details.as_ref().map(|details| details.get()).filter(|d| d.starts_with('{'));
    let said = details.and_then(|details| serde_json::from_str::<Details>(details).ok());
    !FOR_GOOD.contains(&error.code.as_str()) && said.and_then(|said| said.retryable) != Some(false)
}

#[cfg(test)]
mod tests {
    use ploinky_queue::Mode;
    use serde_json::value::RawValue;

    use super::*;

    fn terms(attempts: u16) -> Terms {
        Terms {
            mode: Mode::Async,
            attempts,
            backoff_ns: 1000,
            backoff_max_ns: 3000,
            ..Terms::default()
        }
    }

    fn then(terms: &Terms, attempt: u32, error: &TaskError) -> Then {
        let [now, deadline] = [100, 1_000_000].map(BootTime::from_ns);
        after(terms, attempt, deadline, error, now, u64::MAX)
    }

    #[test]
    fn what_is_for_good_is_not_run_again() {
        let failed = TaskError::new(code::HANDLER_FAILED, "m");
        assert_eq!(then(&terms(1), 1, &failed), Then::End);
        assert_eq!(then(&terms(3), 3, &failed), Then::End);
        let call = Terms { mode: Mode::Sync, ..terms(3) };
        assert_eq!(then(&call, 1, &failed), Then::End);
        for code in [code::UNKNOWN_COMMAND, code::INVALID_PARAMS, code::CANCELLED] {
            assert_eq!(then(&terms(3), 1, &TaskError::new(code, "m")), Then::End, "{code}");
        }
        let with = |details: &str| TaskError {
            details: Some(RawValue::from_string(details.to_owned()).unwrap()),
            ..failed.clone()
        };
        assert_eq!(then(&terms(3), 1, &with(r#"{"a":1,"retryable":false}"#)), Then::End);
        for details in [r#"{"retryable":true}"#, r#"{"retryable":"no"}"#, "[false]", "{}"] {
            assert!(matches!(then(&terms(3), 1, &with(details)), Then::Again(_)), "{details}");
        }
    }

    #[test]
    fn the_next_run_comes_after_the_wait_and_before_the_deadline() {
        let late = TaskError::new(code::DEADLINE, "m");
        let [now, soon] = [100, 600].map(BootTime::from_ns);
        for (attempt, ns) in [(1, 999), (2, 1999), (7, 2999)] {
            let wait = Duration::from_nanos(ns);
            assert_eq!(then(&terms(9), attempt, &late), Then::Again(wait));
        }
        assert_eq!(after(&terms(9), 1, soon, &late, now, u64::MAX), Then::End);
        assert_eq!(after(&terms(9), 1, soon, &late, now, 0), Then::Again(Duration::ZERO));
    }
}
