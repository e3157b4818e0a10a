//! What is known of the tasks that wait and run.

use std::collections::{HashSet, VecDeque};

use ploinky_contract::TaskId;

use crate::lane::Lane;
use crate::schedule::{DURABLE_MAX, Entry, Next, Pushed, Schedule, number};

/// Hints held in memory, before their tasks were looked at; what is beyond comes with the next sweep.
const FRESH_MAX: usize = 65_536;

/// All of it lies behind one lock.
#[derive(Debug)]
pub(super) struct State {
    /// Tasks of which nothing is known but the id.
    pub(super) fresh: VecDeque<(Lane, TaskId)>,
    pub(super) schedule: Schedule,
    /// What each thread has.
    pub(super) running: Vec<Option<Next>>,
    /// Tasks of which a hint came while they ran: the same id may have been submitted anew.
    pub(super) again: Vec<TaskId>,
    /// Durable tasks that are over and whose requests are still there; sweeps need not look at them.
    pub(super) over: HashSet<u128>,
    /// Hints were lost, or tasks were left in their directory for want of room.
    pub(super) is_lossy: bool,
    /// Somebody rests until a task waits or runs.
    pub(super) is_resting: bool,
}

impl State {
    /// A hint came.
    pub(super) fn hear(&mut self, lane: Lane, id: TaskId) {
        self.over.remove(&number(id));
        if self.runs(lane, id) {
            self.again.push(id);
        } else if FRESH_MAX <= self.fresh.len() {
            self.is_lossy = true;
        } else if !self.schedule.holds(lane, id) {
            self.fresh.push_back((lane, id));
        }
    }

    pub(super) fn wants_sweep(&self) -> bool {
        self.is_lossy && self.schedule.len(Lane::Durable) <= DURABLE_MAX / 2
    }

    /// Whether no task is known that waits or runs.
    pub(super) fn is_quiet(&self) -> bool {
        self.fresh.is_empty()
            && [Lane::Sync, Lane::Durable].iter().all(|lane| self.schedule.len(*lane) == 0)
            && self.running.iter().all(Option::is_none)
    }

    /// Whether somebody rests who shall not any more; is asked once.
    pub(super) fn ends_rest(&mut self) -> bool {
        let ends = self.is_resting && !self.is_quiet();
        self.is_resting &= !ends;
        ends
    }

    pub(super) fn begin(&mut self, slot: usize, next: Next) {
        if let Some(place) = self.running.get_mut(slot) {
            *place = Some(next);
        }
    }

    pub(super) fn push(&mut self, lane: Lane, entry: Entry, not_before: Option<u64>) {
        if self.schedule.push(lane, entry, not_before) == Pushed::Full {
            self.is_lossy = true;
        }
    }

    fn runs(&self, lane: Lane, id: TaskId) -> bool {
        self.running.iter().flatten().any(|next| next.id == id && next.lane == lane)
    }

    pub(super) fn has(&self, lane: Lane, id: TaskId) -> bool {
        self.schedule.holds(lane, id) || self.runs(lane, id)
    }

    pub(super) fn is_known_over(&self, lane: Lane, id: TaskId) -> bool {
        lane == Lane::Durable && self.over.contains(&number(id))
    }
}
