//! How often names that nobody waits for may wake this process: an agent can make them without end.

use std::time::Instant;

use ploinky_contract::limits::{STRANGERS_AT_ONCE, STRANGERS_REST};

/// The readings of hints on one agent that brought nothing.
///
/// After some of them in a row of [`STRANGERS_REST`], the kernel gathers names until it is over. Only hints on
/// this agent wait for so long.
#[derive(Debug)]
pub struct Strangers {
    since: Instant,
    readings: u32,
}

impl Strangers {
    /// Nothing was read.
    pub fn new(now: Instant) -> Self {
        Self { since: now, readings: 0 }
    }

    /// Names were read, and nobody waits for any of them.
    pub fn came(&mut self, now: Instant) {
        if self.since + STRANGERS_REST <= now {
            *self = Self::new(now);
        }
        self.readings = self.readings.saturating_add(1);
    }

    /// Until when hints are not read.
    pub fn rest(&self) -> Option<Instant> {
        (STRANGERS_AT_ONCE <= self.readings).then(|| self.since + STRANGERS_REST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_few_are_read_at_once_and_more_wait_for_the_end_of_the_row() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        for _ in 1..STRANGERS_AT_ONCE {
            strangers.came(start);
            assert_eq!(strangers.rest(), None);
        }
        strangers.came(start + Duration::from_micros(1));
        assert_eq!(strangers.rest(), Some(start + STRANGERS_REST));
        // The next row begins with the next reading.
        strangers.came(start + STRANGERS_REST);
        assert_eq!(strangers.rest(), None);
    }

    #[test]
    fn seldom_ones_never_wait() {
        let mut now = Instant::now();
        let mut strangers = Strangers::new(now);
        for _ in 0..100 {
            now += STRANGERS_REST;
            strangers.came(now);
            assert_eq!(strangers.rest(), None);
        }
    }
}
