//! How far one serving thread has come: what tells one that waits, or works on a task, from one that hangs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::boot_time::BootTime;

/// Nothing that takes long: what hangs here hangs.
const MOMENT: u64 = 0;
/// A wait for the kernel, for as long as nothing comes.
const WAIT: u64 = u64::MAX;

/// What a thread does just now. It costs the thread two stores per step; whoever looks reads no clock for it.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// How many steps there were.
    steps: AtomicU64,
    /// [`MOMENT`], [`WAIT`], or when the step is over at the latest.
    end_ns: AtomicU64,
}

/// What one look at a stage saw.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    step: u64,
    /// The step may not last any longer.
    is_overdue: bool,
}

impl Stage {
    /// The thread waits for tasks.
    pub(crate) fn wait(&self) {
        self.step(WAIT);
    }

    /// The thread does what is over in a moment.
    pub(crate) fn moment(&self) {
        self.step(MOMENT);
    }

    /// The thread does what is over at `end` at the latest.
    pub(crate) fn until(&self, end: BootTime) {
        self.step(end.as_ns().clamp(MOMENT + 1, WAIT - 1));
    }

    fn step(&self, end_ns: u64) {
        // The thread alone writes.
        self.steps.store(self.steps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.end_ns.store(end_ns, Ordering::Release);
    }

    /// Looks at the thread; `None` if it has not come on since the look before, which saw it overdue already.
    pub(crate) fn look(&self, before: Seen, now: BootTime) -> Option<Seen> {
        let end_ns = self.end_ns.load(Ordering::Acquire);
        let is_overdue = end_ns != WAIT && end_ns <= now.as_ns();
        let seen = Seen { step: self.steps.load(Ordering::Relaxed), is_overdue };
        (!is_overdue || seen != before).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_overdue_twice_in_one_step_hangs() {
        let stage = Stage::default();
        let now = BootTime::from_ns(1_000);
        let look = |before| stage.look(before, now);
        stage.moment();
        let first = look(Seen::default()).unwrap();
        assert_eq!(look(first), None, "a moment that lasts hangs");
        stage.moment();
        let second = look(first).unwrap();
        assert_ne!(first, second, "it came on");
        stage.wait();
        let waiting = look(second).unwrap();
        assert_eq!(look(waiting), Some(waiting), "a wait for tasks may last");
        stage.until(BootTime::from_ns(1_001));
        let running = look(waiting).unwrap();
        assert_eq!(look(running), Some(running), "a task has its time");
        let later = BootTime::from_ns(1_001);
        let overdue = stage.look(running, later).unwrap();
        assert_eq!(stage.look(overdue, later), None, "a task that outlives its time hangs");
    }
}
