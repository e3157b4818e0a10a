//! Keeps the number of accepted tasks within bounds: what was counted on the disk, and what came since.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ploinky_contract::UserId;
use ploinky_contract::limits::{ACCEPTED_PER_AGENT, ACCEPTED_PER_USER};
use ploinky_queue::{Backlog, Producer};

use crate::refusal::Refusal;

/// How long a count is good for at least.
const COUNT_IS_GOOD: Duration = Duration::from_secs(1);
/// Counting may take one part of so many of a thread's time.
const COUNTING_SHARE: u32 = 20;

/// Counts the accepted tasks of one agent, off the event loop and never twice at once.
#[derive(Debug)]
pub(super) struct BacklogGuard {
    producer: Arc<Producer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    counted: Backlog,
    /// Accepted here since the count began.
    since: Tally,
    /// Accepted here while it goes on.
    during: Tally,
    /// When the next count is due; `None` before the first.
    due: Option<Instant>,
    is_counting: bool,
}

#[derive(Debug, Default)]
struct Tally {
    all: usize,
    of: HashMap<UserId, usize>,
}

impl BacklogGuard {
    /// Counts the tasks of `producer`.
    pub(super) fn new(producer: Arc<Producer>) -> Self {
        Self { producer, state: Arc::default() }
    }

    /// Refuses a task of `owner` if there are as many as allowed.
    pub(super) fn check(&self, owner: &UserId) -> Result<(), Refusal> {
        let mut state = self.lock();
        if !state.is_counting && state.due.is_none_or(|due| due <= Instant::now()) {
            state.is_counting = true;
            let (producer, shared) = (Arc::clone(&self.producer), Arc::clone(&self.state));
            tokio::task::spawn_blocking(move || count(&producer, &shared));
        }
        state.check(owner)
    }

    /// A task of `owner` was accepted.
    pub(super) fn add(&self, owner: UserId) {
        let mut state = self.lock();
        if state.is_counting {
            state.during.add(owner);
        } else {
            state.since.add(owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn check(&self, owner: &UserId) -> Result<(), Refusal> {
        let all = self.counted.kept + self.since.all + self.during.all;
        if ACCEPTED_PER_AGENT <= all {
            return Err(Refusal::Backlog { limit: ACCEPTED_PER_AGENT });
        }
        let of = |tally: &Tally| tally.of.get(owner).copied().unwrap_or_default();
        let counted = self.counted.open.get(owner).copied().unwrap_or_default();
        if ACCEPTED_PER_USER <= counted + of(&self.since) + of(&self.during) {
            return Err(Refusal::BacklogOfUser { owner: owner.clone(), limit: ACCEPTED_PER_USER });
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, owner: UserId) {
        self.all += 1;
        *self.of.entry(owner).or_default() += 1;
    }
}

fn count(producer: &Producer, state: &Mutex<State>) {
    let started = Instant::now();
    // Whose they are costs a look into each, and does not matter as long as all together are few.
    let counted = producer.count().and_then(|kept| {
        if kept < ACCEPTED_PER_USER {
            Ok(Backlog { kept, open: HashMap::new() })
        } else {
            producer.backlog()
        }
    });
    let took = started.elapsed();
    let mut state = lock(state);
    match counted {
        Ok(counted) => {
            state.counted = counted;
            state.since = std::mem::take(&mut state.during);
        }
        Err(error) => tracing::warn!("cannot count the accepted tasks: {error}"),
    }
    state.is_counting = false;
    state.due = Some(Instant::now() + COUNT_IS_GOOD.max(took * COUNTING_SHARE));
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_and_user_have_their_bounds() {
        let [one, other] = ["a", "b"].map(|name| name.parse::<UserId>().unwrap());
        let mut state = State::default();
        assert!(state.check(&one).is_ok());
        state.counted.open.insert(one.clone(), ACCEPTED_PER_USER - 2);
        state.since.add(one.clone());
        assert!(state.check(&one).is_ok());
        state.during.add(one.clone());
        assert!(matches!(state.check(&one), Err(Refusal::BacklogOfUser { .. })));
        assert!(state.check(&other).is_ok());
        state.counted.kept = ACCEPTED_PER_AGENT - 3;
        assert!(state.check(&other).is_ok());
        state.since.add(other.clone());
        assert!(matches!(state.check(&other), Err(Refusal::Backlog { .. })));
    }
}
