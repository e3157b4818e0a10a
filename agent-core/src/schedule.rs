//! Which of the waiting tasks is next: urgency first, then turns of their owners, then age. Pure: it knows no
//! disk, no clock and no thread.
//!
//! A task has a *class*: class 0 is of the commands that are bound by the agent's `concurrency` alone, every
//! other class is one command with a bound of its own. The two lanes share the threads by turns: while both
//! have tasks that may run, three of four turns are of the sync lane, whose callers wait.

mod rotation;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use ploinky_contract::TaskId;

use crate::lane::Lane;
use crate::schedule::rotation::Rotation;

/// Tasks of the durable lane that are held in memory, some 80 bytes each; what is beyond stays on the disk
/// until the next sweep.
pub(crate) const DURABLE_MAX: usize = 131_072;
/// Tasks of the sync lane that are held in memory: more than all workers of a host have in flight.
pub(crate) const SYNC_MAX: usize = 16_384;
/// Of so many turns, one is of the durable lane while both lanes have tasks.
const SHARE: u8 = 4;

/// The commands that share a bound; 0 are those without one of their own.
pub(crate) type Class = u16;

/// What decides about the order of a task.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Entry {
    /// The id, as a number.
    pub(crate) id: u128,
    /// Stands for the owner.
    pub(crate) owner: u64,
    /// Smaller is older.
    pub(crate) seq: u64,
    /// 0 first.
    pub(crate) urgency: u8,
    pub(crate) class: Class,
}

/// A task that may start now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Next {
    pub(crate) lane: Lane,
    pub(crate) id: TaskId,
    pub(crate) class: Class,
}

/// What became of the wish to let a task wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pushed {
    /// It waits.
    Waits,
    /// It waited already.
    Known,
    /// There is no room.
    Full,
}

/// Everything that waits in memory.
#[derive(Debug)]
pub(crate) struct Schedule {
    sync: LaneQueue,
    durable: LaneQueue,
    /// Tasks that may not start yet, the earliest first. Only the durable lane has them.
    later: BinaryHeap<Reverse<(u64, Entry)>>,
    /// Per class: how many run, and how many may.
    classes: Vec<(u32, u32)>,
    /// Counts everything that gets a turn.
    turn: u64,
    share: u8,
}

/// What waits in one lane.
#[derive(Debug, Default)]
struct LaneQueue {
    ready: BTreeMap<(u8, Class), Rotation>,
    /// All that wait, also for their time.
    held: HashSet<u128>,
}

/// The id as a number: half the bytes.
pub(crate) fn number(id: TaskId) -> u128 {
    u128::from_str_radix(id.as_str(), 16).unwrap_or_default()
}

fn task(number: u128) -> TaskId {
    TaskId::from_random(number.to_be_bytes())
}

impl Schedule {
    /// Nothing waits. `bounds` are those of the classes from 1 on.
    pub(crate) fn new(bounds: impl IntoIterator<Item = u16>) -> Self {
        let classes = [u32::MAX]
            .into_iter()
            .chain(bounds.into_iter().map(u32::from))
            .map(|bound| (0, bound))
            .collect();
        Self {
            sync: LaneQueue::default(),
            durable: LaneQueue::default(),
            later: BinaryHeap::new(),
            classes,
            turn: 0,
            share: 0,
        }
    }

    /// Whether nothing waits that may start now or when a class has room.
    pub(crate) fn is_empty(&self) -> bool {
        self.sync.ready.is_empty() && self.durable.ready.is_empty()
    }

    /// Whether a task waits already.
    pub(crate) fn holds(&self, lane: Lane, id: TaskId) -> bool {
        self.lane(lane).held.contains(&number(id))
    }

    /// Tasks of a lane that wait.
    pub(crate) fn len(&self, lane: Lane) -> usize {
        self.lane(lane).held.len()
    }

    /// Lets a task wait, until `not_before` if that is given.
    pub(crate) fn push(&mut self, lane: Lane, entry: Entry, not_before: Option<u64>) -> Pushed {
        let limit = match lane {
            Lane::Sync => SYNC_MAX,
            Lane::Durable => DURABLE_MAX,
        };
        let queue = self.lane_mut(lane);
        if queue.held.contains(&entry.id) {
            return Pushed::Known;
        }
        if limit <= queue.held.len() {
            return Pushed::Full;
        }
        queue.held.insert(entry.id);
        match not_before {
            Some(time) => self.later.push(Reverse((time, entry))),
            None => self.add(lane, &entry),
        }
        Pushed::Waits
    }

    /// Lets those start whose time has come, and tells when the next one's comes.
    pub(crate) fn advance(&mut self, now: u64) -> Option<u64> {
        while let Some(Reverse((time, entry))) = self.later.peek().copied() {
            if now < time {
                return Some(time);
            }
            self.later.pop();
            self.add(Lane::Durable, &entry);
        }
        None
    }

    /// Lets a task start that waits for its time; `false` if it does not. Looks at all that do.
    pub(crate) fn hurry(&mut self, id: TaskId) -> bool {
        let id = number(id);
        let Some(entry) = self.later.iter().map(|Reverse((_, entry))| *entry).find(|e| e.id == id)
        else {
            return false;
        };
        self.later.retain(|Reverse((_, entry))| entry.id != id);
        self.add(Lane::Durable, &entry);
        true
    }

    /// Forgets a task of the sync lane; `false` if it does not wait.
    pub(crate) fn forget(&mut self, id: TaskId) -> bool {
        let id = number(id);
        let LaneQueue { ready, held } = &mut self.sync;
        if !held.remove(&id) {
            return false;
        }
        ready.retain(|_, rotation| {
            rotation.remove(id);
            !rotation.is_empty()
        });
        true
    }

    /// The next task that may start; it counts as running until [`Schedule::done`].
    pub(crate) fn pop(&mut self) -> Option<Next> {
        let [sync, durable] = [&self.sync, &self.durable].map(|queue| queue.first(&self.classes));
        let lane = match (&sync, &durable) {
            (None, None) => return None,
            (Some(_), None) => Lane::Sync,
            (None, Some(_)) => Lane::Durable,
            (Some(_), Some(_)) => {
                self.share = (self.share + 1) % SHARE;
                if self.share == 0 { Lane::Durable } else { Lane::Sync }
            }
        };
        let (urgency, class) = match lane {
            Lane::Sync => sync,
            Lane::Durable => durable,
        }?;
        self.turn += 1;
        let turn = self.turn;
        let LaneQueue { ready, held } = self.lane_mut(lane);
        let (owner, id) = ready.get_mut(&(urgency, class))?.take(turn)?;
        held.remove(&id);
        // An owner has one turn, whatever it calls.
        for rotation in ready.range_mut((urgency, 0)..=(urgency, Class::MAX)).map(|(_, one)| one) {
            rotation.pass(owner, turn);
        }
        if ready.get(&(urgency, class)).is_some_and(Rotation::is_empty) {
            ready.remove(&(urgency, class));
        }
        self.begin(class);
        Some(Next { lane, id: task(id), class })
    }

    /// Whether [`Schedule::pop`] would give a task.
    pub(crate) fn has_next(&self) -> bool {
        [&self.sync, &self.durable].iter().any(|queue| queue.first(&self.classes).is_some())
    }

    /// Counts a task that did not wait here as running.
    pub(crate) fn begin(&mut self, class: Class) {
        if let Some((running, _)) = self.classes.get_mut(usize::from(class)) {
            *running = running.saturating_add(1);
        }
    }

    /// A task does not run any more.
    pub(crate) fn done(&mut self, class: Class) {
        if let Some((running, _)) = self.classes.get_mut(usize::from(class)) {
            *running = running.saturating_sub(1);
        }
    }

    fn add(&mut self, lane: Lane, entry: &Entry) {
        self.turn += 1;
        let turn = self.turn;
        let place = (entry.urgency, entry.class);
        self.lane_mut(lane).ready.entry(place).or_default().add(entry, turn);
    }

    fn lane(&self, lane: Lane) -> &LaneQueue {
        match lane {
            Lane::Sync => &self.sync,
            Lane::Durable => &self.durable,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneQueue {
        match lane {
            Lane::Sync => &mut self.sync,
            Lane::Durable => &mut self.durable,
        }
    }
}

impl LaneQueue {
    /// Urgency and class of the task that is next among those whose class has room.
    fn first(&self, classes: &[(u32, u32)]) -> Option<(u8, Class)> {
        let has_room = |class: Class| {
            classes.get(usize::from(class)).is_none_or(|(running, bound)| running < bound)
        };
        let mut best: Option<(u8, u64, Class)> = None;
        for ((urgency, class), rotation) in &self.ready {
            if best.is_some_and(|(found, ..)| found < *urgency) {
                break;
            }
            if has_room(*class)
                && let Some(turn) = rotation.next_turn()
            {
                let candidate = (*urgency, turn, *class);
                best = Some(best.map_or(candidate, |best| best.min(candidate)));
            }
        }
        best.map(|(urgency, _, class)| (urgency, class))
    }
}
