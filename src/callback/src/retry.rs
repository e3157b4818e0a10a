//! When to try again. Pure: no clock, no chance of its own.

use std::time::Duration;

/// Longest wait before the second try; each further one may be twice as long.
const FIRST: Duration = Duration::from_secs(2);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(600);
/// What a receiver may ask for with `Retry-After`.
const ASKED_MAX: Duration = Duration::from_secs(3600);
/// Tries: with the waits above they cover about a day.
pub(crate) const TRIES_MAX: u32 = 150;

/// What became of one try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The receiver has it (2xx).
    Taken,
    /// The receiver will never want it (410), or nobody may be asked.
    Refused(String),
    /// It may be better later; the receiver may have said when.
    Later { why: String, asked: Option<Duration> },
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// It is over.
    Forget,
    /// Try again after this time.
    Wait(Duration),
}

/// Decides after the try number `tries` (the first one is 1). `chance` is from 0 to 1.
pub(crate) fn next(verdict: &Verdict, tries: u32, chance: f64) -> Next {
    match verdict {
        Verdict::Taken | Verdict::Refused(_) => Next::Forget,
        Verdict::Later { .. } if TRIES_MAX <= tries => Next::Forget,
        Verdict::Later { asked: Some(asked), .. } => Next::Wait((*asked).min(ASKED_MAX)),
        Verdict::Later { asked: None, .. } => {
            let doubled = FIRST.saturating_mul(1 << (tries - 1).min(20)).min(LONGEST);
            // Between half of it and all of it, so that those that failed together spread out.
            Next::Wait(doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(asked: Option<u64>) -> Verdict {
        Verdict::Later { why: String::new(), asked: asked.map(Duration::from_secs) }
    }

    #[test]
    fn what_cannot_become_better_is_not_tried_again() {
        assert_eq!(next(&Verdict::Taken, 1, 0.5), Next::Forget);
        assert_eq!(next(&Verdict::Refused(String::new()), 1, 0.5), Next::Forget);
        assert_eq!(next(&later(Some(1)), TRIES_MAX, 0.5), Next::Forget);
    }

    #[test]
    fn waits_grow_to_a_bound_and_a_receiver_may_name_its_own() {
        let seconds = |tries, chance| match next(&later(None), tries, chance) {
            Next::Wait(wait) => wait.as_millis(),
            Next::Forget => 0,
        };
        assert_eq!([seconds(1, 0.0), seconds(1, 1.0), seconds(2, 1.0)], [1000, 2000, 4000]);
        assert_eq!([seconds(100, 0.0), seconds(100, 1.0)], [300_000, 600_000]);
        assert_eq!(next(&later(Some(7)), 3, 0.5), Next::Wait(Duration::from_secs(7)));
        assert_eq!(next(&later(Some(1 << 40)), 3, 0.5), Next::Wait(ASKED_MAX));
    }
}
