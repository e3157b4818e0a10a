//! What came back of many calls, and the figures that tests compare.

use std::fmt;
use std::time::{Duration, Instant};

/// One call of a [`Flow`](crate::flow::Flow).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// When it ended.
    pub(crate) at: Instant,
    /// How long that was after it should have been sent, so that a call which had to wait for its turn is a
    /// slow one.
    pub(crate) took: Duration,
    pub(crate) end: End,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// With an answer; the second is whether it had a `Retry-After`.
    Status(u16, bool),
    /// The connection could not be made.
    Refused,
    /// The connection ended without an answer.
    Broken,
    /// All connections that the flow may have were busy.
    Unsent,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, false) => write!(f, "{status}"),
            Self::Status(status, true) => write!(f, "{status} with Retry-After"),
            Self::Refused => f.write_str("refused"),
            Self::Broken => f.write_str("broken"),
            Self::Unsent => f.write_str("unsent"),
        }
    }
}

/// The answers to many calls, in the order of their end.
#[derive(Clone, Debug)]
pub(crate) struct Answers(pub(crate) Vec<Answer>);

impl Answers {
    /// Those of this status.
    pub(crate) fn of(&self, status: u16) -> Self {
        self.filter(|answer| matches!(answer.end, End::Status(found, _) if found == status))
    }

    /// Those that ended as `keep` wants.
    pub(crate) fn filter(&self, keep: impl Fn(&Answer) -> bool) -> Self {
        let Self(all) = self;
        Self(all.iter().filter(|answer| keep(answer)).copied().collect())
    }

    pub(crate) fn len(&self) -> usize {
        let Self(all) = self;
        all.len()
    }

    /// The time that this share of them (0.0 to 1.0) did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let Self(all) = self;
        let mut took: Vec<_> = all.iter().map(|answer| answer.took).collect();
        took.sort_unstable();
        assert!(!took.is_empty(), "there are no answers");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among some 100,000"
        )]
        let place = (took.len() as f64 * share) as usize;
        took[place.min(took.len() - 1)]
    }

    /// How many went on at once at most.
    pub(crate) fn at_once(&self) -> usize {
        let Self(all) = self;
        let begins = all.iter().map(|answer| (answer.at.checked_sub(answer.took).unwrap(), 1));
        let ends = all.iter().map(|answer| (answer.at, -1));
        let mut steps: Vec<(Instant, i64)> = begins.chain(ends).collect();
        steps.sort_unstable();
        let (mut now, mut most) = (0, 0);
        for (_, step) in steps {
            now += step;
            most = most.max(now);
        }
        usize::try_from(most).unwrap()
    }

    /// How many ended in each way, in words.
    pub(crate) fn ends(&self) -> String {
        let Self(all) = self;
        let mut counts: Vec<(End, usize)> = Vec::new();
        for answer in all {
            match counts.iter_mut().find(|(end, _)| *end == answer.end) {
                Some((_, count)) => *count += 1,
                None => counts.push((answer.end, 1)),
            }
        }
        let words: Vec<_> = counts.iter().map(|(end, count)| format!("{count} {end}")).collect();
        words.join(", ")
    }

    /// That all were answered with 200.
    pub(crate) fn assert_all_good(&self, what: &str) {
        assert_eq!(self.of(200).len(), self.len(), "{what}: {}", self.ends());
    }
}

/// The middle one.
pub(crate) fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

/// `a` as a multiple of `b`.
pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// The least of the ratios of turns that belong together.
pub(crate) fn least_ratio(loaded: &[Duration], quiet: &[Duration]) -> f64 {
    loaded.iter().zip(quiet).map(|(a, b)| ratio(*a, *b)).fold(f64::INFINITY, f64::min)
}

/// Milliseconds, to be printed.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
