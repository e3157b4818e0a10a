//! Counting of requests: each key has a bucket of tokens that fills up again with time.
//!
//! A bucket is one number, the time at which it will be full (the generic cell rate algorithm of ATM, with its
//! theoretical arrival time). A full one says nothing and can be forgotten, so few are kept at any time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ploinky_contract::limits::COUNTED_CLIENTS;

/// Time between two looks for buckets that are full again.
const CLEANING_INTERVAL_NS: u64 = 100_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rate {
    /// Nanoseconds that one request takes.
    interval: u64,
    /// Nanoseconds of requests that may come at once.
    burst: u64,
}

/// Buckets of one kind of keys, [`COUNTED_CLIENTS`] at most.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The times are nanoseconds from here on.
    started: Instant,
    full_again: HashMap<u64, u64>,
    /// Of all keys that have none of their own because there are too many.
    shared: u64,
    cleaned: u64,
}

impl Rate {
    /// `None`: no limit.
    pub(super) fn new(requests_per_second: u32, burst: u32) -> Option<Self> {
        let interval = SECOND_NS.checked_div(u64::from(requests_per_second))?;
        Some(Self { interval, burst: interval.saturating_mul(u64::from(burst)) })
    }
}

impl Buckets {
    /// No bucket is less than full at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, full_again: HashMap::new(), shared: 0, cleaned: 0 }
    }

    /// Takes one request from the bucket of `key`. Refused with the time until there is one.
    pub(super) fn take(&mut self, key: u64, rate: Rate, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.started).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        let Rate { interval, burst } = rate;
        if COUNTED_CLIENTS <= self.full_again.len() && !self.full_again.contains_key(&key) {
            self.clean(now);
        }
        let has_room = self.full_again.len() < COUNTED_CLIENTS;
        let full_again = match self.full_again.get_mut(&key) {
            Some(known) => known,
            None if has_room => self.full_again.entry(key).or_default(),
            None => &mut self.shared,
        };
        let next = now.max(*full_again).saturating_add(interval);
        let late = (next - now).saturating_sub(burst);
        if 0 < late {
            return Err(Duration::from_nanos(late));
        }
        *full_again = next;
        Ok(())
    }

    fn clean(&mut self, now: u64) {
        if self.cleaned.saturating_add(CLEANING_INTERVAL_NS) <= now {
            self.full_again.retain(|_, full_again| now < *full_again);
            self.cleaned = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(buckets: &mut Buckets, key: u64, rate: Rate, now: Instant) -> u32 {
        let mut count = 0;
        while buckets.take(key, rate, now).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let rate = Rate::new(10, 5).unwrap();
        let mut buckets = Buckets::new(start);
        assert_eq!(taken(&mut buckets, 1, rate, start), 5);
        assert_eq!(buckets.take(1, rate, start), Err(Duration::from_millis(100)));
        assert_eq!(taken(&mut buckets, 2, rate, start), 5);
        let later = start + Duration::from_millis(50);
        assert_eq!(buckets.take(1, rate, later), Err(Duration::from_millis(50)));
        assert_eq!(taken(&mut buckets, 1, rate, start + Duration::from_millis(250)), 2);
        assert_eq!(taken(&mut buckets, 1, rate, start + Duration::from_secs(60)), 5);
        assert_eq!(taken(&mut buckets, 3, Rate::new(1_000_000, 1).unwrap(), start), 1);
    }

    #[test]
    fn there_are_no_more_buckets_than_allowed_and_newcomers_share_one() {
        let start = Instant::now();
        let rate = Rate::new(1, 1).unwrap();
        let mut buckets = Buckets::new(start);
        for key in 0..COUNTED_CLIENTS as u64 {
            buckets.take(key, rate, start).unwrap();
        }
        assert!(buckets.take(u64::MAX, rate, start).is_ok());
        assert!(buckets.take(u64::MAX - 1, rate, start).is_err());
        assert_eq!(buckets.full_again.len(), COUNTED_CLIENTS);
        // Whoever has one keeps it.
        assert!(buckets.take(7, rate, start).is_err());
        let later = start + Duration::from_secs(2);
        assert!(buckets.take(u64::MAX, rate, later).is_ok());
        assert!(buckets.take(u64::MAX - 1, rate, later).is_ok());
        assert_eq!(buckets.full_again.len(), 2);
    }
}
