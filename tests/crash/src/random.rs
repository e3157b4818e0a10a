//! Random numbers that a printed seed repeats.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Xorshift; good enough to choose victims.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From `PLOINKY_CRASH_SEED`, or from nowhere.
    pub fn new() -> Self {
        let given = std::env::var("PLOINKY_CRASH_SEED").ok().and_then(|text| text.parse().ok());
        Self(given.unwrap_or_else(|| RandomState::new().hash_one(0)) | 1)
    }

    /// What repeats it.
    pub fn seed(&self) -> u64 {
        self.0
    }

    /// Another one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0 to `limit` - 1.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from((self.next() >> 11) % limit).unwrap()
    }

    /// Whether something happens that does so in `percent` of all cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Between the two, in milliseconds.
    pub fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis(u64::try_from(from + self.below(to - from + 1)).unwrap())
    }
}

/// How many times longer than in a check of every change a test is to be: `PLOINKY_CRASH_TIMES`, or 1.
pub fn times() -> usize {
    std::env::var("PLOINKY_CRASH_TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
